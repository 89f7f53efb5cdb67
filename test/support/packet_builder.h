// SPDX-License-Identifier: BSD-3-Clause
// Packets in words: packet().ipv4("10.0.0.1"_ip, "10.0.0.3"_ip).udp(40000, 53).payload("q").bytes()
//
// Lengths and checksums come out right unless a test asks for a lie. The checksums are computed byte by byte,
// on purpose not by the code under test.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "dataplane/net/address.h"

namespace fwd::test {

using Bytes = std::vector<std::uint8_t>;

consteval net::Ipv4Address operator""_ip(const char* text, std::size_t length) {
    std::uint32_t address = 0;
    std::uint32_t part = 0;
    int dots = 0;
    for (std::size_t i = 0; i < length; ++i) {
        if (text[i] == '.') {
            address = address << 8U | part;
            part = 0;
            ++dots;
        } else {
            if (text[i] < '0' || text[i] > '9') throw "not an address";
            part = part * 10 + static_cast<std::uint32_t>(text[i] - '0');
        }
    }
    if (dots != 3) throw "not an address";
    return net::Ipv4Address::from_host(address << 8U | part);
}

/// "2001:db8::1": groups of up to four digits, one "::" at most.
consteval net::Ipv6Address operator""_ip6(const char* text, std::size_t length) {
    std::uint16_t groups[2][8]{};  // before and behind "::"
    int counts[2]{};
    int side = 0;
    std::size_t i = 0;
    while (i < length) {
        if (text[i] == ':' && i + 1 < length && text[i + 1] == ':') {
            if (side++ == 1) throw "two gaps";
            i += 2;
            continue;
        }
        if (text[i] == ':') ++i;
        std::uint32_t group = 0;
        for (; i < length && text[i] != ':'; ++i) {
            const char c = text[i];
            const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
            if (digit < 0) throw "not an address";
            group = group * 16 + static_cast<std::uint32_t>(digit);
        }
        groups[side][counts[side]++] = static_cast<std::uint16_t>(group);
    }
    net::Ipv6Address address;
    const auto put = [&](int at, std::uint16_t group) {
        address.bytes[static_cast<std::size_t>(2 * at)] = static_cast<std::uint8_t>(group >> 8U);
        address.bytes[static_cast<std::size_t>(2 * at + 1)] = static_cast<std::uint8_t>(group);
    };
    for (int g = 0; g < counts[0]; ++g) put(g, groups[0][g]);
    for (int g = 0; g < counts[1]; ++g) put(8 - counts[1] + g, groups[1][g]);
    return address;
}

constexpr net::Endpoint endpoint(net::Ipv4Address address, std::uint16_t port) {
    return {address, net::be16::from_host(port)};
}
constexpr net::IpEndpoint endpoint(net::Ipv6Address address, std::uint16_t port) {
    return {address, net::be16::from_host(port)};
}
constexpr net::IpEndpoint endpoint(const net::IpAddress& address, std::uint16_t port) {
    return {address, net::be16::from_host(port)};
}
constexpr net::MacAddress mac(std::uint8_t last) {
    return {{0x02, 0, 0, 0, 0, last}};
}

/// RFC 1071 by the book: big-endian words, an odd last byte padded with 0.
std::uint16_t slow_checksum(std::span<const std::uint8_t> bytes);

/// A frame, printed readably when a comparison fails.
struct Frame {
    Bytes bytes;
    friend bool operator==(const Frame&, const Frame&) = default;
};
std::ostream& operator<<(std::ostream& out, const Frame& frame);

inline constexpr std::uint8_t kFin = 0x01, kSyn = 0x02, kRst = 0x04, kPsh = 0x08, kAck = 0x10;

class PacketBuilder {
 public:
    PacketBuilder& to(net::MacAddress destination);
    PacketBuilder& from(net::MacAddress source);
    PacketBuilder& vlan(std::uint16_t id);
    PacketBuilder& ether_type(std::uint16_t type);

