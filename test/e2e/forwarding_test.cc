// SPDX-License-Identifier: BSD-3-Clause
// What gets where, and what both ends see of it.
#include <fmt/format.h>

#include <map>

#include "test/e2e/lab.h"

namespace fwd::test {
namespace {

using namespace std::chrono_literals;

class ForwardingTest : public LabTest {
 protected:
    /// Each of `before` is there in `after`, in order, with nothing changed but addresses, ports and one TTL
    /// less.
    static void expect_forwarded(const std::vector<WirePacket>& before,
                                 const std::vector<WirePacket>& after) {
        ASSERT_EQ(before.size(), after.size());
        for (std::size_t i = 0; i < before.size(); ++i) {
            EXPECT_EQ(before[i].unchangeable(), after[i].unchangeable())
                << before[i] << " became " << after[i];
            EXPECT_EQ(before[i].ttl - 1, after[i].ttl) << before[i];
            EXPECT_TRUE(after[i].checksums_right) << after[i];
        }
    }
};

TEST_F(ForwardingTest, ClientAsksAnAddressThatNobodyOwnsAndServerSeesFwd) {
    ASSERT_NO_FATAL_FAILURE(up());
    ASSERT_NO_FATAL_FAILURE(start_web_server());
    add_rule("tcp 10.0.0.3:80 10.0.0.4:8080 --name web");
    Capture client_wire = capture("client", "tcp");
    Capture server_wire = capture("server", "tcp");

    const Finished page = get("http://10.0.0.3/");
    EXPECT_EQ(page.status, 0);
    EXPECT_EQ(page.output, kPage);
    EXPECT_TRUE(eventually([&] { return access_log().starts_with("10.0.0.2 "); })) << access_log();

    const Wire client = client_wire.stop();
    const Wire server = server_wire.stop();
    EXPECT_GE(client.packets.size(), 8U);
    EXPECT_EQ(client.from("10.0.0.1").size() + client.from("10.0.0.3").size(), client.packets.size());
    EXPECT_EQ(server.from("10.0.0.2").size() + server.from("10.0.0.4").size(), server.packets.size());
    for (const WirePacket& packet : client.from("10.0.0.1")) EXPECT_EQ(packet.destination_port, 80) << packet;
    for (const WirePacket& packet : client.from("10.0.0.3")) EXPECT_EQ(packet.source_port, 80) << packet;
    for (const WirePacket& packet : server.from("10.0.0.2"))
        EXPECT_EQ(packet.destination_port, 8080) << packet;
    for (const WirePacket& packet : server.from("10.0.0.4")) {
        EXPECT_EQ(packet.source_port, 8080) << packet;
        EXPECT_EQ(packet.destination, "10.0.0.2") << packet;
        EXPECT_EQ(packet.destination_port, server.from("10.0.0.2").front().source_port) << packet;
    }
    expect_forwarded(client.from("10.0.0.1"), server.from("10.0.0.2"));
    expect_forwarded(server.from("10.0.0.4"), client.from("10.0.0.3"));
    expect_every_packet_accounted_for();
}

TEST_F(ForwardingTest, ServerBetweenTwoNetworksSeesTheClientItself) {
    ASSERT_NO_FATAL_FAILURE(up({.topology = "two-arm"}));
    ASSERT_NO_FATAL_FAILURE(start_web_server());
    add_rule("tcp 192.0.2.3:80 10.0.0.4:8080");
    Capture client_wire = capture("client", "tcp");
    Capture server_wire = capture("server", "tcp");

    EXPECT_EQ(get("http://192.0.2.3/").output, kPage);
    EXPECT_TRUE(eventually([&] { return access_log().starts_with("192.0.2.10 "); })) << access_log();

    const Wire client = client_wire.stop();
    const Wire server = server_wire.stop();
    expect_forwarded(client.from("192.0.2.10"), server.from("192.0.2.10"));
    expect_forwarded(server.from("10.0.0.4"), client.from("192.0.2.3"));
    EXPECT_EQ(server.from("192.0.2.10").front().source_port, client.from("192.0.2.10").front().source_port);
    expect_every_packet_accounted_for();
}

TEST_F(ForwardingTest, DatagramIsEchoedThroughFwd) {
    ASSERT_NO_FATAL_FAILURE(up());
    ASSERT_NO_FATAL_FAILURE(start_echo_server(7000));
    add_rule("udp 10.0.0.3:53 10.0.0.4:7000");
    Capture client_wire = capture("client", "udp");
    Capture server_wire = capture("server", "udp");

    Socket datagrams = udp("client");
    EXPECT_TRUE(datagrams.connect({"10.0.0.3", 53}) && datagrams.echoes("hello"));

    const Wire client = client_wire.stop();
    const Wire server = server_wire.stop();
    EXPECT_EQ(client.packets.size(), 2U);
    expect_forwarded(client.from("10.0.0.1"), server.from("10.0.0.2"));
    expect_forwarded(server.from("10.0.0.4"), client.from("10.0.0.3"));
    expect_every_packet_accounted_for();
}

/// T4
TEST_F(ForwardingTest, WhatNoRuleExplainsIsDroppedAndCounted) {
    ASSERT_NO_FATAL_FAILURE(up());
    ASSERT_NO_FATAL_FAILURE(start_web_server());
    add_rule("tcp 10.0.0.3:80 10.0.0.4:8080");
    Capture server_wire = capture("server", "ip");

    EXPECT_FALSE(tcp("client").connect({"10.0.0.3", 81}, 300ms));
    EXPECT_FALSE(tcp("client").connect({"10.0.0.2", 80}, 300ms));
    Socket datagrams = udp("client");
    EXPECT_TRUE(datagrams.connect({"10.0.0.3", 80}) && datagrams.send("hello"));

    EXPECT_TRUE(eventually([&] { return dropped("no-rule") == 3; })) << fwdctl("stats");
    EXPECT_EQ(fwdctl("stats")["sessions"]["opened"], 0);
    EXPECT_TRUE(server_wire.stop().packets.empty());
    expect_every_packet_accounted_for();
}

/// L1
TEST_F(ForwardingTest, SamePortOfAnotherAddress) {
    ASSERT_NO_FATAL_FAILURE(up());
    ASSERT_NO_FATAL_FAILURE(start_web_server());
    add_rule("tcp 10.0.0.3:8080 10.0.0.4:8080");
    EXPECT_EQ(get("http://10.0.0.3:8080/who").output, "10.0.0.2 asked 10.0.0.4:8080");
}

TEST_F(ForwardingTest, PortOfFwdsOwnAddress) {
    ASSERT_NO_FATAL_FAILURE(up());
    ASSERT_NO_FATAL_FAILURE(start_web_server());
    add_rule("tcp 10.0.0.2:80 10.0.0.4:80 --name same-port");
    add_rule("tcp 10.0.0.2:8000 10.0.0.4:8080 --name another-port");
    EXPECT_EQ(get("http://10.0.0.2/who").output, "10.0.0.2 asked 10.0.0.4:80");
    EXPECT_EQ(get("http://10.0.0.2:8000/who").output, "10.0.0.2 asked 10.0.0.4:8080");
    expect_every_packet_accounted_for();
}

TEST_F(ForwardingTest, OnePublicAddressHasSeveralServers) {
    ASSERT_NO_FATAL_FAILURE(up({.topology = "two-arm"}));
    exec("server", "ip address add 10.0.0.5/24 dev eth0 && ip address add 10.0.0.6/24 dev eth0");
    ASSERT_NO_FATAL_FAILURE(start_web_server());
    ASSERT_NO_FATAL_FAILURE(start_echo_server(7000));
    add_rule("tcp 192.0.2.1:80 10.0.0.4:8080");
    add_rule("tcp 192.0.2.1:81 10.0.0.5:8080");
    add_rule("tcp 192.0.2.1:82 10.0.0.6:80");
    add_rule("udp 192.0.2.1:80 10.0.0.4:7000");
    EXPECT_EQ(get("http://192.0.2.1/who").output, "192.0.2.10 asked 10.0.0.4:8080");
    EXPECT_EQ(get("http://192.0.2.1:81/who").output, "192.0.2.10 asked 10.0.0.5:8080");
    EXPECT_EQ(get("http://192.0.2.1:82/who").output, "192.0.2.10 asked 10.0.0.6:80");
    Socket datagrams = udp("client");
    EXPECT_TRUE(datagrams.connect({"192.0.2.1", 80}) && datagrams.echoes("hello"));
    expect_every_packet_accounted_for();
}

TEST_F(ForwardingTest, MasqueradeBetweenTwoNetworksShowsTheServerFwdsAddressThere) {
    ASSERT_NO_FATAL_FAILURE(up({.topology = "two-arm"}));
    ASSERT_NO_FATAL_FAILURE(start_web_server());
    add_rule("tcp 192.0.2.3:80 10.0.0.4:8080 --source masquerade");
    EXPECT_EQ(get("http://192.0.2.3/who").output, "10.0.0.1 asked 10.0.0.4:8080");
}

/// L3
TEST_F(ForwardingTest, RuleServesItsLinkAndSourcesAlone) {
    ASSERT_NO_FATAL_FAILURE(up({.topology = "two-arm"}));
    ASSERT_NO_FATAL_FAILURE(start_web_server());
    add_rule("tcp 192.0.2.3:80 10.0.0.4:8080 --from 192.0.2.10/32");
    add_rule("tcp 192.0.2.3:81 10.0.0.4:8080 --from 192.0.2.128/25 --from 198.51.100.0/24");
    add_rule("tcp 192.0.2.3:82 10.0.0.4:8080 --link lan");
    EXPECT_EQ(get("http://192.0.2.3/").output, kPage);
    EXPECT_FALSE(tcp("client").connect({"192.0.2.3", 81}, 300ms));
    EXPECT_FALSE(tcp("client").connect({"192.0.2.3", 82}, 300ms));
    EXPECT_TRUE(eventually([&] { return dropped("source-denied") == 1 && dropped("no-rule") == 1; }));
    expect_every_packet_accounted_for();
}

/// Topology and number of workers.
class TopologyTest : public LabTest,
                     public ::testing::WithParamInterface<std::tuple<const char*, unsigned>> {};

TEST_P(TopologyTest, CarriesTcpAndUdp) {
    const auto& [topology, workers] = GetParam();
    ASSERT_NO_FATAL_FAILURE(up({.topology = topology, .workers = workers}));
    ASSERT_NO_FATAL_FAILURE(start_web_server());
    ASSERT_NO_FATAL_FAILURE(start_echo_server(7000));
    add_rule(fmt::format("tcp {}:80 10.0.0.4:8080 --name web", nobody()));
    add_rule(fmt::format("tcp+udp {}:7 10.0.0.4:7000 --name echo", nobody()));

    const bool is_one_arm = std::string{topology} == "one-arm";
    EXPECT_EQ(get(fmt::format("http://{}/who", nobody())).output,
              fmt::format("{} asked 10.0.0.4:8080", is_one_arm ? "10.0.0.2" : "192.0.2.10"));
    std::vector<Socket> sockets;
    for (int i = 0; i < 16; ++i) {
        sockets.push_back(i % 2 == 0 ? tcp("client") : udp("client"));
        EXPECT_TRUE(sockets.back().connect({nobody(), 7}));
    }
    for (int round = 0; round < 4; ++round) {
        for (Socket& socket : sockets) EXPECT_TRUE(socket.echoes(fmt::format("round {}", round)));
    }

    const Json stats = fwdctl("stats");
    EXPECT_EQ(stats["sessions"]["opened"], 17);
    EXPECT_EQ(stats["workers"].size(), workers);
    for (const Json& worker : stats["workers"]) EXPECT_GT(worker["received"], 0) << worker;
    EXPECT_EQ(stats["rules"][1]["sessions"], 16);
    for (const Json& session : sessions()) {
        EXPECT_EQ(session["source"].get<std::string>().starts_with("10.0.0.2:"), is_one_arm) << session;
        EXPECT_EQ(session["source"] == session["client"], !is_one_arm) << session;
    }
    expect_every_packet_accounted_for();
}

INSTANTIATE_TEST_SUITE_P(
    , TopologyTest, ::testing::Combine(::testing::Values("one-arm", "two-arm"), ::testing::Values(1U, 2U)),
    [](const auto& test) {
        return fmt::format("{}_{}_workers",
                           std::get<0>(test.param) == std::string{"one-arm"} ? "OneArm" : "TwoArm",
                           std::get<1>(test.param));
    });

/// L1, L2, L4
TEST_F(ForwardingTest, RangesAndSeveralTargetsServeWhoeverAsks) {
    ASSERT_NO_FATAL_FAILURE(up({.topology = "two-arm"}));
    EXPECT_EQ(exec("server", "ip address add 10.0.0.5/24 dev eth0").status, 0);
    ASSERT_NO_FATAL_FAILURE(start_web_server());
    add_rule("tcp 192.0.2.3:8070-8089 10.0.0.4:8070-8089 --name range");
    add_rule("tcp 192.0.2.3:8081 10.0.0.5:80 --name one");
    add_rule("tcp 192.0.2.3:80 10.0.0.4:8080*2,10.0.0.5:80 --name farm");
    EXPECT_EQ(get("http://192.0.2.3:8080/who").output, "192.0.2.10 asked 10.0.0.4:8080");
    EXPECT_EQ(get("http://192.0.2.3:8081/who").output, "192.0.2.10 asked 10.0.0.5:80");
    std::map<std::string, int> asked;
    for (int i = 0; i < 9; ++i) ++asked[get("http://192.0.2.3/who").output];
    EXPECT_EQ(asked["192.0.2.10 asked 10.0.0.4:8080"], 6);
    EXPECT_EQ(asked["192.0.2.10 asked 10.0.0.5:80"], 3);

    // The same after a restart.
    stop_fwdd();
    start_fwdd();
    EXPECT_EQ(get("http://192.0.2.3:8080/who").output, "192.0.2.10 asked 10.0.0.4:8080");
    EXPECT_EQ(get("http://192.0.2.3:8081/who").output, "192.0.2.10 asked 10.0.0.5:80");
    const Finished overlap = try_fwdctl("add-rule tcp 192.0.2.3:8089-8099 10.0.0.4:8089-8099");
    EXPECT_EQ(overlap.status, 1);
    EXPECT_NE(overlap.output.find("rule 'range' has 192.0.2.3:8070-8089"), std::string::npos)
        << overlap.output;
    expect_every_packet_accounted_for();
}

}  // namespace
}  // namespace fwd::test
