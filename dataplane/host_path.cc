// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/host_path.h"

#include <algorithm>

#include "dataplane/address_check.h"
#include "dataplane/icmp_error.h"
#include "dataplane/icmp_query.h"
#include "dataplane/icmpv6_error.h"
#include "dataplane/ipv6_packet.h"
#include "dataplane/link.h"
#include "dataplane/packet.h"

namespace fwd::dataplane {
namespace {

constexpr std::uint32_t kLocalGroups = 0xe0000000;  // 224.0.0.0/24

bool is_broadcast(const net::IpAddress& address) noexcept {
    return address.is_v4() && address.v4().value.host() == 0xffffffffU;
}

bool is_local_group(const net::IpAddress& address) noexcept {
    if (address.is_v4()) return (address.v4().value.host() & 0xffffff00U) == kLocalGroups;
    return address.v6().bytes[0] == 0xff && (address.v6().bytes[1] & 0xfU) == 2;
}

std::optional<HostPacket> parse_ipv4_for_host(const std::uint8_t* ip, std::size_t bytes,
                                              LinkId link) noexcept {
    if (bytes < net::kIpv4Bytes || ip[0] != 0x45) return std::nullopt;
    const std::size_t total = net::load_host16(ip + net::kTotalLengthOffset);
    if (total < net::kIpv4Bytes || total > bytes || net::is_fragment(ip) ||
        net::checksum(ip, net::kIpv4Bytes) != 0)
        return std::nullopt;
    const auto protocol = static_cast<net::Protocol>(ip[net::kProtocolOffset]);
    if (detail::check_l4(protocol, ip + net::kIpv4Bytes, total - net::kIpv4Bytes) != Verdict::forward)
        return std::nullopt;
    HostPacket packet;
    packet.l4_offset = net::kIpv4Bytes;
    packet.ip_bytes = static_cast<std::uint16_t>(total);
    packet.key = WideKey{portless_key(link, ip)};
    packet.source = packet.key.source;
    packet.destination = packet.key.destination;
    if (protocol == net::Protocol::tcp || protocol == net::Protocol::udp) {
        packet.key = WideKey{FlowKey::from_packet(link, ip)};
        packet.opens = protocol == net::Protocol::udp || TcpFlags{ip[net::kTcpFlagsOffset]}.opens();
    } else if (protocol == net::Protocol::icmp) {
        const std::uint8_t type = ip[net::kIpv4Bytes];
        packet.is_echo_reply = type == kIcmpEchoReply;
        if (type == kIcmpEchoRequest || packet.is_echo_reply) {
            packet.key = WideKey{query_key(link, ip)};
        } else if (is_icmp_error(type)) {
            const auto about = parse_icmp_error(ip, packet.ip_bytes, link);
            if (!about) return std::nullopt;
            packet.key = WideKey{*about};
            packet.is_error = true;
        } else {
            return std::nullopt;
        }
    }
    return packet;
}

std::optional<HostPacket> parse_ipv6_for_host(const std::uint8_t* ip, std::size_t bytes,
                                              LinkId link) noexcept {
    Ipv6Packet headers = parse_ipv6(ip, bytes);
    if (headers.verdict == Verdict::drop_unsupported_protocol) {
        // Routing protocols and VRRP have addresses in their checksums: no rule takes them, a service may.
        const std::size_t total = net::kIpv6Bytes + net::load_host16(ip + net::kPayloadLengthOffset);
        const UpperLayer upper = find_upper_layer(ip, total);
        headers = {.verdict = upper.verdict,
                   .protocol = static_cast<net::Protocol>(upper.protocol),
                   .l4_offset = upper.l4_offset,
                   .ip_bytes = static_cast<std::uint16_t>(total)};
    }
    // No extension headers, as no options of IPv4.
    if (headers.verdict != Verdict::forward || headers.l4_offset != net::kIpv6Bytes) return std::nullopt;
    HostPacket packet{.key = wide_key_of(link, ip, headers),
                      .source = net::load_ipv6(ip + net::kIpv6SourceOffset),
                      .destination = net::load_ipv6(ip + net::kIpv6DestinationOffset),
                      .l4_offset = headers.l4_offset,
                      .ip_bytes = headers.ip_bytes};
    if (headers.protocol == net::Protocol::tcp) {
        packet.opens = TcpFlags{ip[headers.l4_offset + net::kTcpFlagsOffset - net::kIpv4Bytes]}.opens();
    } else if (headers.protocol == net::Protocol::icmpv6) {
        const std::uint8_t type = ip[headers.l4_offset];
        packet.is_echo_reply = type == kIcmpv6EchoReply;
        if (is_icmpv6_error(type)) {
            const auto about = parse_icmpv6_error(ip, headers, link);
            if (!about) return std::nullopt;
            packet.key = about->key;
            packet.is_error = true;
        } else if (!is_icmpv6_echo(type)) {
            return std::nullopt;
        }
    }
    return packet;
}

bool may_have_sent(const HostPacket& packet, const std::vector<Link>& links) noexcept {
    const Link& link = links[packet.key.ingress.value];
    if (packet.source.is_v4()) {
        const net::Ipv4Address source = packet.source.v4();
        return check_addresses(links, packet.key.ingress, source, source) == Verdict::forward;
    }
    // Neighbours speak from their link-local addresses as well.
    if (packet.source.v6().is_link_local()) return !link.owns(packet.source);
    return check_addresses(links, packet.key.ingress, packet.source, packet.source) == Verdict::forward;
}

}  // namespace

bool HostService::takes(const WideKey& key) const noexcept {
    const auto is_ping = [](net::Protocol p) {
        return p == net::Protocol::icmp || p == net::Protocol::icmpv6;
    };
    const bool same = key.protocol == protocol || (is_ping(key.protocol) && is_ping(protocol));
    const std::uint16_t port = key.destination_port.host();
    if (!same || port < first_port || port > last_port ||
        (source_port != 0 && key.source_port.host() != source_port))
        return false;
    // Who has no address yet asks by DHCP.
    const bool unknown = to == To::any && key.source == net::IpAddress{net::Ipv4Address{}};
    return from.empty() || unknown ||
           std::ranges::any_of(from, [&](const auto& p) { return p.contains(key.source); });
}

bool HostFlows::knows(std::uint64_t tag) const noexcept {
    for (std::size_t i = first_way(tag); i < first_way(tag) + kWays; ++i) {
        if (tags_[i].load(std::memory_order_relaxed) == tag) return true;
    }
    return false;
}

void HostFlows::note(std::uint64_t tag, Clock::time_point until) noexcept {
    std::size_t place = first_way(tag);
    for (std::size_t i = first_way(tag); i < first_way(tag) + kWays; ++i) {
        if (tags_[i].load(std::memory_order_relaxed) == tag) {
            until_[i] = until;
            return;
        }
        if (until_[i] < until_[place]) place = i;  // of free ones too: they have none
    }
    until_[place] = until;
    tags_[place].store(tag, std::memory_order_relaxed);
}

void HostFlows::expire(Clock::time_point now) noexcept {
    for (std::size_t i = 0; i < kPlaces; ++i) {
        if (until_[i] == Clock::time_point{} || until_[i] > now) continue;
        tags_[i].store(0, std::memory_order_relaxed);
        until_[i] = {};
    }
}

std::optional<HostPacket> parse_for_host(const std::uint8_t* frame, std::size_t frame_bytes,
                                         LinkId link) noexcept {
    std::size_t l3 = kEthernetBytes;
    if (frame_bytes < l3 + kVlanTagBytes) return std::nullopt;
    std::uint16_t ether_type = net::load_host16(frame + 12);
    if (ether_type == RTE_ETHER_TYPE_VLAN) {
        ether_type = net::load_host16(frame + 16);
        l3 += kVlanTagBytes;
    }
    std::optional<HostPacket> packet;
    if (ether_type == RTE_ETHER_TYPE_IPV4) packet = parse_ipv4_for_host(frame + l3, frame_bytes - l3, link);
    if (ether_type == RTE_ETHER_TYPE_IPV6) packet = parse_ipv6_for_host(frame + l3, frame_bytes - l3, link);
    if (packet) packet->l3_offset = static_cast<std::uint16_t>(l3);
    return packet;
}

bool is_of_link(const HostPacket& packet) noexcept {
    const auto only_here = [](const net::IpAddress& source) {
        return source.is_v4() ? source.v4() == net::Ipv4Address{} : source.v6().is_link_local();
    };
    return is_broadcast(packet.destination) || is_local_group(packet.destination) || only_here(packet.source);
}

HostShare host_share(const HostPacket& packet, const std::vector<Link>& links, const FlowHash& hash,
                     const HostFlows& flows) noexcept {
    using To = HostService::To;
    const Link& link = links[packet.key.ingress.value];
    if (!packet.destination.is_v4() && !link.has_ipv6()) return HostShare::none;
    // Who asks for an address by DHCP has none yet.
    const bool has_source = packet.source != net::IpAddress{net::Ipv4Address{}};
    if (has_source && !may_have_sent(packet, links)) return HostShare::none;
    const bool own = link.owns(packet.destination);
    // An error has to come to the address that the packet inside was sent from.
    if (packet.is_error && (!own || packet.destination != packet.key.destination)) return HostShare::none;
    if (own && has_source && flows.knows(hash.tag(packet.key))) return HostShare::answer;
    if (packet.is_echo_reply) return HostShare::none;
    for (const HostService& service : link.host) {
        const bool here =
            own || (service.to == To::group && is_local_group(packet.destination)) ||
            (service.to == To::any && (is_broadcast(packet.destination) || link.addresses.empty()));
        if (here && (has_source || service.to == To::any) && service.takes(packet.key))
            return packet.opens ? HostShare::opening : HostShare::established;
    }
    return HostShare::none;
}

}  // namespace fwd::dataplane
