// SPDX-License-Identifier: BSD-3-Clause
// The one place that checks lengths. Behind parse(), offsets are trusted.
#pragma once

#include <rte_arp.h>
#include <rte_ether.h>
#include <rte_icmp.h>
#include <rte_tcp.h>
#include <rte_udp.h>

#include <array>
#include <cstdint>
#include <cstring>

#include "dataplane/flow_key.h"
#include "dataplane/net/address.h"
#include "dataplane/net/checksum.h"
#include "dataplane/net/ipv4.h"
#include "dataplane/verdict.h"

namespace fwd::dataplane {

inline constexpr std::size_t kEthernetBytes = 14;
inline constexpr std::size_t kVlanTagBytes = 4;
inline constexpr std::uint8_t kNoLink = 0xff;

/// Which link a frame belongs to that came in by a port.
struct PortAddressing {
    net::MacAddress mac;
    std::array<std::uint8_t, 4096> link_of_vlan;  ///< LinkId or kNoLink; [0]: untagged frames
    std::uint32_t ipv6_links = 0;                 ///< a bit for each link that has IPv6

    PortAddressing() { link_of_vlan.fill(kNoLink); }
    bool has_ipv6(std::uint8_t link) const noexcept { return (ipv6_links >> link & 1U) != 0; }
};

enum class PacketKind : std::uint8_t {
    tcp_or_udp,  ///< without IP options, not a fragment
    icmp,        ///< the same
    portless,    ///< another protocol, of which only addresses can be translated
    unusual,     ///< with IP options, or a fragment: check_unusual() has to say the rest
    arp,
    ipv6,  ///< not looked into yet: see parse_ipv6()
    dropped,
};

/// Whether a packet of a protocol that fwd does not know is still good when its addresses have been replaced:
/// not if addresses are in its checksum (DCCP, UDP-Lite) or signed (AH), nor if it is a matter of one link
/// (IGMP) or no protocol.
constexpr bool is_passed_by_address(net::Protocol protocol) noexcept {
    switch (static_cast<unsigned>(protocol)) {
        case 0:    // IPv6 hop-by-hop options
        case 2:    // IGMP
        case 33:   // DCCP
        case 51:   // AH
        case 136:  // UDP-Lite
        case 255:  // reserved
            return false;
        default:
            return true;
    }
}

struct ParsedPacket {
    PacketKind kind = PacketKind::dropped;
    Verdict verdict = Verdict::drop_truncated;  ///< when dropped: why
    LinkId link{kNoLink};                       ///< kNoLink when dropped before it was known
    std::uint16_t l3_offset = 0;                ///< of the IP or ARP header
    std::uint16_t ip_bytes = 0;                 ///< IP total length: padding behind it does not count
};

/// TCP flags as they stand in byte 13 of the header.
struct TcpFlags {
    static constexpr std::uint8_t kFin = 0x01, kSyn = 0x02, kRst = 0x04, kAck = 0x10;
    std::uint8_t bits = 0;

