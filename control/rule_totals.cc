// SPDX-License-Identifier: BSD-3-Clause
#include "control/rule_totals.h"

namespace fwd::control {
namespace {

constexpr int kKeptFor = 20;  ///< times as long as the walk took

}  // namespace

void RuleTotaller::refresh() {
    const Clock::time_point begin = now_();
    if (begin < good_until_) return;
    dataplane::RuleCounters& counters = dataplane_.rule_counters();
    dataplane::FlowTable& flows = sessions_.flows();
    rows_.assign(counters.slot_count(), {});
    sessions_.visit(0, flows.position_count(), [&](dataplane::FlowPosition id, dataplane::StateWord) {
        const dataplane::Session& session = flows.session(id);
        if (counters.find(session.rule) != nullptr) {
            RuleTotals& rule = rows_[session.rule.slot].totals;
            for (const dataplane::FlowPosition position : {id, session.reverse}) {
                const dataplane::FlowCounts counts = flows.counts(position);
                rule.packets += counts.packets;
                rule.bytes += counts.bytes;
            }
            ++rule.sessions;
        }
        return true;
    });
    for (std::uint32_t slot = 0; slot < rows_.size(); ++slot) {
        const auto* closed = counters.at(slot);
        rows_[slot].generation = closed->generation.load(std::memory_order_relaxed);
        rows_[slot].totals.packets += closed->packets.load(std::memory_order_relaxed);
        rows_[slot].totals.bytes += closed->bytes.load(std::memory_order_relaxed);
    }
    const Clock::time_point end = now_();
    good_until_ = end + kKeptFor * (end - begin);
}

RuleTotals RuleTotaller::of(dataplane::RuleId rule) const {
    if (rule.slot >= rows_.size() || rows_[rule.slot].generation != rule.generation) return {};
    return rows_[rule.slot].totals;
}

}  // namespace fwd::control
