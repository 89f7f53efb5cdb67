// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <rte_rcu_qsbr.h>

#include <cstdint>
#include <memory>
#include <utility>

#include "dataplane/flow_position.h"
#include "dataplane/grace_period.h"

namespace fwd::dataplane {

/// One worker's positions of a table that wait for their grace period: deleted keys that some other worker
/// may still be looking at. They share grace periods in batches, and batches move on with time alone.
template <typename Table>
class ReclaimerOf {
 public:
    ReclaimerOf(Table& table, std::uint32_t capacity)
        : table_{table},
          capacity_{capacity},
          collecting_{std::make_unique<FlowPosition[]>(capacity)},
          waiting_{std::make_unique<FlowPosition[]>(capacity)} {}

    /// How many more sessions' keys, two each, there is room for.
    std::uint32_t room() const noexcept { return (capacity_ - collecting_.count) / 2; }
    bool has_room() const noexcept { return room() != 0; }
    void bury(FlowPosition position) noexcept { collecting_.positions[collecting_.count++] = position; }

    /// Frees up to `limit` positions whose grace period is over, and starts the next one. Never waits.
    void drain(unsigned limit) noexcept {
        if (waiting_.count != 0) {
            if (!passed_) {
                if (!grace_period_is_over(table_.qsbr(), token_)) return;
                passed_ = true;
            }
            for (; limit != 0 && waiting_.count != 0; --limit) {
                table_.free_position(waiting_.positions[--waiting_.count]);
            }
        }
        if (waiting_.count == 0 && collecting_.count != 0) {
            std::swap(waiting_, collecting_);
            token_ = rte_rcu_qsbr_start(table_.qsbr());
            passed_ = false;
        }
    }
    bool empty() const noexcept { return collecting_.count == 0 && waiting_.count == 0; }

 private:
    struct Batch {
        std::unique_ptr<FlowPosition[]> positions;
        std::uint32_t count = 0;
    };
    Table& table_;
    std::uint32_t capacity_;
    Batch collecting_;
    Batch waiting_;
    std::uint64_t token_ = 0;
    bool passed_ = false;
};

}  // namespace fwd::dataplane
