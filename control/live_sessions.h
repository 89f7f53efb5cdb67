// SPDX-License-Identifier: BSD-3-Clause
// A walk over the session table that leaves everything else its time.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>

#include "dataplane/dataplane.h"

namespace fwd::control {

class LiveSessions {
 public:
    /// @param pause called again and again during a walk, for what can't wait for its end
    LiveSessions(dataplane::Dataplane& dataplane, std::function<void()> pause)
        : dataplane_{dataplane}, pause_{std::move(pause)} {}

    dataplane::FlowTable& flows() const { return dataplane_.flows(); }

    /// Calls `visit(position, state word)` for live sessions in [first, end), until it returns false; where
    /// to go on.
    template <typename Visit>
    std::uint32_t visit(std::uint32_t first, std::uint32_t end, Visit visit) const {
        dataplane::FlowTable& flows = dataplane_.flows();
        std::uint32_t at = first;
        while (at < end) {
            {
                const dataplane::Dataplane::ReadSection section{dataplane_};
                const std::uint32_t section_end = std::min(end, at + kPositionsPerSection);
                for (; at < section_end; ++at) {
                    const dataplane::FlowPosition id{at};
                    if (flows.deadline(id).load(std::memory_order_relaxed) == dataplane::kNoSession) continue;
                    const dataplane::StateWord word = flows.flow(id).load_state();
                    if (word.state() == dataplane::RecordState::live && !visit(id, word)) return at + 1;
                }
            }
            pause_();
        }
        return at;
    }

 private:
    /// Looked at in one read section: workers wait for its end before they reuse what they have removed.
    static constexpr std::uint32_t kPositionsPerSection = 16384;

    dataplane::Dataplane& dataplane_;
    std::function<void()> pause_;
};

}  // namespace fwd::control
