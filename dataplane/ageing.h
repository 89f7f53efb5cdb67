// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>
#include <span>

#include "dataplane/counter.h"
#include "dataplane/flow_table.h"
#include "dataplane/mapping_table.h"
#include "dataplane/policy.h"
#include "dataplane/shared_tables.h"

namespace fwd::dataplane {

/// Ends sessions that have been idle for too long. Each worker sweeps its share of the positions, a few at a
/// time, paced by the clock: once over all of them in kPeriod, without a timer per session or a pause.
class Sweeper {
 public:
    Sweeper(const SharedTables& shared, Reclaimer& reclaimer, ThreadCounters& counters, unsigned worker);

    /// Looks at as many positions as are due by now, within a bound on its own time.
    void step(const Policy& policy, Tsc now) noexcept;

    /// After a step: that was not everything that was due.
    bool is_behind(Tsc now) const noexcept { return next_.cycles < now.cycles; }

 private:
    /// Ends those of some sessions that have been idle for too long. In stages, since hardly any of their
    /// memory is in the cache: records, answers' records, keys.
    void end_idle(std::span<const FlowPosition> due, const Policy& policy, Tick now) noexcept;
    /// Whether a session with that state word has been idle for too long; if not, notes when it will have.
    bool has_ended(FlowPosition id, StateWord word, const Policy& policy, Tick now) noexcept;

    const SharedTables& shared_;
    Reclaimer& reclaimer_;
    ThreadCounters& counters_;
    std::uint32_t first_;
    std::uint32_t end_;
    std::uint32_t at_;
    std::uint64_t cycles_per_position_;  ///< in 1/256 cycle
    Tsc next_{0};                        ///< when the next position is due
    std::uint64_t opened_ = 0;           ///< by this worker, as of the step before
    std::uint32_t timeout_generation_ = 0;
    std::uint32_t unconditional_ = 0;  ///< so many positions are looked at whatever their deadline says
};

/// Ends peers and mappings that nobody has referred to for long enough, at the same pace. Where there are
/// none it does nothing.
class MappingSweeper {
 public:
    MappingSweeper(const SharedTables& shared, MappingReclaimer& reclaimer, unsigned worker);
    void step(const Policy& policy, Tsc now) noexcept;

 private:
    MappingTable& mappings_;
    MappingReclaimer& reclaimer_;
    std::uint32_t first_;
    std::uint32_t end_;
    std::uint32_t at_;
    std::uint64_t period_cycles_;
    std::uint64_t cycles_per_step_;
    Tsc next_{0};  ///< when the next step is due
};

}  // namespace fwd::dataplane
