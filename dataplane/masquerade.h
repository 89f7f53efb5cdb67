// SPDX-License-Identifier: BSD-3-Clause
// Masquerade's part in opening a session, when no flow and no forwarding rule explains a packet:
//
//     from inside to the world:  the source becomes the mapping's external endpoint, a new one if need be
//     from outside to a mapping: the target is its inside endpoint, if its filtering lets the packet in
//     from inside to a mapping, or by a forwarding rule to an inside server: both, or the first with the
//     rule's
//                                target; so the server sees the client's external endpoint (hairpin)
#pragma once

#include <cstdint>

#include "dataplane/flow_key.h"
#include "dataplane/mapping_table.h"
#include "dataplane/masquerade_set.h"
#include "dataplane/session.h"
#include "dataplane/shared_tables.h"

namespace fwd::dataplane {

/// How a session that is to be opened takes part in masquerade.
struct Mapped {
    const Masquerade* client = nullptr;  ///< from inside: its source becomes `source`
    LinkId outside{};                    ///< by which the client reaches the world
    net::IpEndpoint source{};            ///< the mapping's, or one to try first
    const Masquerade* target = nullptr;  ///< to an inside endpoint that has a mapping
    bool target_is_inside = false;       ///< by that, or by a forwarding rule
    bool filtered = false;               ///< which does not let this client in

    bool takes_part() const noexcept { return client != nullptr || target != nullptr; }
    /// Seen from the client, whose packets go forward (requirement U6).
    Directions kept_alive_by() const noexcept {
        if (client != nullptr) return client->inbound_refreshes ? Directions::both : Directions::forward;
        return target == nullptr || target->inbound_refreshes ? Directions::both : Directions::reverse;
    }
    /// Who is inside: a client with a mapping, and every target that is not the world.
    Directions hidden() const noexcept {
        if (client == nullptr) return Directions::reverse;
        return target_is_inside ? Directions::both : Directions::forward;
    }
};

/// Each worker has its own.
class Masquerader {
 public:
    Masquerader(const SharedTables& shared, MappingReclaimer& reclaimer, unsigned worker)
        : shared_{shared},
          reclaimer_{reclaimer},
          // Workers count in ranges of their own, above those of SessionOpener.
          random_counter_{(std::uint64_t{worker} << 56U) | (std::uint64_t{1} << 55U)} {}

    /// A session that no forwarding rule explains.
    struct Plan {
        Verdict verdict = Verdict::forward;
        NextHop next_hop{};
        net::IpEndpoint target{};
        Mapped mapped{};
    };
    /// @param client whether the packet's source is a host inside
    Plan plan(const Policy& policy, const WideKey& key, const MasqueradeSet::Host& client) noexcept;
    /// For a client inside that a forwarding rule leads back inside. Nothing, when the external address is on
    /// the client's own link: there the rule's `source` decides.
    Mapped plan_hairpin(const Policy& policy, const WideKey& key, const MasqueradeSet::Host& client) noexcept;

    /// Makes the mappings that are missing and holds them for the session; `mapped.source` is true
    /// afterwards. Verdict::forward, or what is in the way: then nothing is held.
    Verdict hold(const Policy& policy, const WideKey& key, Mapped& mapped, Tick now,
                 MappingPeers& held) noexcept;
    /// Gives it back, when the session has not come about.
    void release(const MappingPeers& held, Tick now) noexcept;

 private:
    class Draws;
    MappingTable::Inside inside_of(const WideKey& key, const Mapped& mapped) const noexcept;
    /// Chooses the client's masquerade, the link and the external endpoint.
    Verdict map_client(const Policy& policy, const WideKey& key, const MasqueradeSet::Host& client,
                       Mapped& mapped) noexcept;
    bool is_own(const net::IpAddress& address) const noexcept;

    const SharedTables& shared_;
    MappingReclaimer& reclaimer_;
    std::uint64_t random_counter_;
};

}  // namespace fwd::dataplane
