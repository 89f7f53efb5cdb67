// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>

#include "dataplane/flow_key.h"
#include "dataplane/net/address.h"
#include "dataplane/net/checksum.h"

namespace fwd::dataplane {

/// What happens to the packets of one flow. Built once, applied to every packet. The four new values lie as
/// they do in a packet, so they are written with one copy.
struct Translation {
    net::Ipv4Address source;
    net::Ipv4Address destination;
    net::be16 source_port;
    net::be16 destination_port;
    net::ChecksumDelta l3;  ///< IPv4 header checksum: both addresses, and the TTL that goes down by one
    net::ChecksumDelta l4;  ///< TCP and UDP checksum: both addresses and both ports

    /// From what the flow's packets arrive with to what they leave with.
    static Translation between(const FlowKey& arrives, net::Endpoint source,
                               net::Endpoint destination) noexcept;

    /// The key of the flow that goes the other way: its packets arrive by `egress`.
    FlowKey reverse_key(LinkId egress, net::Protocol protocol) const noexcept;
};

/// Rewrites addresses, ports, TTL and checksums of a TCP or UDP packet without IP options, TTL above 1 (RFC
/// 1624). A UDP checksum of 0 (none) stays 0, one that comes out as 0 is sent as 0xffff (RFC 768).
void rewrite(std::uint8_t* ip, const Translation& translation) noexcept;

/// The same, for a packet whose TCP or UDP checksum may cover the pseudo-header alone, as virtual links hand
/// it over (requirement P8): such a checksum is computed in full.
/// @param ip_bytes total length of the IP packet
/// @param marked_partial the device says so; otherwise it shows by the field holding the pseudo-header's sum
void rewrite_partial(std::uint8_t* ip, std::uint16_t ip_bytes, const Translation& translation,
                     bool marked_partial) noexcept;

}  // namespace fwd::dataplane
