// SPDX-License-Identifier: BSD-3-Clause
// Next hops and their MAC addresses. Control is the only writer; workers find an adjacency once per flow and
// then read its one word for every packet, so a changed MAC address needs no change of any flow.
#pragma once

#include <rte_hash.h>

#include <atomic>
#include <bit>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "dataplane/flow_key.h"
#include "dataplane/net/address.h"
#include "dataplane/routes.h"
#include "dataplane/setup_error.h"

namespace fwd::dataplane {

enum class AdjacencyState : std::uint8_t {
    unused,
    incomplete,  ///< control is asking for the MAC address
    reachable,
    failed,  ///< nobody answered; packets are dropped until control asks again
};

struct AdjacencyId {
    std::uint16_t value = 0;
    friend constexpr bool operator==(AdjacencyId, AdjacencyId) noexcept = default;
};

/// What a packet needs to know of its next hop, in one word that is read and written at once.
struct Adjacency {
    net::MacAddress mac{};
    AdjacencyState state = AdjacencyState::unused;
    LinkId egress{};
};
static_assert(sizeof(Adjacency) == 8);

class NeighbourTable {
 public:
    static constexpr std::uint32_t kCapacity = 4096;

    static Setup<std::unique_ptr<NeighbourTable>> create(const FlowHash& hash);
    ~NeighbourTable();
    NeighbourTable(const NeighbourTable&) = delete;
    NeighbourTable& operator=(const NeighbourTable&) = delete;

    struct Slot {
        std::atomic<std::uint64_t> adjacency{0};
        std::atomic<std::uint32_t> last_used{0};

        Adjacency get() const noexcept {
            return std::bit_cast<Adjacency>(adjacency.load(std::memory_order_relaxed));
        }
    };
    /// What workers read for every packet; valid as long as the table.
    class View {
     public:
        explicit View(Slot* slots) noexcept : slots_{slots} {}
        Adjacency get(AdjacencyId id) const noexcept { return slots_[id.value].get(); }
        /// Notes that packets leave by it, so that control keeps it fresh. `second` is a coarse time of the
        /// caller's.
        void use(AdjacencyId id, std::uint32_t second) const noexcept {
            std::atomic<std::uint32_t>& last = slots_[id.value].last_used;
            if (last.load(std::memory_order_relaxed) != second) last.store(second, std::memory_order_relaxed);
        }

     private:
        Slot* slots_;
    };
    View view() noexcept { return View{slots_.data()}; }

    /// Any thread.
    std::optional<AdjacencyId> find(NextHop next_hop) const noexcept;
    std::uint32_t last_used(AdjacencyId id) const noexcept {
        return slots_[id.value].last_used.load(std::memory_order_relaxed);
    }

    /// Control: a new entry, incomplete; nullopt when the table is full.
    std::optional<AdjacencyId> add(NextHop next_hop) noexcept;
    /// Control.
    void set(AdjacencyId id, Adjacency adjacency) noexcept {
        slots_[id.value].adjacency.store(std::bit_cast<std::uint64_t>(adjacency), std::memory_order_relaxed);
    }
    /// Control: no flow finds it from now on. Before `release`, let flows look up their next hop again (a new
    /// route generation) and wait a grace period.
    void remove(NextHop next_hop) noexcept;
    void release(AdjacencyId id) noexcept;

 private:
    explicit NeighbourTable(const FlowHash& hash) noexcept : hash_{hash} {}
    FlowKey key_for(const NextHop& next_hop) const noexcept;
    Adjacency adjacency(AdjacencyId id) const noexcept { return slots_[id.value].get(); }

    FlowHash hash_;
    rte_hash* table_ = nullptr;
    std::vector<Slot> slots_;
};

}  // namespace fwd::dataplane
