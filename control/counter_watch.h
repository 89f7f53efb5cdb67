// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "dataplane/dataplane.h"

namespace fwd::control {

/// Notices in the counters what an operator should hear of: workers write no log.
class CounterWatch {
 public:
    using Clock = std::chrono::steady_clock;

    explicit CounterWatch(const dataplane::Dataplane& dataplane) : dataplane_{dataplane} {}

    /// A line for each that has happened since the last look, which is at least a second ago; before that
    /// none.
    std::vector<std::string> look(Clock::time_point now);

 private:
    static constexpr std::size_t kWatched = 4;

    const dataplane::Dataplane& dataplane_;
    std::array<std::uint64_t, kWatched> seen_{};
    Clock::time_point next_look_{};
};

}  // namespace fwd::control
