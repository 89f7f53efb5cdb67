// SPDX-License-Identifier: BSD-3-Clause
// How sessions open, move on, age and make room.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
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

/// T5
TEST_F(TcpSession, UnansweredLivesForFourMinutes) {
    open();
    expect_to_live_for(240s);
}

/// T5
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
    for (int i = 0; i < 2; ++i) {
        box_.pass(7000s);
        EXPECT_TRUE(i % 2 == 0 ? from_client(kAck) : from_server(kAck));
    }
    expect_to_live_for(7440s);
}

/// T5
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

/// U5
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

/// Tests with one worker and with two, whose queues packets come in by turns.
class OneOrTwoWorkers : public ::testing::TestWithParam<unsigned> {
 protected:
    unsigned turn() { return turn_++ / 3 % GetParam(); }

 private:
    unsigned turn_ = 0;
};
std::string worker_count(const ::testing::TestParamInfo<unsigned>& info) {
    return info.param == 1 ? "OneWorker" : "TwoWorkers";
}

class FullTable : public OneOrTwoWorkers {
 protected:
    std::uint32_t fill_with_answered(Box& box, std::uint32_t most, bool clients_go_on = true);
};
INSTANTIATE_TEST_SUITE_P(Packet, FullTable, ::testing::Values(1, 2), worker_count);

/// Fills the table with answered UDP sessions; gives how many fit.
std::uint32_t FullTable::fill_with_answered(Box& box, std::uint32_t most, bool clients_go_on) {
    for (std::uint32_t i = 0; i < most; ++i) {
        const auto client = net::Ipv4Address::from_host(0xc6336400U + (i >> 8U));
        const auto port = static_cast<std::uint16_t>(1000 + (i & 0xffU));
        const PacketBuilder request = box.to("wan").ipv4(client, kPublic).udp(port, 27015);
        if (box.exchange("wan", request, "lan", turn()).empty()) return i;
        box.exchange("lan", box.to("lan").ipv4("10.0.0.5"_ip, client).udp(27015, port), "wan", turn());
        if (clients_go_on) box.exchange("wan", request, "lan", turn());
    }
    return most;
}

