// SPDX-License-Identifier: BSD-3-Clause
#include "test/support/packet_builder.h"

#include <algorithm>
#include <cstdio>
#include <ostream>
#include <stdexcept>

namespace fwd::test {
namespace {

void put8(Bytes& to, std::uint8_t value) {
    to.push_back(value);
}
void put16(Bytes& to, std::uint16_t value) {
    to.push_back(static_cast<std::uint8_t>(value >> 8U));
    to.push_back(static_cast<std::uint8_t>(value));
}
void put32(Bytes& to, std::uint32_t value) {
    put16(to, static_cast<std::uint16_t>(value >> 16U));
    put16(to, static_cast<std::uint16_t>(value));
}
void put(Bytes& to, std::span<const std::uint8_t> bytes) {
    to.insert(to.end(), bytes.begin(), bytes.end());
}
void set16(Bytes& in, std::size_t at, std::uint16_t value) {
    in.at(at) = static_cast<std::uint8_t>(value >> 8U);
    in.at(at + 1) = static_cast<std::uint8_t>(value);
}
std::uint16_t get16(const Bytes& in, std::size_t at) {
    return static_cast<std::uint16_t>(in.at(at) << 8U | in.at(at + 1));
}
std::uint32_t get32(const Bytes& in, std::size_t at) {
    return std::uint32_t{get16(in, at)} << 16U | get16(in, at + 2);
}

}  // namespace

std::uint16_t slow_checksum(std::span<const std::uint8_t> bytes) {
    std::uint32_t sum = 0;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        sum += i % 2 == 0 ? std::uint32_t{bytes[i]} * 256 : bytes[i];
        if (sum > 0xffff) sum -= 0xffff;
    }
    return static_cast<std::uint16_t>(0xffff - sum);
}

std::ostream& operator<<(std::ostream& out, const Frame& frame) {
    out << frame.bytes.size() << " bytes:";
    char text[4];
    for (std::size_t i = 0; i < frame.bytes.size() && i < 128; ++i) {
        std::snprintf(text, sizeof text, "%s%02x", i % 2 == 0 ? " " : "", frame.bytes[i]);
        out << text;
    }
    return out;
}

