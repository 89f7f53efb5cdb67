// SPDX-License-Identifier: BSD-3-Clause
// Hosts inside reach the world, and what is inside by its external address, with the kernel's own TCP and
// UDP. "server" is the host inside, "client" is the world.
#include <fmt/format.h>

#include "test/e2e/lab.h"

namespace fwd::test {
namespace {

using namespace std::chrono_literals;

class MasqueradeLab : public LabTest {
 protected:
    void SetUp() override {
        LabTest::SetUp();
        up({.topology = "two-arm"});
    }
    void start_world_server() {
        // Not http.server itself, which asks DNS for the address's name first.
        world_.push_back(start(
            "client",
            R"py(python3 -u -c "import http.server as h, socketserver as s)py"
            R"py(; w = s.TCPServer(('192.0.2.10', 8000), h.SimpleHTTPRequestHandler); print('Serving'))py"
            R"py(; w.serve_forever()")py"));
        ASSERT_TRUE(world_.back().says("Serving"));
    }
    std::vector<Process> world_;
};

/// U1, R3: curl from inside; the world sees fwd's address, then one of the pool, and never the host's.
TEST_F(MasqueradeLab, InsideReachesTheWorldByTcp) {
    ASSERT_NO_FATAL_FAILURE(start_world_server());
    EXPECT_NE(exec("server", "curl -s -m 2 http://192.0.2.10:8000/").status, 0);
    fwdctl("add-masquerade lan");
    EXPECT_EQ(exec("server", "curl -s -m 5 -o /dev/null http://192.0.2.10:8000/").status, 0);
    EXPECT_TRUE(world_.back().says("192.0.2.1 - - "));
    fwdctl("delete-masquerade masquerade-lan --existing kill");
    fwdctl("add-masquerade 10.0.0.0/24 --pool 192.0.2.77 --name pool");
    EXPECT_EQ(exec("server", "curl -s -m 5 -o /dev/null http://192.0.2.10:8000/").status, 0);
    EXPECT_TRUE(world_.back().says("192.0.2.77 - - "));
    const Json listed = fwdctl("list-masquerades")["masquerades"];
    ASSERT_EQ(listed.size(), 1U);
    EXPECT_EQ(listed[0]["sessions"], 1);
    EXPECT_EQ(listed[0]["mappings"], 1);
    EXPECT_EQ(sessions().at(0)["rule"], "pool");
    expect_every_packet_accounted_for();
}

/// L1: a rule for a whole address lets its host out, once it is asked to, under that address.
TEST_F(MasqueradeLab, HostOfAWholeAddressReachesTheWorldUnderIt) {
    ASSERT_NO_FATAL_FAILURE(start_world_server());
    ASSERT_NO_FATAL_FAILURE(start_web_server());
    const std::string ask = "curl -s -m 5 -o /dev/null http://192.0.2.10:8000/";
    add_rule("all 192.0.2.5 10.0.0.4 --name host");
    EXPECT_NE(exec("server", "curl -s -m 2 http://192.0.2.10:8000/").status, 0);
    fwdctl("change-rule host --outbound");
    EXPECT_EQ(exec("server", ask).status, 0);
    EXPECT_TRUE(world_.back().says("192.0.2.5 - - "));
    EXPECT_EQ(exec("server", "ping -c 2 -i 0.2 -W 2 192.0.2.10").status, 0);
    EXPECT_EQ(get("http://192.0.2.5:8080/").output, kPage);
    EXPECT_NE(try_fwdctl("list-rules").output.find(" all, outbound "), std::string::npos);

    ASSERT_NO_FATAL_FAILURE(kill_fwdd());
    ASSERT_NO_FATAL_FAILURE(start_fwdd());
    EXPECT_EQ(exec("server", ask).status, 0) << "it is durable";
    fwdctl("change-rule host --outbound=false");
    EXPECT_NE(exec("server", "curl -s -m 2 http://192.0.2.10:8000/").status, 0);
    const Finished refused = try_fwdctl("add-rule tcp 192.0.2.6:80 10.0.0.4:8080 --outbound");
    EXPECT_NE(refused.output.find("outbound: got true for tcp of 192.0.2.6:80, want false"),
              std::string::npos)
        << refused.output;
    expect_every_packet_accounted_for();
}

/// U1, U8: both peers are behind a NAT, the outer one behind the kernel's. Each sends to where the other is
/// seen from outside; who is first opens its own NAT for the other's packets, and is not let in by the
/// other's.
TEST_F(MasqueradeLab, UdpHoleIsPunchedThroughTwoNats) {
    fwdctl("add-masquerade lan");
    ASSERT_EQ(
        exec(
            "client",
            "set -e; ip address add 172.16.0.2/32 dev lo; ip address add 192.0.2.11/24 dev eth0; "
            "ip address add 192.0.2.12/24 dev eth0; nft 'table ip nat { "
            "chain out { type nat hook postrouting priority srcnat; "
            "ip saddr 172.16.0.2 udp sport 5000 snat to 192.0.2.11:6000; }; "
            "chain in { type filter hook input priority filter; ip daddr 192.0.2.11 ct state new drop; }; }'")
            .output,
        "");
    // Where the peer inside is seen, a third party tells.
    Socket third_party = udp("client");
    ASSERT_TRUE(third_party.bind({"192.0.2.12", 3478}));
    Socket inside = udp("server");
    ASSERT_TRUE(inside.bind({"10.0.0.4", 5000}));
    ASSERT_TRUE(inside.connect({"192.0.2.12", 3478}));
    ASSERT_TRUE(inside.send("where am I?"));
    EXPECT_EQ(third_party.receive(), "where am I?");
    const std::string seen = sessions().at(0)["source"];
    const auto port = static_cast<std::uint16_t>(std::stoi(seen.substr(seen.find(':') + 1)));
    Socket outside = udp("client");
    ASSERT_TRUE(outside.bind({"172.16.0.2", 5000}));
    ASSERT_TRUE(outside.connect({"192.0.2.1", port}));

    ASSERT_TRUE(outside.send("lost at fwd"));
    EXPECT_TRUE(eventually([&] { return dropped("filtered") == 1; }));
    ASSERT_TRUE(inside.connect({"192.0.2.11", 6000}));
    ASSERT_TRUE(inside.send("passes both"));
    EXPECT_EQ(outside.receive(), "passes both");
    ASSERT_TRUE(outside.send("and so do answers"));
    EXPECT_EQ(inside.receive(), "and so do answers");
    const Json live = sessions();
    ASSERT_EQ(live.size(), 2U);
    EXPECT_EQ(live[0]["source"], live[1]["source"]) << "one mapping for both";
    expect_every_packet_accounted_for();
}

/// "server" reaches the world by fwd: a link of its own, or by a route on one segment.
struct Place {
    const char* name;
    const char* topology;
    const char* inside;
    const char* router;
    const char* external;
    const char* world;
};
class UdpHole : public LabTest, public ::testing::WithParamInterface<Place> {};
INSTANTIATE_TEST_SUITE_P(
    , UdpHole,
    ::testing::Values(Place{"TwoArm", "two-arm", "lan", "10.0.0.1", "192.0.2.1", "192.0.2.10"},
                      Place{"OneArm", "one-arm", "10.0.0.4/32", "10.0.0.2", "10.0.0.2", "10.0.0.1"}),
    [](const auto& test) { return std::string{test.param.name}; });

/// U8: two peers that have learned of each other's addresses: the one outside gets in once the other has
/// sent.
TEST_P(UdpHole, IsPunched) {
    const Place& place = GetParam();
    ASSERT_NO_FATAL_FAILURE(up({.topology = place.topology}));
    exec("server", fmt::format("ip route add {}/32 via {}", place.world, place.router));
    fwdctl(fmt::format("add-masquerade {}", place.inside));
    Socket inside = udp("server");
    Socket outside = udp("client");
    ASSERT_TRUE(outside.bind({place.world, 4000}));
    ASSERT_TRUE(inside.bind({"10.0.0.4", 5000}));
    ASSERT_TRUE(inside.connect({place.world, 4000}));
    ASSERT_TRUE(inside.send("hello"));
    ASSERT_TRUE(eventually([&] { return !sessions().empty(); }));
    const std::string source = sessions().at(0)["source"];
    const auto port = static_cast<std::uint16_t>(std::stoi(source.substr(source.find(':') + 1)));
    EXPECT_EQ(source.substr(0, source.find(':')), place.external);
    ASSERT_TRUE(outside.connect({place.external, port}));
    EXPECT_EQ(outside.receive(), "hello");
    ASSERT_TRUE(outside.send("and back"));
    EXPECT_EQ(inside.receive(), "and back");
    ASSERT_TRUE(inside.send("again"));
    EXPECT_EQ(outside.receive(), "again");
    expect_every_packet_accounted_for();
}

/// I4: traceroute from inside sees the way, its answers being ICMP errors about masqueraded sessions.
TEST_F(MasqueradeLab, TracerouteFromInsideArrives) {
    fwdctl("add-masquerade lan");
    const Finished trace = exec("server", "traceroute -n -q 1 -N 1 -w 2 -m 4 -U -p 5353 192.0.2.10");
    EXPECT_NE(trace.output.find(" 1  10.0.0.1"), std::string::npos) << trace.output;
    EXPECT_NE(trace.output.find(" 2  192.0.2.10"), std::string::npos) << trace.output;
}

/// U9, T8: a host inside reaches a server inside by its external address, and is seen by its own.
TEST_F(MasqueradeLab, InsideServerIsReachedByItsExternalAddress) {
    ASSERT_NO_FATAL_FAILURE(start_web_server());
    fwdctl("add-masquerade lan");
    add_rule("tcp 192.0.2.3:80 10.0.0.4:8080 --name web");
    EXPECT_EQ(exec("server", "curl -s -m 5 http://192.0.2.3/who").output, "192.0.2.1 asked 10.0.0.4:8080");
    EXPECT_EQ(get("http://192.0.2.3/who").output, "192.0.2.10 asked 10.0.0.4:8080");
    EXPECT_EQ(get("http://192.0.2.3/").output, kPage);
    expect_every_packet_accounted_for();
}

/// A masquerade is durable, and exported in a form that is read again.
TEST_F(MasqueradeLab, IsBackAfterARestart) {
    fwdctl("add-masquerade lan --to 192.0.2.0/24 --filtering endpoint-independent --max-ports-per-host 9");
    const std::string before = try_fwdctl("export").output;
    EXPECT_NE(before.find("masquerades = ("), std::string::npos) << before;
    ASSERT_NO_FATAL_FAILURE(kill_fwdd());
    ASSERT_NO_FATAL_FAILURE(start_fwdd());
    EXPECT_EQ(try_fwdctl("export").output, before);
    fwdctl("delete-masquerade masquerade-lan");
    write_file(files() / "rules.conf", before);
    EXPECT_EQ(fwdctl("add-rules " + (files() / "rules.conf").string())["added"], 1);
    EXPECT_EQ(try_fwdctl("export").output, before);
}

}  // namespace
}  // namespace fwd::test
