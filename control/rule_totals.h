// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <vector>

#include "control/live_sessions.h"
#include "dataplane/dataplane.h"

namespace fwd::control {

/// What a rule has forwarded: by its ended sessions and by the live ones.
struct RuleTotals {
    std::uint64_t packets = 0;
    std::uint64_t bytes = 0;
    std::uint32_t sessions = 0;
};

/// Adds rules' sessions up, all rules in one walk over the session table. A walk takes long when the table is
/// large, so its result is kept for twenty times as long: whoever asks without end gets a twentieth of
/// control's time.
class RuleTotaller {
 public:
    using Clock = std::chrono::steady_clock;

    RuleTotaller(dataplane::Dataplane& dataplane, const LiveSessions& sessions,
                 std::function<Clock::time_point()> now = Clock::now)
        : dataplane_{dataplane}, sessions_{sessions}, now_{std::move(now)} {}

    /// Makes the totals new if they are too old.
    void refresh();
    /// As of the last refresh(); nothing for a rule that was added after it.
    RuleTotals of(dataplane::RuleId rule) const;

 private:
    struct Row {
        std::uint32_t generation = 0;
        RuleTotals totals;
    };

    dataplane::Dataplane& dataplane_;
    const LiveSessions& sessions_;
    std::function<Clock::time_point()> now_;
    std::vector<Row> rows_;  ///< by slot
    Clock::time_point good_until_{};
};

}  // namespace fwd::control
