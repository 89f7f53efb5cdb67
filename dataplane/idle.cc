// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/idle.h"

#include <poll.h>
#include <rte_ethdev.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <ctime>

namespace fwd::dataplane {
namespace {

// A packet that finds its worker asleep must not wait for a millisecond.
constexpr long kFirstSleepNs = 20'000, kLongestSleepNs = 700'000;
constexpr unsigned long kTimerSlackNs = 1000;
/// With interrupts: sessions still have to be swept.
constexpr long kLongestWaitNs = 10'000'000;

bool is_eventfd(int descriptor) noexcept {
    std::array<char, 32> path{};
    std::array<char, 32> target{};
    std::snprintf(path.data(), path.size(), "/proc/self/fd/%d", descriptor);
    return readlink(path.data(), target.data(), target.size() - 1) > 0 &&
           std::strcmp(target.data(), "anon_inode:[eventfd]") == 0;
}

}  // namespace

IdleSleep::IdleSleep(const std::vector<std::unique_ptr<Port>>& ports, std::span<const RxQueue> queues,
                     Bell& bell) noexcept
    : ports_{ports}, queues_{queues}, bell_{bell}, wakers_{{bell.descriptor(), POLLIN, 0}} {
    if (!use_interrupts()) wakers_.resize(1);
    prctl(PR_SET_TIMERSLACK, kTimerSlackNs, 0, 0, 0);
}

bool IdleSleep::use_interrupts() noexcept {
    for (const RxQueue& rx : queues_) {
        const Port& port = *ports_[rx.port.value];
        if (!port.has_rx_interrupts()) return false;
        const int descriptor = rte_eth_dev_rx_intr_ctl_q_get_fd(port.ethdev(), rx.queue);
        wakers_.push_back({descriptor, POLLIN, 0});
        // An eventfd stays readable until it is read; reading a TAP's descriptor would take a packet away.
        must_be_read_.push_back(is_eventfd(descriptor));
    }
    return true;
}

void IdleSleep::prepare() noexcept {
    bell_.lie_down();
    for (std::size_t q = 0; q + 1 < wakers_.size(); ++q)
        rte_eth_dev_rx_intr_enable(ports_[queues_[q].port.value]->ethdev(), queues_[q].queue);
}

bool IdleSleep::sleep(unsigned empty_rounds) noexcept {
    const bool interrupts = wakers_.size() > 1;
    const long ns = interrupts ? kLongestWaitNs
                               : std::min(kFirstSleepNs * static_cast<long>(std::min(empty_rounds, 100U)),
                                          kLongestSleepNs);
    const timespec pause{0, ns};
    return ppoll(wakers_.data(), wakers_.size(), &pause, nullptr) > 0;
}

void IdleSleep::finish() noexcept {
    for (std::size_t q = 0; q + 1 < wakers_.size(); ++q) {
        rte_eth_dev_rx_intr_disable(ports_[queues_[q].port.value]->ethdev(), queues_[q].queue);
        pollfd& waker = wakers_[q + 1];
        std::uint64_t count = 0;
        if ((waker.revents & POLLIN) != 0 && must_be_read_[q]) {
            [[maybe_unused]] const ssize_t bytes = read(waker.fd, &count, sizeof count);
        }
        waker.revents = 0;
    }
    bell_.get_up();
}

}  // namespace fwd::dataplane
