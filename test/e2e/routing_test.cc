// SPDX-License-Identifier: BSD-3-Clause
// BGP beside fwd: BIRD or FRR speaks to a router by the link that forwards. What it learns fwd follows, what
// it announces leads clients to fwd.
#include <fmt/format.h>

#include "test/e2e/box.h"

namespace fwd::test {
namespace {

using namespace std::chrono_literals;

/// Of a peer's end; times as short as they go.
constexpr const char* kTimes =
    "connect delay time 1; connect retry time 1; error wait time 1,1; hold time 3; keepalive time 1;";

class RoutingTest : public LabTest, public ::testing::WithParamInterface<const char*> {
 protected:
    std::unique_ptr<RoutingDaemon> start_beside_fwd() {
        if (GetParam() == std::string{"Frr"}) {
            return std::make_unique<Frr>(namespace_of("fwd"), R"(
                router bgp 65001
                 bgp router-id 192.0.2.1
                 no bgp ebgp-requires-policy
                 no bgp network import-check
                 neighbor 192.0.2.10 remote-as 65000
                 neighbor 192.0.2.10 timers 1 3
                 neighbor 192.0.2.10 timers connect 1
                 address-family ipv4 unicast
                  network 203.0.113.80/32
                 exit-address-family
                )");
        }
        return std::make_unique<Bird>(namespace_of("fwd"), fmt::format(R"(
            router id 192.0.2.1;
            protocol device {{ scan time 1; }}
            protocol kernel {{ ipv4 {{ import none; export where source = RTS_BGP; }}; }}
            protocol static {{ ipv4; route 203.0.113.80/32 unreachable; }}
            protocol bgp upstream {{ {} local 192.0.2.1 as 65001; neighbor 192.0.2.10 as 65000;
                ipv4 {{ import all; export where source = RTS_STATIC; }}; }})",
                                                                       kTimes));
    }
    bool fwd_has_route(const std::string& prefix) {
        return exec("fwd", "ip route show " + prefix).output.find("dev fwd-wan") != std::string::npos;
    }
    /// What a host inside hears from the world beyond the router: who it says is asking.
    std::string ask_from_inside(const std::string& where) {
        return exec("server", fmt::format("timeout 2 socat -u TCP4:{},connect-timeout=1 STDOUT 2>&1", where))
            .output;
    }
};

INSTANTIATE_TEST_SUITE_P(, RoutingTest, ::testing::Values("Bird", "Frr"),
                         [](const auto& test) { return test.param; });

TEST_P(RoutingTest, RoutesOfBgpAreFollowedAndAnAnnouncedAddressIsReached) {
    ASSERT_NO_FATAL_FAILURE(
        up({.topology = "two-arm",
            .config = R"(
        rules = ( { name = "beyond"; protocol = "tcp"; external = "10.0.0.3:80"; target = "198.51.100.7:8000";
                    source = "masquerade"; },
                  { name = "announced"; protocol = "tcp"; external = "203.0.113.80:80"; target = "10.0.0.4:8080"; } );
        masquerades = ( { name = "inside"; inside = "lan"; } );
    )",
            .settings = {R"(wan.host=({ service = "bgp"; from = [ "192.0.2.10/32" ]; }))"}}));
    ASSERT_NO_FATAL_FAILURE(start_web_server());
    // The router knows the way to fwd's announced address by BGP alone.
    exec("client", "ip route delete default; ip address add 198.51.100.7/32 dev lo");
    Process world =
        start("client", R"(socat -U TCP4-LISTEN:8000,fork,reuseaddr SYSTEM:'echo $SOCAT_PEERADDR')");
    EXPECT_EQ(ask_from_inside("198.51.100.7:8000").find("192.0.2.1\n"), std::string::npos);
    EXPECT_GT(dropped("no-route"), 0);
    EXPECT_NE(get("http://203.0.113.80/", "--max-time 1").status, 0);

    const auto beside_fwd = start_beside_fwd();
    // The router is another make than one of the two.
    Bird routers{namespace_of("client"), fmt::format(R"(
        router id 192.0.2.10;
        protocol device {{ scan time 1; }}
        protocol kernel {{ ipv4 {{ import none; export where source = RTS_BGP; }}; }}
        protocol static {{ ipv4; route 0.0.0.0/0 unreachable; route 198.51.100.0/24 unreachable; }}
        protocol bgp fwd {{ {} local 192.0.2.10 as 65000; neighbor 192.0.2.1 as 65001;
            ipv4 {{ import all; export where source = RTS_STATIC; }}; }})",
                                                     kTimes)};
    ASSERT_TRUE(eventually([&] { return fwd_has_route("default") && fwd_has_route("198.51.100.0/24"); }, 20s))
        << exec("fwd", "ip route").output;
    EXPECT_TRUE(eventually([&] { return ask_from_inside("198.51.100.7:8000") == "192.0.2.1\n"; }, 5s))
        << "a masqueraded session by a learnt route";
    EXPECT_EQ(ask_from_inside("10.0.0.3:80"), "192.0.2.1\n") << "a rule to a target beyond the router";
    // fwd's daemon may take a moment more to announce than to learn.
    EXPECT_TRUE(eventually([&] { return get("http://203.0.113.80/").output == kPage; }, 10s))
        << "an address that is on no link";
    expect_every_packet_accounted_for();

    routers.stop();
    ASSERT_TRUE(
        eventually([&] { return !fwd_has_route("default") && !fwd_has_route("198.51.100.0/24"); }, 10s));
    const std::uint64_t before = dropped("no-route");
    EXPECT_TRUE(eventually(
        [&] { return ask_from_inside("198.51.100.7:8000").find("192.0.2.1\n") == std::string::npos; }, 5s));
    EXPECT_GT(dropped("no-route"), before);
    EXPECT_NE(get("http://203.0.113.80/", "--max-time 1").status, 0) << "the router has forgotten it as well";
    expect_every_packet_accounted_for();
}

}  // namespace
}  // namespace fwd::test
