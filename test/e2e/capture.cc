// SPDX-License-Identifier: BSD-3-Clause
#include "test/e2e/capture.h"

#include <cstring>
#include <span>

#include "test/e2e/process.h"

namespace fwd::test {
namespace {

using Bytes = std::span<const std::uint8_t>;

constexpr std::size_t kFileHeaderBytes = 24;
constexpr std::size_t kFrameHeaderBytes = 16;
constexpr std::size_t kEthernetBytes = 14;
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
    const std::size_t header_bytes = (ip[0] & 0xfU) * 4U;
    ip = ip.first(read_be16(ip, 2));
    const Bytes l4 = ip.subspan(header_bytes);
    WirePacket packet;
    packet.source = address_text(ip.subspan(12, 4));
    packet.destination = address_text(ip.subspan(16, 4));
    packet.protocol = ip[9];
    packet.ttl = ip[8];
    packet.source_port = read_be16(l4, 0);
    packet.destination_port = packet.protocol == kIcmp ? std::uint16_t{0} : read_be16(l4, 2);
    packet.bytes = ip.size();
    packet.checksums_right =
        sum(ip.first(header_bytes)) == 0xffff && l4_checksum_right(packet.protocol, ip.subspan(12, 8), l4);
    return packet;
}

}  // namespace

std::vector<WirePacket> read_capture(const std::filesystem::path& file) {
    const std::string content = read_file(file);
    const Bytes data{reinterpret_cast<const std::uint8_t*>(content.data()), content.size()};
    std::vector<WirePacket> packets;
    for (std::size_t at = kFileHeaderBytes; at + kFrameHeaderBytes <= data.size();) {
        std::uint32_t length = 0;
        std::memcpy(&length, &data[at + 8], sizeof length);
        at += kFrameHeaderBytes;
        if (at + length > data.size()) break;  // the writer was stopped in the middle of it
        const Bytes frame = data.subspan(at, length);
        if (read_be16(frame, 12) == 0x0800) packets.push_back(parse(frame.subspan(kEthernetBytes)));
        at += length;
    }
    return packets;
}

}  // namespace fwd::test
