// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "dataplane/flow_key.h"
#include "dataplane/net/address.h"
#include "dataplane/net/checksum.h"
#include "dataplane/net/ipv4.h"

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

namespace detail {

// Both addresses and, without options right behind them, both ports.
inline constexpr std::size_t kTupleBytes = 12;
static_assert(offsetof(Translation, l3) == kTupleBytes);

inline bool is_udp(const std::uint8_t* ip) noexcept {
    return ip[net::kProtocolOffset] == static_cast<std::uint8_t>(net::Protocol::udp);
}
/// Of a packet without IP options.
inline std::uint8_t* l4_checksum(std::uint8_t* ip, bool udp) noexcept {
    return ip + (udp ? net::kUdpChecksumOffset : net::kTcpChecksumOffset);
}
inline void update_l4_checksum(std::uint8_t* field, bool udp, const Translation& translation) noexcept {
    const std::uint16_t before = net::load16(field);
    std::uint16_t after = translation.l4.apply(before);
    if (udp) {
        if (after == 0) after = 0xffff;
        if (before == 0) after = 0;
    }
    net::store16(field, after);
}
inline void update_ip_header(std::uint8_t* ip, const Translation& translation) noexcept {
    --ip[net::kTtlOffset];
    std::uint8_t* field = ip + net::kIpChecksumOffset;
    net::store16(field, translation.l3.apply(net::load16(field)));
}
inline void rewrite_headers(std::uint8_t* ip, const Translation& translation) noexcept {
    update_ip_header(ip, translation);
    std::memcpy(ip + net::kAddressesOffset, &translation, kTupleBytes);
}

}  // namespace detail

/// Rewrites addresses, ports, TTL and checksums of a TCP or UDP packet without IP options, TTL above 1 (RFC
/// 1624). A UDP checksum of 0 (none) stays 0, one that comes out as 0 is sent as 0xffff (RFC 768).
inline void rewrite(std::uint8_t* ip, const Translation& translation) noexcept {
    const bool udp = detail::is_udp(ip);
    detail::update_l4_checksum(detail::l4_checksum(ip, udp), udp, translation);
    detail::rewrite_headers(ip, translation);
}

/// The same, for a packet with IP options or a fragment, of which only the first one has ports and a
/// checksum.
void rewrite_unusual(std::uint8_t* ip, const Translation& translation) noexcept;

/// Gives an IPv4 packet another identification, in host order.
inline void set_identification(std::uint8_t* ip, std::uint16_t identification) noexcept {
    std::uint8_t* field = ip + net::kIdentificationOffset;
    const std::uint16_t wire = net::be16::from_host(identification).wire();
    net::ChecksumDelta delta;
    delta.replace16(net::load16(field), wire);
    net::store16(ip + net::kIpChecksumOffset, delta.apply(net::load16(ip + net::kIpChecksumOffset)));
    net::store16(field, wire);
}

/// Adds the hop to the TTL that a rewrite takes away again.
inline void take_back_hop(std::uint8_t* ip) noexcept {
    net::ChecksumDelta delta;
    delta.replace16(0, net::be16::from_host(0x0100).wire());
    std::uint8_t* field = ip + net::kIpChecksumOffset;
    net::store16(field, delta.apply(net::load16(field)));
    ++ip[net::kTtlOffset];
}

/// Computes the TCP or UDP checksum of a packet in full if it covers the pseudo-header alone, as virtual
/// links hand it over (requirement P8): such a checksum must not be updated incrementally.
/// @param ip_bytes total length of the IP packet
/// @param marked_partial the device says so; otherwise it shows by the field holding the pseudo-header's sum
void complete_checksum(std::uint8_t* ip, std::uint16_t ip_bytes, bool marked_partial) noexcept;

}  // namespace fwd::dataplane
