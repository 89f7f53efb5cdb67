// SPDX-License-Identifier: BSD-3-Clause
// Rules for whole addresses: every port, and protocols without ports.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/packet/networks.h"

namespace fwd::test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using namespace std::chrono_literals;

constexpr std::uint8_t kGre = 47, kEsp = 50, kUdpLite = 136;
constexpr std::uint8_t kEchoReply = 0, kEchoRequest = 8, kUnreachable = 3, kTimeExceeded = 11;
constexpr auto kWhole = "192.0.2.5"_ip, kInside = "10.0.0.5"_ip, kOtherInside = "10.0.0.4"_ip;
constexpr auto kInsideMac = mac(5), kOtherInsideMac = mac(4);

std::uint32_t echo(std::uint16_t identifier, std::uint16_t sequence = 1) {
    return std::uint32_t{identifier} << 16U | sequence;
}

/// Rules whose addresses have been announced.
void use(Box& box, const std::string& rules) {
    box.set_rules(rules);
    box.settle();
    for (const control::LinkSettings& link : box.settings().links) box.take(link.name);
}

class WholeAddress : public ::testing::Test {
 protected:
    WholeAddress() {
        use(box_, R"(rules = (
            { name = "host"; protocol = "all"; external = "192.0.2.5"; target = "10.0.0.5"; },
            { name = "port"; protocol = "tcp"; external = "192.0.2.5:80"; target = "10.0.0.4:8080"; },
            { name = "range"; protocol = "udp"; external = "192.0.2.5:100-199"; target = "10.0.0.4:100-199"; });)");
    }
    PacketBuilder from_client() { return box_.to("wan").from(kRouterMac).ipv4(kFarClient, kWhole); }
    PacketBuilder from_inside() { return box_.to("lan").from(kInsideMac).ipv4(kInside, kFarClient); }
    PacketBuilder to_inside() { return from_fwd(box_, "lan", kInsideMac).ipv4(kFarClient, kInside).ttl(63); }
    PacketBuilder to_client() { return from_fwd(box_, "wan", kRouterMac).ipv4(kWhole, kFarClient).ttl(63); }
    void expect_forwarded(const PacketBuilder& in, const PacketBuilder& out) {
        EXPECT_THAT(box_.exchange("wan", in, "lan"), ElementsAre(out.frame()));
    }
    void expect_answered(const PacketBuilder& in, const PacketBuilder& out) {
        EXPECT_THAT(box_.exchange("lan", in, "wan"), ElementsAre(out.frame()));
    }
    Box box_{kTwoArm};
};

/// L1
TEST_F(WholeAddress, EveryPortOfTcpAndUdpStaysWhatItIs) {
    for (const std::uint16_t port : {1, 99, 200, 65535}) {
        expect_forwarded(from_client().udp(5000, port), to_inside().udp(5000, port));
        expect_answered(from_inside().udp(port, 5000), to_client().udp(port, 5000));
        expect_forwarded(from_client().tcp(5001, port, kSyn), to_inside().tcp(5001, port, kSyn));
        expect_answered(from_inside().tcp(port, 5001, kSyn | kAck), to_client().tcp(port, 5001, kSyn | kAck));
    }
    EXPECT_EQ(box_.sessions(), 8U);
    box_.expect_every_packet_accounted_for();
}

/// L4: a port and a range win over the whole address.
TEST_F(WholeAddress, MoreSpecificRulesWin) {
    const auto to_other = [&] {
        return from_fwd(box_, "lan", kOtherInsideMac).ipv4(kFarClient, kOtherInside).ttl(63);
    };
    expect_forwarded(from_client().tcp(5000, 80, kSyn), to_other().tcp(5000, 8080, kSyn));
    expect_forwarded(from_client().udp(5000, 150), to_other().udp(5000, 150));
    expect_forwarded(from_client().udp(5000, 80), to_inside().udp(5000, 80));
    expect_forwarded(from_client().tcp(5000, 150, kSyn), to_inside().tcp(5000, 150, kSyn));
}

