// SPDX-License-Identifier: BSD-3-Clause
// Rules for whole addresses of IPv6: every port, ping, and protocols without ports.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "test/packet/ipv6_networks.h"

namespace fwd::test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using namespace std::chrono_literals;

constexpr std::uint8_t kGre = 47, kEsp = 50, kFragment = 44, kDestinationOptions = 60;
constexpr std::uint8_t kEchoRequest = 128, kEchoReply = 129, kUnreachable = 1, kTooBig = 2, kTimeExceeded = 3,
                       kParameterProblem = 4;
constexpr auto kWhole6 = "2001:db8:2::5"_ip6, kInside6 = "fd00::5"_ip6;
constexpr auto kInsideMac = mac(5);

std::uint32_t echo(std::uint16_t identifier, std::uint16_t sequence = 1) {
    return std::uint32_t{identifier} << 16U | sequence;
}

/// Rules whose addresses have been announced.
void use(Box& box, const std::string& rules) {
    box.set_rules(rules);
    box.settle();
    for (const control::LinkSettings& link : box.settings().links) box.take(link.name);
}

class WholeAddress6 : public ::testing::Test {
 protected:
    WholeAddress6() {
        use(box_, R"(rules = (
            { name = "host"; protocol = "all"; external = "2001:db8:2::5"; target = "fd00::5"; },
            { name = "port"; protocol = "tcp"; external = "[2001:db8:2::5]:80"; target = "[fd00::4]:8080"; },
            { name = "range"; protocol = "udp"; external = "[2001:db8:2::5]:100-199"; target = "[fd00::4]:100-199"; });)");
    }
    PacketBuilder from_client() const { return box_.to("wan").from(kRouterMac).ipv6(kFarClient6, kWhole6); }
    PacketBuilder from_inside() const { return box_.to("lan").from(kInsideMac).ipv6(kInside6, kFarClient6); }
    PacketBuilder to_inside() const {
        return from_fwd(box_, "lan", kInsideMac).ipv6(kFarClient6, kInside6).ttl(63);
    }
    PacketBuilder to_client() const {
        return from_fwd(box_, "wan", kRouterMac).ipv6(kWhole6, kFarClient6).ttl(63);
    }
    void expect_forwarded(const PacketBuilder& in, const PacketBuilder& out) {
        EXPECT_THAT(box_.exchange("wan", in, "lan"), ElementsAre(out.frame()));
    }
    void expect_answered(const PacketBuilder& in, const PacketBuilder& out) {
        EXPECT_THAT(box_.exchange("lan", in, "wan"), ElementsAre(out.frame()));
    }
    void expect_dropped(const std::string& link, const PacketBuilder& in, Verdict verdict) {
        const std::uint64_t before = box_.count(verdict);
        EXPECT_THAT(box_.exchange(link, in, link == "wan" ? "lan" : "wan"), IsEmpty());
        EXPECT_EQ(box_.count(verdict), before + 1) << static_cast<int>(verdict);
    }
    /// Without what fwd announces in the meantime.
    void pass(std::chrono::milliseconds time) {
        box_.pass(time);
        box_.take("wan");
        box_.take("lan");
    }
    void end_sessions() {
        box_.end_sessions();
        pass(0ms);
    }
    Box box_{kTwoArm6};
};

/// L1
TEST_F(WholeAddress6, EveryPortOfTcpAndUdpStaysWhatItIs) {
    for (const std::uint16_t port : {1, 99, 200, 65535}) {
        expect_forwarded(from_client().udp(5000, port), to_inside().udp(5000, port));
        expect_answered(from_inside().udp(port, 5000), to_client().udp(port, 5000));
        expect_forwarded(from_client().tcp(5001, port, kSyn), to_inside().tcp(5001, port, kSyn));
        expect_answered(from_inside().tcp(port, 5001, kSyn | kAck), to_client().tcp(port, 5001, kSyn | kAck));
    }
    EXPECT_EQ(box_.sessions(), 8);
    box_.expect_every_packet_accounted_for();
    box_.expect_no_record_lost();
}

/// L4: a port and a range win over the whole address.
TEST_F(WholeAddress6, MoreSpecificRulesWin) {
    const auto to_other = [&] {
        return from_fwd(box_, "lan", kServerMac).ipv6(kFarClient6, kLanServer6).ttl(63);
    };
    expect_forwarded(from_client().tcp(5000, 80, kSyn), to_other().tcp(5000, 8080, kSyn));
    expect_forwarded(from_client().udp(5000, 150), to_other().udp(5000, 150));
    expect_forwarded(from_client().udp(5000, 80), to_inside().udp(5000, 80));
    expect_forwarded(from_client().tcp(5000, 150, kSyn), to_inside().tcp(5000, 150, kSyn));
}

