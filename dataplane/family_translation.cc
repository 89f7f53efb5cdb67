// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/family_translation.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "dataplane/icmp_error.h"
#include "dataplane/neighbour_discovery.h"

namespace fwd::dataplane {
namespace {

using net::kIpv4Bytes, net::kIpv6Bytes, net::load16, net::load_host16, net::store16;

constexpr std::size_t kIcmpBytes = 8, kIcmpChecksum = 2, kIcmpRest = 4;
constexpr std::size_t kUdpLength = 4, kUdpChecksum = 6, kTcpChecksum = 16;
constexpr std::uint16_t kMayBeFragmented = 1260;  ///< RFC 7915, section 5.1
constexpr std::uint16_t kErrorBytes = 576;        ///< of an ICMP error at most, RFC 1812, section 4.3.2.3

void store_host16(std::uint8_t* at, std::size_t value) noexcept {
    store16(at, net::be16::from_host(static_cast<std::uint16_t>(value)).wire());
}

struct Header {
    std::uint8_t traffic_class;
    std::uint8_t hops;
    net::Protocol protocol;
    net::IpAddress source;
    net::IpAddress destination;
};

void write_ipv6(std::uint8_t* at, const Header& header, std::size_t payload_bytes) noexcept {
    at[0] = static_cast<std::uint8_t>(0x60U | header.traffic_class >> 4U);
    at[1] = static_cast<std::uint8_t>(header.traffic_class << 4U);
    store16(at + 2, 0);  // flow label
    store_host16(at + net::kPayloadLengthOffset, payload_bytes);
    at[net::kNextHeaderOffset] = static_cast<std::uint8_t>(header.protocol);
    at[net::kHopLimitOffset] = header.hops;
    net::store_ipv6(at + net::kIpv6SourceOffset, header.source.v6());
    net::store_ipv6(at + net::kIpv6DestinationOffset, header.destination.v6());
}

/// The words of an IPv4 header that fragments differ by.
struct Fragmentation {
    std::uint16_t identification = 0;  ///< wire order
    std::uint16_t word = 0;            ///< flags and offset, host order
};
Fragmentation of_whole_packet(std::size_t payload_bytes, std::uint16_t identification) noexcept {
    const bool may_be_cut = kIpv4Bytes + payload_bytes <= kMayBeFragmented;
    return may_be_cut ? Fragmentation{identification, 0} : Fragmentation{0, net::kDontFragment};
}

void write_ipv4(std::uint8_t* at, const Header& header, std::size_t payload_bytes,
                const Fragmentation& fragmentation) noexcept {
    at[0] = 0x45;
    at[1] = header.traffic_class;
    store_host16(at + net::kTotalLengthOffset, kIpv4Bytes + payload_bytes);
    store16(at + net::kIdentificationOffset, fragmentation.identification);
    store_host16(at + net::kFragmentOffset, fragmentation.word);
    at[net::kTtlOffset] = header.hops;
    at[net::kProtocolOffset] = static_cast<std::uint8_t>(header.protocol);
    store16(at + net::kIpChecksumOffset, 0);
    const net::Ipv4Address addresses[]{header.source.v4(), header.destination.v4()};
    std::memcpy(at + net::kAddressesOffset, addresses, sizeof addresses);
    store16(at + net::kIpChecksumOffset, net::checksum(at, kIpv4Bytes));
}

/// The sum of the pseudo-header of a packet of either family.
std::uint64_t pseudo_header(const std::uint8_t* ip, net::Protocol protocol, std::uint16_t l4_bytes) noexcept {
    if (ip[0] >> 4U == 6) return net::pseudo_header_sum(ip, protocol, l4_bytes);
    return net::pseudo_header_sum(net::load32(ip + net::kAddressesOffset),
                                  net::load32(ip + net::kDestinationOffset),
                                  static_cast<std::uint8_t>(protocol), l4_bytes);
}

/// A TCP segment or UDP datagram behind an IP header.
struct Segment {
    std::uint8_t* l4;
    std::size_t bytes;
    net::Protocol protocol;

