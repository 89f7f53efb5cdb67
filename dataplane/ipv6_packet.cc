// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/ipv6_packet.h"

#include <utility>

#include "dataplane/icmpv6_error.h"
#include "dataplane/packet.h"

namespace fwd::dataplane {
namespace {

using net::Ipv6Extension;

/// More than these nobody sends, and each one costs time (RFC 8504, section 5.3).
constexpr int kMostExtensions = 8;
constexpr std::size_t kExtensionUnit = 8;
constexpr std::size_t kIcmpBytes = 8;

/// Of a routing header: packets that have no detour left are like any other.
bool is_detour(const std::uint8_t* routing) noexcept {
    const std::uint8_t type = routing[2];
    const std::uint8_t segments_left = routing[3];
    return type == 0 || segments_left != 0;
}

Verdict check_l4(net::Protocol protocol, const std::uint8_t* l4, std::size_t l4_bytes) noexcept {
    if (protocol == net::Protocol::icmpv6)
        return l4_bytes < kIcmpBytes ? Verdict::drop_truncated : Verdict::forward;
    if (!is_passed_by_ipv6_address(protocol)) return Verdict::drop_unsupported_protocol;
    const Verdict verdict = detail::check_l4(protocol, l4, l4_bytes);
    // Over IPv6 nothing else protects the addresses (RFC 8200, section 8.1; requirement P2).
    if (verdict == Verdict::forward && protocol == net::Protocol::udp && net::load16(l4 + 6) == 0)
        return Verdict::drop_bad_l4_header;
    return verdict;
}

}  // namespace

UpperLayer find_upper_layer(const std::uint8_t* ip, std::size_t bytes) noexcept {
    const auto dropped = [](Verdict verdict) { return UpperLayer{.verdict = verdict}; };
    if (bytes < net::kIpv6Bytes) return dropped(Verdict::drop_truncated);
    if (ip[0] >> 4U != 6) return dropped(Verdict::drop_bad_ip_header);
    // To the flow table these would be IPv4.
    if (net::load_ipv6(ip + net::kIpv6SourceOffset).is_v4_mapped() ||
        net::load_ipv6(ip + net::kIpv6DestinationOffset).is_v4_mapped()) {
        return dropped(Verdict::drop_martian);
    }
    UpperLayer upper{.verdict = Verdict::forward};
    std::size_t at = net::kIpv6Bytes;
    std::uint8_t next = ip[net::kNextHeaderOffset];
    for (int extensions = 0;; ++extensions) {
        const auto extension = static_cast<Ipv6Extension>(next);
        if (extensions > kMostExtensions) return dropped(Verdict::drop_ipv6_header);
        if (extension == Ipv6Extension::fragment) {
            if (std::exchange(upper.has_fragment_header, true)) return dropped(Verdict::drop_ipv6_header);
            if (bytes - at < net::kFragmentHeaderBytes) return dropped(Verdict::drop_truncated);
            const std::uint16_t word = net::load_host16(ip + at + net::kFragmentWordOffset);
            if ((word & (net::kIpv6FragmentOffsetMask | net::kIpv6MoreFragments)) != 0)
                upper.fragment_offset = static_cast<std::uint16_t>(at);
            upper.is_later_fragment = (word & net::kIpv6FragmentOffsetMask) != 0;
            next = ip[at];
            at += net::kFragmentHeaderBytes;
            if (upper.is_later_fragment) break;
            continue;
        }
        const bool first_only = extension == Ipv6Extension::hop_by_hop;
        if (extension != Ipv6Extension::routing && extension != Ipv6Extension::destination_options &&
            !first_only) {
            break;
        }
        if (first_only && at != net::kIpv6Bytes) return dropped(Verdict::drop_ipv6_header);
        if (bytes - at < kExtensionUnit) return dropped(Verdict::drop_truncated);
        const std::size_t header_bytes = (ip[at + 1] + std::size_t{1}) * kExtensionUnit;
        if (bytes - at < header_bytes) return dropped(Verdict::drop_truncated);
        if (extension == Ipv6Extension::routing && is_detour(ip + at))
            return dropped(Verdict::drop_source_route);
        next = ip[at];
        at += header_bytes;
    }
    upper.protocol = next;
    upper.l4_offset = static_cast<std::uint16_t>(at);
    return upper;
}

Ipv6Packet parse_ipv6(const std::uint8_t* ip, std::size_t bytes_there) noexcept {
    const auto dropped = [](Verdict verdict) { return Ipv6Packet{.verdict = verdict}; };
    if (bytes_there < net::kIpv6Bytes) return dropped(Verdict::drop_truncated);
    const std::size_t total_bytes = net::kIpv6Bytes + net::load_host16(ip + net::kPayloadLengthOffset);
    if (ip[0] >> 4U == 6 && (total_bytes > bytes_there || total_bytes > 0xffff))
        return dropped(Verdict::drop_truncated);
    const UpperLayer upper = find_upper_layer(ip, total_bytes);
    if (upper.verdict != Verdict::forward) return dropped(upper.verdict);
    const auto protocol = static_cast<net::Protocol>(upper.protocol);
    if (upper.fragment_offset == 0) {
        const Verdict verdict = check_l4(protocol, ip + upper.l4_offset, total_bytes - upper.l4_offset);
        if (verdict != Verdict::forward) return dropped(verdict);
    }
    return {.verdict = Verdict::forward,
            .protocol = protocol,
            .l4_offset = upper.l4_offset,
            .ip_bytes = static_cast<std::uint16_t>(total_bytes),
            .fragment_offset = upper.fragment_offset,
            .is_later_fragment = upper.is_later_fragment,
            .has_fragment_header = upper.has_fragment_header};
}

WideKey wide_key_of(LinkId ingress, const std::uint8_t* ip, const Ipv6Packet& packet) noexcept {
    const std::uint8_t* l4 = ip + packet.l4_offset;
    WideKey key;
    key.ingress = ingress;
    key.protocol = packet.protocol;
    key.source = net::load_ipv6(ip + net::kIpv6SourceOffset);
    key.destination = net::load_ipv6(ip + net::kIpv6DestinationOffset);
    if (packet.protocol == net::Protocol::tcp || packet.protocol == net::Protocol::udp) [[likely]] {
        key.source_port = net::be16::from_wire(net::load16(l4));
        key.destination_port = net::be16::from_wire(net::load16(l4 + 2));
    } else if (packet.protocol == net::Protocol::icmpv6) {
        (*l4 == kIcmpv6EchoRequest ? key.source_port : key.destination_port) =
            net::be16::from_wire(net::load16(l4 + kIcmpv6EchoIdentifier));
    }
    return key;
}

}  // namespace fwd::dataplane
