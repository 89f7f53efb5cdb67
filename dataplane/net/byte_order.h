// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <bit>
#include <compare>
#include <concepts>
#include <cstdint>

namespace fwd::net {

/// An integer as it stands on the wire. It never converts by itself: a forgotten swap does not compile.
template <std::unsigned_integral T>
class BigEndian {
 public:
    constexpr BigEndian() = default;
    static constexpr BigEndian from_host(T value) noexcept { return BigEndian{swap_if_little_endian(value)}; }
    static constexpr BigEndian from_wire(T value) noexcept { return BigEndian{value}; }

    constexpr T host() const noexcept { return swap_if_little_endian(wire_); }
    constexpr T wire() const noexcept { return wire_; }

    friend constexpr bool operator==(BigEndian, BigEndian) noexcept = default;
    /// Numeric order, as people sort addresses and ports.
    friend constexpr std::strong_ordering operator<=>(BigEndian a, BigEndian b) noexcept {
        return a.host() <=> b.host();
    }

 private:
    explicit constexpr BigEndian(T wire) noexcept : wire_{wire} {}

    static constexpr T swap_if_little_endian(T value) noexcept {
        if constexpr (std::endian::native == std::endian::big) {
            return value;
        } else if constexpr (sizeof(T) == 2) {
            return __builtin_bswap16(value);
        } else {
            static_assert(sizeof(T) == 4);
            return __builtin_bswap32(value);
        }
    }

    T wire_{};
};

using be16 = BigEndian<std::uint16_t>;
using be32 = BigEndian<std::uint32_t>;
static_assert(sizeof(be16) == 2 && be16::from_host(80).host() == 80);

}  // namespace fwd::net
