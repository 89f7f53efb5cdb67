// SPDX-License-Identifier: BSD-3-Clause
// What fwd is to the network around it: ARP, ping, traceroute, path MTU, routers on the way.
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <sstream>

#include "test/e2e/lab.h"

namespace fwd::test {
namespace {

using namespace std::chrono_literals;
using Hops = std::vector<std::string>;

constexpr std::uint8_t kIcmp = 1, kUnreachable = 3, kFragmentationNeeded = 4;
constexpr int kNarrow = 1280;

bool is_announced(const Wire& wire, const std::string& address) {
    return std::ranges::any_of(
        wire.arps, [&](const WireArp& arp) { return arp.is_gratuitous() && arp.sender == address; });
}

bool is_answered_for(const Wire& wire, const std::string& address) {
    return std::ranges::any_of(wire.arps, [&](const WireArp& arp) {
        return !arp.is_request && !arp.is_gratuitous() && arp.sender == address;
    });
}

/// The MTU that an ICMP "fragmentation needed" tells, 0 of any other packet.
int told_mtu(const WirePacket& packet) {
    const bool is_it =
        packet.protocol == kIcmp && packet.l4[0] == kUnreachable && packet.l4[1] == kFragmentationNeeded;
    return is_it ? packet.l4[6] << 8 | packet.l4[7] : 0;
}

class NetworkTest : public LabTest {
 protected:
    /// Makes the client ask by ARP for an address.
    void ask_for(const std::string& address) {
        exec("client", "ip neighbour flush to " + address);
        Socket datagram = udp("client");
        EXPECT_TRUE(datagram.connect({address, 9}) && datagram.send("hello"));
    }
    /// Of these addresses, those that are answered for. The last one must be.
    std::vector<std::string> answered_for(const std::vector<std::string>& addresses) {
        Capture wire = capture("client", "arp");
        for (const std::string& address : addresses) ask_for(address);
        EXPECT_TRUE(eventually([&] { return is_answered_for(wire.so_far(), addresses.back()); }));
        const Wire seen = wire.stop();
        std::vector<std::string> answered;
        std::ranges::copy_if(addresses, std::back_inserter(answered),
                             [&](const std::string& address) { return is_answered_for(seen, address); });
        return answered;
    }

    bool answers_ping(const std::string& address, double seconds = 10) {
        return exec("client", fmt::format("ping -c 1 -W {} {}", seconds, address)).status == 0;
    }

    Hops traceroute(const std::string& options) {
        const Finished done =
            exec("client", fmt::format("traceroute -n -q 1 -N 1 -w 5 -m 6 {} {}", options, nobody()));
        std::istringstream lines{done.output};
        std::string line;
        std::getline(lines, line);  // what it is about to do
        Hops hops;
        while (std::getline(lines, line)) {
            std::string number, address;
            std::istringstream{line} >> number >> address;
            hops.push_back(address);
        }
        EXPECT_EQ(done.output.find('!'), std::string::npos) << done.output;
        return hops;
    }

    /// A web server and one that keeps what it gets, both behind nobody()'s ports.
    void start_servers(const std::string& target, const std::string& options = "") {
        ASSERT_NO_FATAL_FAILURE(start_web_server());
        receiver_.push_back(start("server", fmt::format("socat -u TCP4-LISTEN:7009,fork,reuseaddr CREATE:{}",
                                                        (files() / "received").string())));
        ASSERT_TRUE(
            eventually([&] { return exec("server", "ss -Htln").output.find(":7009") != std::string::npos; }));
        exec("server", fmt::format("head -c 1000000 /dev/urandom > {}", (files() / "www/megabyte").string()));
        add_rule(fmt::format("tcp {}:80 {}:8080 {}", nobody(), target, options));
        add_rule(fmt::format("tcp {}:9 {}:7009 {}", nobody(), target, options));
    }
    void expect_a_megabyte_each_way() {
        const std::string file = files() / "www/megabyte", copy = files() / "copy";
        EXPECT_EQ(get(fmt::format("http://{}/megabyte", nobody()), "-o " + copy).output, "");
        EXPECT_EQ(exec("client", fmt::format("cmp {} {}", copy, file)).output, "");
        EXPECT_EQ(exec("client", fmt::format("timeout 20 socat -u {} TCP4:{}:9", file, nobody())).output, "");
        const std::string compare = fmt::format("cmp {} {}", (files() / "received").string(), file);
        EXPECT_TRUE(eventually([&] { return exec("server", compare).status == 0; }));
    }

