// SPDX-License-Identifier: BSD-3-Clause
// Rules from IPv4 to IPv6 and the reverse (RFC 6146, RFC 7915).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <optional>
#include <span>
#include <string>

#include "test/packet/ipv6_networks.h"
#include "test/packet/reports.h"

namespace fwd::test {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

constexpr auto kOwn6 = "fd00::1"_ip6;

/// The identification that fwd has chosen.
std::uint16_t identification_of(const Frame& frame) {
    return static_cast<std::uint16_t>(frame.bytes.at(18) << 8U | frame.bytes.at(19));
}

class Crossing : public testing::Test {
 protected:
    explicit Crossing(const std::string& more = "") : box_{more + kTwoArm6} { rules(""); }
    /// Both ways, each with this setting.
    void rules(const std::string& more) {
        box_.set_rules(R"(rules = (
            { name = "to-6"; protocol = "tcp+udp"; external = "192.0.2.3:80"; target = "[fd00::4]:8080"; )" +
                       more + R"( },
            { name = "to-4"; protocol = "tcp+udp"; external = "[2001:db8:2::3]:80"; target = "10.0.0.4:8080"; )" +
                       more + "} );");
        forget();
    }
    /// What fwd has announced.
    void forget() {
        box_.settle();
        box_.take("wan");
        box_.take("lan");
    }
    PacketBuilder request() const { return box_.to("wan").from(kRouterMac).ipv4(kFarClient, kPublic); }
    PacketBuilder request6() const { return box_.to("wan").from(kRouterMac).ipv6(kFarClient6, kPublic6); }
    PacketBuilder to_server6() const {
        return from_fwd(box_, "lan", kServerMac).ipv6(kOwn6, kLanServer6).ttl(63);
    }
    PacketBuilder to_client() const {
        return from_fwd(box_, "wan", kRouterMac).ipv4(kPublic, kFarClient).ttl(63);
    }
    PacketBuilder to_server() const {
        return from_fwd(box_, "lan", kServerMac).ipv4("10.0.0.1"_ip, kLanServer).ttl(63);
    }
    PacketBuilder to_client6() const {
        return from_fwd(box_, "wan", kRouterMac).ipv6(kPublic6, kFarClient6).ttl(63);
    }
    /// The port of fwd's own that a packet to a target came from.
    std::uint16_t open(const PacketBuilder& frame) {
        const auto sent = box_.exchange("wan", frame, "lan");
        return sent.size() == 1 ? look_into(sent[0]).source.port.host() : std::uint16_t{0};
    }

    /// Where a packet to a target goes.
    std::optional<net::IpEndpoint> target_of(const PacketBuilder& frame) {
        const auto sent = box_.exchange("wan", frame, "lan");
        return sent.size() == 1 ? std::optional{look_into(sent[0]).destination} : std::nullopt;
    }
    bool reaches(const PacketBuilder& frame) { return target_of(frame).has_value(); }

