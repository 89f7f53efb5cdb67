// SPDX-License-Identifier: BSD-3-Clause
// What of the traffic for fwd's own addresses the kernel gets: packets of services that the link lists, and
// answers to what the kernel itself has sent. All else stays as if nobody were there (requirement T4).
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "dataplane/flow_key.h"

namespace fwd::dataplane {

struct Link;

/// Packets that come by a link for a service of the kernel's.
struct HostService {
    /// Where its packets go.
    enum class To : std::uint8_t {
        own,    ///< to an own address
        group,  ///< or to one that means the hosts of this link alone: 224.0.0.0/24, ff02::/16
        any,    ///< or to all, or to whatever address the link, which has none yet, may be given: DHCP
    };
    net::Protocol protocol = net::Protocol::tcp;
    std::uint16_t first_port = 0;  ///< of the destination; 0 to 0 where there are no ports
    std::uint16_t last_port = 0;
    std::uint16_t source_port = 0;  ///< 0: any
    To to = To::own;
    std::vector<net::IpPrefix> from;  ///< allowed sources; all when empty

    bool takes(const WideKey& key) const noexcept;
    friend bool operator==(const HostService&, const HostService&) noexcept = default;
};

/// Conversations that the kernel has begun. Control notes them, workers ask for them.
class HostFlows {
 public:
    using Clock = std::chrono::steady_clock;

    /// @param tag FlowHash::tag() of an answer's key
    bool knows(std::uint64_t tag) const noexcept;

    /// Only control. Where there is no room, the one that would have been forgotten first goes.
    void note(std::uint64_t tag, Clock::time_point until) noexcept;
    /// Only control: forgets those whose time has come.
    void expire(Clock::time_point now) noexcept;

 private:
    static constexpr std::size_t kPlaces = 16384, kWays = 8;
    static std::size_t first_way(std::uint64_t tag) noexcept {
        return (tag >> 1U) % (kPlaces / kWays) * kWays;  // the last bit is always set
    }

    std::vector<std::atomic<std::uint64_t>> tags_ =
        std::vector<std::atomic<std::uint64_t>>(kPlaces);  // 0: none
    std::vector<Clock::time_point> until_ = std::vector<Clock::time_point>(kPlaces);
};

/// A whole IP packet that the kernel may get.
struct HostPacket {
    WideKey key;  ///< as it came in; of an ICMP error: of an answer to the packet inside
    net::IpAddress source, destination;
    std::uint16_t l3_offset = 0;  ///< from the start of the frame
    std::uint16_t l4_offset = 0;  ///< from the IP header
    std::uint16_t ip_bytes = 0;
    bool is_error = false;  ///< of ICMP
    bool is_echo_reply = false;
    bool opens = true;  ///< it may be the first of a conversation: not TCP but for a SYN
};
/// Checks a frame, be it one that another check has refused; nullopt for what no service has: fragments,
/// IP options, malformed packets, other protocols than IP.
std::optional<HostPacket> parse_for_host(const std::uint8_t* frame, std::size_t frame_bytes,
                                         LinkId link) noexcept;

/// Whether its addresses are such as mean something on one link alone, which to fwd is martian.
bool is_of_link(const HostPacket& packet) noexcept;

/// Why the kernel gets a packet.
enum class HostShare : std::uint8_t {
    none,
    opening,      ///< it may begin a conversation with a service
    established,  ///< or goes on with one, by the look of it
    answer,       ///< it answers what the kernel has sent
};
HostShare host_share(const HostPacket& packet, const std::vector<Link>& links, const FlowHash& hash,
                     const HostFlows& flows) noexcept;

}  // namespace fwd::dataplane
