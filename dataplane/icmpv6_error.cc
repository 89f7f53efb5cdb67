// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/icmpv6_error.h"

#include "dataplane/neighbour_discovery.h"

namespace fwd::dataplane {
namespace {

constexpr std::size_t kIcmpBytes = 8;
constexpr std::size_t kLeastL4Bytes = 8;  ///< of the packet inside: its ports and, of UDP, its checksum

}  // namespace

std::optional<Icmpv6Subject> parse_icmpv6_error(const std::uint8_t* ip, const Ipv6Packet& packet,
                                                LinkId ingress) noexcept {
    const std::size_t inner_offset = packet.l4_offset + kIcmpBytes;
    const std::uint8_t* inner = ip + inner_offset;
    const UpperLayer upper = find_upper_layer(inner, packet.ip_bytes - inner_offset);
    const auto protocol = static_cast<net::Protocol>(upper.protocol);
    const std::uint16_t l4_offset = upper.l4_offset;
    if (upper.verdict != Verdict::forward || upper.is_later_fragment ||
        inner_offset + l4_offset + kLeastL4Bytes > packet.ip_bytes) {
        return std::nullopt;
    }
    const bool translated = protocol == net::Protocol::icmpv6 ? is_icmpv6_echo(inner[l4_offset])
                                                              : is_passed_by_ipv6_address(protocol);
    if (!translated) return std::nullopt;
    const WideKey sent = wide_key_of(ingress, inner, {.protocol = protocol, .l4_offset = l4_offset});
    return Icmpv6Subject{sent.turned(), l4_offset};
}

void rewrite_icmpv6_error(std::uint8_t* ip, const Ipv6Packet& packet, const Icmpv6Subject& subject,
                          const WideTranslation& answers, bool hide_source) noexcept {
    const std::size_t inner_offset = packet.l4_offset + kIcmpBytes;
    std::uint8_t* inner = ip + inner_offset;
    // The packet inside runs against the flow `answers`: its source is that flow's destination.
    const WideKey& key = subject.key;
    const WideTranslation back = WideTranslation::between(
        key.turned(), {answers.destination, answers.destination_port}, {answers.source, answers.source_port});
    const Ipv6Packet quoted{.verdict = Verdict::forward,
                            .protocol = key.protocol,
                            .l4_offset = subject.l4_offset,
                            .ip_bytes = static_cast<std::uint16_t>(packet.ip_bytes - inner_offset)};
    rewrite_quoted_ipv6(inner, quoted, back);

    const net::Ipv6Address source = net::load_ipv6(ip + net::kIpv6SourceOffset);
    if (hide_source || net::IpAddress{source} == key.source)
        net::store_ipv6(ip + net::kIpv6SourceOffset, answers.source.v6());
    net::store_ipv6(ip + net::kIpv6DestinationOffset, answers.destination.v6());
    --ip[net::kHopLimitOffset];
    set_icmpv6_checksum(ip, packet.l4_offset, packet.ip_bytes);
}

}  // namespace fwd::dataplane