    PacketBuilder& ipv4(net::Ipv4Address source, net::Ipv4Address destination);
    PacketBuilder& ipv6(net::Ipv6Address source, net::Ipv6Address destination);
    /// Whichever of them two addresses of one family are.
    PacketBuilder& ip(const net::IpAddress& source, const net::IpAddress& destination);
    PacketBuilder& ttl(std::uint8_t hops);  ///< or the hop limit
    /// An IPv6 extension header behind those before it: everything but its next header, a multiple of 8 bytes
    /// less one.
    PacketBuilder& extension(std::uint8_t number, Bytes rest);
    PacketBuilder& dont_fragment();
    PacketBuilder& identification(std::uint16_t id);
    PacketBuilder& udp(std::uint16_t source_port, std::uint16_t destination_port);
    PacketBuilder& tcp(std::uint16_t source_port, std::uint16_t destination_port, std::uint8_t flags);
    /// TCP's numbers, instead of some that always are the same.
    PacketBuilder& sequence(std::uint32_t number, std::uint32_t acknowledged);
    PacketBuilder& tcp_window(std::uint16_t window);
    PacketBuilder& tcp_options(Bytes options);  ///< a multiple of 4 bytes, with a header length to match
    /// `rest`: the 4 bytes behind the checksum; the payload follows
    PacketBuilder& icmp(std::uint8_t type, std::uint8_t code, std::uint32_t rest = 0);
    PacketBuilder& icmpv6(std::uint8_t type, std::uint8_t code, std::uint32_t rest = 0);
    /// An ARP packet for Ethernet and IPv4 (RFC 826); operation 1: request, 2: reply
    PacketBuilder& arp(std::uint16_t operation, net::MacAddress sender_mac, net::Ipv4Address sender,
                       net::MacAddress target_mac, net::Ipv4Address target);
    PacketBuilder& payload(std::string_view text);
    PacketBuilder& payload(Bytes bytes);
    PacketBuilder& payload_bytes(std::size_t count);
    /// Replaces everything behind the IP header.
    PacketBuilder& protocol(std::uint8_t number, Bytes content);
    /// Replaces everything behind the Ethernet header.
    PacketBuilder& raw(Bytes content);

    // Lies and oddities.
    PacketBuilder& ip_version(std::uint8_t version);
    PacketBuilder& ip_header_words(std::uint8_t words);
    PacketBuilder& ip_total_bytes(std::uint16_t bytes);  ///< of IPv6: the payload length
    PacketBuilder& ip_checksum(std::uint16_t checksum);
    PacketBuilder& ip_options(Bytes options);       ///< a multiple of 4 bytes, with a header length to match
    PacketBuilder& fragment(std::uint16_t bits);    ///< the word with flags and offset
    PacketBuilder& udp_bytes(std::uint16_t bytes);  ///< the length field
    PacketBuilder& tcp_header_words(std::uint8_t words);
    PacketBuilder& l4_checksum(std::uint16_t checksum);
    /// The uncomplemented sum of the pseudo-header, as virtual links hand it over.
    PacketBuilder& partial_l4_checksum();
    /// Bytes behind the IP packet, as Ethernet pads short frames.
    PacketBuilder& padding(std::size_t bytes);
    PacketBuilder& truncated_to(std::size_t frame_bytes);

    /// The IP packet alone.
    Bytes ip_bytes() const;
    Bytes bytes() const;
    Frame frame() const { return {bytes()}; }

 private:
    Bytes l4() const;

    net::MacAddress destination_ = mac(0xff), source_ = mac(0xfe);
    std::optional<std::uint16_t> vlan_, ether_type_;
    Bytes ipv6_bytes() const;

    net::Ipv4Address ip_source_, ip_destination_;
    bool is_ipv6_ = false;
    net::Ipv6Address ipv6_source_, ipv6_destination_;
    std::vector<std::pair<std::uint8_t, Bytes>> extensions_;
    std::uint8_t ttl_ = 64, protocol_ = 17, version_ = 4;
    std::uint16_t fragment_ = 0, identification_ = 0x1234;
    std::optional<std::uint8_t> header_words_, tcp_words_;
    std::optional<std::uint16_t> total_bytes_, ip_checksum_, udp_bytes_, l4_checksum_;
    bool partial_ = false;
    Bytes options_;
    std::uint16_t source_port_ = 0, destination_port_ = 0;
    std::uint32_t sequence_ = 0x11223344, acknowledged_ = 0x11223344;  // a RST fits
    std::uint16_t tcp_window_ = 0x4000;
    Bytes tcp_options_;
    std::uint8_t tcp_flags_ = 0, icmp_type_ = 0, icmp_code_ = 0;
    std::uint32_t icmp_rest_ = 0;
    Bytes payload_;
    std::optional<Bytes> content_, raw_;
    std::size_t padding_ = 0;
    std::optional<std::size_t> truncated_to_;
};

inline PacketBuilder packet() {
    return {};
}

/// The first `bytes` bytes: what an ICMP error quotes of a packet.
Bytes first(Bytes bytes, std::size_t count);

/// What stands in a TCP or UDP frame without IP options or extension headers; tags are skipped. Wrong frames
/// throw.
struct Seen {
    net::IpEndpoint source, destination;
    std::uint8_t protocol = 0, ttl = 0;
    std::optional<std::uint16_t> vlan;
};
Seen look_into(const Frame& frame);

}  // namespace fwd::test
