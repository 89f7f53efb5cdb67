// SPDX-License-Identifier: BSD-3-Clause
// When there is no room left, for want of source ports or of sessions: what is new is refused, counted and
// told, what is there goes on. And when there is room again.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "control/counter_watch.h"
#include "test/packet/networks.h"

namespace fwd::test {
namespace {

using control::CounterWatch;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using namespace std::chrono_literals;

constexpr std::uint8_t kUnreachable = 3, kProhibited = 13;

struct Scarcity {
    const char* name;
    const char* room;    ///< the configuration's, for a few sessions
    std::uint16_t most;  ///< so many
    Verdict verdict;
    const char* told;  ///< in the log
};
void PrintTo(const Scarcity& scarcity, std::ostream* out) {
    *out << scarcity.name;
}

/// By "lan" come clients of a UDP server, by full NAT.
class Exhaustion : public ::testing::TestWithParam<Scarcity> {
 protected:
    static std::string config(const std::string& of_link) {
        return std::string{GetParam().room} + R"(
            links = ( { name = "wan"; device = "net_null_wan"; addresses = [ "192.0.2.1/24" ]; )" +
               of_link + R"( },
                      { name = "lan"; device = "net_null_lan"; addresses = [ "10.0.0.1/24" ]; } );
            routes = ( { prefix = "0.0.0.0/0"; via = "192.0.2.254"; } );
            neighbours = ( { link = "wan"; address = "192.0.2.254"; mac = "02:00:00:00:00:fe"; },
                           { link = "lan"; address = "10.0.0.4"; mac = "02:00:00:00:00:04"; } );
            rules = ( { protocol = "udp"; external = "192.0.2.3:53"; target = "10.0.0.4:5353"; source = "masquerade"; } );)";
    }
    static PacketBuilder request(const Box& box, std::uint16_t client) {
        return box.to("wan").from(kRouterMac).ipv4(kFarClient, kPublic).udp(client, 53).payload("q");
    }
    /// Sessions of as many clients as there is room for, each answered and used again: none of them makes
    /// room.
    static std::vector<std::uint16_t> fill(Box& box) {
        std::vector<std::uint16_t> ports;
        for (std::uint16_t client = 1; client <= GetParam().most; ++client) {
            const auto sent = box.exchange("wan", request(box, client), "lan");
            ports.push_back(sent.size() == 1 ? look_into(sent[0]).source.port.host() : std::uint16_t{0});
            EXPECT_THAT(
                box.exchange("lan", box.to("lan").ipv4(kLanServer, kLanAddress).udp(5353, ports.back()),
                             "wan"),
                SizeIs(1));
            EXPECT_THAT(box.exchange("wan", request(box, client), "lan"), SizeIs(1));
        }
        box.take("wan");
        return ports;
    }
    /// Both directions of each session go on, as what they have been.
    static void expect_all_go_on(Box& box, const std::vector<std::uint16_t>& ports) {
        for (std::uint16_t client = 1; client <= GetParam().most; ++client) {
            const std::uint16_t port = ports[client - 1U];
            EXPECT_THAT(box.exchange("wan", request(box, client), "lan"),
                        ElementsAre(from_fwd(box, "lan", kServerMac)
                                        .ipv4(kLanAddress, kLanServer)
                                        .ttl(63)
                                        .udp(port, 5353)
                                        .payload("q")
                                        .frame()));
            EXPECT_THAT(
                box.exchange("lan", box.to("lan").ipv4(kLanServer, kLanAddress).udp(5353, port).payload("a"),
                             "wan"),
                ElementsAre(from_fwd(box, "wan", kRouterMac)
                                .ipv4(kPublic, kFarClient)
                                .ttl(63)
                                .udp(53, client)
                                .payload("a")
                                .frame()));
        }
    }
};
INSTANTIATE_TEST_SUITE_P(
    , Exhaustion,
    ::testing::Values(Scarcity{"OfPorts", R"(masquerade_ports = "5000-5007"; sessions = 256;)", 8,
                               Verdict::drop_ports_used_up, "no source port is free"},
                      Scarcity{"OfSessions", "sessions = 16;", 16, Verdict::drop_sessions_full,
                               "the session table is full"}),
    [](const auto& test) { return std::string{test.param.name}; });

/// R11, I8: nobody is told by default. Those that are refused are counted, and the log says it once a second.
TEST_P(Exhaustion, RefusesNewSessionsAndHarmsNoLiveOne) {
    constexpr std::uint16_t kRefused = 200;
    Box box{config("")};
    CounterWatch watch{box.dataplane()};
    CounterWatch::Clock::time_point now{};
    watch.look(now += 1h);
    const auto ports = fill(box);
    EXPECT_EQ(box.sessions(), GetParam().most);
    for (std::uint16_t client = 1000; client < 1000 + kRefused; ++client) {
        EXPECT_THAT(box.exchange("wan", request(box, client), "lan"), IsEmpty());
        EXPECT_THAT(box.take("wan"), IsEmpty()) << "nobody is told";
    }
    EXPECT_EQ(box.count(GetParam().verdict), kRefused);
    EXPECT_THAT(watch.look(now + 900ms), IsEmpty()) << "a second has not gone by";
    EXPECT_THAT(watch.look(now + 1s), ElementsAre(HasSubstr(GetParam().told)));
    box.exchange("wan", request(box, 2000), "lan");
    EXPECT_THAT(watch.look(now + 1900ms), IsEmpty());
    EXPECT_THAT(watch.look(now + 2s), ElementsAre(HasSubstr("1 new session(s) refused")));
    EXPECT_THAT(watch.look(now + 3s), IsEmpty()) << "nothing new";
    EXPECT_EQ(box.sessions(), GetParam().most);
    expect_all_go_on(box, ports);
    // Room again.
    box.pass(303s);
    EXPECT_EQ(box.sessions(), 0);
    fill(box);
    EXPECT_EQ(box.sessions(), GetParam().most);
    box.expect_no_record_lost();
    box.expect_every_packet_accounted_for();
}

/// I8, R11: by option those that are refused are told so, at most so many.
TEST_P(Exhaustion, IsToldByIcmpWhereTheLinkSaysSo) {
    Box box{config(R"(refuse = "icmp";)")};
    const auto ports = fill(box);
    EXPECT_THAT(box.exchange("wan", request(box, 1000), "wan"),
                ElementsAre(from_fwd(box, "wan", kRouterMac)
                                .ipv4(kWanAddress, kFarClient)
                                .identification(0)
                                .dont_fragment()
                                .icmp(kUnreachable, kProhibited)
                                .payload(request(box, 1000).ip_bytes())
                                .frame()));
    for (std::uint16_t client = 1001; client < 2000; ++client)
        box.exchange("wan", request(box, client), "lan");
    EXPECT_LE(box.take("wan").size(), 30);
    EXPECT_EQ(box.count(GetParam().verdict), 1000);
    expect_all_go_on(box, ports);
    box.expect_every_packet_accounted_for();
}

/// One source port for all clients.
class OneTuple : public ::testing::Test {
 protected:
    bool udp(std::uint16_t client) {
        return box_.exchange("lan", box_.to("lan").from(kClientMac).ipv4(kClient, kExternal).udp(client, 53),
                             "lan")
                   .size() == 1;
    }
    bool tcp(std::uint16_t client, std::uint8_t flags) {
        return box_.exchange("lan",
                             box_.to("lan").from(kClientMac).ipv4(kClient, kExternal).tcp(client, 80, flags),
                             "lan")
                   .size() == 1;
    }
    bool server_tcp(std::uint8_t flags) {
        return box_.exchange("lan",
                             box_.to("lan").from(kServerMac).ipv4(kServer, kFwd).tcp(8080, 5000, flags),
                             "lan")
                   .size() == 1;
    }
    void close(std::uint16_t client) {
        EXPECT_TRUE(tcp(client, kSyn));
        EXPECT_TRUE(server_tcp(kSyn | kAck));
        EXPECT_TRUE(tcp(client, kAck));
        EXPECT_TRUE(tcp(client, kFin | kAck));
        EXPECT_TRUE(server_tcp(kFin | kAck));
        EXPECT_TRUE(tcp(client, kAck));
    }