/// L1: tunnels through a 1:1 rule.
TEST_F(WholeAddress, ProtocolsWithoutPortsAreKnownByTheirAddresses) {
    const Bytes there{0, 0, 0x08, 0, 1, 2, 3, 4, 5};
    const Bytes back{0x20, 0, 0x88, 0x0b, 9, 9, 9, 9};
    for (const std::uint8_t protocol : {kGre, kEsp, std::uint8_t{132}, std::uint8_t{4}}) {
        for (int i = 0; i < 3; ++i) {
            expect_forwarded(from_client().protocol(protocol, there), to_inside().protocol(protocol, there));
            expect_answered(from_inside().protocol(protocol, back), to_client().protocol(protocol, back));
        }
    }
    expect_forwarded(from_client().protocol(kEsp, {}), to_inside().protocol(kEsp, {}));
    EXPECT_EQ(box_.sessions(), 4U);
    box_.expect_every_packet_accounted_for();
}

/// U14, P3: a fragment without ports is known as the whole is, and IP options stay where they are.
TEST_F(WholeAddress, FragmentsAndOptionsAreNotInTheWayOfTunnels) {
    const Bytes content{0, 0, 0x08, 0, 1, 2, 3, 4};
    for (const std::uint16_t fragment : {0x0002, 0x2000, 0x0001}) {
        expect_forwarded(from_client().protocol(kGre, content).fragment(fragment),
                         to_inside().protocol(kGre, content).fragment(fragment));
    }
    expect_answered(from_inside().protocol(kGre, content).ip_options({1, 1, 1, 1}),
                    to_client().protocol(kGre, content).ip_options({1, 1, 1, 1}));
    EXPECT_EQ(box_.sessions(), 1U);
    box_.expect_every_packet_accounted_for();
}

TEST_F(WholeAddress, WhatNoRuleAndNoSessionExplainsIsDropped) {
    EXPECT_THAT(box_.exchange("lan", from_inside().protocol(kGre, Bytes(8)), "wan"), IsEmpty());
    box_.exchange("wan", box_.to("wan").from(kRouterMac).ipv4(kFarClient, kPublic).protocol(kGre, Bytes(8)),
                  "lan");
    EXPECT_EQ(box_.count(Verdict::drop_unsupported_protocol), 2U);
    // Its checksum covers the addresses: the receiver would drop it.
    EXPECT_THAT(box_.exchange("wan", from_client().protocol(kUdpLite, Bytes(16)), "lan"), IsEmpty());
    EXPECT_EQ(box_.count(Verdict::drop_unsupported_protocol), 3U);
    EXPECT_THAT(box_.exchange("wan", from_client().icmp(kEchoReply, 0, echo(7)), "lan"), IsEmpty());
    EXPECT_THAT(box_.exchange("lan", from_inside().icmp(kEchoRequest, 0, echo(7)), "wan"), IsEmpty());
    EXPECT_EQ(box_.count(Verdict::drop_icmp_ignored), 2U);
    EXPECT_THAT(
        box_.exchange("wan", from_client().ipv4("127.0.0.1"_ip, kWhole).protocol(kGre, Bytes(8)), "lan"),
        IsEmpty());
    EXPECT_EQ(box_.count(Verdict::drop_martian), 1U);
    EXPECT_EQ(box_.sessions(), 0U);
    box_.expect_every_packet_accounted_for();
}

/// I2: and its timer is longer than 60 s.
TEST_F(WholeAddress, EchoIsForwardedAndAnswered) {
    for (const std::uint16_t identifier : {1, 0xffff, 0}) {
        const auto request = [&](std::uint16_t sequence) {
            return from_client().icmp(kEchoRequest, 0, echo(identifier, sequence)).payload("ping");
        };
        expect_forwarded(request(1), to_inside().icmp(kEchoRequest, 0, echo(identifier, 1)).payload("ping"));
        box_.pass(61s);
        expect_answered(from_inside().icmp(kEchoReply, 0, echo(identifier, 1)).payload("ping"),
                        to_client().icmp(kEchoReply, 0, echo(identifier, 1)).payload("ping"));
        expect_forwarded(request(2), to_inside().icmp(kEchoRequest, 0, echo(identifier, 2)).payload("ping"));
    }
    EXPECT_EQ(box_.sessions(), 3U);
    box_.pass(310s);
    EXPECT_EQ(box_.sessions(), 0U);
    EXPECT_THAT(
        box_.exchange("wan", from_client().icmp(kEchoRequest, 0, echo(1)).payload("x").l4_checksum(1), "lan"),
        IsEmpty());
    EXPECT_EQ(box_.count(Verdict::drop_bad_icmp), 1U);
}

