// SPDX-License-Identifier: BSD-3-Clause
// The networks of the packet tests, as fwdd's configuration says them.
#pragma once

#include <string>

#include "test/packet/box.h"

namespace fwd::test {

// One segment: client, fwd, an address that nobody has, and a server.
inline constexpr auto kClient = "10.0.0.1"_ip, kFwd = "10.0.0.2"_ip, kExternal = "10.0.0.3"_ip,
                      kServer = "10.0.0.4"_ip;
inline constexpr auto kClientMac = mac(1), kServerMac = mac(4);
inline const std::string kOneArm = R"(
    sessions = 256;
    links = ( { name = "lan"; device = "net_null_lan"; addresses = [ "10.0.0.2/24" ]; ping = true; } );
    neighbours = ( { link = "lan"; address = "10.0.0.1"; mac = "02:00:00:00:00:01"; },
                   { link = "lan"; address = "10.0.0.4"; mac = "02:00:00:00:00:04"; } );
    rules = ( { name = "web"; protocol = "tcp"; external = "10.0.0.3:80"; target = "10.0.0.4:8080"; },
              { name = "dns"; protocol = "udp"; external = "10.0.0.3:53"; target = "10.0.0.4:5353"; } );
)";

// Between two networks: clients behind a router at 192.0.2.254, servers on the LAN.
inline constexpr auto kFarClient = "198.51.100.7"_ip, kWanAddress = "192.0.2.1"_ip, kPublic = "192.0.2.3"_ip,
                      kLanAddress = "10.0.0.1"_ip, kLanServer = "10.0.0.4"_ip;
inline constexpr auto kRouterMac = mac(0xfe);
inline const std::string kTwoArmRest = R"(
    sessions = 256;
    routes = ( { prefix = "0.0.0.0/0"; via = "192.0.2.254"; } );
    neighbours = ( { link = "wan"; address = "192.0.2.254"; mac = "02:00:00:00:00:fe"; },
                   { link = "lan"; address = "10.0.0.4"; mac = "02:00:00:00:00:04"; },
                   { link = "lan"; address = "10.0.0.5"; mac = "02:00:00:00:00:05"; } );
    rules = ( { name = "web"; protocol = "tcp"; external = "192.0.2.3:80"; target = "10.0.0.4:8080"; },
              { name = "own"; protocol = "tcp"; external = "192.0.2.1:2222"; target = "10.0.0.5:22"; },
              { name = "game"; protocol = "udp"; external = "192.0.2.3:27015"; target = "10.0.0.5:27015"; } );
)";
inline const std::string kTwoArm = R"(
    links = ( { name = "wan"; device = "net_null_wan"; addresses = [ "192.0.2.1/24" ]; },
              { name = "lan"; device = "net_null_lan"; addresses = [ "10.0.0.1/24" ]; } );
)" + kTwoArmRest;
/// Both links as VLANs of one device.
inline const std::string kTwoVlans = R"(
    links = ( { name = "wan"; device = "net_null_trunk"; vlan = 100; addresses = [ "192.0.2.1/24" ]; },
              { name = "lan"; device = "net_null_trunk"; vlan = 4094; addresses = [ "10.0.0.1/24" ]; } );
)" + kTwoArmRest;

/// A frame as fwd sends it by a link.
inline PacketBuilder from_fwd(const Box& box, const std::string& link, net::MacAddress to) {
    PacketBuilder frame = packet().to(to).from(box.mac_of(link));
    if (const auto vlan = box.vlan_of(link)) frame.vlan(*vlan);
    return frame;
}

/// The example's connection as far as its first answer; gives the port that fwd has chosen.
inline std::uint16_t open_example(Box& box, std::uint16_t client_port = 40000, unsigned worker = 0) {
    const auto sent = box.exchange(
        "lan", box.to("lan").from(kClientMac).ipv4(kClient, kExternal).tcp(client_port, 80, kSyn), "lan",
        worker);
    if (sent.size() != 1) return 0;
    return look_into(sent[0]).source.port.host();
}

}  // namespace fwd::test