    bool is_udp() const noexcept { return protocol == net::Protocol::udp; }
    std::uint8_t* field() const noexcept { return l4 + (is_udp() ? kUdpChecksum : kTcpChecksum); }
    /// What the checksum covers.
    std::uint16_t covered() const noexcept {
        return is_udp() ? load_host16(l4 + kUdpLength) : static_cast<std::uint16_t>(bytes);
    }
};

bool has_to_be_computed(const std::uint8_t* ip, const Segment& segment, L4Checksum checksum) noexcept {
    if (segment.is_udp() && load16(segment.field()) == 0) return true;
    if (checksum != L4Checksum::unsure) return checksum == L4Checksum::partial;
    return load16(segment.field()) ==
           net::fold_checksum(pseudo_header(ip, segment.protocol, segment.covered()));
}

void write_ports(const Segment& segment, const WideTranslation& translation) noexcept {
    store16(segment.l4, translation.source_port.wire());
    store16(segment.l4 + 2, translation.destination_port.wire());
}

void update_checksum(const Segment& segment, const WideTranslation& translation) noexcept {
    const std::uint16_t after = translation.l4.apply(load16(segment.field()));
    store16(segment.field(), segment.is_udp() && after == 0 ? 0xffff : after);
}

/// Behind the new header at `ip`.
void compute_checksum(const std::uint8_t* ip, const Segment& segment) noexcept {
    store16(segment.field(), 0);
    const std::uint16_t sum =
        net::checksum(segment.l4, segment.covered(), pseudo_header(ip, segment.protocol, segment.covered()));
    store16(segment.field(), segment.is_udp() && sum == 0 ? 0xffff : sum);
}

/// Ports and checksum of a packet inside an error, as far as they are there.
void restore_quoted(const Segment& quoted, const WideKey& key, const WideTranslation& answers) noexcept {
    const WideTranslation back = WideTranslation::between(
        key.turned(), {answers.destination, answers.destination_port}, {answers.source, answers.source_port});
    const bool none = quoted.is_udp() && load16(quoted.field()) == 0;
    if (quoted.field() + 2 <= quoted.l4 + quoted.bytes && !none) update_checksum(quoted, back);
    write_ports(quoted, back);
}

/// Type, code and what stands in the header's second half.
struct IcmpHeader {
    std::uint8_t type;
    std::uint8_t code;
    std::uint32_t rest = 0;
};

void write_icmp(std::uint8_t* at, const IcmpHeader& header) noexcept {
    at[0] = header.type;
    at[1] = header.code;
    store16(at + kIcmpChecksum, 0);
    const std::uint32_t rest = net::be32::from_host(header.rest).wire();
    std::memcpy(at + kIcmpRest, &rest, sizeof rest);
}

std::optional<IcmpHeader> to_icmpv6(const std::uint8_t* icmp) noexcept {
    const std::uint8_t code = icmp[1];
    switch (icmp[0]) {
        case kIcmpTimeExceeded:
            return IcmpHeader{kIcmpv6TimeExceeded, code};
        case kIcmpUnreachable:
            switch (code) {
                case 2:  // protocol: IPv6 says it as a parameter problem, of the next header
                    return IcmpHeader{kIcmpv6ParameterProblem, 1, net::kNextHeaderOffset};
                case 3:
                    return IcmpHeader{kIcmpv6Unreachable, 4};
                case kIcmpFragmentationNeeded:
                    return IcmpHeader{
                        kIcmpv6PacketTooBig, 0,
                        std::max<std::uint32_t>(load_host16(icmp + 6) + kFamilyGrowth, net::kIpv6LeastMtu)};
                case 9:
                case 10:
                case 13:
                case 15:
                    return IcmpHeader{kIcmpv6Unreachable, 1};
                default:
                    return code <= 12 ? std::optional{IcmpHeader{kIcmpv6Unreachable, 0}} : std::nullopt;
            }
        default:
            return std::nullopt;
    }
}

std::optional<IcmpHeader> to_icmpv4(const std::uint8_t* icmp) noexcept {
    const std::uint8_t code = icmp[1];
    switch (icmp[0]) {
        case kIcmpv6TimeExceeded:
            return IcmpHeader{kIcmpTimeExceeded, code};
        case kIcmpv6PacketTooBig: {
            const std::uint32_t mtu = net::be32::from_wire(net::load32(icmp + kIcmpRest)).host();
            const std::uint32_t least = net::kIpv6LeastMtu;
            return IcmpHeader{kIcmpUnreachable, kIcmpFragmentationNeeded,
                              std::clamp<std::uint32_t>(mtu, least, 0xffff) - kFamilyGrowth};
        }
        case kIcmpv6Unreachable:
            if (code == 1) return IcmpHeader{kIcmpUnreachable, 10};
            if (code == 4) return IcmpHeader{kIcmpUnreachable, 3};
            return code <= 3 ? std::optional{IcmpHeader{kIcmpUnreachable, 1}} : std::nullopt;
        case kIcmpv6ParameterProblem:
            return code == 1 ? std::optional{IcmpHeader{kIcmpUnreachable, 2}} : std::nullopt;
        default:
            return std::nullopt;
    }
}

}  // namespace

Translated to_ipv6(std::uint8_t* ip, std::uint16_t ip_bytes, const WideTranslation& translation,
                   L4Checksum checksum) noexcept {
    const Segment segment{ip + kIpv4Bytes, ip_bytes - kIpv4Bytes,
                          static_cast<net::Protocol>(ip[net::kProtocolOffset])};
    const bool anew = has_to_be_computed(ip, segment, checksum);
    const Header header{ip[1], static_cast<std::uint8_t>(ip[net::kTtlOffset] - 1), segment.protocol,
                        translation.source, translation.destination};
    std::uint8_t* at = ip - kFamilyGrowth;
    write_ipv6(at, header, segment.bytes);
    write_ports(segment, translation);
    anew ? compute_checksum(at, segment) : update_checksum(segment, translation);
    return {at, static_cast<std::uint16_t>(ip_bytes + kFamilyGrowth)};
}

Translated to_ipv6_fragment(std::uint8_t* ip, std::uint16_t ip_bytes,
                            const WideTranslation& translation) noexcept {
    const Segment segment{ip + kIpv4Bytes, ip_bytes - kIpv4Bytes,
                          static_cast<net::Protocol>(ip[net::kProtocolOffset])};
    const std::uint16_t word = load_host16(ip + net::kFragmentOffset);
    const std::uint16_t offset = word & net::kFragmentOffsetMask;
    const bool more = (word & net::kMoreFragments) != 0;
    const std::uint16_t identification = load16(ip + net::kIdentificationOffset);
    const Header header{ip[1], static_cast<std::uint8_t>(ip[net::kTtlOffset] - 1),
                        static_cast<net::Protocol>(net::Ipv6Extension::fragment), translation.source,
                        translation.destination};
    std::uint8_t* at = ip - kFragmentGrowth;
    write_ipv6(at, header, net::kFragmentHeaderBytes + segment.bytes);
    std::uint8_t* fragment = at + kIpv6Bytes;
    fragment[0] = static_cast<std::uint8_t>(segment.protocol);
    fragment[1] = 0;
    store_host16(fragment + net::kFragmentWordOffset, offset * 8U | (more ? net::kIpv6MoreFragments : 0U));
    store16(fragment + net::kFragmentIdOffset, 0);
    store16(fragment + net::kFragmentIdOffset + 2, identification);
    if (offset == 0) {
        write_ports(segment, translation);
        update_checksum(segment, translation);
    }
    return {at, static_cast<std::uint16_t>(ip_bytes + kFragmentGrowth)};
}

void finish_checksum(std::uint8_t* ip, std::uint16_t ip_bytes, L4Checksum checksum) noexcept {
    const Segment segment{ip + kIpv4Bytes, ip_bytes - kIpv4Bytes,
                          static_cast<net::Protocol>(ip[net::kProtocolOffset])};
    if (has_to_be_computed(ip, segment, checksum)) compute_checksum(ip, segment);
}

Translated to_ipv4(std::uint8_t* ip, const Ipv6Packet& packet, const WideTranslation& translation,
                   L4Checksum checksum, std::uint16_t identification) noexcept {
    const Segment segment{ip + packet.l4_offset, std::size_t{packet.ip_bytes} - packet.l4_offset,
                          packet.protocol};
    const bool anew = has_to_be_computed(ip, segment, checksum);
    const Header header{static_cast<std::uint8_t>(ip[0] << 4U | ip[1] >> 4U),
                        static_cast<std::uint8_t>(ip[net::kHopLimitOffset] - 1), packet.protocol,
                        translation.source, translation.destination};
    std::uint8_t* at = segment.l4 - kIpv4Bytes;
    write_ipv4(at, header, segment.bytes, of_whole_packet(segment.bytes, identification));
    write_ports(segment, translation);
    anew ? compute_checksum(at, segment) : update_checksum(segment, translation);
    return {at, static_cast<std::uint16_t>(kIpv4Bytes + segment.bytes)};
}

Translated to_ipv4_fragment(std::uint8_t* ip, const Ipv6Packet& packet,
                            const WideTranslation& translation) noexcept {
    const Segment segment{ip + packet.l4_offset, std::size_t{packet.ip_bytes} - packet.l4_offset,
                          packet.protocol};
    const std::uint8_t* fragment = ip + packet.fragment_offset;
    const std::uint16_t word = load_host16(fragment + net::kFragmentWordOffset);
    const bool more = (word & net::kIpv6MoreFragments) != 0;
    const Fragmentation fragmentation{
        load16(fragment + net::kFragmentIdOffset + 2),
        static_cast<std::uint16_t>(word / 8U | (more ? net::kMoreFragments : 0U))};
    const Header header{static_cast<std::uint8_t>(ip[0] << 4U | ip[1] >> 4U),
                        static_cast<std::uint8_t>(ip[net::kHopLimitOffset] - 1), packet.protocol,
                        translation.source, translation.destination};
    std::uint8_t* at = segment.l4 - kIpv4Bytes;
    write_ipv4(at, header, segment.bytes, fragmentation);
    if (!packet.is_later_fragment) {
        write_ports(segment, translation);
        update_checksum(segment, translation);
    }
    return {at, static_cast<std::uint16_t>(kIpv4Bytes + segment.bytes)};
}

std::optional<Translated> to_icmpv6_error(std::uint8_t* ip, std::uint16_t ip_bytes, const WideKey& key,
                                          const WideTranslation& answers) noexcept {
    constexpr std::size_t kOldHeaders = 2 * kIpv4Bytes + kIcmpBytes;
    constexpr std::size_t kNewHeaders = 2 * kIpv6Bytes + kIcmpBytes;
    const auto icmp = to_icmpv6(ip + kIpv4Bytes);
    if (!icmp) return std::nullopt;
    std::array<std::uint8_t, kOldHeaders> old;
    std::memcpy(old.data(), ip, old.size());
    const std::uint8_t* inner = old.data() + kIpv4Bytes + kIcmpBytes;
    const std::size_t quoted =
        std::min<std::size_t>(ip_bytes - kOldHeaders, net::kIpv6LeastMtu - kNewHeaders);
    std::uint8_t* l4 = ip + kOldHeaders;
    restore_quoted({l4, quoted, key.protocol}, key, answers);
    const std::size_t inner_payload = load_host16(inner + net::kTotalLengthOffset) - kIpv4Bytes;
    write_ipv6(l4 - kIpv6Bytes,
               {inner[1], inner[net::kTtlOffset], key.protocol, answers.destination, answers.source},
               inner_payload);
    write_icmp(l4 - kIpv6Bytes - kIcmpBytes, *icmp);
    std::uint8_t* at = l4 - kNewHeaders;
    const auto bytes = static_cast<std::uint16_t>(kNewHeaders + quoted);
    write_ipv6(at,
               {old[1], static_cast<std::uint8_t>(old[net::kTtlOffset] - 1), net::Protocol::icmpv6,
                answers.source, answers.destination},
               bytes - kIpv6Bytes);
    set_icmpv6_checksum(at, kIpv6Bytes, bytes);
    return Translated{at, bytes};
}

std::optional<Translated> to_icmpv4_error(std::uint8_t* ip, const Ipv6Packet& packet,
                                          const Icmpv6Subject& subject,
                                          const WideTranslation& answers) noexcept {
    constexpr std::size_t kNewHeaders = 2 * kIpv4Bytes + kIcmpBytes;
    const auto icmp = to_icmpv4(ip + packet.l4_offset);
    if (!icmp) return std::nullopt;
    const std::uint8_t* inner = ip + packet.l4_offset + kIcmpBytes;
    const auto traffic_class = [](const std::uint8_t* header) {
        return static_cast<std::uint8_t>(header[0] << 4U | header[1] >> 4U);
    };
    const Header outer_header{traffic_class(ip), static_cast<std::uint8_t>(ip[net::kHopLimitOffset] - 1),
                              net::Protocol::icmp, answers.source, answers.destination};
    const Header inner_header{traffic_class(inner), inner[net::kHopLimitOffset], subject.key.protocol,
                              answers.destination, answers.source};
    // Without its extension headers; of a packet that lies about its length there is at least what is here.
    const std::size_t said = kIpv6Bytes + load_host16(inner + net::kPayloadLengthOffset);
    std::uint8_t* l4 = ip + packet.l4_offset + kIcmpBytes + subject.l4_offset;
    const std::size_t there = packet.ip_bytes - static_cast<std::size_t>(l4 - ip);
    const std::size_t inner_payload = std::clamp<std::size_t>(
        said - std::min<std::size_t>(said, subject.l4_offset), there, 0xffff - kIpv4Bytes);
    const std::size_t quoted = std::min<std::size_t>(there, kErrorBytes - kNewHeaders);
    restore_quoted({l4, quoted, subject.key.protocol}, subject.key, answers);
    write_ipv4(l4 - kIpv4Bytes, inner_header, inner_payload, of_whole_packet(inner_payload, 0));
    std::uint8_t* at_icmp = l4 - kIpv4Bytes - kIcmpBytes;
    write_icmp(at_icmp, *icmp);
    store16(at_icmp + kIcmpChecksum, net::checksum(at_icmp, kIcmpBytes + kIpv4Bytes + quoted));
    std::uint8_t* at = l4 - kNewHeaders;
    const auto bytes = static_cast<std::uint16_t>(kNewHeaders + quoted);
    write_ipv4(at, outer_header, bytes - kIpv4Bytes, of_whole_packet(bytes - kIpv4Bytes, 0));
    return Translated{at, bytes};
}

}  // namespace fwd::dataplane
