// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/neighbour_discovery.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace fwd::dataplane {
namespace {

// Of the message, from its ICMPv6 header on.
constexpr std::size_t kFlags = 4, kTarget = 8, kOptions = 24;
constexpr std::uint8_t kSolicitedFlag = 0x40, kOverrideFlag = 0x20;
constexpr std::uint8_t kSourceLinkLayer = 1, kTargetLinkLayer = 2;
constexpr std::size_t kOptionUnit = 8;
constexpr std::size_t kChecksum = 2;

bool is_solicited_node(const net::Ipv6Address& group) noexcept {
    return group.number() >> 24U == solicited_node({}).number() >> 24U;
}

/// The options behind a message; false when one of them has no length or goes beyond the end.
bool read_options(std::span<const std::uint8_t> options, NdMessage& message) noexcept {
    while (!options.empty()) {
        if (options.size() < 2) return false;
        const std::size_t bytes = options[1] * kOptionUnit;
        if (bytes == 0 || bytes > options.size()) return false;
        if (bytes == kOptionUnit &&
            options[0] == (message.solicitation ? kSourceLinkLayer : kTargetLinkLayer)) {
            message.link_layer.emplace();
            std::copy_n(options.begin() + 2, 6, message.link_layer->bytes.begin());
        }
        options = options.subspan(bytes);
    }
    return true;
}

}  // namespace

std::optional<NdMessage> parse_nd(const std::uint8_t* ip, const Ipv6Packet& packet) noexcept {
    const std::uint8_t* icmp = ip + packet.l4_offset;
    const std::size_t bytes = packet.ip_bytes - std::size_t{packet.l4_offset};
    if (icmp[0] != kNeighbourSolicitation && icmp[0] != kNeighbourAdvertisement) return std::nullopt;
    if (packet.has_fragment_header) return std::nullopt;  // RFC 6980
    if (ip[net::kHopLimitOffset] != kNdHopLimit || icmp[1] != 0 || bytes < kOptions) return std::nullopt;
    NdMessage message{.solicitation = icmp[0] == kNeighbourSolicitation,
                      .source = net::load_ipv6(ip + net::kIpv6SourceOffset),
                      .destination = net::load_ipv6(ip + net::kIpv6DestinationOffset),
                      .target = net::load_ipv6(icmp + kTarget)};
    if (message.target.is_multicast() || message.target.is_unspecified() || message.source.is_multicast())
        return std::nullopt;
    if (!read_options({icmp + kOptions, bytes - kOptions}, message)) return std::nullopt;
    if (message.solicitation) {
        const bool probe = message.source.is_unspecified();
        if (probe && (!is_solicited_node(message.destination) || message.link_layer)) return std::nullopt;
        return message;
    }
    message.solicited = (icmp[kFlags] & kSolicitedFlag) != 0;
    message.overrides = (icmp[kFlags] & kOverrideFlag) != 0;
    if (message.source.is_unspecified() || (message.destination.is_multicast() && message.solicited))
        return std::nullopt;
    return message;
}

net::Ipv6Address solicited_node(const net::Ipv6Address& address) noexcept {
    return {{0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x01, 0xff, address.bytes[13], address.bytes[14],
             address.bytes[15]}};
}

net::MacAddress multicast_mac(const net::Ipv6Address& group) noexcept {
    return {{0x33, 0x33, group.bytes[12], group.bytes[13], group.bytes[14], group.bytes[15]}};
}

std::uint16_t write_nd(std::uint8_t* at, const NdMessage& message) noexcept {
    const std::size_t icmp_bytes = kOptions + (message.link_layer ? kOptionUnit : 0);
    std::memset(at, 0, net::kIpv6Bytes + icmp_bytes);
    at[0] = 0x60;
    net::store16(at + net::kPayloadLengthOffset,
                 net::be16::from_host(static_cast<std::uint16_t>(icmp_bytes)).wire());
    at[net::kNextHeaderOffset] = static_cast<std::uint8_t>(net::Protocol::icmpv6);
    at[net::kHopLimitOffset] = kNdHopLimit;
    net::store_ipv6(at + net::kIpv6SourceOffset, message.source);
    net::store_ipv6(at + net::kIpv6DestinationOffset, message.destination);
    std::uint8_t* icmp = at + net::kIpv6Bytes;
    icmp[0] = message.solicitation ? kNeighbourSolicitation : kNeighbourAdvertisement;
    icmp[kFlags] = static_cast<std::uint8_t>((message.solicited ? kSolicitedFlag : 0) |
                                             (message.overrides ? kOverrideFlag : 0));
    net::store_ipv6(icmp + kTarget, message.target);
    if (message.link_layer) {
        icmp[kOptions] = message.solicitation ? kSourceLinkLayer : kTargetLinkLayer;
        icmp[kOptions + 1] = 1;
        std::ranges::copy(message.link_layer->bytes, icmp + kOptions + 2);
    }
    const auto ip_bytes = static_cast<std::uint16_t>(net::kIpv6Bytes + icmp_bytes);
    set_icmpv6_checksum(at, net::kIpv6Bytes, ip_bytes);
    return ip_bytes;
}

