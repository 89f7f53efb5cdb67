// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/packet.h"

#include "dataplane/ip_options.h"

namespace fwd::dataplane {
namespace {

constexpr ParsedPacket dropped(Verdict verdict, std::uint8_t link = kNoLink) noexcept {
    return {.verdict = verdict, .link = LinkId{link}};
}

/// RFC 826 for Ethernet and IPv4: the only ARP there is in practice.
inline bool is_ethernet_ipv4_arp(const std::uint8_t* arp) noexcept {
    const std::uint16_t operation = net::load_host16(arp + 6);
    return net::load_host16(arp) == RTE_ARP_HRD_ETHER && net::load_host16(arp + 2) == RTE_ETHER_TYPE_IPV4 &&
           arp[4] == 6 && arp[5] == 4 && (operation == RTE_ARP_OP_REQUEST || operation == RTE_ARP_OP_REPLY);
}

}  // namespace

ParsedPacket parse_any(const std::uint8_t* frame, std::size_t frame_bytes, const PortAddressing& port,
                       std::uint16_t hardware_vlan, bool ip_checksum_good) noexcept {
    using net::kIpv4Bytes;
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
        if (!is_ethernet_ipv4_arp(frame + l3)) return dropped(Verdict::drop_bad_arp, link);
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

Verdict check_unusual(const std::uint8_t* ip, std::uint16_t ip_bytes) noexcept {
    if (const Verdict bad = check_ip_options(ip); bad != Verdict::forward) return bad;
    const auto protocol = static_cast<net::Protocol>(ip[net::kProtocolOffset]);
    const std::size_t header_bytes = net::header_bytes(ip);
    // Neither options nor being a fragment are in the way of new addresses.
    if (net::is_fragment(ip) && detail::has_l4_header(protocol)) return Verdict::forward;
    return detail::check_l4(protocol, ip + header_bytes, ip_bytes - header_bytes);
}

bool first_fragment_has_its_headers(net::Protocol protocol, const std::uint8_t* l4,
                                    std::size_t l4_bytes) noexcept {
    switch (protocol) {
        case net::Protocol::tcp:
            return detail::check_l4(protocol, l4, l4_bytes) == Verdict::forward;
        case net::Protocol::udp:  // the datagram is longer than this part of it
            return l4_bytes >= sizeof(rte_udp_hdr) && net::load_host16(l4 + 4) > l4_bytes &&
                   net::load16(l4) != 0 && net::load16(l4 + 2) != 0;
        default:
            return l4_bytes >= sizeof(rte_icmp_hdr);
    }
}

}  // namespace fwd::dataplane