    Box box_;
};

/// S1, P1: an IPv4 client of an IPv6 server.
TEST_F(Crossing, Ipv4ClientIsServedByIpv6) {
    const auto sent = box_.exchange("wan", request().tcp(4000, 80, kSyn), "lan");
    ASSERT_THAT(sent, SizeIs(1));
    const std::uint16_t port = look_into(sent[0]).source.port.host();
    EXPECT_EQ(sent[0], to_server6().tcp(port, 8080, kSyn).frame());
    for (std::size_t bytes = 0; bytes < 200; bytes += 7) {
        const auto answer = box_.exchange(
            "lan", box_.to("lan").ipv6(kLanServer6, kOwn6).tcp(8080, port, kSyn | kAck).payload_bytes(bytes),
            "wan");
        ASSERT_THAT(answer, SizeIs(1));
        EXPECT_EQ(answer[0], to_client()
                                 .identification(identification_of(answer[0]))
                                 .tcp(80, 4000, kSyn | kAck)
                                 .payload_bytes(bytes)
                                 .frame());
        EXPECT_THAT(box_.exchange("wan", request().tcp(4000, 80, kAck).payload_bytes(bytes), "lan"),
                    ElementsAre(to_server6().tcp(port, 8080, kAck).payload_bytes(bytes).frame()));
    }
    EXPECT_EQ(box_.sessions(), 1);
    box_.expect_no_record_lost();
    box_.expect_every_packet_accounted_for();
}

TEST_F(Crossing, Ipv6ClientIsServedByIpv4) {
    const auto sent = box_.exchange(
        "wan", request6().extension(60, Bytes{0, 1, 4, 0, 0, 0, 0}).udp(9, 80).payload("q"), "lan");
    ASSERT_THAT(sent, SizeIs(1));
    const std::uint16_t port = look_into(sent[0]).source.port.host();
    EXPECT_EQ(sent[0],
              to_server().identification(identification_of(sent[0])).udp(port, 8080).payload("q").frame());
    EXPECT_THAT(
        box_.exchange("lan", box_.to("lan").ipv4(kLanServer, "10.0.0.1"_ip).udp(8080, port).payload("a"),
                      "wan"),
        ElementsAre(to_client6().udp(80, 9).payload("a").frame()));
    box_.expect_no_record_lost();
    box_.expect_every_packet_accounted_for();
}

/// R15: of fwd's own IPv4 addresses masquerades have ports of their own.
TEST(CrossingBesideMasquerade, LeavesItsPortsAlone) {
    Box box{kTwoArm6};
    box.set_rules(R"(
        rules = ( { protocol = "udp"; external = "[2001:db8:2::3]:80"; target = "10.0.0.4:8080"; } );
        masquerades = ( { inside = "192.0.2.64/26"; } );)");
    box.settle();
    box.take("lan");
    for (std::uint16_t port = 1; port <= 64; ++port) {
        const auto sent = box.exchange(
            "wan", box.to("wan").from(kRouterMac).ipv6(kFarClient6, kPublic6).udp(port, 80), "lan");
        ASSERT_THAT(sent, SizeIs(1)) << port;
        EXPECT_LT(look_into(sent[0]).source.port.host(), 32768);
    }
}

/// P2: IPv4 may leave a UDP checksum out, IPv6 may not.
TEST_F(Crossing, MissingUdpChecksumIsComputed) {
    const std::uint16_t port = open(request().udp(9, 80));
    EXPECT_THAT(box_.exchange("wan", request().udp(9, 80).payload("abc").l4_checksum(0), "lan"),
                ElementsAre(to_server6().udp(port, 8080).payload("abc").frame()));
}

/// L7, S3: their records come back, in both tables.
TEST_F(Crossing, SessionsEndAndTheirRecordsAreUsedAgain) {
    for (int round = 0; round < 3; ++round) {
        for (std::uint16_t port = 1; port <= 60; ++port) {
            EXPECT_NE(open(request().udp(port, 80)), 0);
            EXPECT_NE(open(request6().udp(port, 80)), 0);
        }
        EXPECT_EQ(box_.sessions(), 120);
        box_.expect_no_record_lost();
        box_.clear_sessions();
        box_.pass(std::chrono::seconds{3});
        box_.take("lan");  // announcements
        EXPECT_EQ(box_.sessions(), 0);
        box_.expect_no_record_lost();
    }
}

/// L1
TEST_F(Crossing, RangesGoOntoRanges) {
    box_.set_rules(R"(rules = (
        { protocol = "udp"; external = "192.0.2.3:2000-2999"; target = "[fd00::5]:52000-52999"; },
        { protocol = "udp"; external = "[2001:db8:2::3]:2000-2999"; target = "10.0.0.4:2000-2999"; } );)");
    forget();
    for (const std::uint16_t offset : {0, 999}) {
        const auto port = static_cast<std::uint16_t>(2000 + offset);
        EXPECT_EQ(target_of(request().udp(7, port)), endpoint("fd00::5"_ip6, 52000 + offset));
        EXPECT_EQ(target_of(request6().udp(7, port)), endpoint(kLanServer, port));
    }
    EXPECT_FALSE(reaches(request().udp(7, 3000)));
    EXPECT_FALSE(reaches(request6().udp(7, 1999)));
}