    Box box_{"masquerade_ports = \"5000-5000\";\n" + kOneArm};
};

/// R8: unlike a masquerade's port, that of full NAT is not held back when its session's timer has run out.
TEST_F(OneTuple, IsFreeAsSoonAsItsTimerHasRunOut) {
    EXPECT_TRUE(udp(1));
    box_.pass(119s);
    EXPECT_FALSE(udp(2));
    EXPECT_EQ(box_.count(Verdict::drop_ports_used_up), 1);
    box_.pass(3s);
    EXPECT_EQ(box_.sessions(), 0);
    EXPECT_TRUE(udp(2));
    EXPECT_FALSE(udp(1)) << "now it is the other one's";
    box_.pass(1s);
    box_.expect_no_record_lost();
}

/// R8, T12: after a clean close its client has it again at once, and others when the closed session has gone.
TEST_F(OneTuple, IsItsClientsAgainRightAfterACleanClose) {
    for (int round = 0; round < 3; ++round) close(1);
    EXPECT_EQ(box_.sessions(), 1);
    EXPECT_FALSE(tcp(2, kSyn));
    box_.pass(243s);
    EXPECT_EQ(box_.sessions(), 0);
    close(2);
    EXPECT_EQ(box_.sessions(), 1);
    box_.expect_no_record_lost();
    box_.expect_every_packet_accounted_for();
}

}  // namespace
}  // namespace fwd::test
