// SPDX-License-Identifier: BSD-3-Clause
// Hosts inside, and what they and the world send each other by masquerade.
#pragma once

#include <optional>
#include <string>

#include "test/packet/ipv6_networks.h"
#include "test/packet/networks.h"

namespace fwd::test {

inline constexpr auto kHost = kLanServer, kOtherHost = "10.0.0.5"_ip;
inline constexpr auto kHostMac = mac(4), kOtherHostMac = mac(5);
inline constexpr auto kPeer = kFarClient, kStranger = "198.51.100.8"_ip;

/// The same for a test of both families, in one of them.
struct Family {
    const char* name;
    const std::string* networks;
    net::IpAddress wan, lan;  ///< fwd's own
    net::IpAddress host, other_host, peer, stranger;
    net::IpAddress external;  ///< another one outside, and the next ones
};
inline const Family kIpv4{"Ipv4",     &kTwoArm, kWanAddress, kLanAddress,    kHost,
                          kOtherHost, kPeer,    kStranger,   "192.0.2.70"_ip};
inline const Family kIpv6{"Ipv6",        &kTwoArm6,   "2001:db8:2::1"_ip6, "fd00::1"_ip6,       kLanServer6,
                          "fd00::5"_ip6, kFarClient6, "2001:db8:f::8"_ip6, "2001:db8:2::70"_ip6};
inline void PrintTo(const Family* family, std::ostream* out) {
    *out << family->name;
}
/// The n-th address behind one.
inline net::IpAddress next(const net::IpAddress& address, unsigned n) {
    return net::IpAddress::from_number(address.number() + n);
}

/// The two networks, with masquerades as the configuration says them, and room for 4096 sessions.
inline std::string masqueraded(const std::string& masquerades, const std::string& more = "",
                               const Family& family = kIpv4) {
    std::string networks = *family.networks;
    networks.replace(networks.find("256"), 3, "4096");
    return more + networks + "masquerades = (" + masquerades + ");";
}

/// UDP and TCP through a box with links "lan" inside and "wan" outside.
class Outbound {
 public:
    explicit Outbound(Box& box) : box_{box} {}

    /// What left by "wan" for a packet that came in by "lan"; nothing when it was dropped.
    std::optional<Seen> udp(const net::IpEndpoint& host, const net::IpEndpoint& to) {
        return only(box_.exchange(
            "lan",
            box_.to("lan").ip(host.address, to.address).udp(host.port.host(), to.port.host()).payload("out"),
            "wan"));
    }
    std::optional<Seen> tcp(const net::IpEndpoint& host, const net::IpEndpoint& to,
                            std::uint8_t flags = kSyn) {
        return only(box_.exchange(
            "lan", box_.to("lan").ip(host.address, to.address).tcp(host.port.host(), to.port.host(), flags),
            "wan"));
    }
    /// The other way.
    std::optional<Seen> udp_back(const net::IpEndpoint& peer, const net::IpEndpoint& external) {
        return only(box_.exchange("wan",
                                  box_.to("wan")
                                      .ip(peer.address, external.address)
                                      .udp(peer.port.host(), external.port.host())
                                      .payload("back"),
                                  "lan"));
    }
    std::optional<Seen> tcp_back(const net::IpEndpoint& peer, const net::IpEndpoint& external,
                                 std::uint8_t flags) {
        return only(box_.exchange("wan",
                                  box_.to("wan")
                                      .ip(peer.address, external.address)
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