/// I4, I5: errors about packets without ports, from both sides.
TEST_F(WholeAddress, ErrorsAboutPortlessSessionsReachTheOtherEnd) {
    const Bytes content{0, 0, 0x08, 0, 1, 2, 3, 4};
    expect_forwarded(from_client().protocol(kGre, content), to_inside().protocol(kGre, content));
    expect_forwarded(from_client().icmp(kEchoRequest, 0, echo(7)),
                     to_inside().icmp(kEchoRequest, 0, echo(7)));
    const auto about = [](net::Ipv4Address from, net::Ipv4Address to) {
        return packet().ipv4(from, to).ttl(63);
    };
    for (const bool gre : {true, false}) {
        const auto body = [&](PacketBuilder inner, std::uint8_t type) {
            return gre ? inner.protocol(kGre, content).ip_bytes() : inner.icmp(type, 0, echo(7)).ip_bytes();
        };
        expect_answered(
            from_inside().icmp(kUnreachable, 2).payload(body(about(kFarClient, kInside), kEchoRequest)),
            to_client().icmp(kUnreachable, 2).payload(body(about(kFarClient, kWhole), kEchoRequest)));
        expect_answered(from_inside()
                            .icmp(kTimeExceeded, 0)
                            .payload(first(body(about(kFarClient, kInside), kEchoRequest), 28)),
                        to_client()
                            .icmp(kTimeExceeded, 0)
                            .payload(first(body(about(kFarClient, kWhole), kEchoRequest), 28)));
        expect_forwarded(
            from_client().icmp(kUnreachable, 1).payload(body(about(kWhole, kFarClient), kEchoReply)),
            to_inside().icmp(kUnreachable, 1).payload(body(about(kInside, kFarClient), kEchoReply)));
    }
    EXPECT_THAT(
        box_.exchange("lan",
                      from_inside()
                          .icmp(kUnreachable, 2)
                          .payload(about(kFarClient, kInside).icmp(kEchoRequest, 0, echo(8)).ip_bytes()),
                      "wan"),
        IsEmpty());
    EXPECT_EQ(box_.count(Verdict::drop_icmp_no_session), 1U);
    box_.expect_every_packet_accounted_for();
}

/// I10: for an echo too.
TEST_F(WholeAddress, SenderHearsOfTtl) {
    expect_forwarded(from_client().icmp(kEchoRequest, 0, echo(7)),
                     to_inside().icmp(kEchoRequest, 0, echo(7)));
    const auto last_hop = from_client().icmp(kEchoRequest, 0, echo(7)).ttl(1);
    const auto expired = box_.exchange("wan", last_hop, "wan");
    ASSERT_THAT(expired, SizeIs(1));
    EXPECT_EQ(expired[0].bytes[34], kTimeExceeded);
    EXPECT_EQ(Bytes(expired[0].bytes.begin() + 42, expired[0].bytes.end()), last_hop.ip_bytes());
    EXPECT_EQ(box_.count(Verdict::punt_ttl_expired), 1U);
}

/// U13: for protocols without ports and echoes too.
TEST(WholeAddressOnANarrowLink, SenderHearsOfTheMtu) {
    constexpr std::uint8_t kFragmentationNeeded = 4;
    Box box{R"(
        links = ( { name = "wan"; device = "net_null_wan"; addresses = [ "192.0.2.1/24" ]; },
                  { name = "lan"; device = "net_null_lan"; addresses = [ "10.0.0.1/24" ]; mtu = 1400; } );
    )" + kTwoArmRest};
    use(box,
        R"(rules = ( { name = "host"; protocol = "all"; external = "192.0.2.5"; target = "10.0.0.5"; } );)");
    const auto from_client = [&] {
        return box.to("wan").from(kRouterMac).ipv4(kFarClient, kWhole).dont_fragment();
    };
    constexpr std::size_t kFits = 1400 - 20;
    const std::array fitting{from_client().protocol(kGre, Bytes(kFits)),
                             from_client().icmp(kEchoRequest, 0, echo(7)).payload_bytes(kFits - 8)};
    const std::array too_big{from_client().protocol(kGre, Bytes(kFits + 1)),
                             from_client().icmp(kEchoRequest, 0, echo(7)).payload_bytes(kFits - 7)};
    for (std::size_t i = 0; i < fitting.size(); ++i) {
        EXPECT_THAT(box.exchange("wan", fitting[i], "lan"), SizeIs(1));
        EXPECT_THAT(box.exchange("wan", too_big[i], "wan"),
                    ElementsAre(from_fwd(box, "wan", kRouterMac)
                                    .ipv4(kWanAddress, kFarClient)
                                    .identification(0)
                                    .dont_fragment()
                                    .ttl(64)
                                    .icmp(kUnreachable, kFragmentationNeeded, 1400)
                                    .payload(first(too_big[i].ip_bytes(), 548))
                                    .frame()));
        EXPECT_THAT(box.take("lan"), IsEmpty());
    }
    box.expect_every_packet_accounted_for();
}