/// L2
TEST_F(Crossing, SeveralTargetsTakeTurnsAndASessionStaysWithItsOwn) {
    box_.set_rules(R"(rules = (
        { protocol = "tcp"; external = "192.0.2.3:80"; target = "[fd00::4]:8080*2,[fd00::5]:8081"; },
        { protocol = "tcp"; external = "[2001:db8:2::3]:80"; target = "10.0.0.4:8080*2,10.0.0.4:8081"; } );)");
    forget();
    for (const auto& client : {request(), request6()}) {
        std::map<std::uint16_t, int> sessions;
        for (std::uint16_t port = 1; port <= 30; ++port) {
            const auto target = target_of(PacketBuilder{client}.tcp(port, 80, kSyn));
            ASSERT_TRUE(target) << port;
            ++sessions[target->port.host()];
            EXPECT_EQ(target_of(PacketBuilder{client}.tcp(port, 80, kAck)), target);
        }
        EXPECT_EQ(sessions, (std::map<std::uint16_t, int>{{8080, 20}, {8081, 10}}));
    }
}

/// L3: by the family that clients have.
TEST_F(Crossing, ClientsMayBeLeftOut) {
    box_.set_rules(R"(rules = (
        { protocol = "udp"; external = "192.0.2.3:80"; target = "[fd00::4]:80";
          from = [ "198.51.100.0/24" ]; not_from = [ "198.51.100.8/29" ]; },
        { protocol = "udp"; external = "[2001:db8:2::3]:80"; target = "10.0.0.4:80";
          from = [ "2001:db8:f::/48" ]; not_from = [ "2001:db8:f:1::/64" ]; } );)");
    forget();
    EXPECT_TRUE(reaches(request().udp(1, 80)));
    EXPECT_FALSE(reaches(request().ipv4("198.51.100.8"_ip, kPublic).udp(1, 80)));
    EXPECT_FALSE(reaches(request().ipv4("203.0.113.1"_ip, kPublic).udp(1, 80)));
    EXPECT_TRUE(reaches(request6().udp(1, 80)));
    EXPECT_FALSE(reaches(request6().ipv6("2001:db8:f:1::1"_ip6, kPublic6).udp(1, 80)));
    EXPECT_FALSE(reaches(request6().ipv6("2001:db8:e::1"_ip6, kPublic6).udp(1, 80)));
    EXPECT_EQ(box_.count(Verdict::drop_source_denied), 4);
}

/// R5: a client is an address of IPv4, and a network of 64 bits of IPv6.
TEST_F(Crossing, SessionsOfAClientAreLimited) {
    rules("max_sessions_per_source = 2;");
    for (std::uint16_t port = 1; port <= 3; ++port) {
        EXPECT_EQ(reaches(request().udp(port, 80)), port <= 2);
        EXPECT_EQ(reaches(request6().udp(port, 80)), port <= 2);
    }
    EXPECT_FALSE(reaches(request6().ipv6("2001:db8:f::77"_ip6, kPublic6).udp(1, 80)));
    EXPECT_EQ(box_.count(Verdict::drop_source_full), 3);
    EXPECT_TRUE(reaches(request().ipv4("198.51.100.8"_ip, kPublic).udp(1, 80)));
    EXPECT_TRUE(reaches(request6().ipv6("2001:db8:f:1::7"_ip6, kPublic6).udp(1, 80)));
    box_.end_sessions();
    forget();
    EXPECT_TRUE(reaches(request().udp(3, 80)));
    EXPECT_TRUE(reaches(request6().udp(3, 80)));
}

/// R5
TEST_F(Crossing, NewSessionsOfARuleAreLimitedInTime) {
    rules("rate = 20;");
    for (const auto& client : {request(), request6()}) {
        int opened = 0;
        for (std::uint16_t port = 1; port <= 20; ++port)
            opened += reaches(PacketBuilder{client}.udp(port, 80)) ? 1 : 0;
        EXPECT_EQ(opened, 3) << "a burst of a tenth of a second";
    }
    EXPECT_EQ(box_.count(Verdict::drop_rate_limited), 34);
    box_.pass(std::chrono::seconds{1});
    forget();
    EXPECT_TRUE(reaches(request().udp(20, 80)));
    EXPECT_TRUE(reaches(request6().udp(20, 80)));
}

