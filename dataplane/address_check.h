// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <algorithm>
#include <vector>

#include "dataplane/link.h"
#include "dataplane/net/address.h"
#include "dataplane/verdict.h"

namespace fwd::dataplane {

/// Addresses that no packet on a network can come from or go to (RFC 1812, section 5.3.7; RFC 6890).
inline bool is_martian(net::Ipv4Address address) noexcept {
    const std::uint32_t first_byte = address.value.host() >> 24U;
    return first_byte == 0 || first_byte == 127 || first_byte >= 224;
}

/// All ones in the host part of a network that the address belongs to.
inline bool is_directed_broadcast(net::Ipv4Address address, const net::InterfaceAddress& own) noexcept {
    return own.length <= 30 && own.prefix().contains(address) &&
           (address.value.host() | own.prefix().mask()) == 0xffffffffU;
}

/// Whether a packet may have come by a link from a source to a destination: a drop when one of them can't be,
/// otherwise Verdict::forward. Packets of live sessions have passed it when the session was opened.
inline Verdict check_addresses(const std::vector<Link>& links, LinkId ingress, net::Ipv4Address source,
                               net::Ipv4Address destination) noexcept {
    if (is_martian(source) || is_martian(destination)) return Verdict::drop_martian;
    const auto is_on = [source](const Link& link) {
        return std::ranges::any_of(link.networks, [=](const auto& n) { return n.contains(source); });
    };
    bool connected = false;
    for (const Link& link : links) {
        if (!is_on(link)) continue;
        connected = true;
        for (const auto& own : link.addresses) {
            if (own.address == source) return Verdict::drop_spoofed_own_address;
        }
    }
    if (!connected) return Verdict::forward;
    // A host of another link's network: whoever sends this hopes to be taken for it (requirement P5).
    if (!is_on(links[ingress.value])) return Verdict::drop_martian;
    for (const auto& own : links[ingress.value].addresses) {
        if (is_directed_broadcast(source, own)) return Verdict::drop_martian;
    }
    return Verdict::forward;
}

/// The same for IPv6 (RFC 4291; RFC 6890). Link-local addresses never go beyond their link.
inline bool is_martian(const net::Ipv6Address& address) noexcept {
    return address.is_unspecified() || address.is_loopback() || address.is_multicast() ||
           address.is_link_local() || address.is_v4_mapped();
}

inline Verdict check_addresses(const std::vector<Link>& links, LinkId ingress, const net::IpAddress& source,
                               const net::IpAddress& destination) noexcept {
    if (is_martian(source.v6()) || is_martian(destination.v6())) return Verdict::drop_martian;
    const auto is_on = [&](const Link& link) {
        return std::ranges::any_of(link.ipv6_networks, [&](const auto& n) { return n.contains(source); });
    };
    bool connected = false;
    for (const Link& link : links) {
        if (!is_on(link)) continue;
        connected = true;
        for (const auto& own : link.ipv6_addresses) {
            if (own.address == source) return Verdict::drop_spoofed_own_address;
        }
    }
    return connected && !is_on(links[ingress.value]) ? Verdict::drop_martian : Verdict::forward;
}

}  // namespace fwd::dataplane