/// With `outbound` the host opens sessions under its external address, too.
class WholeAddressOutbound : public WholeAddress {
 protected:
    WholeAddressOutbound() { use_rules(""); }
    void use_rules(const std::string& more, const std::string& others = "") {
        use(box_, R"(rules = ( { name = "host"; protocol = "all"; external = "192.0.2.5"; target = "10.0.0.5";
                     outbound = true; )" +
                      more + " }" + others + " );");
    }
    void expect_dropped(const std::string& link, const PacketBuilder& in, Verdict verdict) {
        const std::uint64_t before = box_.count(verdict);
        EXPECT_THAT(box_.exchange(link, in, link == "wan" ? "lan" : "wan"), IsEmpty());
        EXPECT_EQ(box_.count(verdict), before + 1);
    }
};

/// L1
TEST_F(WholeAddressOutbound, HostReachesTheWorldByEveryProtocol) {
    const Bytes there{0, 0, 0x08, 0, 1, 2, 3, 4, 5};
    for (const std::uint16_t port : {1, 65535}) {
        expect_answered(from_inside().udp(port, 53), to_client().udp(port, 53));
        expect_forwarded(from_client().udp(53, port), to_inside().udp(53, port));
        expect_answered(from_inside().tcp(port, 443, kSyn), to_client().tcp(port, 443, kSyn));
        expect_forwarded(from_client().tcp(443, port, kSyn | kAck), to_inside().tcp(443, port, kSyn | kAck));
    }
    expect_answered(from_inside().icmp(kEchoRequest, 0, echo(7)), to_client().icmp(kEchoRequest, 0, echo(7)));
    expect_forwarded(from_client().icmp(kEchoReply, 0, echo(7)), to_inside().icmp(kEchoReply, 0, echo(7)));
    for (const std::uint8_t protocol : {kGre, kEsp}) {
        expect_answered(from_inside().protocol(protocol, there), to_client().protocol(protocol, there));
        expect_forwarded(from_client().protocol(protocol, there), to_inside().protocol(protocol, there));
    }
    EXPECT_EQ(box_.sessions(), 7U);
    box_.expect_every_packet_accounted_for();
    box_.expect_no_record_lost();
}

/// U14, I4, I6: fragments and errors of such a session, and no router inside shows itself.
TEST_F(WholeAddressOutbound, FragmentsAndErrorsFollow) {
    const Bytes content(16);
    expect_answered(from_inside().protocol(kGre, content).fragment(0x2000),
                    to_client().protocol(kGre, content).fragment(0x2000));
    expect_answered(from_inside().udp(4000, 53), to_client().udp(4000, 53));
    const auto about = [](net::Ipv4Address from, net::Ipv4Address to) {
        return packet().ipv4(from, to).ttl(63);
    };
    expect_forwarded(
        from_client().icmp(kUnreachable, 3).payload(about(kWhole, kFarClient).udp(4000, 53).ip_bytes()),
        to_inside().icmp(kUnreachable, 3).payload(about(kInside, kFarClient).udp(4000, 53).ip_bytes()));
    expect_forwarded(from_client().udp(53, 4000), to_inside().udp(53, 4000));
    expect_answered(
        box_.to("lan")
            .from(kInsideMac)
            .ipv4("10.0.0.77"_ip, kFarClient)
            .icmp(kTimeExceeded, 0)
            .payload(about(kFarClient, kInside).udp(53, 4000).ip_bytes()),
        to_client().icmp(kTimeExceeded, 0).payload(about(kFarClient, kWhole).udp(53, 4000).ip_bytes()));
}

/// T2: a connection that both sides open at once is one.
TEST_F(WholeAddressOutbound, SessionIsTheSameFromBothSides) {
    expect_answered(from_inside().tcp(5000, 6000, kSyn), to_client().tcp(5000, 6000, kSyn));
    expect_forwarded(from_client().tcp(6000, 5000, kSyn), to_inside().tcp(6000, 5000, kSyn));
    EXPECT_EQ(box_.sessions(), 1U);
}

