// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "dataplane/rule_id.h"

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
    };

    explicit RuleCounters(std::uint32_t slots) : slots_{std::make_unique<Slot[]>(slots)}, count_{slots} {}

    std::uint32_t slot_count() const noexcept { return count_; }

    const Slot* at(std::uint32_t slot) const noexcept { return &slots_[slot]; }
    /// nullptr when the slot has been given to another rule.
    Slot* find(RuleId id) noexcept {
        Slot& slot = slots_[id.slot];
        return slot.generation.load(std::memory_order_relaxed) == id.generation ? &slot : nullptr;
    }
    void session_opened(RuleId id) noexcept {
        if (Slot* slot = find(id)) slot->sessions.fetch_add(1, std::memory_order_relaxed);
    }
    void session_closed(RuleId id, std::uint64_t packets, std::uint64_t bytes) noexcept {
        if (Slot* slot = find(id)) {
            slot->sessions.fetch_sub(1, std::memory_order_relaxed);
            slot->packets.fetch_add(packets, std::memory_order_relaxed);
            slot->bytes.fetch_add(bytes, std::memory_order_relaxed);
        }
    }
    /// Control: gives a slot to a new rule. No published rule set may still name it.
    RuleId renew(std::uint32_t index) noexcept {
        Slot& slot = slots_[index];
        slot.sessions.store(0, std::memory_order_relaxed);
        slot.packets.store(0, std::memory_order_relaxed);
        slot.bytes.store(0, std::memory_order_relaxed);
        return {index, slot.generation.fetch_add(1, std::memory_order_relaxed) + 1};
    }

 private:
    std::unique_ptr<Slot[]> slots_;
    std::uint32_t count_;
};

}  // namespace fwd::dataplane
