// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <array>
#include <cstdint>
#include <type_traits>

#include "dataplane/net/byte_order.h"

namespace fwd::net {

/// IANA protocol numbers that fwd knows. Others are passed by rules for whole addresses alone.
enum class Protocol : std::uint8_t {
    all = 0,  ///< of rules: every protocol. No packet's: 0 names options of IPv6.
    icmp = 1,
    tcp = 6,
    udp = 17,
    gre = 47,
    esp = 50,
};

struct Ipv4Address {
    be32 value;

    static constexpr Ipv4Address from_host(std::uint32_t address) noexcept {
        return {be32::from_host(address)};
    }
    constexpr bool is_multicast() const noexcept { return (value.host() >> 28) == 0xe; }
    friend constexpr auto operator<=>(const Ipv4Address&, const Ipv4Address&) noexcept = default;
};

/// An address and a TCP or UDP port.
struct Endpoint {
    Ipv4Address address;
    be16 port;

    friend constexpr auto operator<=>(const Endpoint&, const Endpoint&) noexcept = default;
};

/// Ports of one address, both ends included; or the whole address, with both ends 0.
struct EndpointRange {
    Ipv4Address address;
    be16 first;
    be16 last;

    constexpr EndpointRange() noexcept = default;
    constexpr EndpointRange(Ipv4Address a, be16 f, be16 l) noexcept : address{a}, first{f}, last{l} {}
    constexpr EndpointRange(Endpoint single) noexcept
        : address{single.address}, first{single.port}, last{single.port} {}

    constexpr std::uint32_t size() const noexcept { return std::uint32_t{last.host()} - first.host() + 1; }
    constexpr bool is_single() const noexcept { return first == last; }
    constexpr bool is_whole_address() const noexcept { return last == be16{}; }
    friend constexpr bool operator==(const EndpointRange&, const EndpointRange&) noexcept = default;
};

/// A network; the bits of `address` behind `length` are zero.
struct Ipv4Prefix {
    Ipv4Address address;
    std::uint8_t length = 0;  ///< 0 to 32

    /// The netmask in host byte order.
    constexpr std::uint32_t mask() const noexcept {
        return length == 0 ? 0 : ~std::uint32_t{0} << (32U - length);
    }
    constexpr bool contains(Ipv4Address a) const noexcept {
        return (a.value.host() & mask()) == address.value.host();
    }
    friend constexpr auto operator<=>(const Ipv4Prefix&, const Ipv4Prefix&) noexcept = default;
};

/// An own address together with the network that it makes reachable.
struct InterfaceAddress {
    Ipv4Address address;
    std::uint8_t length = 32;  ///< of the connected prefix, 0 to 32

    constexpr Ipv4Prefix prefix() const noexcept {
        const Ipv4Prefix any_host{{}, length};
        return {Ipv4Address::from_host(address.value.host() & any_host.mask()), length};
    }
    friend constexpr bool operator==(const InterfaceAddress&, const InterfaceAddress&) noexcept = default;
};

struct MacAddress {
    std::array<std::uint8_t, 6> bytes{};

    constexpr bool is_multicast() const noexcept { return (bytes[0] & 1U) != 0; }
    friend constexpr auto operator<=>(const MacAddress&, const MacAddress&) noexcept = default;
};
inline constexpr MacAddress kBroadcastMac{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};

static_assert(sizeof(Ipv4Address) == 4 && std::is_trivially_copyable_v<Ipv4Address>);

}  // namespace fwd::net