/// L1, P3: tunnels through a 1:1 rule, behind extension headers as well.
TEST_F(WholeAddress6, ProtocolsWithoutPortsAreKnownByTheirAddresses) {
    const Bytes there{0, 0, 0x08, 0, 1, 2, 3, 4, 5};
    const Bytes back{0x20, 0, 0x88, 0x0b, 9, 9, 9, 9};
    const Bytes options{0, 1, 4, 0, 0, 0, 0};
    for (const std::uint8_t protocol : {kGre, kEsp, std::uint8_t{132}, std::uint8_t{4}, std::uint8_t{41}}) {
        for (int i = 0; i < 3; ++i) {
            expect_forwarded(from_client().protocol(protocol, there), to_inside().protocol(protocol, there));
            expect_answered(from_inside().protocol(protocol, back), to_client().protocol(protocol, back));
        }
    }
    expect_forwarded(from_client().protocol(kEsp, {}), to_inside().protocol(kEsp, {}));
    expect_forwarded(from_client().extension(kDestinationOptions, options).protocol(kGre, there),
                     to_inside().extension(kDestinationOptions, options).protocol(kGre, there));
    EXPECT_EQ(box_.sessions(), 5);
    box_.expect_every_packet_accounted_for();
    box_.expect_no_record_lost();
}

/// U14: fragments of a tunnel, whichever comes first.
TEST_F(WholeAddress6, FragmentsOfTunnelsFollowTheFirstOne) {
    const Bytes content{0, 0, 0x08, 0, 1, 2, 3, 4};
    std::uint8_t id = 0;
    const auto numbered = [&](PacketBuilder packet, std::uint8_t offset, bool more, const Bytes& number) {
        Bytes header{0, 0, static_cast<std::uint8_t>(offset | (more ? 1U : 0U))};
        header.insert(header.end(), number.begin(), number.end());
        return packet.protocol(kGre, content).extension(kFragment, header);
    };
    const auto part = [&](const PacketBuilder& packet, std::uint8_t offset, bool more) {
        return numbered(packet, offset, more, {0, 0, 0, id});
    };
    for (const bool first_comes_first : {true, false}) {
        ++id;
        std::vector<PacketBuilder> in{part(from_client(), 0, true), part(from_client(), 8, true),
                                      part(from_client(), 16, false)};
        std::vector<Frame> out{part(to_inside(), 0, true).frame(), part(to_inside(), 8, true).frame(),
                               part(to_inside(), 16, false).frame()};
        if (!first_comes_first) {
            std::rotate(in.begin(), in.begin() + 1, in.end());
        }
        for (const PacketBuilder& fragment : in) box_.put("wan", fragment);
        box_.settle();
        EXPECT_THAT(box_.take("lan"), ::testing::ElementsAreArray(out));
    }
    ++id;
    // Others may leave by that address, too, so fwd chooses the identification.
    const auto begin = box_.exchange("lan", part(from_inside(), 0, true), "wan");
    ASSERT_EQ(begin.size(), 1U);
    const Bytes chosen{begin[0].bytes.begin() + 58, begin[0].bytes.begin() + 62};
    EXPECT_EQ(begin[0], numbered(to_client(), 0, true, chosen).frame());
    expect_answered(part(from_inside(), 8, false), numbered(to_client(), 8, false, chosen));
    EXPECT_EQ(box_.sessions(), 1);
    ++id;
    expect_dropped("wan",
                   part(box_.to("wan").from(kRouterMac).ipv6(kFarClient6, "2001:db8:2::9"_ip6), 0, true),
                   Verdict::drop_unsupported_protocol);
    box_.expect_every_packet_accounted_for();
}