/// L5: their sessions are a rule's like any other's.
TEST_F(Crossing, KillEndsTheSessionsOfOneRule) {
    BoxReports reports{box_};
    EXPECT_TRUE(reaches(request().udp(1, 80)));
    EXPECT_TRUE(reaches(request6().udp(1, 80)));
    const auto victim = reports.id_of("to-6");
    box_.set_rules(R"(rules = ( { name = "to-4"; protocol = "tcp+udp"; external = "[2001:db8:2::3]:80";
                                  target = "10.0.0.4:8080"; } );)");
    forget();
    EXPECT_TRUE(reaches(request().udp(1, 80))) << "it lives on";
    EXPECT_EQ(reports.kill(victim), 1);
    EXPECT_FALSE(reaches(request().udp(1, 80)));
    EXPECT_TRUE(reaches(request6().udp(1, 80)));
    box_.pass(std::chrono::seconds{2});
    EXPECT_EQ(box_.sessions(), 1);
    box_.expect_no_record_lost();
}

class CrossingOfFewPorts : public Crossing {
 protected:
    CrossingOfFewPorts() : Crossing{"masquerade_ports = \"5000-5003\";\n"} {}
};

/// R11
TEST_F(CrossingOfFewPorts, OutOfPortsLiveSessionsGoOn) {
    for (const auto& client : {request(), request6()}) {
        for (std::uint16_t port = 1; port <= 6; ++port)
            EXPECT_EQ(reaches(PacketBuilder{client}.udp(port, 80)), port <= 4) << port;
        for (std::uint16_t port = 1; port <= 4; ++port)
            EXPECT_TRUE(reaches(PacketBuilder{client}.udp(port, 80))) << port;
    }
    EXPECT_EQ(box_.count(Verdict::drop_ports_used_up), 4);
    EXPECT_EQ(box_.sessions(), 8);
}

class CrossingWithWindowCheck : public Crossing {
 protected:
    CrossingWithWindowCheck() : Crossing{"tcp_window_check = true;\n"} {}
};

/// T11: sequence numbers are the same in both families, and so is what can't be.
TEST_F(CrossingWithWindowCheck, SegmentsOutsideTheReceiversWindowAreDropped) {
    constexpr std::uint32_t kLeast = 1U << 16U;
    for (const bool client6 : {false, true}) {
        const auto client = [&](std::uint8_t flags, std::uint32_t sequence, std::uint32_t acknowledged) {
            return (client6 ? request6() : request()).tcp(5000, 80, flags).sequence(sequence, acknowledged);
        };
        const std::uint16_t port = open(client(kSyn, 999, 0));
        ASSERT_NE(port, 0);
        const auto target = [&](std::uint8_t flags, std::uint32_t sequence, std::uint32_t acknowledged) {
            auto frame = box_.to("lan").from(kServerMac);
            client6 ? frame.ipv4(kLanServer, "10.0.0.1"_ip) : frame.ipv6(kLanServer6, kOwn6);
            return box_.exchange("lan", frame.tcp(8080, port, flags).sequence(sequence, acknowledged), "wan")
                .size();
        };
        ASSERT_EQ(target(kSyn | kAck, 4999, 1000), 1);
        ASSERT_TRUE(reaches(client(kAck, 1000, 5000)));
        EXPECT_FALSE(reaches(client(kAck, 1000 + kLeast + 1, 5000)));
        EXPECT_EQ(target(kAck, 5000 + kLeast + 1, 1000), 0);
        EXPECT_TRUE(reaches(client(kAck, 1000 + kLeast, 5000)));
        EXPECT_EQ(target(kAck, 5000 + kLeast, 1000), 1);
    }
    EXPECT_EQ(box_.count(Verdict::drop_outside_window), 4);
}

