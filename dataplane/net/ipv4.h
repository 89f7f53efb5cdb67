// SPDX-License-Identifier: BSD-3-Clause
// Where the fields of an IPv4 header lie, and of what follows it when it has no options; bytes from its
// start.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "dataplane/net/byte_order.h"

namespace fwd::net {

inline constexpr std::size_t kIpv4Bytes = 20;

inline constexpr std::size_t kTotalLengthOffset = 2, kIdentificationOffset = 4, kFragmentOffset = 6,
                             kTtlOffset = 8, kProtocolOffset = 9, kIpChecksumOffset = 10,
                             kAddressesOffset = 12, kDestinationOffset = 16;
// Of the word at kFragmentOffset, in host order; the offset counts 8 bytes each.
inline constexpr std::uint16_t kDontFragment = 0x4000, kMoreFragments = 0x2000, kFragmentOffsetMask = 0x1fff;
inline constexpr std::size_t kTcpAcknowledgementOffset = kIpv4Bytes + 8, kTcpFlagsOffset = kIpv4Bytes + 13,
                             kTcpChecksumOffset = kIpv4Bytes + 16, kUdpLengthOffset = kIpv4Bytes + 4,
                             kUdpChecksumOffset = kIpv4Bytes + 6;

/// Values as they stand in memory, from and to any address.
inline std::uint16_t load16(const std::uint8_t* at) noexcept {
    std::uint16_t value;
    std::memcpy(&value, at, sizeof value);
    return value;
}
inline std::uint32_t load32(const std::uint8_t* at) noexcept {
    std::uint32_t value;
    std::memcpy(&value, at, sizeof value);
    return value;
}
inline void store16(std::uint8_t* at, std::uint16_t value) noexcept {
    std::memcpy(at, &value, sizeof value);
}
/// A 16-bit field in host order.
inline std::uint16_t load_host16(const std::uint8_t* at) noexcept {
    return be16::from_wire(load16(at)).host();
}  /// The same of 32 bits.
inline std::uint32_t load_host32(const std::uint8_t* at) noexcept {
    return be32::from_wire(load32(at)).host();
}

/// Of an IPv4 header, with its options.
inline std::size_t header_bytes(const std::uint8_t* ip) noexcept {
    return (ip[0] & 0xfU) * std::size_t{4};
}
inline bool is_fragment(const std::uint8_t* ip) noexcept {
    return (load_host16(ip + kFragmentOffset) & (kMoreFragments | kFragmentOffsetMask)) != 0;
}
/// A fragment that has no L4 header.
inline bool is_later_fragment(const std::uint8_t* ip) noexcept {
    return (load_host16(ip + kFragmentOffset) & kFragmentOffsetMask) != 0;
}

}  // namespace fwd::net