TEST_F(WholeAddress6, WhatNoRuleAndNoSessionExplainsIsDropped) {
    expect_dropped("lan", from_inside().protocol(kGre, Bytes(8)), Verdict::drop_unsupported_protocol);
    expect_dropped("wan", from_client().ipv6(kFarClient6, kPublic6).protocol(kGre, Bytes(8)),
                   Verdict::drop_unsupported_protocol);
    // Addresses are in their checksums, or they are no protocol of hosts: the receiver would drop them.
    for (const std::uint8_t protocol : {1, 2, 33, 51, 59, 89, 103, 112, 135, 136, 139, 140})
        expect_dropped("wan", from_client().protocol(protocol, Bytes(16)),
                       Verdict::drop_unsupported_protocol);
    expect_dropped("wan", from_client().icmpv6(kEchoReply, 0, echo(7)), Verdict::drop_icmp_ignored);
    expect_dropped("lan", from_inside().icmpv6(kEchoRequest, 0, echo(7)), Verdict::drop_icmp_ignored);
    expect_dropped("wan", from_client().icmpv6(139, 0), Verdict::drop_icmp_ignored);  // a node's question
    expect_dropped("wan", from_client().ipv6("::1"_ip6, kWhole6).protocol(kGre, Bytes(8)),
                   Verdict::drop_martian);
    expect_dropped("wan", from_client().ipv6(kInside6, kWhole6).icmpv6(kEchoRequest, 0, echo(7)),
                   Verdict::drop_martian);
    expect_dropped("wan", from_client().protocol(kGre, Bytes(8)).to({{0x33, 0x33, 0, 0, 0, 1}}),
                   Verdict::drop_multicast);
    EXPECT_EQ(box_.sessions(), 0);
    box_.expect_every_packet_accounted_for();
}

/// I2, I3: its timer is longer than 60 s.
TEST_F(WholeAddress6, EchoIsForwardedAndAnswered) {
    for (const std::uint16_t identifier : {1, 0xffff, 0}) {
        const auto request = [&](std::uint16_t sequence) {
            return from_client().icmpv6(kEchoRequest, 0, echo(identifier, sequence)).payload("ping");
        };
        expect_forwarded(request(1),
                         to_inside().icmpv6(kEchoRequest, 0, echo(identifier, 1)).payload("ping"));
        pass(61s);
        expect_answered(from_inside().icmpv6(kEchoReply, 0, echo(identifier, 1)).payload("ping"),
                        to_client().icmpv6(kEchoReply, 0, echo(identifier, 1)).payload("ping"));
        expect_forwarded(request(2),
                         to_inside().icmpv6(kEchoRequest, 0, echo(identifier, 2)).payload("ping"));
    }
    EXPECT_EQ(box_.sessions(), 3);
    box_.pass(310s);
    EXPECT_EQ(box_.sessions(), 0);
    expect_dropped("wan", from_client().icmpv6(kEchoRequest, 0, echo(1)).payload("x").l4_checksum(1),
                   Verdict::drop_bad_icmp);
}

/// P1: whatever the checksum was, the receiver finds it right.
TEST_F(WholeAddress6, ChecksumOfEveryEchoIsRight) {
    for (std::uint32_t word = 0; word < 0x10000; word += 0xff) {
        for (const std::uint32_t end : {0U, 1U, 0xffffU}) {
            const std::uint32_t rest = word << 16U | end;
            if (box_.sessions() > 200) end_sessions();
            const auto sent = box_.exchange("wan", from_client().icmpv6(kEchoRequest, 0, rest), "lan");
            ASSERT_THAT(sent, ElementsAre(to_inside().icmpv6(kEchoRequest, 0, rest).frame()));
        }
    }
}