/// I8: whoever is refused is told in its own family.
TEST(CrossingRefusal, IsToldByOption) {
    std::string config = kTwoArm6;
    config.insert(config.find("name = \"wan\";"), "refuse = \"icmp\"; ");
    Box box{config};
    box.set_rules(R"(rules = (
        { protocol = "udp"; external = "192.0.2.3:80"; target = "[fd00::4]:80"; from = [ "203.0.113.0/24" ]; },
        { protocol = "udp"; external = "[2001:db8:2::3]:80"; target = "10.0.0.4:80"; max_sessions = 1; } );)");
    box.settle();
    box.take("wan");
    const auto denied = box.to("wan").from(kRouterMac).ipv4(kFarClient, kPublic).udp(1, 80).payload("q");
    EXPECT_THAT(box.exchange("wan", denied, "wan"), ElementsAre(from_fwd(box, "wan", kRouterMac)
                                                                    .ipv4(kWanAddress, kFarClient)
                                                                    .identification(0)
                                                                    .dont_fragment()
                                                                    .icmp(3, 13)
                                                                    .payload(denied.ip_bytes())
                                                                    .frame()));
    const auto too_many = [&](std::uint16_t port) {
        return box.to("wan").from(kRouterMac).ipv6(kFarClient6, kPublic6).udp(port, 80).payload("q");
    };
    EXPECT_THAT(box.exchange("wan", too_many(1), "lan"), SizeIs(1));
    EXPECT_THAT(box.exchange("wan", too_many(2), "wan"),
                ElementsAre(from_fwd(box, "wan", kRouterMac)
                                .ipv6("2001:db8:2::1"_ip6, kFarClient6)
                                .icmpv6(1, 1)
                                .payload(too_many(2).ip_bytes())
                                .frame()));
    EXPECT_EQ(box.count(Verdict::drop_source_denied), 1);
    EXPECT_EQ(box.count(Verdict::drop_rule_full), 1);
    box.expect_every_packet_accounted_for();
}

TEST_F(Crossing, NeitherWithoutASynNorWithoutARule) {
    EXPECT_THAT(box_.exchange("wan", request().tcp(1, 80, kAck), "lan"), IsEmpty());
    EXPECT_THAT(box_.exchange("wan", request6().tcp(1, 80, kAck), "lan"), IsEmpty());
    EXPECT_EQ(box_.count(Verdict::drop_not_syn), 2);
    EXPECT_THAT(box_.exchange("wan", request().tcp(1, 81, kSyn), "lan"), IsEmpty());
    EXPECT_EQ(box_.count(Verdict::drop_no_rule), 1);
}

/// I10
TEST_F(Crossing, TtlThatRunsOutIsAnsweredInItsOwnFamily) {
    EXPECT_THAT(box_.exchange("wan", request().ttl(1).tcp(1, 80, kSyn), "wan"), SizeIs(1));
    const std::uint16_t port = open(request().tcp(1, 80, kSyn));
    EXPECT_NE(port, 0);
    const auto answer = box_.to("lan").from(kServerMac).ipv6(kLanServer6, kOwn6).ttl(1).tcp(8080, port, kAck);
    EXPECT_THAT(box_.exchange("lan", answer, "lan"), ElementsAre(from_fwd(box_, "lan", kServerMac)
                                                                     .ipv6(kOwn6, kLanServer6)
                                                                     .icmpv6(3, 0)
                                                                     .payload(answer.ip_bytes())
                                                                     .frame()));
}

/// U13: the MTU that is told is that of the family which is told.
TEST_F(Crossing, WhatIsTooBigIsAnsweredWithTheMtuOfItsFamily) {
    const std::uint16_t port = open(request().udp(9, 80));
    EXPECT_THAT(box_.exchange("wan", request().dont_fragment().udp(9, 80).payload_bytes(1452), "lan"),
                SizeIs(1));
    const auto too_big = request().dont_fragment().udp(9, 80).payload_bytes(1453);
    EXPECT_THAT(box_.exchange("wan", too_big, "wan"), ElementsAre(from_fwd(box_, "wan", kRouterMac)
                                                                      .ipv4("192.0.2.1"_ip, kFarClient)
                                                                      .dont_fragment()
                                                                      .identification(0)
                                                                      .icmp(3, 4, 1480)
                                                                      .payload(first(too_big.ip_bytes(), 548))
                                                                      .frame()));
    const auto large = box_.exchange(
        "lan", box_.to("lan").ipv6(kLanServer6, kOwn6).udp(8080, port).payload_bytes(1452), "wan");
    ASSERT_THAT(large, SizeIs(1));
    EXPECT_EQ(large[0], to_client().dont_fragment().identification(0).udp(80, 9).payload_bytes(1452).frame());
}

