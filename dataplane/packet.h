// SPDX-License-Identifier: BSD-3-Clause
// The one place that checks lengths. Behind parse(), offsets are trusted.
#pragma once

#include <array>
#include <cstdint>

#include "dataplane/flow_key.h"
#include "dataplane/net/address.h"
#include "dataplane/verdict.h"

namespace fwd::dataplane {

inline constexpr std::size_t kEthernetBytes = 14;
inline constexpr std::size_t kVlanTagBytes = 4;
inline constexpr std::size_t kIpv4Bytes = 20;  ///< packets with options don't get past parse()
inline constexpr std::uint8_t kNoLink = 0xff;

/// Which link a frame belongs to that came in by a port.
struct PortAddressing {
    net::MacAddress mac;
    std::array<std::uint8_t, 4096> link_of_vlan;  ///< LinkId or kNoLink; [0]: untagged frames

    PortAddressing() { link_of_vlan.fill(kNoLink); }
};

enum class PacketKind : std::uint8_t { tcp_or_udp, icmp, arp, dropped };

struct ParsedPacket {
    PacketKind kind = PacketKind::dropped;
    Verdict verdict = Verdict::drop_truncated;  ///< when dropped: why
    LinkId link{kNoLink};                       ///< kNoLink when dropped before it was known
    std::uint16_t l3_offset = 0;                ///< of the IP or ARP header
    std::uint16_t ip_bytes = 0;                 ///< IP total length: padding behind it does not count
};

/// Checks a frame and says what it is.
/// @param hardware_vlan the tag that the device has taken off, 0 for none
/// @param ip_checksum_good the device has verified the IP header checksum
ParsedPacket parse(const std::uint8_t* frame, std::size_t frame_bytes, const PortAddressing& port,
                   std::uint16_t hardware_vlan, bool ip_checksum_good) noexcept;

/// TCP flags as they stand in byte 13 of the header.
struct TcpFlags {
    static constexpr std::uint8_t kFin = 0x01, kSyn = 0x02, kRst = 0x04, kAck = 0x10;
    std::uint8_t bits = 0;

    constexpr bool has(std::uint8_t flag) const noexcept { return (bits & flag) != 0; }
    /// The first packet of a connection (RFC 9293, section 3.5).
    constexpr bool opens() const noexcept { return (bits & (kSyn | kAck | kRst | kFin)) == kSyn; }
    /// A packet that can change the state of an established session.
    constexpr bool changes_state() const noexcept { return (bits & (kSyn | kRst | kFin)) != 0; }
};
inline constexpr std::size_t kTcpFlagsOffset = kIpv4Bytes + 13;  ///< from the IP header

}  // namespace fwd::dataplane
