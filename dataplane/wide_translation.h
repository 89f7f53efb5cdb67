// SPDX-License-Identifier: BSD-3-Clause
// What happens to the packets of a flow of IPv6: Translation for addresses of 128 bits.
#pragma once

#include <cstdint>

#include "dataplane/flow_key.h"
#include "dataplane/ipv6_packet.h"
#include "dataplane/net/checksum.h"

namespace fwd::dataplane {

struct WideTranslation {
    net::IpAddress source;
    net::IpAddress destination;
    net::be16 source_port;
    net::be16 destination_port;
    net::ChecksumDelta l4;  ///< both addresses and both ports; IPv6 has no checksum of its own

    /// From what the flow's packets arrive with to what they leave with.
    static WideTranslation between(const WideKey& arrives, const net::IpEndpoint& source,
                                   const net::IpEndpoint& destination) noexcept;

    /// The key of the flow that goes the other way: its packets arrive by `egress`.
    WideKey reverse_key(LinkId egress, net::Protocol protocol) const noexcept;
};

/// Rewrites addresses, hop limit, and of TCP, UDP and ICMPv6 echo ports or identifier and checksum, of a
/// packet that has passed parse_ipv6(), hop limit above 1. Of a later fragment there are addresses alone.
void rewrite_ipv6(std::uint8_t* ip, const Ipv6Packet& packet, const WideTranslation& translation) noexcept;

/// The same for a packet inside an ICMPv6 error, of which only the first `packet.ip_bytes` are there: its hop
/// limit stays, and a checksum that is not there any more is no matter.
void rewrite_quoted_ipv6(std::uint8_t* ip, const Ipv6Packet& packet,
                         const WideTranslation& translation) noexcept;

/// Computes the checksum of a packet in full, if it is TCP or UDP and covers the pseudo-header alone, as
/// complete_checksum().
void complete_ipv6_checksum(std::uint8_t* ip, const Ipv6Packet& packet, bool marked_partial) noexcept;

}  // namespace fwd::dataplane