/// I4: errors of one family become those of the other, with the packet that was sent inside.
TEST_F(Crossing, Ipv4ErrorReachesTheIpv6Server) {
    const std::uint16_t port = open(request().udp(9, 80));
    box_.exchange("lan", box_.to("lan").ipv6(kLanServer6, kOwn6).udp(8080, port).payload("pong"), "wan");
    const Bytes inside = packet().ipv4(kPublic, kFarClient).ttl(60).udp(80, 9).payload("pong").ip_bytes();
    const Bytes restored =
        packet().ipv6(kLanServer6, kOwn6).ttl(60).udp(8080, port).payload("pong").ip_bytes();
    const auto error = [&](std::uint8_t type, std::uint8_t code, std::uint32_t rest = 0) {
        return box_.exchange(
            "wan", box_.to("wan").ipv4("203.0.113.9"_ip, kPublic).icmp(type, code, rest).payload(inside),
            "lan");
    };
    const auto expected = [&](std::uint8_t type, std::uint8_t code, std::uint32_t rest = 0) {
        return ElementsAre(to_server6().icmpv6(type, code, rest).payload(restored).frame());
    };
    EXPECT_THAT(error(3, 3), expected(1, 4));
    EXPECT_THAT(error(3, 1), expected(1, 0));
    EXPECT_THAT(error(3, 13), expected(1, 1));
    EXPECT_THAT(error(3, 4, 1400), expected(2, 0, 1420));
    EXPECT_THAT(error(3, 4, 576), expected(2, 0, 1280));
    EXPECT_THAT(error(11, 0), expected(3, 0));
    EXPECT_THAT(error(12, 0), IsEmpty());
    EXPECT_EQ(box_.sessions(), 1);
    box_.expect_every_packet_accounted_for();
}

/// I5
TEST_F(Crossing, Ipv6ErrorReachesTheIpv4Client) {
    const std::uint16_t port = open(request().udp(9, 80).payload("ping"));
    const Bytes inside = packet().ipv6(kOwn6, kLanServer6).ttl(63).udp(port, 8080).payload("ping").ip_bytes();
    const Bytes restored =
        packet().ipv4(kFarClient, kPublic).ttl(63).identification(0).udp(9, 80).payload("ping").ip_bytes();
    const auto error = [&](std::uint8_t type, std::uint8_t code, std::uint32_t rest = 0) {
        return box_.exchange(
            "lan", box_.to("lan").ipv6(kLanServer6, kOwn6).icmpv6(type, code, rest).payload(inside), "wan");
    };
    const auto expected = [&](std::uint8_t type, std::uint8_t code, std::uint32_t rest = 0) {
        return ElementsAre(to_client().identification(0).icmp(type, code, rest).payload(restored).frame());
    };
    EXPECT_THAT(error(1, 4), expected(3, 3));
    EXPECT_THAT(error(1, 0), expected(3, 1));
    EXPECT_THAT(error(1, 1), expected(3, 10));
    EXPECT_THAT(error(2, 0, 1400), expected(3, 4, 1380));
    EXPECT_THAT(error(3, 0), expected(11, 0));
    EXPECT_THAT(error(4, 1, 6), expected(3, 2));
    EXPECT_THAT(error(4, 0, 0), IsEmpty());
    box_.expect_every_packet_accounted_for();
}

