// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "dataplane/flow_key.h"
#include "dataplane/verdict.h"

namespace fwd::dataplane {

/// A number that one thread counts up and any thread may read.
class Counter {
 public:
    void add(std::uint64_t n) noexcept {
        value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
    }
    void take_back(std::uint64_t n) noexcept { add(~n + 1); }
    std::uint64_t get() const noexcept { return value_.load(std::memory_order_relaxed); }

 private:
    std::atomic<std::uint64_t> value_{0};
};

struct LinkCounters {
    Counter rx_packets, rx_bytes, tx_packets, tx_bytes, dropped;
};

/// What one thread (a worker, or control) has done. Bytes are those of Ethernet frames without checksum.
struct alignas(64) ThreadCounters {
    Counter received;
    Counter received_bytes;
    Counter originated;  ///< made by fwd itself: ARP, answers to ping, ICMP errors
    Counter sent;
    Counter sent_bytes;
    Counter held;      ///< given to control to wait for a neighbour
    Counter released;  ///< left that state: sent on their way, or dropped
    Counter sessions_opened;
    Counter sessions_closed;
    Counter sessions_evicted;  ///< of those closed: unanswered or closing ones that made room
    Counter busy_cycles;
    Counter all_cycles;
    std::array<Counter, kVerdictCount> verdicts;
    std::array<LinkCounters, kMaxLinks> links;

    void count(Verdict verdict, std::uint64_t n = 1) noexcept {
        verdicts[static_cast<std::size_t>(verdict)].add(n);
    }
};

}  // namespace fwd::dataplane
