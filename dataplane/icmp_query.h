// SPDX-License-Identifier: BSD-3-Clause
// ICMP echo and timestamps are translated by their identifier, which is to them what a port is to UDP (RFC
// 5508, section 3). In keys and translations it stands where the client's port would:
//
//     request   source port = identifier   destination port = 0
//     reply     source port = 0            destination port = identifier
#pragma once

#include <cstdint>

#include "dataplane/icmp_error.h"
#include "dataplane/portless.h"

namespace fwd::dataplane {

inline constexpr std::size_t kIcmpChecksumOffset = net::kIpv4Bytes + 2,
                             kQueryIdentifierOffset = net::kIpv4Bytes + 4;

/// Other questions are no longer asked (RFC 6918).
constexpr bool is_icmp_request(std::uint8_t type) noexcept {
    return type == kIcmpEchoRequest || type == kIcmpTimestamp;
}
constexpr bool is_icmp_query(std::uint8_t type) noexcept {
    return is_icmp_request(type) || type == kIcmpEchoReply || type == kIcmpTimestampReply;
}

/// Of a request or reply without IP options that has passed parse(); `ip` is its IP header.
inline FlowKey query_key(LinkId ingress, const std::uint8_t* ip) noexcept {
    FlowKey key = portless_key(ingress, ip);
    const auto identifier = net::be16::from_wire(net::load16(ip + kQueryIdentifierOffset));
    (is_icmp_request(ip[net::kIpv4Bytes]) ? key.source_port : key.destination_port) = identifier;
    return key;
}

/// What an identifier becomes by the translation of its flow.
inline net::be16 new_query_identifier(std::uint8_t type, const Translation& translation) noexcept {
    return is_icmp_request(type) ? translation.source_port : translation.destination_port;
}

/// Rewrites addresses, identifier, TTL and both checksums of a request or reply without IP options, TTL
/// above 1. No pseudo-header is in ICMP's checksum.
inline void rewrite_icmp_query(std::uint8_t* ip, const Translation& translation) noexcept {
    const net::be16 identifier = new_query_identifier(ip[net::kIpv4Bytes], translation);
    net::ChecksumDelta delta;
    delta.replace16(net::load16(ip + kQueryIdentifierOffset), identifier.wire());
    std::uint8_t* field = ip + kIcmpChecksumOffset;
    std::uint16_t checksum = delta.apply(net::load16(field));
    net::store16(ip + kQueryIdentifierOffset, identifier.wire());
    if (checksum == 0) [[unlikely]] {
        // Or 0xffff, if the message is all zeros now, which a reply may be. Of a first fragment, what follows
        // can't be seen: 0xffff fits both.
        net::store16(field, 0);
        const std::size_t icmp_bytes = net::load_host16(ip + net::kTotalLengthOffset) - net::kIpv4Bytes;
        const bool zeros = net::checksum(ip + net::kIpv4Bytes, icmp_bytes) == 0xffff;
        checksum = zeros ? 0xffff : 0;
    }
    net::store16(field, checksum);
    rewrite_addresses(ip, translation);
}

}  // namespace fwd::dataplane