/// R11
TEST_P(FullTable, NewSessionsAreDroppedAndLiveOnesGoOn) {
    Box box{kTwoArm, GetParam()};
    EXPECT_EQ(fill_with_answered(box, 300), 256);
    EXPECT_GE(box.count(Verdict::drop_sessions_full), 1);
    for (std::uint32_t i = 0; i < 256; ++i) {
        EXPECT_THAT(box.exchange("wan",
                                 box.to("wan")
                                     .ipv4("198.51.100.0"_ip, kPublic)
                                     .udp(static_cast<std::uint16_t>(1000 + i), 27015),
                                 "lan", turn()),
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
TEST_P(FullTable, UnansweredSessionsMakeRoomOldestFirst) {
    Box box{kTwoArm, GetParam()};
    // A flood of SYNs from everywhere ...
    for (std::uint32_t i = 0; i < 10'000; ++i) {
        const auto spoofed = net::Ipv4Address::from_host(0xcb007100U + i);
        box.put("wan", box.to("wan").ipv4(spoofed, kPublic).tcp(1, 80, kSyn), turn());
        if (i % 16 != 0) continue;
        box.settle();
        box.take("lan");
        // ... and a real client that answers within that time.
        const auto port = static_cast<std::uint16_t>(i / 16 + 1);
        if (port > 100) continue;
        EXPECT_THAT(
            box.exchange("wan", box.to("wan").ipv4(kFarClient, kPublic).tcp(port, 80, kSyn), "lan", turn()),
            SizeIs(1));
        EXPECT_THAT(
            box.exchange("lan", box.to("lan").ipv4(kLanServer, kFarClient).tcp(8080, port, kSyn | kAck),
                         "wan", turn()),
            SizeIs(1));
        EXPECT_THAT(
            box.exchange("wan", box.to("wan").ipv4(kFarClient, kPublic).tcp(port, 80, kAck), "lan", turn()),
            SizeIs(1));
    }
    EXPECT_EQ(box.count(Verdict::drop_sessions_full), 0);
    EXPECT_GT(box.total(&ThreadCounters::sessions_evicted), 9'000);
    // All of them are still there.
    box.settle();
    box.take("lan");
    for (std::uint16_t port = 1; port <= 100; ++port) {
        EXPECT_THAT(
            box.exchange("wan", box.to("wan").ipv4(kFarClient, kPublic).tcp(port, 80, kAck), "lan", turn()),
            SizeIs(1));
    }
    box.pass(1s);
    box.expect_no_record_lost();
    box.expect_every_packet_accounted_for();
}

/// R18: a server answers spoofed SYNs as well.
TEST_P(FullTable, HalfOpenSessionsMakeRoom) {
    Box box{kTwoArm, GetParam()};
    for (std::uint32_t i = 0; i < 2000; ++i) {
        const auto spoofed = net::Ipv4Address::from_host(0xcb007100U + i);
        const unsigned worker = turn();
        EXPECT_THAT(box.exchange("wan", box.to("wan").ipv4(spoofed, kPublic).tcp(1, 80, kSyn), "lan", worker),
                    SizeIs(1));
        EXPECT_THAT(box.exchange("lan", box.to("lan").ipv4(kLanServer, spoofed).tcp(8080, 1, kSyn | kAck),
                                 "wan", worker),
                    SizeIs(1));
    }
    EXPECT_EQ(box.count(Verdict::drop_sessions_full), 0);
    box.pass(1s);
    box.expect_no_record_lost();
    box.expect_every_packet_accounted_for();
}

/// R18: a UDP server answers spoofed requests as well.
TEST_P(FullTable, ClientsThatNeverSendAgainMakeRoom) {
    Box box{kTwoArm, GetParam()};
    EXPECT_EQ(fill_with_answered(box, 2000, false), 2000);
    EXPECT_EQ(box.count(Verdict::drop_sessions_full), 0);
    box.pass(1s);
    box.expect_no_record_lost();
}

/// R18: the worker that clients come to has no old sessions of its own to evict.
TEST(FloodAtAnotherWorker, HarmsNoClientsHandshake) {
    constexpr std::uint32_t kClients = 60, kDelay = 2, kSpoofedPerStep = 16;
    Box box{kTwoArm, 2};
    const auto client = [](std::uint32_t i) { return net::Ipv4Address::from_host(0xc6330000U + i); };
    std::uint32_t spoofed = 0;
    unsigned connected = 0;
    for (std::uint32_t step = 0; step < kClients + 2 * kDelay; ++step) {
        for (std::uint32_t i = 0; i < kSpoofedPerStep; ++i)
            box.put_many("wan", box.to("wan")
                                    .ipv4(net::Ipv4Address::from_host(0xcb000000U + spoofed++), kPublic)
                                    .tcp(1, 80, kSyn));
        box.settle();
        box.take("lan");
        if (step < kClients)
            box.exchange("wan", box.to("wan").ipv4(client(step), kPublic).tcp(1, 80, kSyn), "lan", 1);
        if (step >= kDelay)
            box.exchange("lan",
                         box.to("lan").ipv4(kLanServer, client(step - kDelay)).tcp(8080, 1, kSyn | kAck),
                         "wan", 1);
        if (step >= 2 * kDelay)
            connected +=
                box.exchange("wan", box.to("wan").ipv4(client(step - 2 * kDelay), kPublic).tcp(1, 80, kAck),
                             "lan", 1)
                            .size() == 1
                    ? 1
                    : 0;
        box.pass(20ms);
    }
    EXPECT_EQ(connected, kClients);
    EXPECT_GT(box.total(&ThreadCounters::sessions_evicted), 700);
    box.pass(1s);
    box.expect_no_record_lost();
    box.expect_every_packet_accounted_for();
}

class RuleLimits : public OneOrTwoWorkers {
 protected:
    /// A UDP session of a client's port; false when it has been refused.
    bool open(Box& box, net::Ipv4Address client, std::uint16_t port) {
        return !box.exchange("wan", box.to("wan").ipv4(client, kPublic).udp(port, 53), "lan", turn()).empty();
    }
    static std::string rule(const std::string& limit) {
        return R"(rules = ( { name = "dns"; protocol = "udp"; external = "192.0.2.3:53"; target = "10.0.0.5:53"; )" +
               limit + " } );";
    }
};
INSTANTIATE_TEST_SUITE_P(Packet, RuleLimits, ::testing::Values(1, 2), worker_count);

/// R5
TEST_P(RuleLimits, RuleHasAtMostSoManySessions) {
    Box box{kTwoArm, GetParam()};
    box.set_rules(rule("max_sessions = 3;"));
    for (int round = 0; round < 3; ++round) {
        for (std::uint16_t port = 1; port <= 3; ++port) EXPECT_TRUE(open(box, kFarClient, port));
        EXPECT_FALSE(open(box, kFarClient, 4));
        EXPECT_TRUE(open(box, kFarClient, 1)) << "one that is there goes on";
        box.pass(122s);
        EXPECT_EQ(box.sessions(), 0);
    }
    EXPECT_EQ(box.count(Verdict::drop_rule_full), 3);
    box.expect_no_record_lost();
    box.expect_every_packet_accounted_for();
}

/// R5
TEST_P(RuleLimits, ClientHasAtMostSoManySessions) {
    Box box{kTwoArm, GetParam()};
    box.set_rules(rule("max_sessions_per_source = 2;"));
    for (int round = 0; round < 3; ++round) {
        for (const auto client : {kFarClient, "198.51.100.8"_ip}) {
            for (std::uint16_t port = 1; port <= 2; ++port) EXPECT_TRUE(open(box, client, port));
            EXPECT_FALSE(open(box, client, 3));
        }
        box.clear_sessions();
        box.pass(2s);
        EXPECT_EQ(box.sessions(), 0);
    }
    EXPECT_EQ(box.count(Verdict::drop_source_full), 6);
    box.expect_no_record_lost();
    box.expect_every_packet_accounted_for();
}

TEST_P(RuleLimits, RuleOpensAtMostSoManySessionsASecond) {
    Box box{kTwoArm, GetParam()};
    box.set_rules(rule("rate = 20;"));
    std::uint16_t port = 1;
    const auto tries = [&](int count) {
        int opened = 0;
        for (int i = 0; i < count; ++i) opened += open(box, kFarClient, port++) ? 1 : 0;
        return opened;
    };
    EXPECT_EQ(tries(20), 3) << "a burst of a tenth of a second";
    int opened = 0;
    for (int i = 0; i < 100; ++i) {
        box.pass(20ms);
        opened += tries(1);
    }
    EXPECT_NEAR(opened, 40, 3);
    box.pass(1s);
    EXPECT_EQ(tries(20), 3);
    EXPECT_GT(box.count(Verdict::drop_rate_limited), 60);
    box.expect_every_packet_accounted_for();
}

/// Refused for another reason, a session counts against no limit.
TEST_P(RuleLimits, SessionThatDoesNotComeAboutCountsNothing) {
    Box box{"masquerade_ports = \"5000-5001\";" + kTwoArm, GetParam()};
    box.set_rules(rule("source = \"masquerade\"; max_sessions = 3; max_sessions_per_source = 3;"));
    for (int round = 0; round < 5; ++round) {
        EXPECT_TRUE(open(box, kFarClient, 1));
        EXPECT_TRUE(open(box, kFarClient, 2));
        for (std::uint16_t port = 3; port < 20; ++port) EXPECT_FALSE(open(box, kFarClient, port));
        box.clear_sessions();
        box.pass(2s);
    }
    EXPECT_EQ(box.count(Verdict::drop_ports_used_up), 5 * 17);
    box.expect_no_record_lost();
}

const std::string kFewPorts = R"(
    masquerade_ports = "5000-5007";
)" + kOneArm;

/// One worker with two links full of other people's packets, and a small table.
class BusyTable : public ::testing::Test {
 protected:
    static constexpr std::uint32_t kKnownClient = 0xc6336401, kNewClient = 0xc6330000, kSpoofed = 0x0a800000;
    static constexpr std::uint32_t kKnown = 2300;
    /// Rounds between a client's packet and the server's answer, and back.
    static constexpr unsigned kDelay = 2;

    BusyTable() {
        box_.watch_transmit("lan",
                            [this](std::uint16_t, const std::uint8_t* frame) { ++came_[word(frame, 26)]; });
        box_.watch_transmit("wan",
                            [this](std::uint16_t, const std::uint8_t* frame) { ++came_[word(frame, 30)]; });
        for (std::uint32_t i = 0; i < kKnown; ++i) {
            from_client("wan", kKnownClient + i, kSyn);
            box_.poll();
            from_server(kKnownClient + i, kSyn | kAck);
            box_.poll();
            from_client("wan", kKnownClient + i, kAck);
            box_.poll();
            EXPECT_EQ(came_[kKnownClient + i], 3);
        }
    }
    void from_client(const char* link, std::uint32_t client, std::uint8_t flags) {
        box_.put_many(link,
                      box_.to(link).ipv4(net::Ipv4Address::from_host(client), kPublic).tcp(1, 80, flags));
    }
    void from_server(std::uint32_t client, std::uint8_t flags) {
        box_.put_many(
            "lan", box_.to("lan").ipv4(kLanServer, net::Ipv4Address::from_host(client)).tcp(8080, 1, flags));
    }

    /// Rounds with one new client in each link's burst, and two packets of established sessions in either
    /// direction.
    /// @param spoofed SYNs of nobody in each link's burst
    /// @param answered whether the server answers those, too
    void run(unsigned rounds, unsigned spoofed, bool clients_end, bool answered = false) {
        constexpr std::uint32_t kNewPerRound = 2;
        const auto new_client = [](unsigned round, std::uint32_t which) {
            return kNewClient - 0x10000 * 2 + round * kNewPerRound + which;
        };
        const auto ages = clients_end ? 5U : 3U;
        for (unsigned round = 0; round < rounds + kDelay * ages; ++round) {
            for (std::uint32_t which = 0; which < kNewPerRound; ++which) {
                const char* link = which == 0 ? "wan" : "other";
                for (unsigned i = 0; i < spoofed; ++i) {
                    if (i == spoofed / 2 && round < rounds) from_client(link, new_client(round, which), kSyn);
                    if (answered && spoofed_ >= kDelay * 2 * spoofed)
                        from_server(kSpoofed + spoofed_ - kDelay * 2 * spoofed, kSyn | kAck);
                    from_client(link, kSpoofed + spoofed_++, kSyn);
                }
                if (spoofed == 0 && round < rounds) from_client(link, new_client(round, which), kSyn);
                const auto step = [&](unsigned age, const auto& send) {
                    if (round >= age * kDelay && round - age * kDelay < rounds)
                        send(new_client(round - age * kDelay, which));
                };
                step(1, [&](std::uint32_t client) { from_server(client, kSyn | kAck); });
                step(2, [&](std::uint32_t client) { from_client(link, client, kAck); });
                if (clients_end) {
                    step(3, [&](std::uint32_t client) { from_server(client, kFin | kAck); });
                    step(4, [&](std::uint32_t client) { from_client(link, client, kFin | kAck); });
                }
                const std::uint32_t known = kKnownClient + (round * kNewPerRound + which) % kKnown;
                came_before_ += came_[known];
                came_[known] = 0;
                from_client("wan", known, kAck);
                from_server(known, kAck);
            }
            box_.advance_to({box_.now().cycles + rte_get_tsc_hz() / 8000});
            box_.poll();
        }
        for (std::uint32_t i = 0; i < kKnown; ++i) came_before_ += came_[kKnownClient + i];
        // The handshakes before, and what has been sent since.
        EXPECT_EQ(came_before_,
                  std::uint64_t{3} * kKnown + std::uint64_t{rounds + kDelay * ages} * kNewPerRound * 2)
            << "packets of established sessions";
        unsigned connected = 0;
        for (unsigned round = 0; round < rounds; ++round) {
            for (std::uint32_t which = 0; which < kNewPerRound; ++which)
                connected += came_[new_client(round, which)] == ages ? 1 : 0;
        }
        EXPECT_GE(connected, rounds * kNewPerRound * 95 / 100) << "of " << rounds * kNewPerRound;
        box_.poll();
        box_.expect_every_packet_accounted_for();
        box_.pass(1s);
        box_.expect_no_record_lost();
    }

    Box box_{R"(
        sessions = 4096;
        links = ( { name = "wan"; device = "net_null_wan"; addresses = [ "192.0.2.1/24" ]; },
                  { name = "other"; device = "net_null_other"; addresses = [ "203.0.113.1/24" ]; },
                  { name = "lan"; device = "net_null_lan"; addresses = [ "10.0.0.1/24" ]; } );
        routes = ( { prefix = "0.0.0.0/0"; via = "192.0.2.254"; } );
        neighbours = ( { link = "wan"; address = "192.0.2.254"; mac = "02:00:00:00:00:fe"; },
                       { link = "lan"; address = "10.0.0.4"; mac = "02:00:00:00:00:04"; } );
        rules = ( { name = "web"; protocol = "tcp"; external = "192.0.2.3:80"; target = "10.0.0.4:8080"; } );
    )"};
    /// How many packets of a client have left, in both directions.
    std::map<std::uint32_t, unsigned> came_;
    std::uint64_t came_before_ = 0;
    std::uint32_t spoofed_ = 0;

 private:
    static std::uint32_t word(const std::uint8_t* frame, std::size_t offset) {
        return std::uint32_t{frame[offset]} << 24U | std::uint32_t{frame[offset + 1]} << 16U |
               std::uint32_t{frame[offset + 2]} << 8U | frame[offset + 3];
    }
};

/// R18
TEST_F(BusyTable, FloodOfSpoofedSynsOnTwoQueuesHarmsNobody) {
    run(600, dataplane::kBurst - 4, false);
    EXPECT_GT(box_.total(&ThreadCounters::sessions_evicted), 60'000);
}

/// R18: the server can't tell either.
TEST_F(BusyTable, FloodOfSpoofedSynsThatTheServerAnswersHarmsNobody) {
    run(600, dataplane::kBurst / 4, false, true);
    EXPECT_GT(box_.total(&ThreadCounters::sessions_evicted), 15'000);
}

/// R18: unanswered and closing sessions make room.
TEST_F(BusyTable, FloodOfSpoofedSynsAmongManyThatCloseHarmsNobody) {
    run(1500, 28, true);
}

/// R18: once closing sessions fill the table, a new client must not cost the one before its handshake.
TEST_F(BusyTable, ClosingSessionsMakeRoomBeforeThoseThatOpen) {
    run(4000, 0, true);
    EXPECT_GT(box_.total(&ThreadCounters::sessions_evicted), 4000);
}

/// A table of 256 places, and what of it may make room.
class NearlyAllAssured : public ::testing::Test {
 protected:
    enum Of { client = 1, target, client_again };

    /// A session that has had so many packets.
    bool open(Of packets, unsigned worker = 0) {
        const std::uint16_t port = port_++;
        const auto request = [&] {
            return box_.exchange("wan", box_.to("wan").ipv4(kFarClient, kPublic).udp(port, 27015), "lan",
                                 worker);
        };
        if (request().size() != 1) return false;
        if (packets >= target)
            box_.exchange("lan", box_.to("lan").ipv4("10.0.0.5"_ip, kFarClient).udp(27015, port), "wan",
                          worker);
        if (packets >= client_again) request();
        return true;
    }
    void open_many(unsigned count, Of packets, unsigned worker = 0) {
        for (unsigned n = 0; n < count; ++n) EXPECT_TRUE(open(packets, worker)) << n;
    }
    void open_and_close(unsigned count, unsigned worker = 0) {
        for (unsigned n = 0; n < count; ++n) {
            const std::uint16_t port = port_++;
            const auto from_client = [&](std::uint8_t flags) {
                box_.exchange("wan", box_.to("wan").ipv4(kFarClient, kPublic).tcp(port, 80, flags), "lan",
                              worker);
            };
            from_client(kSyn);
            box_.exchange("lan", box_.to("lan").ipv4(kLanServer, kFarClient).tcp(8080, port, kSyn | kAck),
                          "wan", worker);
            from_client(kAck);
            from_client(kRst);
        }
    }
    void expect_left(std::uint32_t closing, std::uint32_t unanswered, std::uint32_t half_open) {
        using dataplane::Evictable;
        const dataplane::FlowTable& flows = box_.dataplane().flows();
        EXPECT_EQ(flows.evictable_count(Evictable::closing), closing);
        EXPECT_EQ(flows.evictable_count(Evictable::unanswered), unanswered);
        EXPECT_EQ(flows.evictable_count(Evictable::half_open), half_open);
    }
    void TearDown() override {
        EXPECT_EQ(box_.sessions(), 256);
        box_.pass(1s);
        box_.expect_no_record_lost();
        box_.expect_every_packet_accounted_for();
    }

    Box box_{kTwoArm, 2};
    std::uint16_t port_ = 1;
};

/// R18: as long as none of them are many: those that close, then those that nobody has answered, and last
/// those that a client may be about to use.
TEST_F(NearlyAllAssured, ClosingSessionsMakeRoomThenUnansweredThenHalfOpenOnes) {
    open_many(206, client_again);
    open_and_close(10);
    open_many(20, client);
    open_many(20, target);
    expect_left(10, 20, 20);
    open_many(10, client_again);
    expect_left(0, 20, 20);
    open_many(20, client_again);
    expect_left(0, 0, 20);
    open_many(20, client_again);
    expect_left(0, 0, 0);
    EXPECT_FALSE(open(client));
    EXPECT_EQ(box_.count(Verdict::drop_sessions_full), 1);
}

/// R18: a flood at one worker, clients at another one, which ends closing sessions of its own before half
/// open ones.
TEST_F(NearlyAllAssured, WorkerWithoutAnyOfTheFloodEndsClosingSessionsFirst) {
    open_many(220, client_again, 0);
    open_many(5, target, 1);
    open_and_close(5, 1);
    open_many(26, client, 0);
    expect_left(5, 26, 5);
    open_many(5, client_again, 1);
    expect_left(0, 26, 5);
}

class SourcePorts : public OneOrTwoWorkers {};
INSTANTIATE_TEST_SUITE_P(Packet, SourcePorts, ::testing::Values(1, 2), worker_count);

/// R11
TEST_P(SourcePorts, UsedUpMeansDroppedAndCountedAndLiveSessionsGoOn) {
    Box box{kFewPorts, GetParam()};
    std::set<std::uint16_t> ports;
    for (std::uint16_t client_port = 1; client_port <= 8; ++client_port)
        ports.insert(open_example(box, client_port, turn()));
    EXPECT_THAT(ports, SizeIs(8));
    EXPECT_EQ(*ports.begin(), 5000);
    EXPECT_EQ(*ports.rbegin(), 5007);
    EXPECT_EQ(open_example(box, 9, turn()), 0);
    EXPECT_EQ(box.count(Verdict::drop_ports_used_up), 1);
    for (std::uint16_t client_port = 1; client_port <= 8; ++client_port)
        EXPECT_TRUE(ports.contains(open_example(box, client_port, turn())));
    box.pass(1s);
    box.expect_no_record_lost();
}

TEST_P(SourcePorts, AreOnlyUniqueForEachTarget) {
    Box box{kFewPorts, GetParam()};
    for (std::uint16_t client_port = 1; client_port <= 8; ++client_port) {
        EXPECT_NE(open_example(box, client_port, turn()), 0);
        EXPECT_THAT(
            box.exchange("lan", box.to("lan").ipv4(kClient, kExternal).udp(client_port, 53), "lan", turn()),
            SizeIs(1));
    }
}

/// R15
TEST_P(SourcePorts, AreSpreadOverTheWholeRange) {
    Box box{"sessions = 4096;\n" + kOneArm.substr(kOneArm.find("links")), GetParam()};
    std::array<int, 16> parts{};
    std::set<std::uint16_t> ports;
    for (std::uint16_t client_port = 1; client_port <= 2000; ++client_port) {
        const std::uint16_t port = open_example(box, client_port, turn());
        ports.insert(port);
        ++parts[port >> 12U];
    }
    EXPECT_THAT(ports, SizeIs(2000));
    for (const int part : parts) EXPECT_NEAR(part, 125, 70);
}

/// S3: a rule's own endpoint is never used as somebody's source.
TEST_P(SourcePorts, OfRulesAreLeftAlone) {
    Box box{R"(
        masquerade_ports = "5000-5003";
        links = ( { name = "lan"; device = "net_null_lan"; addresses = [ "10.0.0.2/24" ]; } );
        neighbours = ( { link = "lan"; address = "10.0.0.4"; mac = "02:00:00:00:00:04"; } );
        rules = ( { name = "web"; protocol = "tcp"; external = "10.0.0.3:80"; target = "10.0.0.4:8080"; },
                  { name = "a"; protocol = "tcp"; external = "10.0.0.2:5000"; target = "10.0.0.4:1"; },
                  { name = "b"; protocol = "tcp"; external = "10.0.0.2:5002"; target = "10.0.0.4:1"; } );
    )",
            GetParam()};
    std::set<std::uint16_t> ports;
    for (std::uint16_t client_port = 1; client_port <= 3; ++client_port)
        ports.insert(open_example(box, client_port, turn()));
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

TEST(Ageing, WorkerThatSleepsForAMinuteWhileAllPositionsAreUsedHoldsUpNobody) {
    Box box{kTwoArm, 2};
    const std::uint32_t sessions = box.dataplane().flows().position_count() / 2 + 100;
    std::uint32_t opened = 0;
    // A minute in steps of the 200 sessions that the table holds.
    const unsigned steps = sessions / 200 + 1;
    for (unsigned step = 0; step < steps; ++step) {
        for (std::uint32_t i = 0; i < 200; ++i) {
            const auto client = net::Ipv4Address::from_host(0x64400000U + step * 200 + i);
            box.put("wan", box.to("wan").ipv4(client, kPublic).udp(7, 27015));
            if (i % 50 == 49) box.poll(0);
        }
        opened += static_cast<std::uint32_t>(box.take("lan").size());
        box.clear_sessions();
        // The sweep of both shares is the sleeping worker's as well: it ends nothing meanwhile.
        for (std::uint32_t i = 0; i < 200; ++i) {
            const auto client = net::Ipv4Address::from_host(0x64400000U + step * 200 + i);
            box.put("lan", box.to("lan").ipv4("10.0.0.5"_ip, client).udp(27015, 7));
            if (i % 50 == 49) box.poll(0);
        }
        EXPECT_EQ(box.sessions(), 0) << "step " << step;
        box.pass(std::chrono::milliseconds{60'000 / steps + 1}, 1);
    }
    EXPECT_EQ(opened, steps * 200);
    EXPECT_GT(2 * opened, box.dataplane().flows().position_count());
    EXPECT_EQ(box.count(Verdict::drop_sessions_full), 0);
    box.pass(2s);
    box.expect_no_record_lost();
    box.expect_every_packet_accounted_for();
}

/// It never says that it is quiescent: nothing that another worker may still be looking at is used again.
/// That costs new sessions once all positions have been used, and live ones nothing.
TEST(Ageing, WorkerThatIsStuckForAMinuteCostsOnlyNewSessions) {
    Box box{kTwoArm, 2};
    const std::uint32_t positions = box.dataplane().flows().position_count();
    const auto established = [&](net::Ipv4Address from) {
        return box.exchange("wan", box.to("wan").ipv4(kFarClient, kPublic).udp(1, 27015), "lan").size() +
               box.exchange("lan", box.to("lan").ipv4(from, kFarClient).udp(27015, 1), "wan").size();
    };
    ASSERT_EQ(established("10.0.0.5"_ip), 2);
    rte_rcu_qsbr_thread_online(box.dataplane().flows().qsbr(), 1);
    std::uint32_t opened = 0;
    std::uint32_t client = 0x64400000U;
    const auto churn = [&](unsigned steps) {
        const std::uint32_t before = opened;
        for (unsigned step = 0; step < steps; ++step) {
            // A flood, whose sessions make room for each other.
            for (int i = 0; i < 100; ++i) {
                box.put("wan",
                        box.to("wan").ipv4(net::Ipv4Address::from_host(client++), kPublic).udp(7, 27015));
                if (i % 50 == 49) box.poll(0);
            }
            opened += static_cast<std::uint32_t>(box.take("lan").size());
            box.put("wan", box.to("wan").ipv4(kFarClient, kPublic).udp(1, 27015));
            box.put("lan", box.to("lan").ipv4("10.0.0.5"_ip, kFarClient).udp(27015, 1));
            box.poll(0);
            EXPECT_EQ(box.take("lan").size() + box.take("wan").size(), 2) << "step " << step;
            box.pass(300ms, 1);
        }
        return opened - before;
    };
    EXPECT_LE(churn(200), positions / 2);
    EXPECT_GT(2 * opened, positions - 1000) << "all positions have been used";
    EXPECT_GT(box.count(Verdict::drop_sessions_full), 0);
    // It moves on, and so does everything.
    box.poll(1);
    box.pass(1s);
    EXPECT_EQ(churn(200), 200 * 100);
    ASSERT_EQ(established("10.0.0.5"_ip), 2);
    box.pass(1s);
    box.expect_no_record_lost();
    box.expect_every_packet_accounted_for();
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

TEST(Counters, OfASessionCountOnBeyondWhatItsRecordHolds) {
    Box box{kTwoArm};
    const auto ask = [&] {
        return box.exchange("wan", box.to("wan").ipv4(kFarClient, kPublic).udp(1, 27015), "lan").size();
    };
    ASSERT_EQ(ask(), 1);
    dataplane::FlowTable& flows = box.dataplane().flows();
    for (std::uint32_t at = 0; at < flows.position_count(); ++at) {
        dataplane::Flow& flow = flows.flow(dataplane::FlowPosition{at});
        if (flow.load_state().state() == dataplane::RecordState::live &&
            flow.direction == dataplane::Direction::forward) {
            flow.counts.store(std::uint64_t{1000} << 24U | 0xfffffeU);
            flows.session(dataplane::FlowPosition{at}).full_counts.store(255);
            flows.session(dataplane::FlowPosition{at}).bytes.store(std::uint64_t{1} << 40U);
        }
    }
    for (int i = 0; i < 4; ++i) ASSERT_EQ(ask(), 1);
    box.clear_sessions();
    box.pass(2s);
    std::uint64_t packets = 0;
    std::uint64_t bytes = 0;
    for (std::uint32_t slot = 0; slot < box.dataplane().rule_counters().slot_count(); ++slot) {
        packets += box.dataplane().rule_counters().at(slot)->packets.load();
        bytes += box.dataplane().rule_counters().at(slot)->bytes.load();
    }
    EXPECT_EQ(packets, (std::uint64_t{1} << 32U) + 2);
    EXPECT_EQ(bytes, (std::uint64_t{1} << 40U) + 1000 + 4 * 28);
    // The next session at that position begins at 0.
    ASSERT_EQ(ask(), 1);
    box.clear_sessions();
    box.pass(2s);
    packets = 0;
    for (std::uint32_t slot = 0; slot < box.dataplane().rule_counters().slot_count(); ++slot)
        packets += box.dataplane().rule_counters().at(slot)->packets.load();
    EXPECT_EQ(packets, (std::uint64_t{1} << 32U) + 3);
}

}  // namespace
}  // namespace fwd::test
