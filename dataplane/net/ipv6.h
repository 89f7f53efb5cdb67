// SPDX-License-Identifier: BSD-3-Clause
// Where the fields of an IPv6 header lie (RFC 8200); bytes from its start.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "dataplane/net/address.h"
#include "dataplane/net/checksum.h"
#include "dataplane/net/ipv4.h"

namespace fwd::net {

inline constexpr std::size_t kIpv6Bytes = 40;
inline constexpr std::size_t kIpv6LeastMtu = 1280;

inline constexpr std::size_t kPayloadLengthOffset = 4, kNextHeaderOffset = 6, kHopLimitOffset = 7,
                             kIpv6SourceOffset = 8, kIpv6DestinationOffset = 24;

/// What may stand between the IPv6 header and TCP or UDP, as far as fwd knows it (IANA's numbers).
enum class Ipv6Extension : std::uint8_t {
    hop_by_hop = 0,
    routing = 43,
    fragment = 44,
    destination_options = 60,
};

/// The fragment header (RFC 8200, section 4.5): in its second word, in host order, offset and flag as in
/// IPv4 but for their places.
inline constexpr std::size_t kFragmentHeaderBytes = 8, kFragmentWordOffset = 2, kFragmentIdOffset = 4;
inline constexpr std::uint16_t kIpv6MoreFragments = 0x0001, kIpv6FragmentOffsetMask = 0xfff8;

inline Ipv6Address load_ipv6(const std::uint8_t* at) noexcept {
    Ipv6Address address;
    std::memcpy(address.bytes.data(), at, sizeof address);
    return address;
}
inline void store_ipv6(std::uint8_t* at, const Ipv6Address& address) noexcept {
    std::memcpy(at, address.bytes.data(), sizeof address);
}

/// The sum of the pseudo-header of TCP, UDP and ICMPv6 over IPv6 (RFC 8200, section 8.1): of the addresses of
/// the header at `ip`, the number of what follows, and its length in host order.
inline std::uint64_t pseudo_header_sum(const std::uint8_t* ip, Protocol protocol,
                                       std::uint16_t l4_bytes) noexcept {
    return checksum_sum(ip + kIpv6SourceOffset, 2 * sizeof(Ipv6Address)) +
           be16::from_host(static_cast<std::uint16_t>(protocol)).wire() + be16::from_host(l4_bytes).wire();
}

}  // namespace fwd::net
