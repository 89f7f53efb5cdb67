// SPDX-License-Identifier: BSD-3-Clause
// What workers tell control of sessions that begin and end (requirement R17), while somebody wants to know:
// records of one size on a ring. A worker never waits; what finds no room is counted.
#pragma once

#include <rte_ring.h>

#include <atomic>
#include <cstdint>
#include <span>
#include <type_traits>

#include "dataplane/flow_key.h"
#include "dataplane/rule_id.h"
#include "dataplane/setup_error.h"
#include "dataplane/tsc.h"

namespace fwd::dataplane {

struct SessionEvent {
    enum class Kind : std::uint8_t { opened, ended };

    WideKey key;             ///< of the client's packets
    net::IpEndpoint source;  ///< what they leave with
    net::IpEndpoint target;
    Tsc time{};
    RuleId rule;
    Tick opened{};
    Kind kind = Kind::opened;
    std::uint64_t packets_in = 0, bytes_in = 0, packets_out = 0, bytes_out = 0;  ///< when it has ended
};
static_assert(std::is_trivially_copyable_v<SessionEvent> && sizeof(SessionEvent) % 4 == 0);

class SessionLog {
 public:
    SessionLog() = default;
    ~SessionLog();
    SessionLog(const SessionLog&) = delete;
    SessionLog& operator=(const SessionLog&) = delete;

    bool is_on() const noexcept { return on_.load(std::memory_order_acquire); }
    /// Only while it is on; any worker.
    void write(const SessionEvent& event) noexcept;

    // Control's.
    Setup<void> turn_on();
    void turn_off() noexcept { on_.store(false, std::memory_order_release); }
    unsigned take(std::span<SessionEvent> events) noexcept;
    /// Events that found no room.
    std::uint64_t lost() const noexcept { return lost_.load(std::memory_order_relaxed); }

 private:
    std::atomic<bool> on_{false};
    rte_ring* ring_ = nullptr;  // once made it stays: a worker may still be writing
    alignas(64) std::atomic<std::uint64_t> lost_{0};
};

}  // namespace fwd::dataplane
