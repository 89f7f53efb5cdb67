// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <compare>
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
    icmpv6 = 58,
};

struct Ipv4Address {
    be32 value;

    static constexpr Ipv4Address from_host(std::uint32_t address) noexcept {
        return {be32::from_host(address)};
    }
    constexpr bool is_multicast() const noexcept { return (value.host() >> 28) == 0xe; }
    friend constexpr auto operator<=>(const Ipv4Address&, const Ipv4Address&) noexcept = default;
};

__extension__ using uint128 = unsigned __int128;

struct Ipv6Address {
    std::array<std::uint8_t, 16> bytes{};

    static constexpr Ipv6Address from_number(uint128 number) noexcept {
        const std::array<std::uint64_t, 2> words{__builtin_bswap64(static_cast<std::uint64_t>(number >> 64U)),
                                                 __builtin_bswap64(static_cast<std::uint64_t>(number))};
        return std::bit_cast<Ipv6Address>(words);
    }
    constexpr uint128 number() const noexcept {
        const auto words = std::bit_cast<std::array<std::uint64_t, 2>>(bytes);
        return uint128{__builtin_bswap64(words[0])} << 64U | __builtin_bswap64(words[1]);
    }
    constexpr bool is_unspecified() const noexcept { return number() == 0; }
    constexpr bool is_loopback() const noexcept { return number() == 1; }
    constexpr bool is_multicast() const noexcept { return bytes[0] == 0xff; }
    constexpr bool is_link_local() const noexcept { return bytes[0] == 0xfe && (bytes[1] & 0xc0U) == 0x80; }
    /// ::ffff:0:0/96, which stands for IPv4 inside programs and has no place on a network (RFC
    /// 4291, 2.5.5.2).
    constexpr bool is_v4_mapped() const noexcept {
        const auto words = std::bit_cast<std::array<std::uint64_t, 2>>(bytes);
        return words[0] == 0 && static_cast<std::uint32_t>(words[1]) == kMappedWord;
    }
    static constexpr Ipv6Address mapped(Ipv4Address address) noexcept {
        return std::bit_cast<Ipv6Address>(
            std::array<std::uint64_t, 2>{0, std::uint64_t{address.value.wire()} << 32U | kMappedWord});
    }
    /// The last 32 bits.
    constexpr Ipv4Address unmapped() const noexcept {
        const auto words = std::bit_cast<std::array<std::uint64_t, 2>>(bytes);
        return {be32::from_wire(static_cast<std::uint32_t>(words[1] >> 32U))};
    }

    friend constexpr bool operator==(const Ipv6Address& a, const Ipv6Address& b) noexcept {
        return a.number() == b.number();
    }
    friend constexpr std::strong_ordering operator<=>(const Ipv6Address& a, const Ipv6Address& b) noexcept {
        return a.number() <=> b.number();
    }

 private:
    static constexpr std::uint32_t kMappedWord = 0xffff0000;  ///< 0000:ffff as it lies in memory
};
static_assert(std::endian::native == std::endian::little);

/// An address of either family, in the 16 bytes of an IPv6 one: IPv4 lies in ::ffff:0:0/96, which no IPv6
/// packet may carry. So IPv4 addresses sort among each other as they always do.
class IpAddress {
 public:
    constexpr IpAddress() noexcept = default;  ///< "::", nobody's
    constexpr IpAddress(Ipv4Address address) noexcept : value_{Ipv6Address::mapped(address)} {}
    constexpr IpAddress(Ipv6Address address) noexcept : value_{address} {}

    constexpr bool is_v4() const noexcept { return value_.is_v4_mapped(); }
    /// Only if is_v4().
    constexpr Ipv4Address v4() const noexcept { return value_.unmapped(); }
    /// All of it: of an IPv4 address the mapped one.
    constexpr const Ipv6Address& v6() const noexcept { return value_; }
    constexpr uint128 number() const noexcept { return value_.number(); }
    static constexpr IpAddress from_number(uint128 number) noexcept {
        return Ipv6Address::from_number(number);
    }
    friend constexpr auto operator<=>(const IpAddress&, const IpAddress&) noexcept = default;

 private:
    Ipv6Address value_;
};
static_assert(sizeof(IpAddress) == 16 && std::is_trivially_copyable_v<IpAddress>);

/// An IPv4 address and a TCP or UDP port.
struct Endpoint {
    Ipv4Address address;
    be16 port;

    friend constexpr auto operator<=>(const Endpoint&, const Endpoint&) noexcept = default;
};