/// I4, I5, I6: errors about pings and tunnels, from both sides, of every type.
TEST_F(WholeAddress6, ErrorsReachTheOtherEnd) {
    const Bytes content{0, 0, 0x08, 0, 1, 2, 3, 4};
    expect_forwarded(from_client().protocol(kGre, content), to_inside().protocol(kGre, content));
    expect_forwarded(from_client().icmpv6(kEchoRequest, 0, echo(7)),
                     to_inside().icmpv6(kEchoRequest, 0, echo(7)));
    const auto about = [](net::Ipv6Address from, net::Ipv6Address to) {
        return packet().ipv6(from, to).ttl(63);
    };
    for (const bool gre : {true, false}) {
        const auto body = [&](PacketBuilder inner, std::uint8_t type) {
            return gre ? inner.protocol(kGre, content).ip_bytes() : inner.icmpv6(type, 0, echo(7)).ip_bytes();
        };
        for (const std::uint8_t type : {kUnreachable, kTooBig, kTimeExceeded, kParameterProblem}) {
            expect_answered(
                from_inside().icmpv6(type, 1, 1280).payload(body(about(kFarClient6, kInside6), kEchoRequest)),
                to_client().icmpv6(type, 1, 1280).payload(body(about(kFarClient6, kWhole6), kEchoRequest)));
            expect_forwarded(
                from_client().icmpv6(type, 1, 1280).payload(body(about(kWhole6, kFarClient6), kEchoReply)),
                to_inside().icmpv6(type, 1, 1280).payload(body(about(kInside6, kFarClient6), kEchoReply)));
        }
        // Of a longer packet, cut short.
        const auto longer = [&](net::Ipv6Address to) {
            return gre ? about(kFarClient6, to).protocol(kGre, Bytes(100)).ip_bytes()
                       : about(kFarClient6, to)
                             .icmpv6(kEchoRequest, 0, echo(7))
                             .payload_bytes(100)
                             .ip_bytes();
        };
        expect_answered(from_inside().icmpv6(kTimeExceeded, 0).payload(first(longer(kInside6), 48)),
                        to_client().icmpv6(kTimeExceeded, 0).payload(first(longer(kWhole6), 48)));
    }
    const auto bad = [&](const Bytes& inner, Verdict verdict) {
        expect_dropped("lan", from_inside().icmpv6(kUnreachable, 0).payload(inner), verdict);
    };
    bad(about(kFarClient6, kInside6).icmpv6(kEchoRequest, 0, echo(8)).ip_bytes(),
        Verdict::drop_icmp_no_session);
    bad(about(kFarClient6, kInside6).icmpv6(kUnreachable, 0).ip_bytes(), Verdict::drop_bad_icmp);
    bad(about(kFarClient6, kInside6).protocol(51, Bytes(8)).ip_bytes(), Verdict::drop_bad_icmp);
    bad(first(about(kFarClient6, kInside6).icmpv6(kEchoRequest, 0, echo(7)).ip_bytes(), 47),
        Verdict::drop_bad_icmp);
    EXPECT_EQ(box_.sessions(), 2);
    box_.pass(310s);
    EXPECT_EQ(box_.sessions(), 0);
    box_.expect_every_packet_accounted_for();
}

/// U13, I10: for pings and tunnels too.
TEST_F(WholeAddress6, SenderHearsOfHopLimitAndMtu) {
    expect_forwarded(from_client().icmpv6(kEchoRequest, 0, echo(7)),
                     to_inside().icmpv6(kEchoRequest, 0, echo(7)));
    for (const auto& last_hop : {from_client().icmpv6(kEchoRequest, 0, echo(7)).ttl(1),
                                 from_client().protocol(kGre, Bytes(8)).ttl(1)}) {
        const auto expired = box_.exchange("wan", last_hop, "wan");
        ASSERT_THAT(expired, SizeIs(1));
        EXPECT_EQ(expired[0].bytes[54], kTimeExceeded);
        EXPECT_EQ(Bytes(expired[0].bytes.begin() + 62, expired[0].bytes.end()), last_hop.ip_bytes());
    }
    EXPECT_EQ(box_.count(Verdict::punt_ttl_expired), 2);
    expect_forwarded(from_client().protocol(kGre, Bytes(8)), to_inside().protocol(kGre, Bytes(8)));
}

/// L3, L5, R5: what rules say besides is for whole addresses as well.
TEST_F(WholeAddress6, SourcesAndSessionsAreLimited) {
    use(box_, R"(rules = ( { name = "host"; protocol = "all"; external = "2001:db8:2::5"; target = "fd00::5";
        not_from = [ "2001:db8:e::/48" ]; max_sessions = 1; });)");
    expect_dropped("wan", from_client().ipv6("2001:db8:e::1"_ip6, kWhole6).icmpv6(kEchoRequest, 0, echo(1)),
                   Verdict::drop_source_denied);
    expect_forwarded(from_client().icmpv6(kEchoRequest, 0, echo(1)),
                     to_inside().icmpv6(kEchoRequest, 0, echo(1)));
    expect_dropped("wan", from_client().protocol(kEsp, Bytes(8)), Verdict::drop_rule_full);
}

/// With `outbound` the host opens sessions under its external address, too.
class WholeAddress6Outbound : public WholeAddress6 {
 protected:
    WholeAddress6Outbound() { use_rules(""); }
    void use_rules(const std::string& more) {
        use(box_,
            R"(rules = ( { name = "host"; protocol = "all"; external = "2001:db8:2::5"; target = "fd00::5";
                     outbound = true; )" +
                more + " } );");
    }
};

