// SPDX-License-Identifier: BSD-3-Clause
// The one place that checks lengths. Behind parse(), offsets are trusted.
#pragma once

#include <rte_arp.h>
#include <rte_ether.h>
#include <rte_icmp.h>
#include <rte_tcp.h>
#include <rte_udp.h>
#include <smmintrin.h>

#include <array>
#include <cstdint>
#include <cstring>

#include "dataplane/flow_key.h"
#include "dataplane/net/address.h"
#include "dataplane/net/checksum.h"
#include "dataplane/net/ipv4.h"
#include "dataplane/verdict.h"

namespace fwd::dataplane {

inline constexpr std::size_t kEthernetBytes = 14;
inline constexpr std::size_t kVlanTagBytes = 4;
inline constexpr std::uint8_t kNoLink = 0xff;

/// Which link a frame belongs to that came in by a port.
struct PortAddressing {
    net::MacAddress mac;
    std::array<std::uint8_t, 4096> link_of_vlan;  ///< LinkId or kNoLink; [0]: untagged frames
    std::uint32_t ipv6_links = 0;                 ///< a bit for each link that has IPv6

    PortAddressing() { link_of_vlan.fill(kNoLink); }
    bool has_ipv6(std::uint8_t link) const noexcept { return (ipv6_links >> link & 1U) != 0; }
};

enum class PacketKind : std::uint8_t {
    tcp_or_udp,  ///< without IP options, not a fragment
    icmp,        ///< the same
    portless,    ///< another protocol, of which only addresses can be translated
    unusual,     ///< with IP options, or a fragment: check_unusual() has to say the rest
    arp,
    ipv6,  ///< not looked into yet: see parse_ipv6()
    dropped,
};

/// Whether a packet of a protocol that fwd does not know is still good when its addresses have been replaced:
/// not if addresses are in its checksum (DCCP, ICMPv6, UDP-Lite) or signed (AH), nor if it is a matter of one
/// link (IGMP) or no protocol.
constexpr bool is_passed_by_address(net::Protocol protocol) noexcept {
    switch (static_cast<unsigned>(protocol)) {
        case 0:    // IPv6 hop-by-hop options
        case 2:    // IGMP
        case 33:   // DCCP
        case 51:   // AH
        case 58:   // ICMPv6
        case 136:  // UDP-Lite
        case 255:  // reserved
            return false;
        default:
            return true;
    }
}

struct ParsedPacket {
    PacketKind kind = PacketKind::dropped;
    Verdict verdict = Verdict::drop_truncated;  ///< when dropped: why
    LinkId link{kNoLink};                       ///< kNoLink when dropped before it was known
    std::uint16_t l3_offset = 0;                ///< of the IP or ARP header
    std::uint16_t ip_bytes = 0;                 ///< IP total length: padding behind it does not count