/// The same with an address of either family.
struct IpEndpoint {
    IpAddress address;
    be16 port;

    constexpr IpEndpoint() noexcept = default;
    constexpr IpEndpoint(IpAddress a, be16 p) noexcept : address{a}, port{p} {}
    constexpr IpEndpoint(Endpoint endpoint) noexcept : address{endpoint.address}, port{endpoint.port} {}
    /// Only if address.is_v4().
    constexpr Endpoint v4() const noexcept { return {address.v4(), port}; }
    friend constexpr auto operator<=>(const IpEndpoint&, const IpEndpoint&) noexcept = default;
};

/// Ports of one address, both ends included; or the whole address, with both ends 0.
struct EndpointRange {
    IpAddress address;
    be16 first;
    be16 last;

    constexpr EndpointRange() noexcept = default;
    constexpr EndpointRange(IpAddress a, be16 f, be16 l) noexcept : address{a}, first{f}, last{l} {}
    constexpr EndpointRange(IpEndpoint single) noexcept
        : address{single.address}, first{single.port}, last{single.port} {}
    constexpr EndpointRange(Endpoint single) noexcept : EndpointRange{IpEndpoint{single}} {}

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

/// A network of either family; the bits of `address` behind `length` are zero.
struct IpPrefix {
    IpAddress address;
    std::uint8_t length = 0;  ///< 0 to 32, or to 128 for IPv6

    constexpr IpPrefix() noexcept = default;
    constexpr IpPrefix(IpAddress a, std::uint8_t l) noexcept : address{a}, length{l} {}
    constexpr IpPrefix(Ipv4Prefix prefix) noexcept : address{prefix.address}, length{prefix.length} {}

    /// Ones where the address counts; an IPv4 network is one within ::ffff:0:0/96.
    constexpr uint128 mask() const noexcept {
        const unsigned bits = address.is_v4() ? 96U + length : length;
        return bits == 0 ? 0 : ~uint128{0} << (128U - bits);
    }
    /// Never true for an address of the other family.
    constexpr bool contains(IpAddress a) const noexcept {
        return (a.number() & mask()) == address.number() && a.is_v4() == address.is_v4();
    }
    constexpr IpAddress last() const noexcept { return IpAddress::from_number(address.number() | ~mask()); }
    /// Only if address.is_v4().
    constexpr Ipv4Prefix v4() const noexcept { return {address.v4(), length}; }
    friend constexpr auto operator<=>(const IpPrefix&, const IpPrefix&) noexcept = default;
};
inline constexpr IpPrefix kAnyIpv4{Ipv4Address{}, 0}, kAnyIpv6{Ipv6Address{}, 0};

/// An own address of either family together with the network that it makes reachable.
struct IpInterfaceAddress {
    IpAddress address;
    std::uint8_t length = 0;

    constexpr IpInterfaceAddress() noexcept = default;
    constexpr IpInterfaceAddress(IpAddress a, std::uint8_t l) noexcept : address{a}, length{l} {}
    constexpr IpInterfaceAddress(InterfaceAddress own) noexcept : address{own.address}, length{own.length} {}
    constexpr IpPrefix prefix() const noexcept {
        const IpPrefix same_bits{address, length};
        return {IpAddress::from_number(address.number() & same_bits.mask()), length};
    }
    /// Only if address.is_v4().
    constexpr InterfaceAddress v4() const noexcept { return {address.v4(), length}; }
    friend constexpr bool operator==(const IpInterfaceAddress&, const IpInterfaceAddress&) noexcept = default;
};

struct MacAddress {
    std::array<std::uint8_t, 6> bytes{};

    constexpr bool is_multicast() const noexcept { return (bytes[0] & 1U) != 0; }
    friend constexpr auto operator<=>(const MacAddress&, const MacAddress&) noexcept = default;
};
inline constexpr MacAddress kBroadcastMac{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};

/// fe80::/64 with a modified EUI-64 (RFC 4291, appendix A).
constexpr Ipv6Address link_local_of(const MacAddress& mac) noexcept {
    const auto& m = mac.bytes;
    return {{0xfe, 0x80, 0, 0, 0, 0, 0, 0, static_cast<std::uint8_t>(m[0] ^ 2U), m[1], m[2], 0xff, 0xfe, m[3],
             m[4], m[5]}};
}

static_assert(sizeof(Ipv4Address) == 4 && std::is_trivially_copyable_v<Ipv4Address>);

}  // namespace fwd::net
