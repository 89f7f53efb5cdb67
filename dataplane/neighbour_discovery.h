// SPDX-License-Identifier: BSD-3-Clause
// Neighbour solicitations and advertisements (RFC 4861): what ARP is for IPv4. They go to multicast groups,
// which switches that filter multicast have to be told of (MLD, RFC 3810).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "dataplane/ipv6_packet.h"
#include "dataplane/net/address.h"

namespace fwd::dataplane {

inline constexpr std::uint8_t kNeighbourSolicitation = 135, kNeighbourAdvertisement = 136;
inline constexpr std::uint8_t kNdHopLimit = 255;  ///< no router has passed it on
inline constexpr net::Ipv6Address kAllNodes{{0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x01}};

struct NdMessage {
    bool solicitation = false;  ///< otherwise an advertisement
    bool solicited = false;     ///< flags of an advertisement
    bool overrides = false;
    net::Ipv6Address source{};  ///< unspecified: somebody finds out whether `target` is free
    net::Ipv6Address destination{};
    net::Ipv6Address target{};
    std::optional<net::MacAddress> link_layer{};  ///< the option of the message's own kind
};

/// Of an ICMPv6 packet with a good checksum that has passed parse_ipv6(): what it says, or nullopt when it is
/// neither kind, or one that RFC 4861, section 7.1, has hosts discard.
std::optional<NdMessage> parse_nd(const std::uint8_t* ip, const Ipv6Packet& packet) noexcept;

/// ff02::1:ff00:0/104 with the last 24 bits of an address: whoever has it listens there.
net::Ipv6Address solicited_node(const net::Ipv6Address& address) noexcept;
/// The MAC address of a multicast group (RFC 2464, section 7).
net::MacAddress multicast_mac(const net::Ipv6Address& group) noexcept;

/// Writes a message as an IPv6 packet with `link_layer` as its option, if any; `at` has room for kNdBytes.
/// Returns its length.
inline constexpr std::size_t kNdBytes = net::kIpv6Bytes + 24 + 8;
std::uint16_t write_nd(std::uint8_t* at, const NdMessage& message) noexcept;

inline constexpr std::uint8_t kListenerQuery = 130, kListenerReport = 143;
inline constexpr std::size_t kGroupsPerReport = 50;
inline constexpr std::size_t kReportBytes = net::kIpv6Bytes + 8 + 8 + 20 * kGroupsPerReport;
/// Whether an ICMPv6 packet asks who listens to which groups; it has passed parse_ipv6() with a good
/// checksum.
bool is_listener_query(const std::uint8_t* ip, const Ipv6Packet& packet) noexcept;
/// Writes a report that somebody listens to these groups, at most kGroupsPerReport; `at` has room for
/// kReportBytes. Returns its length.
/// @param joins it has begun to; otherwise it does, as was asked
std::uint16_t write_listener_report(std::uint8_t* at, const net::Ipv6Address& source,
                                    std::span<const net::Ipv6Address> groups, bool joins) noexcept;

/// Whether an ICMPv6 checksum is right; of a packet that has passed parse_ipv6().
bool icmpv6_checksum_good(const std::uint8_t* ip, const Ipv6Packet& packet) noexcept;
/// Writes the one that is.
void set_icmpv6_checksum(std::uint8_t* ip, std::uint16_t l4_offset, std::uint16_t ip_bytes) noexcept;

}  // namespace fwd::dataplane