bool is_listener_query(const std::uint8_t* ip, const Ipv6Packet& packet) noexcept {
    constexpr std::size_t kLeastBytes = 24;  // MLDv1's
    return ip[packet.l4_offset] == kListenerQuery && ip[net::kHopLimitOffset] == 1 &&
           net::load_ipv6(ip + net::kIpv6SourceOffset).is_link_local() &&
           packet.ip_bytes - packet.l4_offset >= int{kLeastBytes};
}

std::uint16_t write_listener_report(std::uint8_t* at, const net::Ipv6Address& source,
                                    std::span<const net::Ipv6Address> groups, bool joins) noexcept {
    constexpr net::Ipv6Address kAllReportsRouters{{0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x16}};
    // The next header, a router alert that stands for MLD, and padding (RFC 2711).
    constexpr std::array<std::uint8_t, 8> kRouterAlert{58, 0, 5, 2, 0, 0, 1, 0};
    constexpr std::uint8_t kIsExclude = 2, kToExclude = 4;
    constexpr std::size_t kHeader = 8, kRecord = 20;
    const std::size_t icmp_bytes = kHeader + kRecord * groups.size();
    const auto l4_offset = static_cast<std::uint16_t>(net::kIpv6Bytes + kRouterAlert.size());
    const auto bytes = static_cast<std::uint16_t>(l4_offset + icmp_bytes);
    std::memset(at, 0, bytes);
    at[0] = 0x60;
    net::store16(at + net::kPayloadLengthOffset,
                 net::be16::from_host(static_cast<std::uint16_t>(bytes - net::kIpv6Bytes)).wire());
    at[net::kNextHeaderOffset] = static_cast<std::uint8_t>(net::Ipv6Extension::hop_by_hop);
    at[net::kHopLimitOffset] = 1;
    net::store_ipv6(at + net::kIpv6SourceOffset, source);
    net::store_ipv6(at + net::kIpv6DestinationOffset, kAllReportsRouters);
    std::ranges::copy(kRouterAlert, at + net::kIpv6Bytes);
    std::uint8_t* icmp = at + l4_offset;
    icmp[0] = kListenerReport;
    net::store16(icmp + 6, net::be16::from_host(static_cast<std::uint16_t>(groups.size())).wire());
    std::uint8_t* record = icmp + kHeader;
    for (const net::Ipv6Address& group : groups) {
        record[0] = joins ? kToExclude : kIsExclude;
        net::store_ipv6(record + 4, group);
        record += kRecord;
    }
    set_icmpv6_checksum(at, l4_offset, bytes);
    return bytes;
}

bool icmpv6_checksum_good(const std::uint8_t* ip, const Ipv6Packet& packet) noexcept {
    const auto l4_bytes = static_cast<std::uint16_t>(packet.ip_bytes - packet.l4_offset);
    return net::checksum(ip + packet.l4_offset, l4_bytes,
                         net::pseudo_header_sum(ip, net::Protocol::icmpv6, l4_bytes)) == 0;
}

void set_icmpv6_checksum(std::uint8_t* ip, std::uint16_t l4_offset, std::uint16_t ip_bytes) noexcept {
    const auto l4_bytes = static_cast<std::uint16_t>(ip_bytes - l4_offset);
    std::uint8_t* icmp = ip + l4_offset;
    net::store16(icmp + kChecksum, 0);
    net::store16(icmp + kChecksum,
                 net::checksum(icmp, l4_bytes, net::pseudo_header_sum(ip, net::Protocol::icmpv6, l4_bytes)));
}

}  // namespace fwd::dataplane
