// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace fwd::test {

/// An IPv4 packet as it was on a wire, read without any of fwd's own code.
struct WirePacket {
    std::string source;  ///< "10.0.0.1"
    std::string destination;
    std::uint8_t protocol = 0;
    std::uint8_t ttl = 0;
    std::uint16_t source_port = 0;  ///< TCP and UDP; of ICMP, type and code
    std::uint16_t destination_port = 0;
    std::size_t bytes = 0;         ///< of the IP packet
    bool checksums_right = false;  ///< of the IPv4 header, and of TCP, UDP or ICMP over all its bytes
};

/// The IPv4 packets in a file in pcap format, of Ethernet frames, untagged.
std::vector<WirePacket> read_capture(const std::filesystem::path& file);

}  // namespace fwd::test
