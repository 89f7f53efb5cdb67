// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>
#include <filesystem>
#include <iosfwd>
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
    std::vector<std::uint8_t> l4;  ///< everything behind the IP header
    bool checksums_right = false;  ///< of the IPv4 header, and of TCP, UDP or ICMP over all its bytes

    /// What no forwarder may change: all of TCP or UDP but ports and checksum.
    std::vector<std::uint8_t> unchangeable() const;
};
std::ostream& operator<<(std::ostream& out, const WirePacket& packet);

struct WireArp {
    bool is_request = false;
    std::string sender;
    std::string target;
    bool is_gratuitous() const { return sender == target; }
};

/// What was in a file in pcap format, of Ethernet frames, untagged.
struct Wire {
    std::vector<WirePacket> packets;
    std::vector<WireArp> arps;

    std::vector<WirePacket> from(const std::string& source) const;
};

Wire read_capture(const std::filesystem::path& file);
/// An IPv4 packet without its last bytes, as ICMP errors quote it: its checksums are not looked at.
WirePacket parse_quoted(const std::vector<std::uint8_t>& icmp);

}  // namespace fwd::test
