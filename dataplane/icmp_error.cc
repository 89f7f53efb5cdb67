// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/icmp_error.h"

#include <rte_icmp.h>
#include <rte_ip.h>
#include <rte_tcp.h>
#include <rte_udp.h>

#include <cstring>
#include <utility>

#include "dataplane/icmp_echo.h"
#include "dataplane/net/checksum.h"
#include "dataplane/packet.h"

namespace fwd::dataplane {
namespace {

using net::kIpv4Bytes, net::load16, net::store16;

constexpr std::size_t kEmbeddedOffset = kIpv4Bytes + sizeof(rte_icmp_hdr);
constexpr std::size_t kLeastL4Bytes = 8;  ///< of the packet inside, RFC 792

/// The tuple of a packet as it lies behind byte 12 of the IP header.
struct Tuple {
    net::Ipv4Address source, destination;
    net::be16 source_port, destination_port;
};
static_assert(sizeof(Tuple) == 12);

FlowKey key_of_sent(net::Protocol protocol, LinkId ingress, const std::uint8_t* ip) noexcept {
    switch (protocol) {
        case net::Protocol::tcp:
        case net::Protocol::udp:
            return FlowKey::from_packet(ingress, ip);
        case net::Protocol::icmp:
            return echo_key(ingress, ip);
        default:
            return portless_key(ingress, ip);
    }
}

/// Restores ports and checksum of the packet inside, as far as they are there.
void restore_tcp_or_udp(std::uint8_t* inner, std::size_t inner_bytes, net::ChecksumDelta l4, bool udp,
                        const Tuple& received) noexcept {
    std::memcpy(inner + net::kAddressesOffset, &received, sizeof received);
    const std::size_t field_offset = udp ? net::kUdpChecksumOffset : net::kTcpChecksumOffset;
    if (field_offset + 2 > inner_bytes) return;
    const std::uint16_t before = load16(inner + field_offset);
    const std::uint16_t after = l4.apply(before);
    if (!udp) {
        store16(inner + field_offset, after);
    } else if (before != 0) {
        store16(inner + field_offset, after == 0 ? 0xffff : after);
    }
}

/// The same for an identifier: an ICMP checksum covers no addresses.
void restore_echo(std::uint8_t* inner, net::be16 identifier) noexcept {
    net::ChecksumDelta delta;
    delta.replace16(load16(inner + kEchoIdentifierOffset), identifier.wire());
    store16(inner + kIcmpChecksumOffset, delta.apply(load16(inner + kIcmpChecksumOffset)));
    store16(inner + kEchoIdentifierOffset, identifier.wire());
}

}  // namespace

bool icmp_checksum_good(const std::uint8_t* ip, std::uint16_t ip_bytes) noexcept {
    return net::checksum(ip + kIpv4Bytes, ip_bytes - kIpv4Bytes) == 0;
}

std::optional<FlowKey> parse_icmp_error(const std::uint8_t* ip, std::uint16_t ip_bytes,
                                        LinkId ingress) noexcept {
    if (ip_bytes < kEmbeddedOffset + kIpv4Bytes + kLeastL4Bytes) return std::nullopt;
    const std::uint8_t* inner = ip + kEmbeddedOffset;
    const auto protocol = static_cast<net::Protocol>(inner[9]);
    // fwd sends neither options nor later fragments, so an honest error has none inside.
    const bool plain_header =
        inner[0] == 0x45 && (net::be16::from_wire(load16(inner + 6)).host() & 0x1fffU) == 0;
    const bool whole = net::be16::from_wire(load16(inner + 2)).host() >= kIpv4Bytes + kLeastL4Bytes;
    const bool translated =
        protocol == net::Protocol::icmp ? is_icmp_echo(inner[kIpv4Bytes]) : is_passed_by_address(protocol);
    if (!plain_header || !whole || !translated || net::checksum(inner, kIpv4Bytes) != 0) return std::nullopt;
    FlowKey key = key_of_sent(protocol, ingress, inner);
    std::swap(key.source, key.destination);
    std::swap(key.source_port, key.destination_port);
    return key;
}

void rewrite_icmp_error(std::uint8_t* ip, std::uint16_t ip_bytes, const FlowKey& key,
                        const Translation& answers, bool hide_source) noexcept {
    std::uint8_t* inner = ip + kEmbeddedOffset;
    const std::size_t inner_bytes = ip_bytes - kEmbeddedOffset;

    // The packet inside runs against the flow `answers`: its source is that flow's destination.
    net::ChecksumDelta addresses;
    addresses.replace32(key.destination.value.wire(), answers.destination.value.wire())
        .replace32(key.source.value.wire(), answers.source.value.wire());
    const Tuple received{answers.destination, answers.source, answers.destination_port, answers.source_port};
    constexpr std::size_t kAddressBytes = 8;
    std::memcpy(inner + net::kAddressesOffset, &received, kAddressBytes);
    store16(inner + 10, addresses.apply(load16(inner + 10)));
    if (key.protocol == net::Protocol::tcp || key.protocol == net::Protocol::udp) {
        net::ChecksumDelta l4 = addresses;
        l4.replace16(key.destination_port.wire(), answers.destination_port.wire())
            .replace16(key.source_port.wire(), answers.source_port.wire());
        restore_tcp_or_udp(inner, inner_bytes, l4, key.protocol == net::Protocol::udp, received);
    } else if (key.protocol == net::Protocol::icmp) {
        const bool request = inner[kIpv4Bytes] == kIcmpEchoRequest;
        restore_echo(inner, request ? answers.destination_port : answers.source_port);
    }

    std::memcpy(ip + 16, &answers.destination, 4);
    net::Ipv4Address outer_source;
    std::memcpy(&outer_source, ip + 12, 4);
    if (hide_source || outer_source == key.source) std::memcpy(ip + 12, &answers.source, 4);
    --ip[8];
    store16(ip + 10, 0);
    store16(ip + 10, net::checksum(ip, kIpv4Bytes));
    store16(ip + kIpv4Bytes + 2, 0);
    store16(ip + kIpv4Bytes + 2, net::checksum(ip + kIpv4Bytes, ip_bytes - kIpv4Bytes));
}

}  // namespace fwd::dataplane