    /// Sends a datagram that is too big for the path, and learns that from ICMP.
    void expect_path_mtu_found() {
        Socket datagrams = udp("client");
        datagrams.discover_path_mtu();
        EXPECT_TRUE(datagrams.connect({nobody(), 7}));
        EXPECT_EQ(datagrams.path_mtu(), 1500);
        EXPECT_TRUE(datagrams.send(std::string(1400, 'x')));
        EXPECT_EQ(datagrams.receive(), std::nullopt);
        EXPECT_EQ(datagrams.error(), EMSGSIZE);
        EXPECT_EQ(datagrams.path_mtu(), kNarrow);
        EXPECT_TRUE(datagrams.echoes(std::string(kNarrow - 28, 'x')));
    }

    /// Nothing of the network behind fwd, 10.0.0.0/8, was on the wire, ICMP's quotations included.
    static void expect_nothing_of_the_inside(const Wire& wire) {
        for (const WirePacket& packet : wire.packets) {
            EXPECT_FALSE(packet.source.starts_with("10.")) << packet;
            if (packet.protocol != kIcmp) continue;
            const WirePacket quoted = parse_quoted(packet.l4);
            EXPECT_FALSE(quoted.source.starts_with("10.")) << quoted;
            EXPECT_FALSE(quoted.destination.starts_with("10.")) << quoted;
        }
    }

