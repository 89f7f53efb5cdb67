// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>

namespace fwd::dataplane {

/// Wakes a thread that sleeps because it found no work. Whoever brings work rings, which is a system call
/// only when the thread does sleep; so one that is busy is not told of every packet.
///
///     sleeper:  lie_down(), look for work once more, wait on descriptor(), get_up()
///     others:   bring the work, ring()
class Bell {
 public:
    Bell() noexcept : descriptor_{eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)} {}
    ~Bell() {
        if (descriptor_ >= 0) close(descriptor_);
    }
    Bell(const Bell&) = delete;
    Bell& operator=(const Bell&) = delete;

    /// Readable when it has rung; negative when the kernel gave none, and then nobody is woken early.
    int descriptor() const noexcept { return descriptor_; }

    void ring() noexcept {
        // Either this thread sees the sleeper lie, or the sleeper sees the work.
        std::atomic_thread_fence(std::memory_order_seq_cst);
        if (!asleep_.load(std::memory_order_relaxed) || !asleep_.exchange(false, std::memory_order_relaxed))
            return;
        const std::uint64_t one = 1;
        [[maybe_unused]] const ssize_t written = write(descriptor_, &one, sizeof one);
    }

    void lie_down() noexcept {
        asleep_.store(true, std::memory_order_relaxed);
        std::atomic_thread_fence(std::memory_order_seq_cst);
    }
    void get_up() noexcept {
        if (asleep_.exchange(false, std::memory_order_relaxed)) return;
        std::uint64_t rung = 0;
        [[maybe_unused]] const ssize_t read_bytes = read(descriptor_, &rung, sizeof rung);
    }

 private:
    int descriptor_;
    std::atomic<bool> asleep_{false};
};

}  // namespace fwd::dataplane