/// P5, T4: nobody else does, nor does it reach what is not the world.
TEST_F(WholeAddressOutbound, OnlyTheHostReachesOnlyTheWorld) {
    const auto sent_by = [&](net::Ipv4Address source) {
        return box_.to("lan").from(kInsideMac).ipv4(source, kFarClient).udp(4000, 53);
    };
    expect_dropped("lan", sent_by(kOtherInside), Verdict::drop_no_rule);
    expect_dropped("wan", box_.to("wan").from(kRouterMac).ipv4(kInside, "10.0.0.9"_ip).udp(4000, 53),
                   Verdict::drop_martian);
    expect_dropped("lan", from_inside().ipv4(kInside, kWanAddress).udp(4000, 53), Verdict::drop_no_rule);
    expect_dropped("lan", from_inside().ipv4(kInside, "10.0.0.9"_ip).udp(4000, 53), Verdict::drop_no_rule);
    expect_dropped("lan", from_inside().tcp(4000, 443, kAck), Verdict::drop_not_syn);
    EXPECT_EQ(box_.sessions(), 0U);
}

/// U9, T8: a server inside that it calls by an external address sees it by its own.
TEST_F(WholeAddressOutbound, HairpinShowsItsAddress) {
    use_rules("", R"(, { name = "other"; protocol = "all"; external = "192.0.2.4"; target = "10.0.0.4"; })");
    const auto from_other = [&] { return box_.to("lan").from(kOtherInsideMac).ipv4(kOtherInside, kWhole); };
    const auto to_other = [&] {
        return from_fwd(box_, "lan", kOtherInsideMac).ipv4(kWhole, kOtherInside).ttl(63);
    };
    const auto asked = [&] { return from_inside().ipv4(kInside, "192.0.2.4"_ip); };
    const auto answered = [&] {
        return from_fwd(box_, "lan", kInsideMac).ipv4("192.0.2.4"_ip, kInside).ttl(63);
    };
    EXPECT_THAT(box_.exchange("lan", asked().tcp(5000, 80, kSyn), "lan"),
                ElementsAre(to_other().tcp(5000, 80, kSyn).frame()));
    EXPECT_THAT(box_.exchange("lan", from_other().tcp(80, 5000, kSyn | kAck), "lan"),
                ElementsAre(answered().tcp(80, 5000, kSyn | kAck).frame()));
    EXPECT_THAT(box_.exchange("lan", asked().protocol(kGre, Bytes(8)), "lan"),
                ElementsAre(to_other().protocol(kGre, Bytes(8)).frame()));
    EXPECT_THAT(box_.exchange("lan", from_other().protocol(kGre, Bytes(8)), "lan"),
                ElementsAre(answered().protocol(kGre, Bytes(8)).frame()));
    EXPECT_EQ(box_.sessions(), 2U);
    box_.expect_every_packet_accounted_for();
}

/// L4: what comes unasked to a port that another rule has is that rule's, so it does not leave by that.
TEST_F(WholeAddressOutbound, PortsOfOtherRulesAreNotTaken) {
    use_rules(
        "", R"(, { name = "web"; protocol = "tcp"; external = "192.0.2.5:80"; target = "10.0.0.4:8080"; })");
    expect_dropped("lan", from_inside().tcp(80, 4000, kSyn), Verdict::drop_tuple_in_use);
    expect_answered(from_inside().tcp(81, 4000, kSyn), to_client().tcp(81, 4000, kSyn));
    expect_answered(from_inside().udp(80, 4000), to_client().udp(80, 4000));
    use_rules(
        "",
        R"(, { name = "other"; protocol = "all"; link = "wan"; external = "192.0.2.5"; target = "10.0.0.4"; })");
    expect_dropped("lan", from_inside().udp(82, 4000), Verdict::drop_tuple_in_use);
}

/// L3, R5: what the rule says of clients is for whom the host speaks to, as well.
TEST_F(WholeAddressOutbound, RulesListsAndLimitsCount) {
    use_rules(R"(not_from = [ "203.0.113.0/24" ]; max_sessions = 2;)");
    expect_dropped("lan", from_inside().ipv4(kInside, "203.0.113.9"_ip).udp(4000, 53),
                   Verdict::drop_destination_denied);
    expect_answered(from_inside().udp(4000, 53), to_client().udp(4000, 53));
    expect_forwarded(from_client().udp(4000, 7), to_inside().udp(4000, 7));
    expect_dropped("lan", from_inside().udp(4001, 53), Verdict::drop_rule_full);
}

