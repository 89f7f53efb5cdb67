// SPDX-License-Identifier: BSD-3-Clause
// parse() for what follows an Ethernet header with IPv6 behind it: the one place that checks its lengths.
#pragma once

#include <cstddef>
#include <cstdint>

#include "dataplane/flow_key.h"
#include "dataplane/net/ipv6.h"
#include "dataplane/packet.h"
#include "dataplane/verdict.h"

namespace fwd::dataplane {

/// is_passed_by_address() of what stands behind the headers of IPv6, where more protocols have addresses in
/// their checksums.
constexpr bool is_passed_by_ipv6_address(net::Protocol protocol) noexcept {
    switch (static_cast<unsigned>(protocol)) {
        case 1:    // ICMP of IPv4
        case 59:   // no protocol
        case 89:   // OSPF
        case 103:  // PIM
        case 112:  // VRRP
        case 135:  // mobility
        case 139:  // HIP
        case 140:  // Shim6
            return false;
        default:
            return is_passed_by_address(protocol);
    }
}

struct Ipv6Packet {
    Verdict verdict =
        Verdict::drop_truncated;  ///< Verdict::forward: its L4 header, if fwd knows of one, is there
    net::Protocol protocol = net::Protocol::tcp;
    std::uint16_t l4_offset = 0;  ///< from the IPv6 header on, behind its extension headers
    std::uint16_t ip_bytes = 0;   ///< of the whole IP packet: padding behind it does not count
    /// Of a fragment: where its fragment header lies; 0 of others. Its L4 header has not been checked.
    std::uint16_t fragment_offset = 0;
    bool is_later_fragment = false;  ///< it has no L4 header: at l4_offset it goes on
    bool has_fragment_header = false;

    bool is_fragment() const noexcept { return fragment_offset != 0; }
};

/// Checks an IPv6 packet of which so many bytes are there. Extension headers are parsed over, except those
/// that fwd drops: a routing header of type 0 (RFC 5095) or one with segments left (requirement P3). A
/// fragment header of a packet that is whole (RFC 6946) is parsed over as well.
Ipv6Packet parse_ipv6(const std::uint8_t* ip, std::size_t bytes_there) noexcept;

/// What stands behind an IPv6 header and its extension headers, of which so many bytes are there at most: the
/// verdict is forward when nothing on the way there is wrong.
struct UpperLayer {
    Verdict verdict = Verdict::drop_truncated;
    std::uint8_t protocol = 0;
    std::uint16_t l4_offset = 0;
    std::uint16_t fragment_offset = 0;
    bool is_later_fragment = false;
    bool has_fragment_header = false;
};
UpperLayer find_upper_layer(const std::uint8_t* ip, std::size_t bytes) noexcept;

/// Of a packet that has passed parse_ipv6(), not a later fragment. An echo's identifier stands where the
/// client's port would, as icmp_query.h says it; of protocols without ports there are addresses alone.
WideKey wide_key_of(LinkId ingress, const std::uint8_t* ip, const Ipv6Packet& packet) noexcept;

}  // namespace fwd::dataplane
