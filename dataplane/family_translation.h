// SPDX-License-Identifier: BSD-3-Clause
// Between IPv4 and IPv6 (RFC 7915): sessions that arrive by one and leave by the other. A packet's new header
// is written in front of what it carries, which stays where it is.
#pragma once

#include <cstdint>
#include <optional>

#include "dataplane/icmpv6_error.h"
#include "dataplane/wide_translation.h"

namespace fwd::dataplane {

/// By how much an IPv6 header is longer.
inline constexpr std::uint16_t kFamilyGrowth = net::kIpv6Bytes - net::kIpv4Bytes;

/// A packet that lies in the same buffer as the one it was made from.
struct Translated {
    std::uint8_t* ip = nullptr;
    std::uint16_t ip_bytes = 0;
};

/// How far the TCP or UDP checksum of a packet can be believed (requirement P8).
enum class L4Checksum : std::uint8_t {
    complete,
    unsure,   ///< it may be the sum of the pseudo-header alone
    partial,  ///< it is
};

/// Makes an IPv4 packet without options, TCP or UDP, one of IPv6, which begins kFamilyGrowth bytes earlier. A
/// UDP checksum that is missing is computed.
Translated to_ipv6(std::uint8_t* ip, std::uint16_t ip_bytes, const WideTranslation& translation,
                   L4Checksum checksum) noexcept;

/// The same of a fragment, which begins kFragmentGrowth bytes earlier; the first one's UDP checksum is not
/// missing.
inline constexpr std::uint16_t kFragmentGrowth = kFamilyGrowth + net::kFragmentHeaderBytes;
Translated to_ipv6_fragment(std::uint8_t* ip, std::uint16_t ip_bytes,
                            const WideTranslation& translation) noexcept;

/// Computes the TCP or UDP checksum of a whole IPv4 packet without options in full, if it is missing or need
/// be: before it is cut.
void finish_checksum(std::uint8_t* ip, std::uint16_t ip_bytes, L4Checksum checksum) noexcept;

/// Makes an IPv6 packet, TCP or UDP, one of IPv4, without its extension headers.
Translated to_ipv4(std::uint8_t* ip, const Ipv6Packet& packet, const WideTranslation& translation,
                   L4Checksum checksum, std::uint16_t identification) noexcept;

/// The same of a fragment that carries `packet.protocol` right behind its fragment header.
Translated to_ipv4_fragment(std::uint8_t* ip, const Ipv6Packet& packet,
                            const WideTranslation& translation) noexcept;

/// Turns an ICMP error about a packet that fwd has made from IPv6 into an ICMPv6 error about that one, which
/// begins twice kFamilyGrowth bytes earlier; nullopt when IPv6 has no such error. `key` and `answers` are
/// those of the flow that answers the packet inside.
std::optional<Translated> to_icmpv6_error(std::uint8_t* ip, std::uint16_t ip_bytes, const WideKey& key,
                                          const WideTranslation& answers) noexcept;

/// The inverse.
std::optional<Translated> to_icmpv4_error(std::uint8_t* ip, const Ipv6Packet& packet,
                                          const Icmpv6Subject& subject,
                                          const WideTranslation& answers) noexcept;

}  // namespace fwd::dataplane