/// L4: of two rules the one that names the link wins; one for another link is none.
TEST_F(WholeAddressOutbound, RuleOfTheLinkWins) {
    use_rules(
        "", R"(, { name = "wan"; protocol = "all"; link = "wan"; external = "192.0.2.6"; target = "10.0.0.5";
                         outbound = true; })");
    expect_answered(from_inside().udp(4000, 53),
                    from_fwd(box_, "wan", kRouterMac).ipv4("192.0.2.6"_ip, kFarClient).ttl(63).udp(4000, 53));
    use_rules(R"(link = "lan";)");
    box_.end_sessions();
    expect_dropped("lan", from_inside().udp(4000, 53), Verdict::drop_no_rule);
}

/// The world is behind the link of the external address: another network is none.
TEST(WholeAddressOfThreeLinks, HostReachesTheWorldBehindTheAddressAlone) {
    const auto with = [](const char* more) {
        return fmt::format(R"(
            links = ( {{ name = "wan"; device = "net_null_wan"; addresses = [ "192.0.2.1/24" ]; }},
                      {{ name = "dmz"; device = "net_null_dmz"; addresses = [ "172.16.0.1/24" ]; }},
                      {{ name = "lan"; device = "net_null_lan"; addresses = [ "10.0.0.1/24" ]; }} );
            routes = ( {{ prefix = "0.0.0.0/0"; via = "192.0.2.254"; }} );
            neighbours = ( {{ link = "wan"; address = "192.0.2.254"; mac = "02:00:00:00:00:fe"; }},
                           {{ link = "dmz"; address = "172.16.0.4"; mac = "02:00:00:00:00:04"; }} );
            rules = ( {{ protocol = "all"; external = "192.0.2.5"; target = "10.0.0.5"; outbound = true; {} }} );)",
                           more);
    };
    for (const bool named : {false, true}) {
        Box box{with(named ? R"(link = "dmz";)" : "")};
        const auto to = [&](net::Ipv4Address destination) {
            return box.to("lan").from(kInsideMac).ipv4(kInside, destination).udp(4000, 53);
        };
        EXPECT_EQ(box.exchange("lan", to("172.16.0.4"_ip), "dmz").size(), named ? 1 : 0);
        EXPECT_EQ(box.exchange("lan", to(kFarClient), "wan").size(), named ? 0 : 1);
    }
}

/// A masquerade is for the other hosts of the link.
TEST_F(WholeAddressOutbound, WinsOverAMasquerade) {
    use_rules("", R"( ); masquerades = ( { inside = "lan"; pool = [ "192.0.2.77" ]; })");
    expect_answered(from_inside().udp(4000, 53), to_client().udp(4000, 53));
    const auto sent = box_.exchange(
        "lan", box_.to("lan").from(kOtherInsideMac).ipv4(kOtherInside, kFarClient).udp(4000, 53), "wan");
    ASSERT_THAT(sent, SizeIs(1));
    EXPECT_EQ(look_into(sent[0]).source.address, "192.0.2.77"_ip);
    // One inside does not leave under its address to what is behind the other's.
    const net::be16 port = look_into(sent[0]).source.port;
    expect_dropped("lan", from_inside().ipv4(kInside, "192.0.2.77"_ip).udp(4000, port.host()),
                   Verdict::drop_filtered);
}

/// On one segment fwd masquerades: echo by identifier, other protocols by address alone.
class WholeAddressOnOneSegment : public ::testing::Test {
 protected:
    WholeAddressOnOneSegment() {
        use(box_,
            R"(rules = ( { name = "host"; protocol = "all"; external = "10.0.0.3"; target = "10.0.0.4"; });)");
    }
    PacketBuilder from_client(net::Ipv4Address client) {
        return box_.to("lan").from(kClientMac).ipv4(client, kExternal);
    }
    Box box_{kOneArm};
};