/// I10: of the header's fields those that both families have are kept (RFC 7915, sections 4.1 and 5.1); a
/// flow's label means nothing to IPv4, and what comes from there has none.
TEST_F(Crossing, TrafficClassIsKeptAndTheFlowLabelIsNot) {
    static constexpr std::uint8_t kClass = 0xb9;  // DSCP 46, ECN 1
    const auto put = [&](const PacketBuilder& builder) {
        Bytes bytes = builder.bytes();
        const bool is_ipv6 = bytes[12] == 0x86;
        if (is_ipv6) {
            bytes[14] = 0x60 | kClass >> 4U;
            bytes[15] = (kClass & 0xfU) << 4U | 0xaU;
            bytes[16] = 0xbc;
            bytes[17] = 0xde;
        } else {
            bytes[15] = kClass;
            bytes[24] = bytes[25] = 0;
            const std::uint16_t sum = slow_checksum(std::span{bytes}.subspan(14, 20));
            bytes[24] = static_cast<std::uint8_t>(sum >> 8U);
            bytes[25] = static_cast<std::uint8_t>(sum);
        }
        return bytes;
    };
    const auto send = [&](const std::string& in, const PacketBuilder& builder, const std::string& out) {
        box_.put(in, put(builder));
        box_.settle();
        const auto sent = box_.take(out);
        return sent.size() == 1 ? sent[0].bytes : Bytes(60);
    };
    const auto is_right6 = [](const Bytes& bytes) {
        EXPECT_EQ(bytes[14], 0x60 | kClass >> 4U);
        EXPECT_EQ(bytes[15], (kClass & 0xfU) << 4U);
        EXPECT_EQ(bytes[16] | bytes[17], 0) << "a flow label";
        EXPECT_EQ(bytes[21], 19) << "hop limit";
    };
    const auto is_right = [](const Bytes& bytes) {
        EXPECT_EQ(bytes[15], kClass);
        EXPECT_EQ(bytes[22], 19) << "TTL";
        EXPECT_EQ(slow_checksum(std::span{bytes}.subspan(14, 20)), 0);
    };
    const std::uint16_t port = open(request().udp(9, 80));
    is_right6(send("wan", request().udp(9, 80).ttl(20), "lan"));
    is_right(send("lan", box_.to("lan").ipv6(kLanServer6, kOwn6).udp(8080, port).ttl(20), "wan"));
    const std::uint16_t other = open(request6().udp(9, 80));
    is_right(send("wan", request6().udp(9, 80).ttl(20), "lan"));
    is_right6(send("lan", box_.to("lan").ipv4(kLanServer, "10.0.0.1"_ip).udp(8080, other).ttl(20), "wan"));
}

/// Where `mss_clamp` counts, it is said for IPv4's header, and IPv6's is 20 bytes longer.
class CrossingClamp : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(, CrossingClamp, testing::Values("wan", "lan"));

TEST_P(CrossingClamp, KeepsSegmentsShortEnoughForTheLink) {
    std::string networks = kTwoArm6.substr(0, kTwoArm6.find("rules = "));
    const std::string link = std::string{"name = \""} + GetParam() + "\";";
    networks.insert(networks.find(link) + link.size(), " mss_clamp = 1400;");
    Box box{networks + R"(rules = (
        { protocol = "tcp"; external = "192.0.2.3:80"; target = "[fd00::4]:8080"; },
        { protocol = "tcp"; external = "[2001:db8:2::3]:80"; target = "10.0.0.4:8080"; } );)"};
    box.settle();
    const auto mss = [](const Frame& frame) {
        const std::size_t l4 = frame.bytes[12] == 0x86 ? 54 : 34;
        return frame.bytes.at(l4 + 22) << 8U | frame.bytes.at(l4 + 23);
    };
    const Bytes offered{2, 4, 1460 >> 8U, 1460 & 0xff};
    const auto syn = [&](PacketBuilder frame, std::uint16_t from, std::uint16_t to, std::uint8_t flags) {
        return frame.tcp(from, to, flags).tcp_options(offered);
    };
    // What crosses the link is IPv6 if its side of the session is.
    const auto limit = [](const char* where, bool is_ipv6) {
        return std::string{GetParam()} == where && is_ipv6 ? 1380 : 1400;
    };
    for (const bool client6 : {false, true}) {
        box.take("wan");
        box.take("lan");
        auto request = box.to("wan").from(kRouterMac);
        if (client6) {
            request.ipv6(kFarClient6, kPublic6);
        } else {
            request.ipv4(kFarClient, kPublic);
        }
        const auto there = box.exchange("wan", syn(request, 4000, 80, kSyn), "lan");
        ASSERT_THAT(there, SizeIs(1));
        const Seen seen = look_into(there[0]);
        const int most = std::min(limit("wan", client6), limit("lan", !client6));
        EXPECT_LE(mss(there[0]), most);
        EXPECT_GE(mss(there[0]), 1380);
        auto answer = box.to("lan").from(kServerMac);
        if (client6) {
            answer.ipv4(kLanServer, seen.source.address.v4());
        } else {
            answer.ipv6(kLanServer6, seen.source.address.v6());
        }
        const auto back = box.exchange("lan", syn(answer, 8080, seen.source.port.host(), kSyn | kAck), "wan");
        ASSERT_THAT(back, SizeIs(1));
        EXPECT_LE(mss(back[0]), most);
        EXPECT_GE(mss(back[0]), 1380);
        for (const Frame& frame : {there[0], back[0]}) {
            // The checksum knows of it.
            const bool is_ipv6 = frame.bytes[12] == 0x86;
            const std::size_t l4 = is_ipv6 ? 54 : 34;
            Bytes summed(frame.bytes.begin() + (is_ipv6 ? 22 : 26),
                         frame.bytes.begin() + static_cast<int>(l4));
            summed.insert(summed.end(), {0, 6, 0, 24});
            summed.insert(summed.end(), frame.bytes.begin() + static_cast<int>(l4), frame.bytes.end());
            EXPECT_EQ(slow_checksum(summed), 0);
        }
    }
}

