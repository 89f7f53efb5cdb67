// SPDX-License-Identifier: BSD-3-Clause
#include "test/e2e/capture.h"

#include <algorithm>
#include <cstring>
#include <ostream>
#include <span>

#include "test/e2e/process.h"

namespace fwd::test {
namespace {

using Bytes = std::span<const std::uint8_t>;

constexpr std::size_t kFileHeaderBytes = 24;
constexpr std::size_t kFrameHeaderBytes = 16;
constexpr std::size_t kEthernetBytes = 14;
constexpr std::size_t kIcmpHeaderBytes = 8;
constexpr std::uint8_t kIcmp = 1;
constexpr std::uint8_t kTcp = 6;
constexpr std::uint8_t kUdp = 17;

std::uint16_t read_be16(Bytes bytes, std::size_t at) {
    return static_cast<std::uint16_t>(bytes[at] << 8U | bytes[at + 1]);
}

std::string address_text(Bytes bytes) {
    return std::to_string(bytes[0]) + "." + std::to_string(bytes[1]) + "." + std::to_string(bytes[2]) + "." +
           std::to_string(bytes[3]);
}

/// The ones' complement sum of RFC 1071; 0xffff over data that holds its own right checksum.
std::uint32_t sum(Bytes bytes, std::uint32_t start = 0) {
    std::uint64_t total = start;
    for (std::size_t i = 0; i + 1 < bytes.size(); i += 2) total += read_be16(bytes, i);
    if (bytes.size() % 2 != 0) total += static_cast<std::uint64_t>(bytes.back()) << 8U;
    while (total >> 16U != 0) total = (total & 0xffffU) + (total >> 16U);
    return static_cast<std::uint32_t>(total);
}

bool l4_checksum_right(std::uint8_t protocol, Bytes addresses, Bytes l4) {
    if (protocol == kIcmp) return sum(l4) == 0xffff;
    if (protocol == kUdp && read_be16(l4, 6) == 0) return true;  // RFC 768: none
    const std::uint32_t pseudo_header = sum(addresses, protocol + static_cast<std::uint32_t>(l4.size()));
    return sum(l4, pseudo_header) == 0xffff;
}

WirePacket parse(Bytes ip) {
    const std::size_t header_bytes = (ip[0] & 0xfU) * std::size_t{4};
    ip = ip.first(std::min<std::size_t>(ip.size(), read_be16(ip, 2)));
    const Bytes l4 = ip.subspan(header_bytes);
    WirePacket packet;
    packet.source = address_text(ip.subspan(12, 4));
    packet.destination = address_text(ip.subspan(16, 4));
    packet.protocol = ip[9];
    packet.ttl = ip[8];
    packet.source_port = read_be16(l4, 0);
    packet.destination_port = packet.protocol == kIcmp ? std::uint16_t{0} : read_be16(l4, 2);
    packet.l4.assign(l4.begin(), l4.end());
    packet.checksums_right =
        sum(ip.first(header_bytes)) == 0xffff && l4_checksum_right(packet.protocol, ip.subspan(12, 8), l4);
    return packet;
}

}  // namespace

std::vector<std::uint8_t> WirePacket::unchangeable() const {
    std::vector<std::uint8_t> bytes = l4;
    const std::size_t checksum = protocol == kTcp ? 16 : 6;
    std::fill_n(bytes.begin(), 4, std::uint8_t{0});
    std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(checksum), 2, std::uint8_t{0});
    return bytes;
}

std::ostream& operator<<(std::ostream& out, const WirePacket& packet) {
    return out << packet.source << ':' << packet.source_port << " > " << packet.destination << ':'
               << packet.destination_port << " protocol " << int{packet.protocol} << ", " << packet.l4.size()
               << " bytes, ttl " << int{packet.ttl} << (packet.checksums_right ? "" : ", WRONG CHECKSUM");
}

std::vector<WirePacket> Wire::from(const std::string& source) const {
    std::vector<WirePacket> found;
    std::ranges::copy_if(packets, std::back_inserter(found),
                         [&](const WirePacket& packet) { return packet.source == source; });
    return found;
}

Wire read_capture(const std::filesystem::path& file) {
    const std::string content = read_file(file);
    const Bytes data{reinterpret_cast<const std::uint8_t*>(content.data()), content.size()};
    Wire wire;
    for (std::size_t at = kFileHeaderBytes; at + kFrameHeaderBytes <= data.size();) {
        std::uint32_t length = 0;
        std::memcpy(&length, &data[at + 8], sizeof length);
        at += kFrameHeaderBytes;
        if (at + length > data.size()) break;  // the writer was stopped in the middle of it
        const Bytes frame = data.subspan(at, length);
        const Bytes l3 = frame.subspan(kEthernetBytes);
        if (read_be16(frame, 12) == 0x0800) wire.packets.push_back(parse(l3));
        if (read_be16(frame, 12) == 0x0806) {
            wire.arps.push_back(
                {read_be16(l3, 6) == 1, address_text(l3.subspan(14, 4)), address_text(l3.subspan(24, 4))});
        }
        at += length;
    }
    return wire;
}

WirePacket parse_quoted(const std::vector<std::uint8_t>& icmp) {
    return parse(Bytes{icmp}.subspan(kIcmpHeaderBytes));
}

}  // namespace fwd::test