 private:
    std::vector<Process> receiver_;
};

TEST_F(NetworkTest, FwdAnswersArpForItsOwnAndItsRulesAddressesAlone) {
    ASSERT_NO_FATAL_FAILURE(up());
    add_rule("tcp 10.0.0.3:80 10.0.0.4:8080 --name web");
    add_rule("udp 10.0.0.3:80 10.0.0.4:8080 --name datagrams");
    add_rule("tcp 10.0.0.5:80 10.0.0.4:8080 --name other");
    using Addresses = std::vector<std::string>;
    EXPECT_EQ(answered_for({"10.0.0.77", "10.0.0.3", "10.0.0.5", "10.0.0.2"}),
              (Addresses{"10.0.0.3", "10.0.0.5", "10.0.0.2"}));

    fwdctl("delete-rule web");
    fwdctl("delete-rule other");
    EXPECT_EQ(answered_for({"10.0.0.3", "10.0.0.5", "10.0.0.2"}), (Addresses{"10.0.0.3", "10.0.0.2"}));

    fwdctl("delete-rule datagrams");
    EXPECT_EQ(answered_for({"10.0.0.3", "10.0.0.2"}), Addresses{"10.0.0.2"});
    expect_every_packet_accounted_for();
}

TEST_F(NetworkTest, NewAddressesAreAnnouncedOnTheirNetwork) {
    ASSERT_NO_FATAL_FAILURE(up({.topology = "two-arm"}));
    Capture wan = capture("client", "arp");
    Capture lan = capture("server", "arp");
    add_rule("tcp 203.0.113.5:80 10.0.0.4:8080 --name of-no-link");
    add_rule("tcp 192.0.2.3:80 10.0.0.4:8080 --name web");
    EXPECT_TRUE(eventually([&] { return is_announced(wan.so_far(), "192.0.2.3"); }));
    add_rule("tcp 192.0.2.3:81 10.0.0.4:8080 --name web-81");
    const Wire seen_on_wan = wan.stop();
    EXPECT_EQ(seen_on_wan.arps.size(), 1U) << "once, and only where someone may ask for it";
    EXPECT_TRUE(lan.stop().arps.empty());

    stop_fwdd();
    Capture wan_at_start = capture("client", "arp");
    Capture lan_at_start = capture("server", "arp");
    start_fwdd();
    EXPECT_TRUE(eventually([&] {
        const Wire wire = wan_at_start.so_far();
        return is_announced(wire, "192.0.2.1") && is_announced(wire, "192.0.2.3");
    }));
    EXPECT_TRUE(eventually([&] { return is_announced(lan_at_start.so_far(), "10.0.0.1"); }));
}

/// I1
TEST_F(NetworkTest, PingIsAnsweredWhereTheLinkSaysSo) {
    ASSERT_NO_FATAL_FAILURE(up());
    add_rule("tcp 10.0.0.3:80 10.0.0.4:8080");
    EXPECT_TRUE(answers_ping("10.0.0.2"));
    EXPECT_FALSE(answers_ping("10.0.0.3", 0.5)) << "an address of a rule";

    for (const char* no_ping : {" ping = false;", ""}) {
        ASSERT_NO_FATAL_FAILURE(restart_fwdd_with(
            config().find(" ping = true;") != std::string::npos ? " ping = true;" : " ping = false;",
            no_ping));
        EXPECT_FALSE(answers_ping("10.0.0.2", 0.5)) << '"' << no_ping << '"';
        EXPECT_TRUE(eventually([&] { return dropped("icmp-ignored") == 1; }));
        expect_every_packet_accounted_for();
    }
}

class TheWayTest : public NetworkTest, public ::testing::WithParamInterface<const char*> {};
INSTANTIATE_TEST_SUITE_P(, TheWayTest, ::testing::Values("one-arm", "two-arm"), [](const auto& test) {
    return test.param == std::string{"one-arm"} ? "OneArm" : "TwoArm";
});

/// I5, I10
TEST_P(TheWayTest, GoesByFwdToTheExternalAddressAlone) {
    const bool is_two_arm = GetParam() == std::string{"two-arm"};
    ASSERT_NO_FATAL_FAILURE(up({.topology = GetParam()}));
    ASSERT_NO_FATAL_FAILURE(start_web_server());
    add_rule(fmt::format("tcp {}:80 10.0.0.4:8080", nobody()));
    // Where nobody listens: the end of the way by UDP.
    add_rule(fmt::format("udp {}:53 10.0.0.4:5353", nobody()));
    add_rule(fmt::format("udp {0}:44444-44463 10.0.0.4:44444-44463", nobody()));
    Capture wire = capture("client", "ip");
    const Hops expected{is_two_arm ? "192.0.2.1" : "10.0.0.2", nobody()};
    EXPECT_EQ(traceroute("-T -p 80"), expected);
    EXPECT_EQ(traceroute("-U -p 53"), expected);
    const std::string found = exec("client", "tracepath -n -m 4 " + nobody()).output;
    EXPECT_NE(found.find(expected[0]), std::string::npos) << found;
    EXPECT_NE(found.find("reached"), std::string::npos) << found;
    EXPECT_NE(found.find("Resume: pmtu 1500 hops 2 "), std::string::npos) << found;
    const Wire seen = wire.stop();
    if (is_two_arm) expect_nothing_of_the_inside(seen);
    for (const WirePacket& packet : seen.packets) {
        EXPECT_NE(packet.source, "10.0.0.4") << packet;
        EXPECT_NE(packet.destination, "10.0.0.4") << packet;
    }
    expect_every_packet_accounted_for();
}

/// I10: as no hop, fwd is not seen at all.
TEST_F(NetworkTest, TracerouteDoesNotShowAHiddenFwd) {
    ASSERT_NO_FATAL_FAILURE(up({.topology = "two-arm"}));
    ASSERT_NO_FATAL_FAILURE(restart_fwdd_with(config() + "ttl = \"hide\";\n"));
    ASSERT_NO_FATAL_FAILURE(start_web_server());
    add_rule("tcp 192.0.2.3:80 10.0.0.4:8080");
    add_rule("udp 192.0.2.3:53 10.0.0.4:5353");
    const Hops expected{"192.0.2.3"};
    EXPECT_EQ(traceroute("-T -p 80"), expected);
    EXPECT_EQ(traceroute("-U -p 53"), expected);
    expect_every_packet_accounted_for();
}

/// I4, I10, U13: tracepath finds the way and what fits through it.
TEST_F(NetworkTest, TracepathFindsTheWayAndItsMtu) {
    ASSERT_NO_FATAL_FAILURE(up({.topology = "two-arm"}));
    ASSERT_NO_FATAL_FAILURE(restart_fwdd_with(R"("10.0.0.1/24" ]; mtu = 1500)",
                                              fmt::format(R"("10.0.0.1/24" ]; mtu = {})", kNarrow)));
    add_rule("udp 192.0.2.3:44444-44463 10.0.0.4:44444-44463");
    const std::string found = exec("client", "tracepath -n -m 4 192.0.2.3").output;
    EXPECT_NE(found.find("192.0.2.1"), std::string::npos) << found;
    EXPECT_NE(found.find("192.0.2.3"), std::string::npos) << found;
    EXPECT_NE(found.find("reached"), std::string::npos) << found;
    EXPECT_NE(found.find(fmt::format("Resume: pmtu {} ", kNarrow)), std::string::npos) << found;
    EXPECT_EQ(found.find("10.0."), std::string::npos) << found;
    expect_every_packet_accounted_for();
}

/// U13
TEST_F(NetworkTest, ClientLearnsThatTheInnerLinkIsNarrow) {
    ASSERT_NO_FATAL_FAILURE(up({.topology = "two-arm"}));
    ASSERT_NO_FATAL_FAILURE(restart_fwdd_with(R"("10.0.0.1/24" ]; mtu = 1500)",
                                              fmt::format(R"("10.0.0.1/24" ]; mtu = {})", kNarrow)));
    exec("server", fmt::format("ip link set eth0 mtu {}", kNarrow));
    ASSERT_NO_FATAL_FAILURE(start_echo_server(7000));
    add_rule("udp 192.0.2.3:7 10.0.0.4:7000");
    ASSERT_NO_FATAL_FAILURE(start_servers("10.0.0.4"));
    Capture wire = capture("client", "icmp");

    expect_path_mtu_found();
    expect_a_megabyte_each_way();

    const Wire seen = wire.stop();
    EXPECT_FALSE(seen.packets.empty());
    for (const WirePacket& packet : seen.packets) {
        EXPECT_EQ(packet.source, "192.0.2.1") << packet;
        EXPECT_EQ(told_mtu(packet), kNarrow) << packet;
        EXPECT_EQ(parse_quoted(packet.l4).destination, "192.0.2.3");
        EXPECT_TRUE(packet.checksums_right) << packet;
    }
    expect_every_packet_accounted_for();
}

/// U13
TEST_F(NetworkTest, ServerLearnsThatTheOuterLinkIsNarrow) {
    ASSERT_NO_FATAL_FAILURE(up({.topology = "two-arm"}));
    ASSERT_NO_FATAL_FAILURE(restart_fwdd_with(R"("192.0.2.1/24" ]; mtu = 1500)",
                                              fmt::format(R"("192.0.2.1/24" ]; mtu = {})", kNarrow)));
    // The client keeps to that, but does not tell the server by its MSS.
    exec("client", fmt::format("ip route replace 192.0.2.0/24 dev eth0 mtu lock {} advmss 1460", kNarrow));
    ASSERT_NO_FATAL_FAILURE(start_servers("10.0.0.4", "--source masquerade"));
    Capture wire = capture("server", "icmp");

    expect_a_megabyte_each_way();

    const Wire seen = wire.stop();
    EXPECT_FALSE(seen.packets.empty());
    for (const WirePacket& packet : seen.packets) {
        EXPECT_EQ(packet.source, "10.0.0.1") << packet;
        EXPECT_EQ(told_mtu(packet), kNarrow) << packet;
        const WirePacket quoted = parse_quoted(packet.l4);
        EXPECT_EQ(quoted.source, "10.0.0.4");
        EXPECT_EQ(quoted.source_port, 8080);
        EXPECT_EQ(quoted.destination, "10.0.0.1");
    }
    expect_every_packet_accounted_for();
}

/// client 192.0.2.10 -- fwd -- 10.0.0.9 router 10.9.0.1 -- 10.9.0.4 server, the last network a narrow one.
class BehindARouterTest : public NetworkTest {
 protected:
    void up_with_router() {
        ASSERT_NO_FATAL_FAILURE(up({.topology = "two-arm", .config = R"(
            routes = ( { prefix = "10.9.0.0/24"; via = "10.0.0.9"; } );
        )"}));
        // The switch is the router, too.
        const Finished made = exec(
            "switch", fmt::format("set -e; sysctl -qw net.ipv4.ip_forward=1; "
                                  "ip address add 10.0.0.9/24 dev lan; ip route add default via 10.0.0.1; "
                                  "ip link add behind mtu {0} type veth peer name eth1 netns {1} mtu {0}; "
                                  "ip address add 10.9.0.1/24 dev behind; ip link set behind up",
                                  kNarrow, namespace_of("server")));
        ASSERT_EQ(made.status, 0) << made.output;
        const Finished joined = exec("server",
                                     "set -e; ethtool -K eth1 tx off; ip address add 10.9.0.4/24 dev eth1; "
                                     "ip link set eth1 up; ip route replace default via 10.9.0.1");
        ASSERT_EQ(joined.status, 0) << joined.output;
    }
};

TEST_F(BehindARouterTest, ServerIsReachedAndTheRouterIsNotSeen) {
    ASSERT_NO_FATAL_FAILURE(up_with_router());
    ASSERT_NO_FATAL_FAILURE(start_web_server());
    add_rule("tcp 192.0.2.3:80 10.9.0.4:8080");
    add_rule("udp 192.0.2.3:53 10.9.0.4:5353");
    Capture wire = capture("client", "ip");
    EXPECT_EQ(get("http://192.0.2.3/who").output, "192.0.2.10 asked 10.9.0.4:8080");
    const Hops expected{"192.0.2.1", "192.0.2.3", "192.0.2.3"};
    EXPECT_EQ(traceroute("-T -p 80"), expected);
    EXPECT_EQ(traceroute("-U -p 53"), expected);
    expect_nothing_of_the_inside(wire.stop());
    expect_every_packet_accounted_for();
}

/// I5, T9
TEST_F(BehindARouterTest, ClientLearnsThatTheNetworkBehindItIsNarrow) {
    ASSERT_NO_FATAL_FAILURE(up_with_router());
    ASSERT_NO_FATAL_FAILURE(start_echo_server(7000));
    add_rule("udp 192.0.2.3:7 10.9.0.4:7000");
    ASSERT_NO_FATAL_FAILURE(start_servers("10.9.0.4"));
    Capture wire = capture("client", "icmp");

    expect_path_mtu_found();
    expect_a_megabyte_each_way();

    const Wire seen = wire.stop();
    EXPECT_FALSE(seen.packets.empty());
    for (const WirePacket& packet : seen.packets) {
        EXPECT_EQ(packet.source, "192.0.2.3") << packet;
        EXPECT_EQ(told_mtu(packet), kNarrow) << packet;
        EXPECT_TRUE(packet.checksums_right) << packet;
    }
    expect_nothing_of_the_inside(seen);
    expect_every_packet_accounted_for();
}

}  // namespace
}  // namespace fwd::test