TEST_F(WholeAddressOnOneSegment, EchoOfTwoClientsWithOneIdentifierIsKeptApart) {
    std::vector<std::uint16_t> identifiers;
    for (const auto client : {kClient, "10.0.0.9"_ip}) {
        const auto sent = box_.exchange("lan", from_client(client).icmp(kEchoRequest, 0, echo(7)), "lan");
        ASSERT_THAT(sent, SizeIs(1));
        const auto& bytes = sent[0].bytes;
        identifiers.push_back(static_cast<std::uint16_t>(bytes[38] << 8U | bytes[39]));
        EXPECT_EQ(sent[0], from_fwd(box_, "lan", kServerMac)
                               .ipv4(kFwd, kServer)
                               .ttl(63)
                               .icmp(kEchoRequest, 0, echo(identifiers.back()))
                               .frame());
    }
    EXPECT_NE(identifiers[0], identifiers[1]);
    EXPECT_THAT(
        box_.exchange(
            "lan",
            box_.to("lan").from(kServerMac).ipv4(kServer, kFwd).icmp(kEchoReply, 0, echo(identifiers[0])),
            "lan"),
        ElementsAre(from_fwd(box_, "lan", kClientMac)
                        .ipv4(kExternal, kClient)
                        .ttl(63)
                        .icmp(kEchoReply, 0, echo(7))
                        .frame()));
    // An error about a request has the client's own identifier inside.
    EXPECT_THAT(
        box_.exchange("lan",
                      box_.to("lan")
                          .from(kServerMac)
                          .ipv4(kServer, kFwd)
                          .icmp(kUnreachable, 1)
                          .payload(packet()
                                       .ipv4(kFwd, kServer)
                                       .ttl(63)
                                       .icmp(kEchoRequest, 0, echo(identifiers[0]))
                                       .ip_bytes()),
                      "lan"),
        ElementsAre(
            from_fwd(box_, "lan", kClientMac)
                .ipv4(kExternal, kClient)
                .ttl(63)
                .icmp(kUnreachable, 1)
                .payload(packet().ipv4(kClient, kExternal).ttl(63).icmp(kEchoRequest, 0, echo(7)).ip_bytes())
                .frame()));
    EXPECT_EQ(box_.sessions(), 2U);
}

TEST_F(WholeAddressOnOneSegment, OneOwnAddressCarriesOneTunnelOfEachProtocolToATarget) {
    EXPECT_THAT(
        box_.exchange("lan", from_client(kClient).protocol(kGre, Bytes(8)), "lan"),
        ElementsAre(
            from_fwd(box_, "lan", kServerMac).ipv4(kFwd, kServer).ttl(63).protocol(kGre, Bytes(8)).frame()));
    EXPECT_THAT(box_.exchange("lan", from_client("10.0.0.9"_ip).protocol(kGre, Bytes(8)), "lan"), IsEmpty());
    EXPECT_EQ(box_.count(Verdict::drop_ports_used_up), 1U);
    EXPECT_THAT(
        box_.exchange("lan", box_.to("lan").from(kServerMac).ipv4(kServer, kFwd).protocol(kGre, Bytes(9)),
                      "lan"),
        ElementsAre(from_fwd(box_, "lan", kClientMac)
                        .ipv4(kExternal, kClient)
                        .ttl(63)
                        .protocol(kGre, Bytes(9))
                        .frame()));
    box_.expect_every_packet_accounted_for();
    box_.expect_no_record_lost();
}

TEST_F(WholeAddressOnOneSegment, OwnAddressAnswersPingItselfAndKeepsItsPorts) {
    use(box_, R"(rules = (
        { name = "own"; protocol = "all"; external = "10.0.0.2"; target = "10.0.0.4"; },
        { name = "web"; protocol = "tcp"; external = "10.0.0.3:80"; target = "10.0.0.4:8080"; });)");
    box_.exchange("lan", box_.to("lan").from(kClientMac).ipv4(kClient, kFwd).icmp(kEchoRequest, 0, echo(7)),
                  "lan");
    EXPECT_EQ(box_.count(Verdict::punt_echo), 1U);
    const std::uint16_t port = open_example(box_);
    ASSERT_NE(port, 0) << "a whole address takes what sessions leave";
    EXPECT_THAT(
        box_.exchange("lan", box_.to("lan").from(kServerMac).ipv4(kServer, kFwd).tcp(8080, port, kSyn | kAck),
                      "lan"),
        SizeIs(1));
    EXPECT_EQ(box_.sessions(), 1U);
}

}  // namespace
}  // namespace fwd::test
