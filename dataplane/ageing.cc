// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/ageing.h"

#include <algorithm>
#include <array>
#include <chrono>

namespace fwd::dataplane {
namespace {

constexpr std::chrono::milliseconds kPeriod{1000};
constexpr std::uint32_t kMostPositions = 1024;  // in one step: 4 kB of deadlines
// In one step, so that no burst waits for long; and as many more as have been opened since the step before,
// or they would pile up.
constexpr std::uint32_t kAlwaysExamined = 10, kMostExamined = kAlwaysExamined + kBurst;

constexpr bool is_in_use(StateWord word) noexcept {
    return word.state() == RecordState::live || word.state() == RecordState::condemned;
}

}  // namespace

MappingSweeper::MappingSweeper(const SharedTables& shared, MappingReclaimer& reclaimer, unsigned worker)
    : mappings_{shared.mappings}, reclaimer_{reclaimer} {
    const std::uint64_t positions = mappings_.position_count();
    first_ = static_cast<std::uint32_t>(positions * worker / shared.worker_count);
    end_ = static_cast<std::uint32_t>(positions * (worker + 1) / shared.worker_count);
    at_ = first_;
    period_cycles_ = rte_get_tsc_hz() / 1000 * kPeriod.count();
    cycles_per_step_ = period_cycles_ * kMostPositions / std::max<std::uint32_t>(end_ - first_, 1);
}

void MappingSweeper::step(const Policy& policy, Tsc now) noexcept {
    if (mappings_.key_count() == 0 || now.cycles < next_.cycles) return;
    // A worker that was away for long owes one round, not many.
    next_.cycles =
        std::max(next_.cycles, now.cycles - std::min(now.cycles, period_cycles_)) + cycles_per_step_;
    const Tick tick = Tick::of(now);
    for (std::uint32_t done = 0; done < kMostPositions && reclaimer_.has_room(); ++done) {
        const FlowPosition position{at_};
        if (mappings_.may_expire(position))
            mappings_.expire(position, policy.mapping_times, tick, reclaimer_);
        if (++at_ == end_) at_ = first_;
    }
}

Sweeper::Sweeper(const SharedTables& shared, Reclaimer& reclaimer, ThreadCounters& counters, unsigned worker)
    : shared_{shared}, reclaimer_{reclaimer}, counters_{counters} {
    const std::uint64_t positions = shared.flows.position_count();
    first_ = static_cast<std::uint32_t>(positions * worker / shared.worker_count);
    end_ = static_cast<std::uint32_t>(positions * (worker + 1) / shared.worker_count);
    at_ = first_;
    const std::uint64_t period_cycles = rte_get_tsc_hz() / 1000 * kPeriod.count();
    cycles_per_position_ =
        std::max<std::uint64_t>(period_cycles * 256 / std::max<std::uint32_t>(end_ - first_, 1), 1);
}

void Sweeper::step(const Policy& policy, Tsc now) noexcept {
    if (next_.cycles == 0) next_ = now;
    if (now.cycles < next_.cycles) return;
    if (policy.timeout_generation != timeout_generation_) {
        timeout_generation_ = policy.timeout_generation;
        unconditional_ = end_ - first_;
    }
    const std::uint64_t late = now.cycles - next_.cycles;
    const auto wanted = static_cast<std::uint32_t>(
        std::min<std::uint64_t>(late * 256 / cycles_per_position_ + 1, std::uint64_t{end_} - first_));
    const std::uint32_t count = std::min(wanted, kMostPositions);
    const Tick tick = Tick::of(now);
    std::array<FlowPosition, kMostExamined> due;
    std::uint32_t due_count = 0;
    const std::uint64_t opened = counters_.sessions_opened.get();
    const auto most_due = static_cast<std::uint32_t>(
        std::min<std::uint64_t>({kAlwaysExamined + opened - opened_, kMostExamined, reclaimer_.room()}));
    opened_ = opened;
    std::uint32_t done = 0;
    for (; done < count && due_count < most_due; ++done) {
        const FlowPosition id{at_};
        const std::uint32_t deadline = shared_.flows.deadline(id).load(std::memory_order_relaxed);
        const bool is_due = deadline == kDueAtOnce || !tick.before(Tick{deadline}) || unconditional_ != 0;
        if (deadline != kNoSession && is_due) {
            __builtin_prefetch(&shared_.flows.flow(id), 1);
            __builtin_prefetch(&shared_.flows.session(id), 1);
            due[due_count++] = id;
        }
        if (unconditional_ != 0) --unconditional_;
        if (++at_ == end_) at_ = first_;
    }
    if (due_count != 0) end_idle(std::span{due}.first(due_count), policy, tick);
    // What was due and not done is due at once; but a worker that was away for long owes one round, not many.
    const std::uint64_t round = (std::uint64_t{end_} - first_) * cycles_per_position_ / 256;
    next_.cycles =
        std::max(next_.cycles + done * cycles_per_position_ / 256, now.cycles - std::min(round, now.cycles));
}

void Sweeper::end_idle(std::span<const FlowPosition> due, const Policy& policy, Tick now) noexcept {
    FlowTable& flows = shared_.flows;
    for (const FlowPosition id : due) {
        if (is_in_use(flows.flow(id).load_state()))
            __builtin_prefetch(&flows.flow(flows.session(id).reverse), 1);
    }
    std::array<FlowPosition, kMostExamined> ended;
    std::array<StateWord, kMostExamined> words;
    std::uint32_t count = 0;
    for (const FlowPosition id : due) {
        words[count] = flows.flow(id).load_state();
        if (has_ended(id, words[count], policy, now)) ended[count++] = id;
    }
    flows.fetch_keys(std::span{ended}.first(count));
    for (std::uint32_t i = 0; i < count; ++i) {
        if (flows.retire(ended[i], words[i], reclaimer_)) counters_.sessions_closed.add(1);
    }
}

bool Sweeper::has_ended(FlowPosition id, StateWord word, const Policy& policy, Tick now) noexcept {
    if (word.state() == RecordState::condemned) return true;
    if (word.state() != RecordState::live) return false;
    const Session& session = shared_.flows.session(id);
    const SessionState state = session.state.load(std::memory_order_relaxed);
    if (state == SessionState::count_) return false;
    const Tick ends = shared_.flows.last_use(id) + policy.timeout(state);
    if (!now.before(ends)) return true;
    // A condemn() in between must not be overwritten.
    std::uint32_t seen = shared_.flows.deadline(id).load(std::memory_order_relaxed);
    if (seen != kNoSession && seen != kDueAtOnce) {
        shared_.flows.deadline(id).compare_exchange_strong(seen, ends.value | 1U, std::memory_order_relaxed);
    }
    return false;
}

}  // namespace fwd::dataplane
