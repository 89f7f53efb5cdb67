// SPDX-License-Identifier: BSD-3-Clause
#include "control/counter_watch.h"

#include <fmt/format.h>

namespace fwd::control {
namespace {

using dataplane::ThreadCounters;
using dataplane::Verdict;

std::uint64_t count(const ThreadCounters& counters, Verdict verdict) {
    return counters.verdicts[static_cast<std::size_t>(verdict)].get();
}

}  // namespace

std::vector<std::string> CounterWatch::look(Clock::time_point now) {
    if (now < next_look_) return {};
    next_look_ = now + std::chrono::seconds{1};
    struct Watched {
        std::uint64_t (*count)(const ThreadCounters& counters);
        const char* what;
    };
    static constexpr std::array<Watched, kWatched> kRows{{
        {[](const ThreadCounters& c) { return count(c, Verdict::drop_sessions_full); },
         "the session table is full, {} new session(s) refused: raise `sessions`"},
        {[](const ThreadCounters& c) { return count(c, Verdict::drop_ports_used_up); },
         "no source port is free, {} new session(s) refused: add own addresses, or some to the pool"},
        {[](const ThreadCounters& c) { return count(c, Verdict::drop_mappings_full); },
         "the mapping table is full, {} new session(s) refused: raise `mappings`"},
        {[](const ThreadCounters& c) { return c.sessions_evicted.get(); },
         "the session table is nearly full, {} unanswered or closing session(s) ended early for new ones: "
         "raise "
         "`sessions`"},
    }};
    std::vector<std::string> lines;
    for (std::size_t i = 0; i < kRows.size(); ++i) {
        std::uint64_t total = 0;
        for (const auto& worker : dataplane_.workers()) total += kRows[i].count(worker->counters());
        if (total != seen_[i]) lines.push_back(fmt::format(fmt::runtime(kRows[i].what), total - seen_[i]));
        seen_[i] = total;
    }
    return lines;
}

}  // namespace fwd::control
