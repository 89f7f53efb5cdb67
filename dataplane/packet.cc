// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/packet.h"

#include <rte_arp.h>
#include <rte_ether.h>
#include <rte_icmp.h>
#include <rte_ip.h>
#include <rte_tcp.h>
#include <rte_udp.h>

#include <cstring>

#include "dataplane/net/byte_order.h"
#include "dataplane/net/checksum.h"

namespace fwd::dataplane {
namespace {

std::uint16_t read_be16(const std::uint8_t* bytes) noexcept {
    std::uint16_t wire;
    std::memcpy(&wire, bytes, sizeof wire);
    return net::be16::from_wire(wire).host();
}

ParsedPacket dropped(Verdict verdict, std::uint8_t link = kNoLink) noexcept {
    return {.verdict = verdict, .link = LinkId{link}};
}

/// RFC 826 for Ethernet and IPv4: the only ARP there is in practice.
bool is_ethernet_ipv4_arp(const std::uint8_t* arp) noexcept {
    const std::uint16_t operation = read_be16(arp + 6);
    return read_be16(arp) == RTE_ARP_HRD_ETHER && read_be16(arp + 2) == RTE_ETHER_TYPE_IPV4 && arp[4] == 6 &&
           arp[5] == 4 && (operation == RTE_ARP_OP_REQUEST || operation == RTE_ARP_OP_REPLY);
}

/// Checks the L4 header; `l4_bytes` are there.
Verdict check_l4(net::Protocol protocol, const std::uint8_t* l4, std::size_t l4_bytes) noexcept {
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
            const std::size_t datagram_bytes = read_be16(l4 + 4);
            if (datagram_bytes < sizeof(rte_udp_hdr) || datagram_bytes > l4_bytes)
                return Verdict::drop_bad_l4_header;
            break;
        }
        case net::Protocol::icmp:
            return l4_bytes < sizeof(rte_icmp_hdr) ? Verdict::drop_truncated : Verdict::forward;
        default:
            return Verdict::drop_unsupported_protocol;
    }
    // Nobody can answer port 0, and a rule can't name it.
    if (read_be16(l4) == 0 || read_be16(l4 + 2) == 0) return Verdict::drop_bad_l4_header;
    return Verdict::forward;
}

}  // namespace

ParsedPacket parse(const std::uint8_t* frame, std::size_t frame_bytes, const PortAddressing& port,
                   std::uint16_t hardware_vlan, bool ip_checksum_good) noexcept {
    if (frame_bytes < kEthernetBytes) return dropped(Verdict::drop_truncated);

    std::size_t l3 = kEthernetBytes;
    std::uint16_t ether_type = read_be16(frame + 12);
    std::uint16_t vlan = hardware_vlan;
    if (ether_type == RTE_ETHER_TYPE_VLAN && hardware_vlan == 0) {
        if (frame_bytes < kEthernetBytes + kVlanTagBytes) return dropped(Verdict::drop_truncated);
        vlan = read_be16(frame + 14) & 0xfffU;
        ether_type = read_be16(frame + 16);
        l3 += kVlanTagBytes;
    }
    const std::uint8_t link = port.link_of_vlan[vlan & 0xfffU];
    if (link == kNoLink) return dropped(Verdict::drop_unknown_vlan);

    if (std::memcmp(frame, port.mac.bytes.data(), 6) != 0) {
        if ((frame[0] & 1U) == 0) return dropped(Verdict::drop_wrong_mac, link);
        const bool broadcast = std::memcmp(frame, net::kBroadcastMac.bytes.data(), 6) == 0;
        if (!broadcast || ether_type != RTE_ETHER_TYPE_ARP) return dropped(Verdict::drop_multicast, link);
    }
    ParsedPacket packet{.link = LinkId{link}, .l3_offset = static_cast<std::uint16_t>(l3)};
    if (ether_type == RTE_ETHER_TYPE_ARP) {
        if (frame_bytes - l3 < sizeof(rte_arp_hdr)) return dropped(Verdict::drop_truncated, link);
        if (!is_ethernet_ipv4_arp(frame + l3)) return dropped(Verdict::drop_bad_arp, link);
        packet.kind = PacketKind::arp;
        return packet;
    }
    if (ether_type != RTE_ETHER_TYPE_IPV4) return dropped(Verdict::drop_not_ip, link);

    const std::uint8_t* ip = frame + l3;
    const std::size_t bytes_there = frame_bytes - l3;
    if (bytes_there < kIpv4Bytes) return dropped(Verdict::drop_truncated, link);
    const std::size_t header_bytes = (ip[0] & 0xfU) * std::size_t{4};
    const std::size_t total_bytes = read_be16(ip + 2);
    if ((ip[0] >> 4U) != 4 || header_bytes < kIpv4Bytes || total_bytes < header_bytes) {
        return dropped(Verdict::drop_bad_ip_header, link);
    }
    if (total_bytes > bytes_there) return dropped(Verdict::drop_truncated, link);
    if (!ip_checksum_good && net::checksum(ip, header_bytes) != 0) {
        return dropped(Verdict::drop_bad_ip_checksum, link);
    }
    if (header_bytes != kIpv4Bytes) return dropped(Verdict::drop_ip_options, link);
    constexpr std::uint16_t kMoreFragmentsOrOffset = 0x3fff;
    if ((read_be16(ip + 6) & kMoreFragmentsOrOffset) != 0) return dropped(Verdict::drop_fragment, link);

    const auto protocol = static_cast<net::Protocol>(ip[9]);
    const Verdict l4 = check_l4(protocol, ip + kIpv4Bytes, total_bytes - kIpv4Bytes);
    if (l4 != Verdict::forward) return dropped(l4, link);
    packet.kind = protocol == net::Protocol::icmp ? PacketKind::icmp : PacketKind::tcp_or_udp;
    packet.ip_bytes = static_cast<std::uint16_t>(total_bytes);
    return packet;
}

}  // namespace fwd::dataplane
