// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/ageing.h"

#include <algorithm>
#include <chrono>

namespace fwd::dataplane {
namespace {

constexpr std::chrono::milliseconds kPeriod{1000};
constexpr std::uint32_t kMostPositions = 256;  // in one step: 1 kB of deadlines
constexpr std::uint32_t kMostExamined = 32;    // in one step

}  // namespace

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
    std::uint32_t examined = 0;
    std::uint32_t done = 0;
    for (; done < count && examined < kMostExamined && reclaimer_.has_room(); ++done) {
        const FlowPosition id{at_};
        const std::uint32_t deadline = shared_.flows.deadline(id).load(std::memory_order_relaxed);
        const bool due = deadline == kDueAtOnce || !tick.before(Tick{deadline}) || unconditional_ != 0;
        if (deadline != kNoSession && due) {
            examine(id, policy, tick);
            ++examined;
        }
        if (unconditional_ != 0) --unconditional_;
        if (++at_ == end_) at_ = first_;
    }
    // What was due and not done is due at once; but a worker that was away for long owes one round, not many.
    const std::uint64_t round = (std::uint64_t{end_} - first_) * cycles_per_position_ / 256;
    next_.cycles =
        std::max(next_.cycles + done * cycles_per_position_ / 256, now.cycles - std::min(round, now.cycles));
}

void Sweeper::examine(FlowPosition id, const Policy& policy, Tick now) noexcept {
    Flow& forward = shared_.flows.flow(id);
    const StateWord word = forward.load_state();
    if (word.state() != RecordState::live && word.state() != RecordState::condemned) return;
    if (word.state() == RecordState::live) {
        const Session& session = shared_.flows.session(id);
        const SessionState state = session.state.load(std::memory_order_relaxed);
        if (state == SessionState::count_) return;
        const Flow& reverse = shared_.flows.flow(session.reverse);
        Tick last{forward.last_seen.load(std::memory_order_relaxed)};
        const Tick reverse_last{reverse.last_seen.load(std::memory_order_relaxed)};
        if (last.before(reverse_last)) last = reverse_last;
        const Tick ends = last + policy.timeout(state);
        if (now.before(ends)) {
            // A condemn() in between must not be overwritten.
            std::uint32_t seen = shared_.flows.deadline(id).load(std::memory_order_relaxed);
            if (seen != kNoSession && seen != kDueAtOnce) {
                shared_.flows.deadline(id).compare_exchange_strong(seen, ends.value | 1U,
                                                                   std::memory_order_relaxed);
            }
            return;
        }
    }
    if (shared_.flows.retire(id, word, reclaimer_)) counters_.sessions_closed.add(1);
}

}  // namespace fwd::dataplane
