// SPDX-License-Identifier: BSD-3-Clause
// That fwdd's threads lose them is tested where it runs as root: e2e and package.
#include "control/capabilities.h"

#include <gtest/gtest.h>
#include <linux/capability.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

namespace fwd::control {
namespace {

constexpr Capabilities kAlways = 1U << CAP_DAC_OVERRIDE | 1U << CAP_IPC_LOCK;

TEST(Capabilities, ThoseKeptAreWhatADriverNeedsToTheEnd) {
    struct {
        std::vector<std::string> drivers;
        Capabilities more;
    } const rows[] = {
        {{}, 0},
        {{"net_e1000_em", "net_virtio", "net_af_packet", "net_tap", "net_memif"}, 0},
        {{"net_af_packet", "net_af_xdp"}, 1U << CAP_NET_ADMIN | 1U << CAP_SYS_ADMIN},
        {{"mlx5_pci"}, 1U << CAP_NET_ADMIN | 1U << CAP_NET_RAW},
        {{"net_mlx4"}, 1U << CAP_NET_ADMIN | 1U << CAP_NET_RAW},
    };
    for (const auto& row : rows) {
        EXPECT_EQ(needed_capabilities(row.drivers, false, false), kAlways | row.more)
            << ::testing::PrintToString(row.drivers);
    }
    EXPECT_EQ(needed_capabilities({}, true, false), kAlways | 1U << CAP_SYS_ADMIN);
    EXPECT_EQ(needed_capabilities({}, false, true), kAlways | 1U << CAP_NET_ADMIN);
}

/// One that takes no signal is named, and the others lose theirs.
TEST(Capabilities, AThreadThatTakesNoSignalKeepsNoneForOthers) {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root to have something to lose";
    const pid_t child = ::fork();
    if (child == 0) {
        std::atomic<bool> stop{false};
        std::atomic<int> ready{0};
        std::array<std::string, 2> left;
        const auto wait = [&](std::size_t index) {
            if (index == 0) {
                sigset_t signals;
                ::sigemptyset(&signals);
                ::sigaddset(&signals, SIGUSR2);
                ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
            }
            ready.fetch_add(1);
            while (!stop.load()) ::usleep(1000);
            left[index] = own_capabilities_text();
        };
        // In the order in which /proc tells of them.
        std::thread deaf{wait, 0};
        while (ready.load() != 1) ::usleep(1000);
        std::thread other{wait, 1};
        while (ready.load() != 2) ::usleep(1000);
        const auto done = keep_only(0, std::chrono::milliseconds{100});
        stop.store(true);
        deaf.join();
        other.join();
        ::_exit(!done && left[1] == "none" && left[0] != "none" ? 0 : 1);
    }
    int status = -1;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace fwd::control