/// L1
TEST_F(WholeAddress6Outbound, HostReachesTheWorldByEveryProtocol) {
    const Bytes there{0, 0, 0x08, 0, 1, 2, 3, 4, 5};
    expect_answered(from_inside().udp(4000, 53), to_client().udp(4000, 53));
    expect_forwarded(from_client().udp(53, 4000), to_inside().udp(53, 4000));
    expect_answered(from_inside().tcp(4000, 443, kSyn), to_client().tcp(4000, 443, kSyn));
    expect_forwarded(from_client().tcp(443, 4000, kSyn | kAck), to_inside().tcp(443, 4000, kSyn | kAck));
    expect_answered(from_inside().icmpv6(kEchoRequest, 0, echo(7)),
                    to_client().icmpv6(kEchoRequest, 0, echo(7)));
    expect_forwarded(from_client().icmpv6(kEchoReply, 0, echo(7)),
                     to_inside().icmpv6(kEchoReply, 0, echo(7)));
    for (const std::uint8_t protocol : {kGre, kEsp}) {
        expect_answered(from_inside().protocol(protocol, there), to_client().protocol(protocol, there));
        expect_forwarded(from_client().protocol(protocol, there), to_inside().protocol(protocol, there));
    }
    EXPECT_EQ(box_.sessions(), 5);
    box_.expect_every_packet_accounted_for();
    box_.expect_no_record_lost();
}

/// P5, T4, L3: nobody else does, nor does it reach what is not the world, or not the rule's.
TEST_F(WholeAddress6Outbound, OnlyTheHostReachesOnlyTheWorldThatTheRuleNames) {
    expect_dropped("lan", from_inside().ipv6(kLanServer6, kFarClient6).udp(4000, 53), Verdict::drop_no_rule);
    expect_dropped("wan", from_client().ipv6(kInside6, "fd00::9"_ip6).udp(4000, 53), Verdict::drop_martian);
    expect_dropped("lan", from_inside().ipv6(kInside6, "2001:db8:2::1"_ip6).udp(4000, 53),
                   Verdict::drop_no_rule);
    expect_dropped("lan", from_inside().tcp(4000, 443, kAck), Verdict::drop_not_syn);
    use_rules(R"(from = [ "2001:db8:e::/48" ]; max_sessions_per_source = 1;)");
    expect_dropped("lan", from_inside().udp(4000, 53), Verdict::drop_destination_denied);
    EXPECT_THAT(box_.exchange("lan", from_inside().ipv6(kInside6, "2001:db8:e::1"_ip6).udp(4000, 53), "wan"),
                SizeIs(1));
    expect_dropped("lan", from_inside().ipv6(kInside6, "2001:db8:e::1"_ip6).udp(4001, 53),
                   Verdict::drop_source_full);
}

/// P5: it reaches the counterparts of other hosts where these are, not by the world.
TEST(WholeAddress6BesidePrefixes, HostReachesCounterpartsInside) {
    Box box{kTwoArm6 +
            R"(prefixes = ( { inside = "fd00::/48"; external = "2001:db8:aa::/48"; inbound = true; } );)"};
    const auto counterpart = net::PrefixMapping{{"fd00::"_ip6, 48}, {"2001:db8:aa::"_ip6, 48}}
                                 .to_external(kLanServer6)
                                 .value()
                                 .v6();
    for (const char* outbound : {"false", "true"}) {
        use(box, fmt::format(R"(rules = ( {{ protocol = "all"; external = "2001:db8:2::5"; target = "fd00::5";
                 outbound = {}; }} );)",
                             outbound));
        const auto ask = box.to("lan").from(kInsideMac).ipv6(kInside6, counterpart).udp(4000, 53);
        EXPECT_THAT(box.exchange("lan", ask, "lan"), SizeIs(1)) << outbound;
        EXPECT_THAT(box.take("wan"), IsEmpty());
        box.end_sessions();
    }
}

/// On one segment fwd masquerades: echo by identifier, other protocols by address alone.
class WholeAddress6OnOneSegment : public ::testing::Test {
 protected:
    WholeAddress6OnOneSegment() {
        use(box_, R"(rules = ( { name = "host"; protocol = "all"; external = "2001:db8:1::3";
                                 target = "2001:db8:1::4"; });)");
    }
    PacketBuilder from_client(net::Ipv6Address client) const {
        return box_.to("lan").from(kClientMac).ipv6(client, kExternal6);
    }
    PacketBuilder from_server() const { return box_.to("lan").from(kServerMac).ipv6(kServer6, kFwd6); }
    PacketBuilder to_server() const {
        return from_fwd(box_, "lan", kServerMac).ipv6(kFwd6, kServer6).ttl(63);
    }
    PacketBuilder to_client() const {
        return from_fwd(box_, "lan", kClientMac).ipv6(kExternal6, kClient6).ttl(63);
    }
    Box box_{kOneArm6};
};

