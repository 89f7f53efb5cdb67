// SPDX-License-Identifier: BSD-3-Clause
// ICMPv6 errors about a session (RFC 4443), as icmp_error.h does it for IPv4.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "dataplane/ipv6_packet.h"
#include "dataplane/wide_translation.h"

namespace fwd::dataplane {

inline constexpr std::uint8_t kIcmpv6Unreachable = 1, kIcmpv6PacketTooBig = 2, kIcmpv6TimeExceeded = 3,
                              kIcmpv6ParameterProblem = 4, kIcmpv6EchoRequest = 128, kIcmpv6EchoReply = 129;

/// Of an echo request or reply, from the ICMPv6 header on.
inline constexpr std::size_t kIcmpv6EchoIdentifier = 4;

constexpr bool is_icmpv6_echo(std::uint8_t type) noexcept {
    return type == kIcmpv6EchoRequest || type == kIcmpv6EchoReply;
}

constexpr bool is_icmpv6_error(std::uint8_t type) noexcept {
    return type >= kIcmpv6Unreachable && type <= kIcmpv6ParameterProblem;
}

/// What an ICMPv6 error is about.
struct Icmpv6Subject {
    WideKey key;                  ///< of the flow that answers the packet inside
    std::uint16_t l4_offset = 0;  ///< of the packet inside, from its own beginning
};
/// nullopt when the packet inside is cut short or malformed.
std::optional<Icmpv6Subject> parse_icmpv6_error(const std::uint8_t* ip, const Ipv6Packet& packet,
                                                LinkId ingress) noexcept;

/// Turns an error round, as rewrite_icmp_error().
void rewrite_icmpv6_error(std::uint8_t* ip, const Ipv6Packet& packet, const Icmpv6Subject& subject,
                          const WideTranslation& answers, bool hide_source) noexcept;

}  // namespace fwd::dataplane
