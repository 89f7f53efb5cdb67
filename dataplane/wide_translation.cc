// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/wide_translation.h"

#include <cstddef>

#include "dataplane/icmpv6_error.h"

namespace fwd::dataplane {
namespace {

constexpr std::size_t kUdpChecksum = 6, kTcpChecksum = 16, kIcmpChecksum = 2, kUdpLength = 4;
constexpr std::size_t kNoChecksum = 0;

void replace(net::ChecksumDelta& delta, const net::IpAddress& from, const net::IpAddress& to) noexcept {
    for (std::size_t at = 0; at < sizeof(net::Ipv6Address); at += 4) {
        delta.replace32(net::load32(from.v6().bytes.data() + at), net::load32(to.v6().bytes.data() + at));
    }
}

/// Where the checksum lies that covers the addresses, from the L4 header on.
std::size_t checksum_offset(net::Protocol protocol) noexcept {
    switch (protocol) {
        case net::Protocol::tcp:
            return kTcpChecksum;
        case net::Protocol::udp:
            return kUdpChecksum;
        case net::Protocol::icmpv6:
            return kIcmpChecksum;
        default:
            return kNoChecksum;
    }
}

}  // namespace

void rewrite_quoted_ipv6(std::uint8_t* ip, const Ipv6Packet& packet,
                         const WideTranslation& translation) noexcept {
    net::store_ipv6(ip + net::kIpv6SourceOffset, translation.source.v6());
    net::store_ipv6(ip + net::kIpv6DestinationOffset, translation.destination.v6());
    const std::size_t checksum = checksum_offset(packet.protocol);
    if (checksum == kNoChecksum || packet.is_later_fragment) return;
    std::uint8_t* l4 = ip + packet.l4_offset;
    if (packet.l4_offset + checksum + 2 <= packet.ip_bytes) {
        const std::uint16_t after = translation.l4.apply(net::load16(l4 + checksum));
        net::store16(l4 + checksum, packet.protocol == net::Protocol::udp && after == 0 ? 0xffff : after);
    }
    if (packet.protocol == net::Protocol::icmpv6) {
        const bool request = *l4 == kIcmpv6EchoRequest;
        net::store16(l4 + kIcmpv6EchoIdentifier,
                     (request ? translation.source_port : translation.destination_port).wire());
        return;
    }
    net::store16(l4, translation.source_port.wire());
    net::store16(l4 + 2, translation.destination_port.wire());
}

WideTranslation WideTranslation::between(const WideKey& arrives, const net::IpEndpoint& source,
                                         const net::IpEndpoint& destination) noexcept {
    WideTranslation t{.source = source.address,
                      .destination = destination.address,
                      .source_port = source.port,
                      .destination_port = destination.port,
                      .l4 = {}};
    replace(t.l4, arrives.source, source.address);
    replace(t.l4, arrives.destination, destination.address);
    t.l4.replace16(arrives.source_port.wire(), source.port.wire())
        .replace16(arrives.destination_port.wire(), destination.port.wire());
    return t;
}

WideKey WideTranslation::reverse_key(LinkId egress, net::Protocol protocol) const noexcept {
    WideKey key;
    key.ingress = egress;
    key.protocol = protocol;
    key.source = destination;
    key.destination = source;
    key.source_port = destination_port;
    key.destination_port = source_port;
    return key;
}

void rewrite_ipv6(std::uint8_t* ip, const Ipv6Packet& packet, const WideTranslation& translation) noexcept {
    --ip[net::kHopLimitOffset];
    rewrite_quoted_ipv6(ip, packet, translation);
}

void complete_ipv6_checksum(std::uint8_t* ip, const Ipv6Packet& packet, bool marked_partial) noexcept {
    if (packet.protocol != net::Protocol::tcp && packet.protocol != net::Protocol::udp) return;
    std::uint8_t* l4 = ip + packet.l4_offset;
    std::uint8_t* field = l4 + checksum_offset(packet.protocol);
    const bool udp = packet.protocol == net::Protocol::udp;
    const std::uint16_t covered = udp ? net::load_host16(l4 + kUdpLength)
                                      : static_cast<std::uint16_t>(packet.ip_bytes - packet.l4_offset);
    const std::uint64_t pseudo_header = net::pseudo_header_sum(ip, packet.protocol, covered);
    if (!marked_partial && net::load16(field) != net::fold_checksum(pseudo_header)) return;
    net::store16(field, 0);
    const std::uint16_t sum = net::checksum(l4, covered, pseudo_header);
    net::store16(field, udp && sum == 0 ? 0xffff : sum);
}

}  // namespace fwd::dataplane
