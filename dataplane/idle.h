// SPDX-License-Identifier: BSD-3-Clause
// Where a worker sleeps while no packet comes: until an interrupt of its receive queues where all of their
// drivers have them, otherwise for short times, longer and longer; and until somebody rings.
#pragma once

#include <poll.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "dataplane/bell.h"
#include "dataplane/link.h"

namespace fwd::dataplane {

/// A receive queue that a worker polls.
struct RxQueue {
    PortIndex port;
    std::uint16_t queue = 0;
};

class IdleSleep {
 public:
    /// Makes the calling thread the one that sleeps.
    IdleSleep(const std::vector<std::unique_ptr<Port>>& ports, std::span<const RxQueue> queues,
              Bell& bell) noexcept;
    IdleSleep(const IdleSleep&) = delete;
    IdleSleep& operator=(const IdleSleep&) = delete;

    /// To be called before the last look for work: from here on a packet or a ring ends sleep().
    void prepare() noexcept;
    /// Sleeps; true when it was woken, and not just because time was up.
    /// @param empty_rounds how often the worker has found nothing since it began to sleep
    bool sleep(unsigned empty_rounds) noexcept;
    /// Ends what prepare() began, with or without sleep().
    void finish() noexcept;

 private:
    bool use_interrupts() noexcept;

    const std::vector<std::unique_ptr<Port>>& ports_;
    std::span<const RxQueue> queues_;
    Bell& bell_;
    std::vector<pollfd> wakers_;      // the bell's descriptor, then the interrupts' of the queues
    std::vector<bool> must_be_read_;  // of those
};

}  // namespace fwd::dataplane
