// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "dataplane/flow_key.h"
#include "dataplane/net/address.h"
#include "dataplane/net/address_range.h"
#include "dataplane/routes.h"
#include "dataplane/rule_set.h"

namespace fwd::dataplane {

/// Who may reach an inside endpoint by its external one.
enum class Filtering : std::uint8_t {
    address_dependent,     ///< addresses that it has sent to
    endpoint_independent,  ///< everybody
};

/// Lets hosts inside reach the world, which sees an external address as their source.
struct Masquerade {
    RuleId id;
    /// The hosts: those of a prefix, or all that are reached by a link.
    bool whole_link = false;
    LinkId link;
    net::IpPrefix prefix;
    std::vector<net::IpAddress> pool;  ///< external addresses; the egress link's own ones without has_pool()
    std::vector<net::IpAddress> ipv6_pool;
    std::vector<net::AddressRange> to;  ///< where they may go, sorted and disjoint; anywhere when empty
    Filtering filtering = Filtering::address_dependent;
    ForwardingRule::Limits limits;     ///< the source is the inside host
    std::uint32_t ports_per_host = 0;  ///< external ones at once; 0: any number
    bool inbound_refreshes = true;     ///< packets from outside keep a mapping alive too (RFC 4787, REQ-6)

    bool has_host(const net::IpAddress& host, LinkId reached_by) const noexcept {
        return whole_link ? link == reached_by && has_external_for(host) : prefix.contains(host);
    }
    bool allows(const net::IpAddress& destination) const noexcept {
        return has_external_for(destination) && net::is_in(to, destination);
    }

    bool has_pool() const noexcept { return !pool.empty() || !ipv6_pool.empty(); }
    /// What a host of its own family is given of it.
    const std::vector<net::IpAddress>& pool_for(const net::IpAddress& host) const noexcept {
        return host.is_v4() ? pool : ipv6_pool;
    }

 private:
    /// A pool may be for one family of a link's hosts alone.
    bool has_external_for(const net::IpAddress& address) const noexcept {
        return !has_pool() || !pool_for(address).empty();
    }
};

/// All that are in force at a moment; immutable, as RuleSet is.
class MasqueradeSet {
 public:
    MasqueradeSet() = default;
    explicit MasqueradeSet(std::vector<Masquerade> masquerades);

    bool empty() const noexcept { return masquerades_.empty(); }
    /// A host inside: the masquerades for the most specific part of the network that it belongs to.
    struct Host {
        std::span<const Masquerade> masquerades;  ///< empty: it is outside
        LinkId link;                              ///< by which it is reached
        explicit operator bool() const noexcept { return !masquerades.empty(); }
        /// The one for a destination, those that name it first; nullptr when it may not go there.
        const Masquerade* find(const net::IpAddress& destination) const noexcept;
    };
    Host find_host(const Routes& routes, const net::IpAddress& host) const noexcept;
    const Masquerade* find(RuleId id) const noexcept;
    /// Whether the address is in a pool: nobody else can have it.
    bool has_external(const net::IpAddress& address) const noexcept;
    /// Some masquerades use links' own addresses.
    bool uses_own_addresses() const noexcept { return uses_own_addresses_; }
    std::span<const Masquerade> all() const noexcept { return masquerades_; }

 private:
    std::vector<Masquerade>
        masquerades_;  ///< the most specific hosts first, then whole links; a named `to` first
    std::vector<net::IpAddress> pools_;  ///< sorted
    bool uses_own_addresses_ = false;
};

}  // namespace fwd::dataplane