    friend constexpr bool operator==(const ParsedPacket&, const ParsedPacket&) noexcept = default;
};

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

/// Of an ARP packet that has passed parse().
inline bool is_arp_request(const std::uint8_t* arp) noexcept {
    return net::load_host16(arp + offsetof(rte_arp_hdr, arp_opcode)) == RTE_ARP_OP_REQUEST;
}

namespace detail {

/// Of which fwd reads and rewrites more than addresses.
constexpr bool has_l4_header(net::Protocol protocol) noexcept {
    return protocol == net::Protocol::tcp || protocol == net::Protocol::udp ||
           protocol == net::Protocol::icmp;
}

/// Checks the L4 header; `l4_bytes` are there.
inline Verdict check_l4(net::Protocol protocol, const std::uint8_t* l4, std::size_t l4_bytes) noexcept {
    switch (protocol) {
        case net::Protocol::tcp: {
            if (l4_bytes < sizeof(rte_tcp_hdr)) return Verdict::drop_truncated;
            const std::size_t header_bytes = (l4[12] >> 4U) * std::size_t{4};
            if (header_bytes < sizeof(rte_tcp_hdr) || header_bytes > l4_bytes)
                return Verdict::drop_bad_l4_header;
            break;
        }
        case net::Protocol::udp: {
            if (l4_bytes < sizeof(rte_udp_hdr)) return Verdict::drop_truncated;
            // A UDP length below the IP payload is legal: what follows are options (RFC 9868).
            const std::size_t datagram_bytes = net::load_host16(l4 + 4);
            if (datagram_bytes < sizeof(rte_udp_hdr) || datagram_bytes > l4_bytes)
                return Verdict::drop_bad_l4_header;
            break;
        }
        case net::Protocol::icmp:
            return l4_bytes < sizeof(rte_icmp_hdr) ? Verdict::drop_truncated : Verdict::forward;
        default:
            return is_passed_by_address(protocol) ? Verdict::forward : Verdict::drop_unsupported_protocol;
    }
    // Nobody can answer port 0, and a rule can't name it.
    if (net::load_host16(l4) == 0 || net::load_host16(l4 + 2) == 0) return Verdict::drop_bad_l4_header;
    return Verdict::forward;
}

}  // namespace detail

/// Checks a frame and says what it is.
/// @param hardware_vlan the tag that the device has taken off, 0 for none
/// @param ip_checksum_good the device has verified the IP header checksum
ParsedPacket parse_any(const std::uint8_t* frame, std::size_t frame_bytes, const PortAddressing& port,
                       std::uint16_t hardware_vlan, bool ip_checksum_good) noexcept;

/// How nearly every frame for a port begins: untagged IPv4 without options, to its own MAC address.
class UsualBeginning {
 public:
    explicit UsualBeginning(const net::MacAddress& mac) noexcept {
        alignas(16) std::array<std::uint8_t, 16> bytes{}, mask{};
        const auto want = [&](std::size_t at, std::uint8_t value) { bytes[at] = value, mask[at] = 0xff; };
        for (std::size_t i = 0; i < mac.bytes.size(); ++i) want(i, mac.bytes[i]);
        want(12, RTE_ETHER_TYPE_IPV4 >> 8U);
        want(13, RTE_ETHER_TYPE_IPV4 & 0xffU);
        want(14, 0x45);  // version, header of five words
        bytes_ = _mm_load_si128(reinterpret_cast<const __m128i*>(bytes.data()));
        mask_ = _mm_load_si128(reinterpret_cast<const __m128i*>(mask.data()));
    }
    /// @param frame of 16 bytes at least
    bool is_of(const std::uint8_t* frame) const noexcept {
        const __m128i there = _mm_loadu_si128(reinterpret_cast<const __m128i*>(frame));
        return _mm_testz_si128(_mm_xor_si128(there, bytes_), mask_) != 0;
    }

 private:
    __m128i bytes_, mask_;
};

/// The same as parse_any(), for what nearly every packet is in a few steps, and inline.
/// @param usual of the port
[[gnu::always_inline]] inline ParsedPacket parse(const std::uint8_t* frame, std::size_t frame_bytes,
                                                 const PortAddressing& port, const UsualBeginning& usual,
                                                 std::uint16_t hardware_vlan,
                                                 bool ip_checksum_good) noexcept {
    using net::kIpv4Bytes;
    const auto other = [&] { return parse_any(frame, frame_bytes, port, hardware_vlan, ip_checksum_good); };
    if (frame_bytes < kEthernetBytes + kIpv4Bytes + sizeof(rte_udp_hdr) || !usual.is_of(frame)) [[unlikely]]
        return other();
    const std::uint8_t* ip = frame + kEthernetBytes;
    const std::uint8_t link = port.link_of_vlan[hardware_vlan & 0xfffU];
    const std::size_t total_bytes = net::load_host16(ip + net::kTotalLengthOffset);
    if (link == kNoLink || total_bytes > frame_bytes - kEthernetBytes ||
        total_bytes < kIpv4Bytes + sizeof(rte_udp_hdr) || net::is_fragment(ip)) [[unlikely]] {
        return other();
    }
    const auto protocol = static_cast<net::Protocol>(ip[net::kProtocolOffset]);
    if ((protocol != net::Protocol::udp && protocol != net::Protocol::tcp) ||
        detail::check_l4(protocol, ip + kIpv4Bytes, total_bytes - kIpv4Bytes) != Verdict::forward ||
        (!ip_checksum_good && !net::has_good_checksum20(ip))) [[unlikely]] {
        return other();
    }
    return {.kind = PacketKind::tcp_or_udp,
            .link = LinkId{link},
            .l3_offset = kEthernetBytes,
            .ip_bytes = static_cast<std::uint16_t>(total_bytes)};
}

/// The rest of parse() for PacketKind::unusual, apart so that nobody else pays for it: Verdict::forward, or
/// why it is dropped.
Verdict check_unusual(const std::uint8_t* ip, std::uint16_t ip_bytes) noexcept;

/// Whether the first fragment of TCP, UDP or ICMP has all that fwd needs: with less, what it says could still
/// be overwritten (RFC 1858, section 3; RFC 7112).
bool first_fragment_has_its_headers(net::Protocol protocol, const std::uint8_t* l4,
                                    std::size_t l4_bytes) noexcept;

}  // namespace fwd::dataplane
