// SPDX-License-Identifier: BSD-3-Clause
// Two fwdds serve one address at once: each announces it by BGP, a router spreads connections over both
// (ECMP), and BFD tells it when one is gone.
#include <fmt/format.h>

#include <iostream>

#include "test/e2e/box.h"

namespace fwd::test {
namespace {

using namespace std::chrono_literals;

/// The router's part of what conf/bird.conf is for.
constexpr const char* kBirdRouter = R"(
    router id 10.0.0.1;
    protocol device { scan time 1; }
    protocol bfd { interface "*" { interval 100 ms; multiplier 3; }; }
    protocol kernel { merge paths yes; ipv4 { import none; export all; }; }
    template bgp box {
        local 10.0.0.1 as 65000;
        bfd on;
        connect delay time 1;
        connect retry time 1;
        error wait time 1, 1;
        ipv4 { import all; export none; };
    }
    protocol bgp one from box { neighbor 10.0.0.2 as 65001; }
    protocol bgp two from box { neighbor 10.0.0.5 as 65001; }
)";

/// And of conf/frr.conf.
constexpr const char* kFrrRouter = R"(
    router bgp 65000
     bgp router-id 10.0.0.1
     no bgp ebgp-requires-policy
     neighbor box peer-group
     neighbor box remote-as 65001
     neighbor box bfd profile quick
     neighbor box timers connect 1
     neighbor 10.0.0.2 peer-group box
     neighbor 10.0.0.5 peer-group box
     address-family ipv4 unicast
      maximum-paths 2
     exit-address-family
    exit
    bfd
     profile quick
      detect-multiplier 3
      receive-interval 100
      transmit-interval 100
)";

/// With BIRD or FRR on all of them.
class ScaleOutTest : public LabTest, public ::testing::WithParamInterface<const char*> {
 protected:
    void start_network() {
        // The client is the router as well; each fwdd asks the server by its own address.
        ASSERT_NO_FATAL_FAILURE(up({.config = R"(
            rules = ( { name = "echo"; protocol = "tcp"; external = "198.51.100.80:7"; target = "10.0.0.4:7000"; } );
        )",
                                    .settings = {R"(lan.host=["bgp", "bfd"])"}}));
        ASSERT_NO_FATAL_FAILURE(start_echo_server(7000));
        second_ = std::make_unique<Box>("second", "10.0.0.5");
        exec("client", "sysctl -qw net.ipv4.fib_multipath_hash_policy=1");
        const bool is_frr = GetParam() == std::string{"Frr"};
        const std::string box = read_file(source_file(is_frr ? "conf/frr.conf" : "conf/bird.conf"));
        start_routing("client", is_frr ? kFrrRouter : kBirdRouter);
        start_routing("fwd", box);
        start_routing("second", replaced(box, "10.0.0.2", second_->address()));
        ASSERT_TRUE(eventually([&] { return has_next_hop("10.0.0.2") && has_next_hop("10.0.0.5"); }, 20s))
            << exec("client", "ip route").output;
    }
    void start_routing(const std::string& host, const std::string& config) {
        if (GetParam() == std::string{"Frr"}) {
            daemons_.push_back(std::make_unique<Frr>(namespace_of(host), config));
        } else {
            daemons_.push_back(std::make_unique<Bird>(namespace_of(host), config));
        }
    }
    bool has_next_hop(const std::string& address) {
        return exec("client", "ip route show 198.51.100.80").output.find("via " + address + " ") !=
               std::string::npos;
    }
    bool connects() {
        Socket socket = tcp("client");
        return socket.connect({"198.51.100.80", 7}, 200ms) && socket.send("hello") &&
               socket.receive(1s) == "hello";
    }
    unsigned opened_by_first() { return fwdctl("stats")["sessions"]["opened"]; }
    unsigned opened_by_second() { return second_->fwdctl("stats")["sessions"]["opened"]; }

    std::unique_ptr<Box> second_;
    std::vector<std::unique_ptr<RoutingDaemon>> daemons_;
};

INSTANTIATE_TEST_SUITE_P(, ScaleOutTest, ::testing::Values("Bird", "Frr"),
                         [](const auto& test) { return test.param; });

TEST_P(ScaleOutTest, ConnectionsAreSpreadAndGoOnByTheOtherWhenOneFwddIsKilled) {
    ASSERT_NO_FATAL_FAILURE(start_network());
    constexpr unsigned kConnections = 200;
    unsigned served = 0;
    for (unsigned i = 0; i < kConnections; ++i) served += connects() ? 1 : 0;
    EXPECT_EQ(served, kConnections);
    std::cout << opened_by_first() << " by the first, " << opened_by_second() << " by the second\n";
    EXPECT_EQ(opened_by_first() + opened_by_second(), kConnections);
    EXPECT_GT(opened_by_first(), kConnections / 4);
    EXPECT_GT(opened_by_second(), kConnections / 4);

    second_->kill_fwdd();
    const Outage outage = outage_within(3s, [&] { return connects(); });
    std::cout << outage.failed << " of " << outage.tried << " connections failed, none worked for "
              << outage.longest.count() << " s\n";
    EXPECT_LT(outage.longest, 2s);
    EXPECT_LT(outage.failed, outage.tried / 10);
    EXPECT_FALSE(has_next_hop("10.0.0.5"));

    // The routing daemon goes on beside a fwdd that comes back: it gets its share again.
    second_->start_fwdd();
    EXPECT_TRUE(eventually([&] { return has_next_hop("10.0.0.2") && has_next_hop("10.0.0.5"); }, 20s))
        << exec("client", "ip route").output;
    EXPECT_TRUE(eventually([&] { return connects() && opened_by_second() > 0; }, 10s));
    expect_every_packet_accounted_for();
}

}  // namespace
}  // namespace fwd::test
