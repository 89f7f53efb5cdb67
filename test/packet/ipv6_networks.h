// SPDX-License-Identifier: BSD-3-Clause
// The networks of the packet tests for IPv6.
#pragma once

#include <string>

#include "test/packet/box.h"
#include "test/packet/networks.h"

namespace fwd::test {

// One segment, as kOneArm.
inline constexpr auto kClient6 = "2001:db8:1::1"_ip6, kFwd6 = "2001:db8:1::2"_ip6,
                      kExternal6 = "2001:db8:1::3"_ip6, kServer6 = "2001:db8:1::4"_ip6;
inline const std::string kOneArm6 = R"(
    sessions = 256;
    links = ( { name = "lan"; device = "net_null_lan"; addresses = [ "2001:db8:1::2/64" ]; ping = true; } );
    neighbours = ( { link = "lan"; address = "2001:db8:1::1"; mac = "02:00:00:00:00:01"; },
                   { link = "lan"; address = "2001:db8:1::4"; mac = "02:00:00:00:00:04"; } );
    rules = ( { name = "web"; protocol = "tcp"; external = "[2001:db8:1::3]:80"; target = "[2001:db8:1::4]:8080"; },
              { name = "dns"; protocol = "udp"; external = "[2001:db8:1::3]:53"; target = "[2001:db8:1::4]:5353"; } );
)";

// Between two networks, as kTwoArm, with IPv4 beside.
inline constexpr auto kFarClient6 = "2001:db8:f::7"_ip6, kPublic6 = "2001:db8:2::3"_ip6,
                      kLanServer6 = "fd00::4"_ip6;
inline const std::string kTwoArm6 = R"(
    sessions = 256;
    links = ( { name = "wan"; device = "net_null_wan"; addresses = [ "192.0.2.1/24", "2001:db8:2::1/64" ]; },
              { name = "lan"; device = "net_null_lan"; addresses = [ "10.0.0.1/24", "fd00::1/64" ]; } );
    routes = ( { prefix = "0.0.0.0/0"; via = "192.0.2.254"; },
               { prefix = "::/0"; via = "2001:db8:2::fe"; } );
    neighbours = ( { link = "wan"; address = "192.0.2.254"; mac = "02:00:00:00:00:fe"; },
                   { link = "wan"; address = "2001:db8:2::fe"; mac = "02:00:00:00:00:fe"; },
                   { link = "lan"; address = "10.0.0.4"; mac = "02:00:00:00:00:04"; },
                   { link = "lan"; address = "fd00::4"; mac = "02:00:00:00:00:04"; },
                   { link = "lan"; address = "fd00::5"; mac = "02:00:00:00:00:05"; } );
    rules = ( { name = "web"; protocol = "tcp"; external = "192.0.2.3:80"; target = "10.0.0.4:8080"; },
              { name = "web6"; protocol = "tcp"; external = "[2001:db8:2::3]:80"; target = "[fd00::4]:8080"; },
              { name = "game6"; protocol = "udp"; external = "[2001:db8:2::3]:27015"; target = "[fd00::5]:27015"; } );
)";

}  // namespace fwd::test
