// SPDX-License-Identifier: BSD-3-Clause
// Hosts inside, and what they and the world send each other by masquerade.
#pragma once

#include <optional>
#include <string>

#include "test/packet/networks.h"

namespace fwd::test {

inline constexpr auto kHost = kLanServer, kOtherHost = "10.0.0.5"_ip;
inline constexpr auto kHostMac = mac(4), kOtherHostMac = mac(5);
inline constexpr auto kPeer = kFarClient, kStranger = "198.51.100.8"_ip;

/// The two networks, with masquerades as the configuration says them, and room for 4096 sessions.
inline std::string masqueraded(const std::string& masquerades, const std::string& more = "") {
    std::string networks = kTwoArm;
    networks.replace(networks.find("256"), 3, "4096");
    return more + networks + "masquerades = (" + masquerades + ");";
}

/// UDP and TCP through a box with links "lan" inside and "wan" outside.
class Outbound {
 public:
    explicit Outbound(Box& box) : box_{box} {}

    /// What left by "wan" for a packet that came in by "lan"; nothing when it was dropped.
    std::optional<Seen> udp(const net::IpEndpoint& host, const net::IpEndpoint& to) {
        return only(box_.exchange("lan",
                                  box_.to("lan")
                                      .ipv4(host.address.v4(), to.address.v4())
                                      .udp(host.port.host(), to.port.host())
                                      .payload("out"),
                                  "wan"));
    }
    std::optional<Seen> tcp(const net::IpEndpoint& host, const net::IpEndpoint& to,
                            std::uint8_t flags = kSyn) {
        return only(box_.exchange("lan",
                                  box_.to("lan")
                                      .ipv4(host.address.v4(), to.address.v4())
                                      .tcp(host.port.host(), to.port.host(), flags),
                                  "wan"));
    }
    /// The other way.
    std::optional<Seen> udp_back(const net::IpEndpoint& peer, const net::IpEndpoint& external) {
        return only(box_.exchange("wan",
                                  box_.to("wan")
                                      .ipv4(peer.address.v4(), external.address.v4())
                                      .udp(peer.port.host(), external.port.host())
                                      .payload("back"),
                                  "lan"));
    }
    std::optional<Seen> tcp_back(const net::IpEndpoint& peer, const net::IpEndpoint& external,
                                 std::uint8_t flags) {
        return only(box_.exchange("wan",
                                  box_.to("wan")
                                      .ipv4(peer.address.v4(), external.address.v4())
                                      .tcp(peer.port.host(), external.port.host(), flags),
                                  "lan"));
    }

 private:
    static std::optional<Seen> only(const std::vector<Frame>& frames) {
        return frames.size() == 1 ? std::optional{look_into(frames[0])} : std::nullopt;
    }
    Box& box_;
};

}  // namespace fwd::test