    constexpr bool has(std::uint8_t flag) const noexcept { return (bits & flag) != 0; }
    /// The first packet of a connection (RFC 9293, section 3.5).
    constexpr bool opens() const noexcept { return (bits & (kSyn | kAck | kRst | kFin)) == kSyn; }
    /// A packet that can change the state of an established session.
    constexpr bool changes_state() const noexcept { return (bits & (kSyn | kRst | kFin)) != 0; }
};

/// Of an ARP packet that has passed parse().
inline bool is_arp_request(const std::uint8_t* arp) noexcept {
    return net::load_host16(arp + offsetof(rte_arp_hdr, arp_opcode)) == RTE_ARP_OP_REQUEST;
}

namespace detail {

constexpr ParsedPacket dropped(Verdict verdict, std::uint8_t link = kNoLink) noexcept {
    return {.verdict = verdict, .link = LinkId{link}};
}

/// RFC 826 for Ethernet and IPv4: the only ARP there is in practice.
inline bool is_ethernet_ipv4_arp(const std::uint8_t* arp) noexcept {
    const std::uint16_t operation = net::load_host16(arp + 6);
    return net::load_host16(arp) == RTE_ARP_HRD_ETHER && net::load_host16(arp + 2) == RTE_ETHER_TYPE_IPV4 &&
           arp[4] == 6 && arp[5] == 4 && (operation == RTE_ARP_OP_REQUEST || operation == RTE_ARP_OP_REPLY);
}

/// Of which fwd reads and rewrites more than addresses.
constexpr bool has_l4_header(net::Protocol protocol) noexcept {
    return protocol == net::Protocol::tcp || protocol == net::Protocol::udp ||
           protocol == net::Protocol::icmp;
}

/// Checks the L4 header; `l4_bytes` are there.
inline Verdict check_l4(net::Protocol protocol, const std::uint8_t* l4, std::size_t l4_bytes) noexcept {
    switch (protocol) {
        case net::Protocol::tcp: {
            if (l4_bytes < sizeof(rte_tcp_hdr)) return Verdict::drop_truncated;
            const std::size_t header_bytes = (l4[12] >> 4U) * std::size_t{4};
            if (header_bytes < sizeof(rte_tcp_hdr) || header_bytes > l4_bytes)
                return Verdict::drop_bad_l4_header;
            break;
        }
        case net::Protocol::udp: {
            if (l4_bytes < sizeof(rte_udp_hdr)) return Verdict::drop_truncated;
            // A UDP length below the IP payload is legal: what follows are options (RFC 9868).
            const std::size_t datagram_bytes = net::load_host16(l4 + 4);
            if (datagram_bytes < sizeof(rte_udp_hdr) || datagram_bytes > l4_bytes)
                return Verdict::drop_bad_l4_header;
            break;
        }
        case net::Protocol::icmp:
            return l4_bytes < sizeof(rte_icmp_hdr) ? Verdict::drop_truncated : Verdict::forward;
        default:
            return is_passed_by_address(protocol) ? Verdict::forward : Verdict::drop_unsupported_protocol;
    }
    // Nobody can answer port 0, and a rule can't name it.
    if (net::load_host16(l4) == 0 || net::load_host16(l4 + 2) == 0) return Verdict::drop_bad_l4_header;
    return Verdict::forward;
}

}  // namespace detail

/// Checks a frame and says what it is. Inline, since every packet passes through it.
/// @param hardware_vlan the tag that the device has taken off, 0 for none
/// @param ip_checksum_good the device has verified the IP header checksum
[[gnu::always_inline]] inline ParsedPacket parse(const std::uint8_t* frame, std::size_t frame_bytes,
                                                 const PortAddressing& port, std::uint16_t hardware_vlan,
                                                 bool ip_checksum_good) noexcept {
    using detail::dropped, net::kIpv4Bytes;
    if (frame_bytes < kEthernetBytes) return dropped(Verdict::drop_truncated);

    std::size_t l3 = kEthernetBytes;
    std::uint16_t ether_type = net::load_host16(frame + 12);
    std::uint16_t vlan = hardware_vlan;
    if (ether_type == RTE_ETHER_TYPE_VLAN && hardware_vlan == 0) {
        if (frame_bytes < kEthernetBytes + kVlanTagBytes) return dropped(Verdict::drop_truncated);
        vlan = net::load_host16(frame + 14) & 0xfffU;
        ether_type = net::load_host16(frame + 16);
        l3 += kVlanTagBytes;
    }
    const std::uint8_t link = port.link_of_vlan[vlan & 0xfffU];
    if (link == kNoLink) return dropped(Verdict::drop_unknown_vlan);

    if (std::memcmp(frame, port.mac.bytes.data(), 6) != 0) [[unlikely]] {
        if ((frame[0] & 1U) == 0) return dropped(Verdict::drop_wrong_mac, link);
        const bool broadcast = std::memcmp(frame, net::kBroadcastMac.bytes.data(), 6) == 0;
        // RFC 2464, section 7: to nobody else's groups, and never to all.
        const bool ipv6 =
            ether_type == RTE_ETHER_TYPE_IPV6 && port.has_ipv6(link) && frame[0] == 0x33 && frame[1] == 0x33;
        if ((!broadcast || ether_type != RTE_ETHER_TYPE_ARP) && !ipv6)
            return dropped(Verdict::drop_multicast, link);
    }
    ParsedPacket packet{.link = LinkId{link}, .l3_offset = static_cast<std::uint16_t>(l3)};
    if (ether_type == RTE_ETHER_TYPE_ARP) [[unlikely]] {
        if (frame_bytes - l3 < sizeof(rte_arp_hdr)) return dropped(Verdict::drop_truncated, link);
        if (!detail::is_ethernet_ipv4_arp(frame + l3)) return dropped(Verdict::drop_bad_arp, link);
        packet.kind = PacketKind::arp;
        return packet;
    }
    if (ether_type != RTE_ETHER_TYPE_IPV4) [[unlikely]] {
        if (ether_type != RTE_ETHER_TYPE_IPV6 || !port.has_ipv6(link))
            return dropped(Verdict::drop_not_ip, link);
        packet.kind = PacketKind::ipv6;
        return packet;
    }

    const std::uint8_t* ip = frame + l3;
    const std::size_t bytes_there = frame_bytes - l3;
    if (bytes_there < kIpv4Bytes) return dropped(Verdict::drop_truncated, link);
    const std::size_t header_bytes = (ip[0] & 0xfU) * std::size_t{4};
    const std::size_t total_bytes = net::load_host16(ip + net::kTotalLengthOffset);
    if ((ip[0] >> 4U) != 4 || header_bytes < kIpv4Bytes || total_bytes < header_bytes) {
        return dropped(Verdict::drop_bad_ip_header, link);
    }
    if (total_bytes > bytes_there) return dropped(Verdict::drop_truncated, link);
    if (header_bytes != kIpv4Bytes) [[unlikely]] {
        if (!ip_checksum_good && net::checksum(ip, header_bytes) != 0)
            return dropped(Verdict::drop_bad_ip_checksum, link);
        packet.kind = PacketKind::unusual;
        packet.ip_bytes = static_cast<std::uint16_t>(total_bytes);
        return packet;
    }
    if (!ip_checksum_good && net::checksum(ip, kIpv4Bytes) != 0)
        return dropped(Verdict::drop_bad_ip_checksum, link);
    if (net::is_fragment(ip)) [[unlikely]] {
        packet.kind = PacketKind::unusual;
        packet.ip_bytes = static_cast<std::uint16_t>(total_bytes);
        return packet;
    }

    const auto protocol = static_cast<net::Protocol>(ip[net::kProtocolOffset]);
    const Verdict l4 = detail::check_l4(protocol, ip + kIpv4Bytes, total_bytes - kIpv4Bytes);
    if (l4 != Verdict::forward) return dropped(l4, link);
    packet.kind = PacketKind::tcp_or_udp;
    if (protocol != net::Protocol::tcp && protocol != net::Protocol::udp) [[unlikely]]
        packet.kind = protocol == net::Protocol::icmp ? PacketKind::icmp : PacketKind::portless;
    packet.ip_bytes = static_cast<std::uint16_t>(total_bytes);
    return packet;
}

/// The rest of parse() for PacketKind::unusual, apart so that nobody else pays for it: Verdict::forward, or
/// why it is dropped.
Verdict check_unusual(const std::uint8_t* ip, std::uint16_t ip_bytes) noexcept;

/// Whether the first fragment of TCP, UDP or ICMP has all that fwd needs: with less, what it says could still
/// be overwritten (RFC 1858, section 3; RFC 7112).
bool first_fragment_has_its_headers(net::Protocol protocol, const std::uint8_t* l4,
                                    std::size_t l4_bytes) noexcept;

}  // namespace fwd::dataplane