PacketBuilder& PacketBuilder::to(net::MacAddress destination) {
    destination_ = destination;
    return *this;
}
PacketBuilder& PacketBuilder::from(net::MacAddress source) {
    source_ = source;
    return *this;
}
PacketBuilder& PacketBuilder::vlan(std::uint16_t id) {
    vlan_ = id;
    return *this;
}
PacketBuilder& PacketBuilder::ether_type(std::uint16_t type) {
    ether_type_ = type;
    return *this;
}
PacketBuilder& PacketBuilder::ipv4(net::Ipv4Address source, net::Ipv4Address destination) {
    ip_source_ = source;
    ip_destination_ = destination;
    return *this;
}
PacketBuilder& PacketBuilder::ipv6(net::Ipv6Address source, net::Ipv6Address destination) {
    is_ipv6_ = true;
    ipv6_source_ = source;
    ipv6_destination_ = destination;
    return *this;
}
PacketBuilder& PacketBuilder::ip(const net::IpAddress& source, const net::IpAddress& destination) {
    return source.is_v4() ? ipv4(source.v4(), destination.v4()) : ipv6(source.v6(), destination.v6());
}
PacketBuilder& PacketBuilder::extension(std::uint8_t number, Bytes rest) {
    extensions_.emplace_back(number, std::move(rest));
    return *this;
}
PacketBuilder& PacketBuilder::icmpv6(std::uint8_t type, std::uint8_t code, std::uint32_t rest) {
    icmp(type, code, rest);
    protocol_ = 58;
    return *this;
}
PacketBuilder& PacketBuilder::ttl(std::uint8_t hops) {
    ttl_ = hops;
    return *this;
}
PacketBuilder& PacketBuilder::dont_fragment() {
    fragment_ |= 0x4000;
    return *this;
}
PacketBuilder& PacketBuilder::identification(std::uint16_t id) {
    identification_ = id;
    return *this;
}
PacketBuilder& PacketBuilder::udp(std::uint16_t source_port, std::uint16_t destination_port) {
    protocol_ = 17;
    source_port_ = source_port;
    destination_port_ = destination_port;
    return *this;
}
PacketBuilder& PacketBuilder::tcp(std::uint16_t source_port, std::uint16_t destination_port,
                                  std::uint8_t flags) {
    protocol_ = 6;
    source_port_ = source_port;
    destination_port_ = destination_port;
    tcp_flags_ = flags;
    return *this;
}
PacketBuilder& PacketBuilder::sequence(std::uint32_t number, std::uint32_t acknowledged) {
    sequence_ = number;
    acknowledged_ = acknowledged;
    return *this;
}
PacketBuilder& PacketBuilder::tcp_window(std::uint16_t window) {
    tcp_window_ = window;
    return *this;
}
PacketBuilder& PacketBuilder::tcp_options(Bytes options) {
    tcp_options_ = std::move(options);
    return *this;
}
PacketBuilder& PacketBuilder::icmp(std::uint8_t type, std::uint8_t code, std::uint32_t rest) {
    protocol_ = 1;
    icmp_type_ = type;
    icmp_code_ = code;
    icmp_rest_ = rest;
    return *this;
}
PacketBuilder& PacketBuilder::arp(std::uint16_t operation, net::MacAddress sender_mac,
                                  net::Ipv4Address sender, net::MacAddress target_mac,
                                  net::Ipv4Address target) {
    Bytes arp;
    put16(arp, 1);
    put16(arp, 0x0800);
    put8(arp, 6);
    put8(arp, 4);
    put16(arp, operation);
    for (const auto& [mac, ip] : {std::pair{sender_mac, sender}, std::pair{target_mac, target}}) {
        arp.insert(arp.end(), mac.bytes.begin(), mac.bytes.end());
        put32(arp, ip.value.host());
    }
    return ether_type(0x0806).raw(std::move(arp));
}
PacketBuilder& PacketBuilder::payload(std::string_view text) {
    payload_.assign(text.begin(), text.end());
    return *this;
}
PacketBuilder& PacketBuilder::payload(Bytes bytes) {
    payload_ = std::move(bytes);
    return *this;
}
PacketBuilder& PacketBuilder::payload_bytes(std::size_t count) {
    payload_.resize(count);
    for (std::size_t i = 0; i < count; ++i) payload_[i] = static_cast<std::uint8_t>(i * 7 + 1);
    return *this;
}
PacketBuilder& PacketBuilder::protocol(std::uint8_t number, Bytes content) {
    protocol_ = number;
    content_ = std::move(content);
    return *this;
}
PacketBuilder& PacketBuilder::raw(Bytes content) {
    raw_ = std::move(content);
    return *this;
}
PacketBuilder& PacketBuilder::ip_version(std::uint8_t version) {
    version_ = version;
    return *this;
}
PacketBuilder& PacketBuilder::ip_header_words(std::uint8_t words) {
    header_words_ = words;
    return *this;
}
PacketBuilder& PacketBuilder::ip_total_bytes(std::uint16_t bytes) {
    total_bytes_ = bytes;
    return *this;
}
PacketBuilder& PacketBuilder::ip_checksum(std::uint16_t checksum) {
    ip_checksum_ = checksum;
    return *this;
}
PacketBuilder& PacketBuilder::ip_options(Bytes options) {
    options_ = std::move(options);
    return *this;
}
PacketBuilder& PacketBuilder::fragment(std::uint16_t bits) {
    fragment_ = bits;
    return *this;
}
PacketBuilder& PacketBuilder::udp_bytes(std::uint16_t bytes) {
    udp_bytes_ = bytes;
    return *this;
}
PacketBuilder& PacketBuilder::tcp_header_words(std::uint8_t words) {
    tcp_words_ = words;
    return *this;
}
PacketBuilder& PacketBuilder::l4_checksum(std::uint16_t checksum) {
    l4_checksum_ = checksum;
    return *this;
}
PacketBuilder& PacketBuilder::partial_l4_checksum() {
    partial_ = true;
    return *this;
}
PacketBuilder& PacketBuilder::padding(std::size_t bytes) {
    padding_ = bytes;
    return *this;
}
PacketBuilder& PacketBuilder::truncated_to(std::size_t frame_bytes) {
    truncated_to_ = frame_bytes;
    return *this;
}

Bytes PacketBuilder::l4() const {
    if (content_) return *content_;
    Bytes l4;
    std::size_t field = 0;
    std::size_t covered = 0;  // bytes under the checksum
    switch (protocol_) {
        case 17:
            covered = udp_bytes_.value_or(static_cast<std::uint16_t>(8 + payload_.size()));
            put16(l4, source_port_);
            put16(l4, destination_port_);
            put16(l4, static_cast<std::uint16_t>(covered));
            put16(l4, 0);
            field = 6;
            break;
        case 6:
            covered = 20 + tcp_options_.size() + payload_.size();
            put16(l4, source_port_);
            put16(l4, destination_port_);
            put32(l4, sequence_);
            put32(l4, acknowledged_);
            put8(l4, static_cast<std::uint8_t>(
                         tcp_words_.value_or(static_cast<std::uint8_t>(5 + tcp_options_.size() / 4)) << 4U));
            put8(l4, tcp_flags_);
            put16(l4, tcp_window_);
            put16(l4, 0);
            put16(l4, 0);
            put(l4, tcp_options_);
            field = 16;
            break;
        default:
            covered = 8 + payload_.size();
            put8(l4, icmp_type_);
            put8(l4, icmp_code_);
            put16(l4, 0);
            put32(l4, icmp_rest_);
            field = 2;
            break;
    }
    put(l4, payload_);
    if (l4_checksum_) {
        set16(l4, field, *l4_checksum_);
        return l4;
    }
    Bytes summed;
    if (is_ipv6_) {
        put(summed, ipv6_source_.bytes);
        put(summed, ipv6_destination_.bytes);
        put32(summed, static_cast<std::uint32_t>(covered));
        put32(summed, protocol_);
    } else if (protocol_ != 1) {
        put32(summed, ip_source_.value.host());
        put32(summed, ip_destination_.value.host());
        put16(summed, protocol_);
        put16(summed, static_cast<std::uint16_t>(covered));
    }
    if (partial_) {
        set16(l4, field, static_cast<std::uint16_t>(~slow_checksum(summed)));
        return l4;
    }
    put(summed, std::span{l4}.first(std::min(covered, l4.size())));
    std::uint16_t checksum = slow_checksum(summed);
    if (protocol_ == 17 && checksum == 0) checksum = 0xffff;
    set16(l4, field, checksum);
    return l4;
}

