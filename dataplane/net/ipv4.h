// SPDX-License-Identifier: BSD-3-Clause
// Where the fields of an IPv4 header without options lie, and of what follows it; bytes from its start.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "dataplane/net/byte_order.h"

namespace fwd::net {

inline constexpr std::size_t kIpv4Bytes = 20;

inline constexpr std::size_t kTotalLengthOffset = 2, kFragmentOffset = 6, kTtlOffset = 8, kProtocolOffset = 9,
                             kIpChecksumOffset = 10, kAddressesOffset = 12, kDestinationOffset = 16;
inline constexpr std::size_t kTcpFlagsOffset = kIpv4Bytes + 13, kTcpChecksumOffset = kIpv4Bytes + 16,
                             kUdpLengthOffset = kIpv4Bytes + 4, kUdpChecksumOffset = kIpv4Bytes + 6;

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
}

}  // namespace fwd::net
