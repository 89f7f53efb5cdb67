// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>

#include "dataplane/rule_id.h"
#include "dataplane/source_counts.h"
#include "dataplane/tsc.h"

namespace fwd::dataplane {

/// What rules have forwarded, by slot: lives longer than every rule set. Packets are counted with their flow
/// and added here when the session ends, so a packet costs nothing here.
class RuleCounters {
 public:
    struct Slot {
        std::atomic<std::uint32_t> generation{0};
        std::atomic<std::uint32_t> sessions{0};  ///< live now
        std::atomic<std::uint64_t> packets{0};   ///< of ended sessions, both directions
        std::atomic<std::uint64_t> bytes{0};
        std::atomic<std::uint32_t> turn{0};  ///< of its targets
        std::atomic<std::uint64_t> next_session{
            0};  ///< with a limited rate: when the next one would be in time
    };

    /// @param sessions that there can be at most
    RuleCounters(std::uint32_t slots, std::uint32_t sessions)
        : slots_{std::make_unique<Slot[]>(slots)}, count_{slots}, sources_{sessions} {}

    std::uint32_t slot_count() const noexcept { return count_; }

    const Slot* at(std::uint32_t slot) const noexcept { return &slots_[slot]; }
    /// nullptr when the slot has been given to another rule.
    Slot* find(RuleId id) noexcept {
        Slot& slot = slots_[id.slot];
        return slot.generation.load(std::memory_order_relaxed) == id.generation ? &slot : nullptr;
    }
    /// Counts on with each session of a rule that has several targets.
    std::uint32_t next_turn(RuleId id) noexcept {
        return slots_[id.slot].turn.fetch_add(1, std::memory_order_relaxed);
    }
    SourceCounts& sources() noexcept { return sources_; }

    /// Counts a session of a rule; false, and nothing counted, when it has `most` already. (A rule that is
    /// gone counts nothing.)
    bool reserve_session(RuleId id, std::uint32_t most) noexcept {
        Slot* slot = find(id);
        if (slot == nullptr) return true;
        if (slot->sessions.fetch_add(1, std::memory_order_relaxed) < most) return true;
        slot->sessions.fetch_sub(1, std::memory_order_relaxed);
        return false;
    }
    /// Gives it back, when it has not come about.
    void release_session(RuleId id) noexcept {
        if (Slot* slot = find(id)) slot->sessions.fetch_sub(1, std::memory_order_relaxed);
    }
    /// Whether a new session is within so many a second and a burst of a tenth of that (generic cell rate
    /// algorithm, ITU-T I.371).
    bool in_time(RuleId id, Tick now, std::uint32_t per_second) noexcept {
        // Finer than ticks, since several sessions come in one.
        constexpr unsigned kFiner = 24;
        const std::uint64_t second = std::uint64_t{Tick::from_duration(std::chrono::seconds{1}).value}
                                     << kFiner;
        const std::uint64_t interval = second / per_second;
        const std::uint64_t burst = std::max(second / 10, interval);
        const std::uint64_t time = std::uint64_t{now.value} << kFiner;
        std::atomic<std::uint64_t>& next = slots_[id.slot].next_session;
        std::uint64_t seen = next.load(std::memory_order_relaxed);
        while (true) {
            // Ticks wrap after a year: what lies more than two seconds ahead is from before.
            const std::uint64_t due = seen > time + 2 * second ? time : std::max(seen, time);
            if (due - time > burst) return false;
            if (next.compare_exchange_weak(seen, due + interval, std::memory_order_relaxed)) return true;
        }
    }
    void session_closed(RuleId id, std::uint64_t packets, std::uint64_t bytes) noexcept {
        if (Slot* slot = find(id)) {
            slot->packets.fetch_add(packets, std::memory_order_relaxed);
            slot->bytes.fetch_add(bytes, std::memory_order_relaxed);
            slot->sessions.fetch_sub(1, std::memory_order_release);
        }
    }
    /// Control: whether nothing is left of the slot's last rule: neither sessions nor what they count for
    /// clients.
    bool is_free(std::uint32_t index) const noexcept {
        return slots_[index].sessions.load(std::memory_order_acquire) == 0;
    }
    /// Control: gives a slot to a new rule. No published rule set may still name it, and it has to be free.
    RuleId renew(std::uint32_t index) noexcept {
        Slot& slot = slots_[index];
        slot.turn.store(0, std::memory_order_relaxed);
        slot.next_session.store(0, std::memory_order_relaxed);
        slot.packets.store(0, std::memory_order_relaxed);
        slot.bytes.store(0, std::memory_order_relaxed);
        return {index, slot.generation.fetch_add(1, std::memory_order_relaxed) + 1};
    }

 private:
    std::unique_ptr<Slot[]> slots_;
    std::uint32_t count_;
    SourceCounts sources_;
};

}  // namespace fwd::dataplane