Bytes PacketBuilder::ipv6_bytes() const {
    Bytes content;
    for (std::size_t e = 0; e < extensions_.size(); ++e) {
        put8(content, e + 1 < extensions_.size() ? extensions_[e + 1].first : protocol_);
        put(content, extensions_[e].second);
    }
    put(content, l4());
    Bytes ip;
    put32(ip, std::uint32_t{version_ == 4 ? std::uint8_t{6} : version_} << 28U);
    put16(ip, total_bytes_.value_or(static_cast<std::uint16_t>(content.size())));
    put8(ip, extensions_.empty() ? protocol_ : extensions_.front().first);
    put8(ip, ttl_);
    put(ip, ipv6_source_.bytes);
    put(ip, ipv6_destination_.bytes);
    put(ip, content);
    return ip;
}

Bytes PacketBuilder::ip_bytes() const {
    if (is_ipv6_) return ipv6_bytes();
    const Bytes content = l4();
    Bytes ip;
    const std::size_t header_bytes = 20 + options_.size();
    put8(ip, static_cast<std::uint8_t>(version_ << 4U |
                                       header_words_.value_or(static_cast<std::uint8_t>(header_bytes / 4))));
    put8(ip, 0);
    put16(ip, total_bytes_.value_or(static_cast<std::uint16_t>(header_bytes + content.size())));
    put16(ip, identification_);
    put16(ip, fragment_);
    put8(ip, ttl_);
    put8(ip, protocol_);
    put16(ip, 0);
    put32(ip, ip_source_.value.host());
    put32(ip, ip_destination_.value.host());
    put(ip, options_);
    set16(ip, 10, ip_checksum_.value_or(slow_checksum(ip)));
    put(ip, content);
    return ip;
}

Bytes PacketBuilder::bytes() const {
    Bytes frame;
    put(frame, destination_.bytes);
    put(frame, source_.bytes);
    if (vlan_) {
        put16(frame, 0x8100);
        put16(frame, *vlan_);
    }
    put16(frame, ether_type_.value_or(is_ipv6_ ? 0x86dd : 0x0800));
    put(frame, raw_ ? *raw_ : ip_bytes());
    frame.resize(frame.size() + padding_, 0xa5);
    if (truncated_to_) frame.resize(*truncated_to_);
    return frame;
}

Bytes first(Bytes bytes, std::size_t count) {
    bytes.resize(std::min(count, bytes.size()));
    return bytes;
}

Seen look_into(const Frame& frame) {
    const Bytes& bytes = frame.bytes;
    Seen seen;
    std::size_t ip = 14;
    if (get16(bytes, 12) == 0x8100) {
        seen.vlan = get16(bytes, 14);
        ip += 4;
    }
    if (bytes.at(ip) >> 4U == 6) {
        const auto address = [&](std::size_t at) {
            net::Ipv6Address found;
            std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(at), 16, found.bytes.begin());
            return found;
        };
        seen.protocol = bytes.at(ip + 6);
        seen.ttl = bytes.at(ip + 7);
        seen.source = endpoint(address(ip + 8), get16(bytes, ip + 40));
        seen.destination = endpoint(address(ip + 24), get16(bytes, ip + 42));
        return seen;
    }
    if (bytes.at(ip) != 0x45) throw std::runtime_error("no IPv4 packet without options");
    seen.ttl = bytes.at(ip + 8);
    seen.protocol = bytes.at(ip + 9);
    seen.source = endpoint(net::Ipv4Address::from_host(get32(bytes, ip + 12)), get16(bytes, ip + 20));
    seen.destination = endpoint(net::Ipv4Address::from_host(get32(bytes, ip + 16)), get16(bytes, ip + 22));
    return seen;
}

}  // namespace fwd::test
