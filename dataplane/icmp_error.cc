// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/icmp_error.h"

#include <rte_icmp.h>

#include <array>
#include <cstring>
#include <utility>

#include "dataplane/icmp_query.h"
#include "dataplane/net/checksum.h"
#include "dataplane/packet.h"

namespace fwd::dataplane {
namespace {

using net::kIpv4Bytes, net::load16, net::store16;

constexpr std::size_t kEmbeddedOffset = kIpv4Bytes + sizeof(rte_icmp_hdr);
constexpr std::size_t kLeastL4Bytes = 8;  ///< of the packet inside, RFC 792

/// `ip` and `l4` as if nothing lay between them.
FlowKey key_of_sent(net::Protocol protocol, LinkId ingress, const std::uint8_t* ip,
                    const std::uint8_t* l4) noexcept {
    std::array<std::uint8_t, kIpv4Bytes + kLeastL4Bytes> plain;
    std::memcpy(plain.data(), ip, kIpv4Bytes);
    std::memcpy(plain.data() + kIpv4Bytes, l4, kLeastL4Bytes);
    switch (protocol) {
        case net::Protocol::tcp:
        case net::Protocol::udp:
            return FlowKey::from_packet(ingress, plain.data());
        case net::Protocol::icmp:
            return query_key(ingress, plain.data());
        default:
            return portless_key(ingress, plain.data());
    }
}

/// Restores ports and checksum of the packet inside, as far as they are there.
void restore_tcp_or_udp(std::uint8_t* l4, std::size_t l4_bytes, net::ChecksumDelta delta, bool udp,
                        const Translation& answers) noexcept {
    store16(l4, answers.destination_port.wire());
    store16(l4 + 2, answers.source_port.wire());
    std::uint8_t* field = detail::l4_checksum(l4 - kIpv4Bytes, udp);
    if (field + 2 > l4 + l4_bytes) return;
    const std::uint16_t before = load16(field);
    const std::uint16_t after = delta.apply(before);
    if (!udp) {
        store16(field, after);
    } else if (before != 0) {
        store16(field, after == 0 ? 0xffff : after);
    }
}

/// The same for an identifier: an ICMP checksum covers no addresses.
void restore_query(std::uint8_t* l4, net::be16 identifier) noexcept {
    std::uint8_t* plain = l4 - kIpv4Bytes;
    net::ChecksumDelta delta;
    delta.replace16(load16(plain + kQueryIdentifierOffset), identifier.wire());
    store16(plain + kIcmpChecksumOffset, delta.apply(load16(plain + kIcmpChecksumOffset)));
    store16(plain + kQueryIdentifierOffset, identifier.wire());
}

}  // namespace

bool icmp_checksum_good(const std::uint8_t* ip, std::uint16_t ip_bytes) noexcept {
    return net::checksum(ip + kIpv4Bytes, ip_bytes - kIpv4Bytes) == 0;
}

bool quotes_ip_options(const std::uint8_t* ip) noexcept {
    return net::header_bytes(ip + kEmbeddedOffset) != kIpv4Bytes;
}

std::optional<FlowKey> parse_icmp_error(const std::uint8_t* ip, std::uint16_t ip_bytes,
                                        LinkId ingress) noexcept {
    if (ip_bytes < kEmbeddedOffset + kIpv4Bytes + kLeastL4Bytes) return std::nullopt;
    const std::uint8_t* inner = ip + kEmbeddedOffset;
    const std::size_t header_bytes = net::header_bytes(inner);
    if (inner[0] >> 4U != 4 || header_bytes < kIpv4Bytes ||
        ip_bytes < kEmbeddedOffset + header_bytes + kLeastL4Bytes) {
        return std::nullopt;
    }
    const auto protocol = static_cast<net::Protocol>(inner[net::kProtocolOffset]);
    const std::uint8_t* l4 = inner + header_bytes;
    const bool whole = net::load_host16(inner + net::kTotalLengthOffset) >= header_bytes + kLeastL4Bytes;
    const bool translated =
        protocol == net::Protocol::icmp ? is_icmp_query(*l4) : is_passed_by_address(protocol);
    // No router answers a later fragment (RFC 1812, section 4.3.2.7).
    if (net::is_later_fragment(inner) || !whole || !translated || net::checksum(inner, header_bytes) != 0)
        return std::nullopt;
    FlowKey key = key_of_sent(protocol, ingress, inner, l4);
    std::swap(key.source, key.destination);
    std::swap(key.source_port, key.destination_port);
    return key;
}

void rewrite_icmp_error(std::uint8_t* ip, std::uint16_t ip_bytes, const FlowKey& key,
                        const Translation& answers, bool hide_source) noexcept {
    std::uint8_t* inner = ip + kEmbeddedOffset;
    std::uint8_t* l4 = inner + net::header_bytes(inner);

    // The packet inside runs against the flow `answers`: its source is that flow's destination.
    net::ChecksumDelta addresses;
    addresses.replace32(key.destination.value.wire(), answers.destination.value.wire())
        .replace32(key.source.value.wire(), answers.source.value.wire());
    const std::array<net::Ipv4Address, 2> received{answers.destination, answers.source};
    std::memcpy(inner + net::kAddressesOffset, received.data(), sizeof received);
    store16(inner + 10, addresses.apply(load16(inner + 10)));
    if (key.protocol == net::Protocol::tcp || key.protocol == net::Protocol::udp) {
        net::ChecksumDelta delta = addresses;
        delta.replace16(key.destination_port.wire(), answers.destination_port.wire())
            .replace16(key.source_port.wire(), answers.source_port.wire());
        restore_tcp_or_udp(l4, static_cast<std::size_t>(ip + ip_bytes - l4), delta,
                           key.protocol == net::Protocol::udp, answers);
    } else if (key.protocol == net::Protocol::icmp) {
        restore_query(l4, is_icmp_request(*l4) ? answers.destination_port : answers.source_port);
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