/// U9, I4, I7
TEST_F(WholeAddress6OnOneSegment, EchoOfTwoClientsWithOneIdentifierIsKeptApart) {
    std::vector<std::uint16_t> identifiers;
    for (const auto client : {kClient6, "2001:db8:1::9"_ip6}) {
        const auto sent =
            box_.exchange("lan", from_client(client).icmpv6(kEchoRequest, 0, echo(7)).payload("ping"), "lan");
        ASSERT_THAT(sent, SizeIs(1));
        const auto& bytes = sent[0].bytes;
        identifiers.push_back(static_cast<std::uint16_t>(bytes[58] << 8U | bytes[59]));
        EXPECT_EQ(sent[0],
                  to_server().icmpv6(kEchoRequest, 0, echo(identifiers.back())).payload("ping").frame());
    }
    EXPECT_NE(identifiers[0], identifiers[1]);
    EXPECT_THAT(box_.exchange("lan", from_server().icmpv6(kEchoReply, 0, echo(identifiers[0])), "lan"),
                ElementsAre(to_client().icmpv6(kEchoReply, 0, echo(7)).frame()));
    // An error about a request has the client's own identifier inside.
    const auto quoted = [](net::Ipv6Address from, net::Ipv6Address to, std::uint16_t identifier) {
        return packet().ipv6(from, to).ttl(63).icmpv6(kEchoRequest, 0, echo(identifier)).ip_bytes();
    };
    EXPECT_THAT(
        box_.exchange("lan",
                      from_server().icmpv6(kUnreachable, 1).payload(quoted(kFwd6, kServer6, identifiers[0])),
                      "lan"),
        ElementsAre(to_client().icmpv6(kUnreachable, 1).payload(quoted(kClient6, kExternal6, 7)).frame()));
    EXPECT_EQ(box_.sessions(), 2);
    box_.expect_no_record_lost();
}

TEST_F(WholeAddress6OnOneSegment, OneOwnAddressCarriesOneTunnelOfEachProtocolToATarget) {
    EXPECT_THAT(box_.exchange("lan", from_client(kClient6).protocol(kGre, Bytes(8)), "lan"),
                ElementsAre(to_server().protocol(kGre, Bytes(8)).frame()));
    EXPECT_THAT(box_.exchange("lan", from_client("2001:db8:1::9"_ip6).protocol(kGre, Bytes(8)), "lan"),
                IsEmpty());
    EXPECT_EQ(box_.count(Verdict::drop_ports_used_up), 1);
    EXPECT_THAT(box_.exchange("lan", from_server().protocol(kGre, Bytes(9)), "lan"),
                ElementsAre(to_client().protocol(kGre, Bytes(9)).frame()));
    box_.expect_every_packet_accounted_for();
    box_.expect_no_record_lost();
}

/// I1
TEST_F(WholeAddress6OnOneSegment, OwnAddressAnswersPingItselfAndKeepsItsPorts) {
    use(box_, R"(rules = (
        { name = "own"; protocol = "all"; external = "2001:db8:1::2"; target = "2001:db8:1::4"; },
        { name = "web"; protocol = "tcp"; external = "[2001:db8:1::3]:80"; target = "[2001:db8:1::4]:8080"; });)");
    box_.exchange(
        "lan", box_.to("lan").from(kClientMac).ipv6(kClient6, kFwd6).icmpv6(kEchoRequest, 0, echo(7)), "lan");
    EXPECT_EQ(box_.count(Verdict::punt_echo), 1);
    const auto opened = box_.exchange("lan", from_client(kClient6).tcp(40000, 80, kSyn), "lan");
    ASSERT_THAT(opened, SizeIs(1));
    const std::uint16_t port = look_into(opened[0]).source.port.host();
    EXPECT_THAT(box_.exchange("lan", from_server().tcp(8080, port, kSyn | kAck), "lan"), SizeIs(1))
        << "a whole address takes what sessions leave";
    EXPECT_EQ(box_.sessions(), 1);
}

}  // namespace
}  // namespace fwd::test
