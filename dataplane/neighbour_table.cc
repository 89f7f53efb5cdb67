// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/neighbour_table.h"

#include <rte_errno.h>
#include <rte_memory.h>

#include <cstdio>

namespace fwd::dataplane {

Setup<std::unique_ptr<NeighbourTable>> NeighbourTable::create(const FlowHash& hash) {
    std::unique_ptr<NeighbourTable> table{new NeighbourTable{hash}};
    static std::atomic<unsigned> tables{0};
    char name[RTE_HASH_NAMESIZE];
    std::snprintf(name, sizeof name, "fwd_neighbours_%u", tables.fetch_add(1));
    rte_hash_parameters params{};
    params.name = name;
    params.entries = kCapacity;
    params.key_len = sizeof(FlowKey);
    params.socket_id = SOCKET_ID_ANY;
    params.extra_flag = RTE_HASH_EXTRA_FLAGS_RW_CONCURRENCY_LF;
    table->table_ = rte_hash_create(&params);
    if (table->table_ == nullptr) return tl::unexpected(SetupError{"no memory for neighbours", rte_errno});
    table->slots_ = std::vector<Slot>(static_cast<std::size_t>(rte_hash_max_key_id(table->table_)) + 1);
    return table;
}

NeighbourTable::~NeighbourTable() {
    rte_hash_free(table_);
}

FlowKey NeighbourTable::key_for(const NextHop& next_hop) const noexcept {
    if (!next_hop.address.is_v4()) {
        WideKey key;
        key.ingress = next_hop.egress;
        key.destination = next_hop.address;
        return hash_.digest(key);
    }
    FlowKey key;
    key.ingress = next_hop.egress;
    key.destination = next_hop.address.v4();
    return key;
}

std::optional<AdjacencyId> NeighbourTable::find(NextHop next_hop) const noexcept {
    const FlowKey key = key_for(next_hop);
    const std::int32_t position = rte_hash_lookup_with_hash(table_, &key, hash_(key));
    if (position < 0) return std::nullopt;
    const AdjacencyId id{static_cast<std::uint16_t>(position)};
    // Control's new entry is found before it is written.
    return adjacency(id).state == AdjacencyState::unused ? std::nullopt : std::optional{id};
}

std::optional<AdjacencyId> NeighbourTable::add(NextHop next_hop) noexcept {
    const FlowKey key = key_for(next_hop);
    const std::int32_t position = rte_hash_add_key_with_hash(table_, &key, hash_(key));
    if (position < 0) return std::nullopt;
    const AdjacencyId id{static_cast<std::uint16_t>(position)};
    // Until now find() has passed it over.
    set(id, {.state = AdjacencyState::incomplete, .egress = next_hop.egress});
    return id;
}

void NeighbourTable::remove(NextHop next_hop) noexcept {
    const FlowKey key = key_for(next_hop);
    rte_hash_del_key_with_hash(table_, &key, hash_(key));
}

void NeighbourTable::release(AdjacencyId id) noexcept {
    set(id, {});
    rte_hash_free_key_with_position(table_, id.value);
}

}  // namespace fwd::dataplane
