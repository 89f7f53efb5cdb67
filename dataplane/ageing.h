// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>

#include "dataplane/counter.h"
#include "dataplane/flow_table.h"
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

 private:
    void examine(FlowPosition id, const Policy& policy, Tick now) noexcept;

    const SharedTables& shared_;
    Reclaimer& reclaimer_;
    ThreadCounters& counters_;
    std::uint32_t first_;
    std::uint32_t end_;
    std::uint32_t at_;
    std::uint64_t cycles_per_position_;  ///< in 1/256 cycle
    Tsc next_{0};                        ///< when the next position is due
    std::uint32_t timeout_generation_ = 0;
    std::uint32_t unconditional_ = 0;  ///< so many positions are looked at whatever their deadline says
};

}  // namespace fwd::dataplane