/// A packet waits for its new next hop as what it has become.
TEST(CrossingNeighbour, IsAskedForInItsOwnFamily) {
    Box box{R"(
        links = ( { name = "lan"; device = "net_null_lan"; addresses = [ "10.0.0.2/24", "2001:db8:1::2/64" ]; } );
        rules = ( { protocol = "udp"; external = "10.0.0.3:80"; target = "[2001:db8:1::4]:80"; } );
    )"};
    box.pass(std::chrono::milliseconds{1500});
    box.take("lan");
    EXPECT_THAT(
        box.exchange("lan",
                     box.to("lan").from(kClientMac).ipv4(kClient, kExternal).udp(7, 80).payload("hello"),
                     "lan"),
        SizeIs(1));
    Bytes content{kServer6.bytes.begin(), kServer6.bytes.end()};
    content.insert(content.end(), {2, 1, 2, 0, 0, 0, 0, 4});
    const auto sent = box.exchange("lan",
                                   box.to("lan")
                                       .from(kServerMac)
                                       .ipv6(kServer6, kFwd6)
                                       .ttl(255)
                                       .icmpv6(136, 0, 0x60000000)
                                       .payload(content),
                                   "lan");
    ASSERT_THAT(sent, SizeIs(1));
    const std::uint16_t port = look_into(sent[0]).source.port.host();
    EXPECT_EQ(sent[0], from_fwd(box, "lan", kServerMac)
                           .ipv6(kFwd6, kServer6)
                           .ttl(63)
                           .udp(port, 80)
                           .payload("hello")
                           .frame());
    box.expect_every_packet_accounted_for();
}

/// P8
TEST(CrossingPartial, ChecksumIsCompleted) {
    Box box{R"(
        links = ( { name = "lan"; device = "net_null_lan"; addresses = [ "10.0.0.2/24", "2001:db8:1::2/64" ];
                    rx_checksum = "partial"; } );
        neighbours = ( { link = "lan"; address = "2001:db8:1::4"; mac = "02:00:00:00:00:04"; },
                       { link = "lan"; address = "10.0.0.1"; mac = "02:00:00:00:00:01"; } );
        rules = ( { protocol = "tcp"; external = "10.0.0.3:80"; target = "[2001:db8:1::4]:80"; } );
    )"};
    const auto syn =
        box.to("lan").from(kClientMac).ipv4(kClient, kExternal).tcp(7, 80, kSyn).payload("early");
    const auto sent = box.exchange("lan", PacketBuilder{syn}.partial_l4_checksum(), "lan");
    ASSERT_THAT(sent, SizeIs(1));
    const std::uint16_t port = look_into(sent[0]).source.port.host();
    EXPECT_EQ(sent[0], from_fwd(box, "lan", kServerMac)
                           .ipv6(kFwd6, kServer6)
                           .ttl(63)
                           .tcp(port, 80, kSyn)
                           .payload("early")
                           .frame());
    const auto answer = box.to("lan").from(kServerMac).ipv6(kServer6, kFwd6).tcp(80, port, kSyn | kAck);
    const auto back = box.exchange("lan", PacketBuilder{answer}.partial_l4_checksum(), "lan");
    ASSERT_THAT(back, SizeIs(1));
    EXPECT_EQ(back[0], from_fwd(box, "lan", kClientMac)
                           .ipv4(kExternal, kClient)
                           .ttl(63)
                           .identification(identification_of(back[0]))
                           .tcp(80, 7, kSyn | kAck)
                           .frame());
}

}  // namespace
}  // namespace fwd::test
