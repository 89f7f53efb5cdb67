// SPDX-License-Identifier: BSD-3-Clause
// ICMP errors about a session (RFC 5508, section 4): the packet inside an error is one that fwd itself sent,
// so it is turned back into the one that fwd had received, and the error goes to whoever had sent that.
#pragma once

#include <cstdint>
#include <optional>

#include "dataplane/flow_key.h"
#include "dataplane/translation.h"
#include "dataplane/verdict.h"

namespace fwd::dataplane {

inline constexpr std::uint8_t kIcmpEchoReply = 0, kIcmpUnreachable = 3, kIcmpEchoRequest = 8,
                              kIcmpTimeExceeded = 11, kIcmpParameterProblem = 12, kIcmpTimestamp = 13,
                              kIcmpTimestampReply = 14;
inline constexpr std::uint8_t kIcmpFragmentationNeeded = 4;  ///< code of kIcmpUnreachable

/// True when the checksum of an ICMP message fits; `ip` has passed parse().
bool icmp_checksum_good(const std::uint8_t* ip, std::uint16_t ip_bytes) noexcept;

/// True for the types that carry a packet of a session: unreachable, time exceeded, parameter problem.
constexpr bool is_icmp_error(std::uint8_t type) noexcept {
    return type == kIcmpUnreachable || type == kIcmpTimeExceeded || type == kIcmpParameterProblem;
}

/// True when the packet inside an error, which parse_icmp_error() has passed, has IP options.
bool quotes_ip_options(const std::uint8_t* ip) noexcept;

/// The key of the flow that answers the packet inside an error, for errors that came in by `ingress`; nullopt
/// when the packet inside is cut short or malformed.
std::optional<FlowKey> parse_icmp_error(const std::uint8_t* ip, std::uint16_t ip_bytes,
                                        LinkId ingress) noexcept;

/// Turns an error round: `answers` is the translation of the flow that parse_icmp_error() named. Restores the
/// packet inside with its checksums, sends the error to the session's other end and lowers its TTL.
/// @param hide_source the error comes from a target's side: its source becomes the external address
/// (requirement I5); otherwise only the packet's addressee is renamed, and routers on the way keep their
/// addresses
void rewrite_icmp_error(std::uint8_t* ip, std::uint16_t ip_bytes, const FlowKey& key,
                        const Translation& answers, bool hide_source) noexcept;

}  // namespace fwd::dataplane
