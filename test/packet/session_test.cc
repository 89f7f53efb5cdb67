// SPDX-License-Identifier: BSD-3-Clause
// How sessions open, move on, age and make room.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "test/packet/networks.h"
#include "test/support/equal_crc.h"

namespace fwd::test {
namespace {

using dataplane::ThreadCounters;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using namespace std::chrono_literals;

/// The example's TCP connection, as its two ends drive it.
class TcpSession : public ::testing::Test {
 protected:
    bool from_client(std::uint8_t flags) {
        return box_.exchange("lan",
                             box_.to("lan").from(kClientMac).ipv4(kClient, kExternal).tcp(40000, 80, flags),
                             "lan")
                   .size() == 1;
    }
    bool from_server(std::uint8_t flags) {
        return box_.exchange("lan",
                             box_.to("lan").from(kServerMac).ipv4(kServer, kFwd).tcp(8080, port_, flags),
                             "lan")
                   .size() == 1;
    }
    void open() { port_ = open_example(box_); }
    void establish() {
        open();
        ASSERT_TRUE(from_server(kSyn | kAck));
        ASSERT_TRUE(from_client(kAck));
    }
    /// Whether the session is there for that long and no longer, give or take the sweep's second.
    void expect_to_live_for(std::chrono::seconds time) {
        box_.pass(time - 1s);
        EXPECT_EQ(box_.sessions(), 1);
        box_.pass(4s);
        EXPECT_EQ(box_.sessions(), 0);
        box_.expect_no_record_lost();
    }
    Box box_{kOneArm};
    std::uint16_t port_ = 0;
};

TEST_F(TcpSession, UnansweredLivesForFourMinutes) {
    open();
    expect_to_live_for(240s);
}

TEST_F(TcpSession, HalfOpenLivesForFourMinutes) {
    open();
    ASSERT_TRUE(from_server(kSyn | kAck));
    expect_to_live_for(240s);
}

/// T5
TEST_F(TcpSession, EstablishedLivesForTwoHoursAndFourMinutes) {
    establish();
    expect_to_live_for(7440s);
}

TEST_F(TcpSession, LearnsOfAShorterTimeout) {
    establish();
    box_.set_timeouts({.tcp_established = 60s});
    expect_to_live_for(60s);
}

TEST_F(TcpSession, EveryPacketOfEitherSideKeepsItAlive) {
    establish();
    for (int i = 0; i < 4; ++i) {
        box_.pass(7000s);
        EXPECT_TRUE(i % 2 == 0 ? from_client(kAck) : from_server(kAck));
    }
    expect_to_live_for(7440s);
}

TEST_F(TcpSession, FinMovesItToClosing) {
    establish();
    ASSERT_TRUE(from_server(kFin | kAck));
    ASSERT_TRUE(from_client(kFin | kAck));
    ASSERT_TRUE(from_server(kAck));
    expect_to_live_for(240s);
}

/// T11: it is not deleted.
TEST_F(TcpSession, RstMovesItToClosing) {
    establish();
    ASSERT_TRUE(from_server(kRst));
    EXPECT_TRUE(from_client(kAck));
    expect_to_live_for(240s);
}

/// T12
TEST_F(TcpSession, SynInClosingOpensItAnew) {
    establish();
    ASSERT_TRUE(from_server(kFin | kAck));
    ASSERT_TRUE(from_client(kFin | kAck));
    ASSERT_TRUE(from_client(kSyn));
    EXPECT_EQ(box_.sessions(), 1);
    ASSERT_TRUE(from_server(kSyn | kAck));
    ASSERT_TRUE(from_client(kAck));
    expect_to_live_for(7440s);
}

TEST_F(TcpSession, RetransmittedSynOpensNoSecondSession) {
    open();
    EXPECT_EQ(open_example(box_), port_);
    EXPECT_EQ(open_example(box_), port_);
    EXPECT_EQ(box_.sessions(), 1);
}

TEST_F(TcpSession, AfterItsEndTheAnswersAreNobodys) {
    establish();
    box_.clear_sessions();
    box_.pass(2s);
    EXPECT_EQ(box_.sessions(), 0);
    EXPECT_FALSE(from_server(kAck));
    EXPECT_FALSE(from_client(kAck));
    EXPECT_EQ(box_.count(Verdict::drop_not_syn), 1);
    EXPECT_EQ(box_.count(Verdict::drop_no_rule), 1);
}

/// L7
TEST_F(TcpSession, ClearingSessionsLeavesEveryRuleWorking) {
    establish();
    box_.clear_sessions();
    establish();
    EXPECT_EQ(box_.sessions(), 1);
}

/// L5: kept until idle.
TEST_F(TcpSession, GoesOnWhenItsRuleIsDeleted) {
    establish();
    box_.set_rules("rules = ();");
    EXPECT_TRUE(from_client(kAck));
    EXPECT_TRUE(from_server(kAck));
    EXPECT_EQ(open_example(box_, 40001), 0);
    EXPECT_EQ(box_.count(Verdict::drop_no_rule), 1);
}

/// L6
TEST_F(TcpSession, DoesNotNoticeThatOtherRulesChange) {
    establish();
    for (int i = 0; i < 100; ++i) {
        box_.set_rules(
            "rules = ( { name = \"web\"; protocol = \"tcp\"; external = \"10.0.0.3:80\"; target = "
            "\"10.0.0.4:8080\"; },"
            "{ name = \"other\"; protocol = \"tcp\"; external = \"10.0.0.9:" +
            std::to_string(i + 1) + "\"; target = \"10.0.0.4:9\"; } );");
        box_.settle();
        box_.take("lan");  // the new address is announced
        EXPECT_TRUE(from_client(kAck));
        EXPECT_TRUE(from_server(kAck));
    }
    EXPECT_EQ(box_.sessions(), 1);
}

TEST(UdpSession, LivesTwoMinutesUnansweredAndFiveAnswered) {
    Box box{kOneArm};
    const auto ask = [&] {
        return box.exchange("lan", box.to("lan").ipv4(kClient, kExternal).udp(5000, 53), "lan");
    };
    ask();
    box.pass(119s);
    EXPECT_EQ(box.sessions(), 1);
    box.pass(3s);
    EXPECT_EQ(box.sessions(), 0);
    const std::uint16_t port = look_into(ask().at(0)).source.port.host();
    EXPECT_THAT(box.exchange("lan", box.to("lan").ipv4(kServer, kFwd).udp(5353, port), "lan"), SizeIs(1));
    box.pass(299s);
    EXPECT_EQ(box.sessions(), 1);
    box.pass(3s);
    EXPECT_EQ(box.sessions(), 0);
    box.expect_no_record_lost();
}

/// Fills the table with answered UDP sessions; gives how many fit.
std::uint32_t fill_with_answered(Box& box, std::uint32_t most) {
    for (std::uint32_t i = 0; i < most; ++i) {
        const auto client = net::Ipv4Address::from_host(0xc6336400U + (i >> 8U));
        const auto port = static_cast<std::uint16_t>(1000 + (i & 0xffU));
        if (box.exchange("wan", box.to("wan").ipv4(client, kPublic).udp(port, 27015), "lan").empty())
            return i;
        box.exchange("lan", box.to("lan").ipv4("10.0.0.5"_ip, client).udp(27015, port), "wan");
    }
    return most;
}

/// R11
TEST(FullTable, NewSessionsAreDroppedAndLiveOnesGoOn) {
    Box box{kTwoArm};
    EXPECT_EQ(fill_with_answered(box, 300), 256);
    EXPECT_GE(box.count(Verdict::drop_sessions_full), 1);
    for (std::uint32_t i = 0; i < 256; ++i) {
        EXPECT_THAT(box.exchange("wan",
                                 box.to("wan")
                                     .ipv4("198.51.100.0"_ip, kPublic)
                                     .udp(static_cast<std::uint16_t>(1000 + i), 27015),
                                 "lan"),
                    SizeIs(1));
    }
    EXPECT_EQ(box.sessions(), 256);
    // Room again, and they come in.
    box.pass(303s);
    EXPECT_EQ(box.sessions(), 0);
    EXPECT_EQ(fill_with_answered(box, 300), 256);
    box.expect_no_record_lost();
    box.expect_every_packet_accounted_for();
}

/// R18
TEST(FullTable, UnansweredSessionsMakeRoomOldestFirst) {
    Box box{kTwoArm};
    // A flood of SYNs from everywhere ...
    for (std::uint32_t i = 0; i < 10'000; ++i) {
        const auto spoofed = net::Ipv4Address::from_host(0xcb007100U + i);
        box.put("wan", box.to("wan").ipv4(spoofed, kPublic).tcp(1, 80, kSyn));
        if (i % 16 != 0) continue;
        box.settle();
        box.take("lan");
        // ... and a real client that answers within that time.
        const auto port = static_cast<std::uint16_t>(i / 16 + 1);
        if (port > 100) continue;
        EXPECT_THAT(box.exchange("wan", box.to("wan").ipv4(kFarClient, kPublic).tcp(port, 80, kSyn), "lan"),
                    SizeIs(1));
        EXPECT_THAT(
            box.exchange("lan", box.to("lan").ipv4(kLanServer, kFarClient).tcp(8080, port, kSyn | kAck),
                         "wan"),
            SizeIs(1));
        EXPECT_THAT(box.exchange("wan", box.to("wan").ipv4(kFarClient, kPublic).tcp(port, 80, kAck), "lan"),
                    SizeIs(1));
    }
    EXPECT_EQ(box.count(Verdict::drop_sessions_full), 0);
    EXPECT_GT(box.total(&ThreadCounters::sessions_evicted), 9'000);
    // All of them are still there.
    box.settle();
    box.take("lan");
    for (std::uint16_t port = 1; port <= 100; ++port) {
        EXPECT_THAT(box.exchange("wan", box.to("wan").ipv4(kFarClient, kPublic).tcp(port, 80, kAck), "lan"),
                    SizeIs(1));
    }
    box.pass(1s);
    box.expect_no_record_lost();
    box.expect_every_packet_accounted_for();
}

const std::string kFewPorts = R"(
    masquerade_ports = "5000-5007";
)" + kOneArm;

TEST(SourcePorts, UsedUpMeansDroppedAndCountedAndLiveSessionsGoOn) {
    Box box{kFewPorts};
    std::set<std::uint16_t> ports;
    for (std::uint16_t client_port = 1; client_port <= 8; ++client_port)
        ports.insert(open_example(box, client_port));
    EXPECT_THAT(ports, SizeIs(8));
    EXPECT_EQ(*ports.begin(), 5000);
    EXPECT_EQ(*ports.rbegin(), 5007);
    EXPECT_EQ(open_example(box, 9), 0);
    EXPECT_EQ(box.count(Verdict::drop_ports_used_up), 1);
    for (std::uint16_t client_port = 1; client_port <= 8; ++client_port)
        EXPECT_TRUE(ports.contains(open_example(box, client_port)));
    box.pass(1s);
    box.expect_no_record_lost();
}

TEST(SourcePorts, AreOnlyUniqueForEachTarget) {
    Box box{kFewPorts};
    for (std::uint16_t client_port = 1; client_port <= 8; ++client_port) {
        EXPECT_NE(open_example(box, client_port), 0);
        EXPECT_THAT(box.exchange("lan", box.to("lan").ipv4(kClient, kExternal).udp(client_port, 53), "lan"),
                    SizeIs(1));
    }
}

/// R15
TEST(SourcePorts, AreSpreadOverTheWholeRange) {
    Box box{"sessions = 4096;\n" + kOneArm.substr(kOneArm.find("links"))};
    std::array<int, 16> parts{};
    std::set<std::uint16_t> ports;
    for (std::uint16_t client_port = 1; client_port <= 2000; ++client_port) {
        const std::uint16_t port = open_example(box, client_port);
        ports.insert(port);
        ++parts[port >> 12U];
    }
    EXPECT_THAT(ports, SizeIs(2000));
    for (const int part : parts) EXPECT_NEAR(part, 125, 70);
}

/// A rule's own endpoint is never used as somebody's source.
TEST(SourcePorts, OfRulesAreLeftAlone) {
    Box box{R"(
        masquerade_ports = "5000-5003";
        links = ( { name = "lan"; device = "net_null_lan"; addresses = [ "10.0.0.2/24" ]; } );
        neighbours = ( { link = "lan"; address = "10.0.0.4"; mac = "02:00:00:00:00:04"; } );
        rules = ( { name = "web"; protocol = "tcp"; external = "10.0.0.3:80"; target = "10.0.0.4:8080"; },
                  { name = "a"; protocol = "tcp"; external = "10.0.0.2:5000"; target = "10.0.0.4:1"; },
                  { name = "b"; protocol = "tcp"; external = "10.0.0.2:5002"; target = "10.0.0.4:1"; } );
    )"};
    std::set<std::uint16_t> ports{open_example(box, 1), open_example(box, 2), open_example(box, 3)};
    EXPECT_THAT(ports, ::testing::ElementsAre(0, 5001, 5003));
}

/// S1
TEST(Tuples, TwoRulesToOneTargetNeverShareAnAnswersTuple) {
    Box box{kTwoArm};
    box.set_rules(R"(rules = (
        { name = "a"; protocol = "tcp"; external = "192.0.2.3:80"; target = "10.0.0.4:8080"; },
        { name = "b"; protocol = "tcp"; external = "192.0.2.3:81"; target = "10.0.0.4:8080"; } );)");
    const auto open = [&](std::uint16_t external_port) {
        return box.exchange("wan", box.to("wan").ipv4(kFarClient, kPublic).tcp(40000, external_port, kSyn),
                            "lan");
    };
    EXPECT_THAT(open(80), SizeIs(1));
    EXPECT_THAT(open(81), IsEmpty());
    EXPECT_EQ(box.count(Verdict::drop_tuple_in_use), 1);
    EXPECT_EQ(box.sessions(), 1);
    box.pass(1s);
    box.expect_no_record_lost();
    const auto answer =
        box.exchange("lan", box.to("lan").ipv4(kLanServer, kFarClient).tcp(8080, 40000, kSyn | kAck), "wan");
    ASSERT_THAT(answer, SizeIs(1));
    EXPECT_EQ(look_into(answer[0]).source, endpoint(kPublic, 80));
}

/// Whoever knows CRC32 can't fill a bucket.
TEST(Hash, HundredThousandTuplesOfOneCrcAllGetSessions) {
    Box box{"sessions = 131072;\n" + kOneArm.substr(kOneArm.find("links")), 1};
    box.set_rules(R"(rules = (
        { name = "a"; protocol = "udp"; external = "10.0.0.3:80"; target = "10.0.0.4:80"; },
        { name = "b"; protocol = "udp"; external = "10.0.0.3:81"; target = "10.0.0.4:81"; } );)");
    std::uint32_t sent = 0;
    std::uint32_t opened = 0;
    for (const dataplane::FlowKey& key : keys_of_equal_crc(100'000)) {
        box.put("lan", box.to("lan")
                           .ipv4(key.source, key.destination)
                           .udp(key.source_port.host(), key.destination_port.host()));
        if (++sent % 64 == 0) {
            box.poll();
            opened += static_cast<std::uint32_t>(box.take("lan").size());
        }
    }
    box.poll();
    opened += static_cast<std::uint32_t>(box.take("lan").size());
    // Full NAT draws 50 000 ports for each of two targets out of 64 512: some need many probes, none too
    // many.
    EXPECT_EQ(sent, 100'000);
    EXPECT_EQ(opened, 100'000);
    EXPECT_EQ(box.sessions(), 100'000);
}

TEST(Ageing, WorkerThatSleepsForAMinuteHoldsUpNobody) {
    Box box{kTwoArm, 2};
    std::uint32_t opened = 0;
    // The whole table twice every two minutes, by the other worker alone.
    for (int round = 0; round < 20; ++round) {
        for (std::uint16_t port = 1; port <= 120; ++port) {
            opened += static_cast<std::uint32_t>(
                box.exchange("wan", box.to("wan").ipv4(kFarClient, kPublic).tcp(port, 80, kSyn), "lan")
                    .size());
            box.put("lan", box.to("lan").ipv4(kLanServer, kFarClient).tcp(8080, port, kRst | kAck));
            box.poll(0);
        }
        box.pass(60s, 1);
        box.clear_sessions();
        box.pass(5s);
    }
    EXPECT_EQ(opened, 20 * 120);
    EXPECT_EQ(box.sessions(), 0);
    box.expect_no_record_lost();
}

TEST(Ageing, ChurnThroughTheWholeTableManyTimesLosesNoRecord) {
    Box box{kTwoArm};
    std::uint32_t forwarded = 0;
    for (std::uint32_t i = 0; i < 20'000; ++i) {
        const auto client = net::Ipv4Address::from_host(0x64400000U + i);
        forwarded += static_cast<std::uint32_t>(
            box.exchange("wan", box.to("wan").ipv4(client, kPublic).udp(7, 27015), "lan").size());
        if (i % 100 == 99) {
            box.clear_sessions();
            box.pass(1500ms);
            EXPECT_EQ(box.sessions(), 0);
        }
    }
    EXPECT_EQ(forwarded, 20'000);
    box.expect_no_record_lost();
}

TEST(Counters, OfASessionsEndGoToItsRule) {
    Box box{kTwoArm};
    for (int i = 0; i < 5; ++i)
        box.exchange("wan", box.to("wan").ipv4(kFarClient, kPublic).udp(1, 27015).payload_bytes(72), "lan");
    for (int i = 0; i < 3; ++i)
        box.exchange("lan", box.to("lan").ipv4("10.0.0.5"_ip, kFarClient).udp(27015, 1).payload_bytes(172),
                     "wan");
    box.clear_sessions();
    box.pass(2s);
    std::uint64_t packets = 0;
    std::uint64_t bytes = 0;
    for (std::uint32_t slot = 0; slot < box.dataplane().rule_counters().slot_count(); ++slot) {
        packets += box.dataplane().rule_counters().at(slot)->packets.load();
        bytes += box.dataplane().rule_counters().at(slot)->bytes.load();
        EXPECT_EQ(box.dataplane().rule_counters().at(slot)->sessions.load(), 0);
    }
    EXPECT_EQ(packets, 8);
    EXPECT_EQ(bytes, 5 * 100 + 3 * 200);
}

}  // namespace
}  // namespace fwd::test
