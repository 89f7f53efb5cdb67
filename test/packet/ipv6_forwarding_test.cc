// SPDX-License-Identifier: BSD-3-Clause
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <set>

#include "test/packet/ipv6_networks.h"

namespace fwd::test {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

class Ipv6 : public testing::Test {
 protected:
    PacketBuilder request() const { return box_.to("wan").from(kRouterMac).ipv6(kFarClient6, kPublic6); }
    PacketBuilder answer(net::Ipv6Address from) const { return box_.to("lan").ipv6(from, kFarClient6); }
    PacketBuilder to_server() const {
        return from_fwd(box_, "lan", kServerMac).ipv6(kFarClient6, kLanServer6).ttl(63);
    }
    PacketBuilder to_client() const {
        return from_fwd(box_, "wan", kRouterMac).ipv6(kPublic6, kFarClient6).ttl(63);
    }
    void expect_forwarded(const PacketBuilder& in, const PacketBuilder& out) {
        EXPECT_THAT(box_.exchange("wan", in, "lan"), ElementsAre(out.frame()));
    }
    /// Rules in place of those of the configuration.
    void rules(const std::string& list) {
        box_.set_rules("rules = ( " + list + " );");
        box_.settle();
        box_.take("wan");
        box_.take("lan");
    }
    bool reaches(const PacketBuilder& frame) { return !box_.exchange("wan", frame, "lan").empty(); }

    Box box_{kTwoArm6};
};

/// S1: both directions of a session are there from its first packet on, over IPv6 as over IPv4.
TEST_F(Ipv6, RequestAndAnswerAreTranslated) {
    expect_forwarded(request().tcp(40000, 80, kSyn), to_server().tcp(40000, 8080, kSyn));
    EXPECT_THAT(box_.exchange("lan", answer(kLanServer6).tcp(8080, 40000, kSyn | kAck), "wan"),
                ElementsAre(to_client().tcp(80, 40000, kSyn | kAck).frame()));
    expect_forwarded(request().tcp(40000, 80, kAck).payload("GET /"),
                     to_server().tcp(40000, 8080, kAck).payload("GET /"));
    EXPECT_EQ(box_.sessions(), 1);
    box_.expect_no_record_lost();
    box_.expect_every_packet_accounted_for();
}

TEST_F(Ipv6, Ipv4GoesOnBesideIt) {
    expect_forwarded(request().tcp(40000, 80, kSyn), to_server().tcp(40000, 8080, kSyn));
    expect_forwarded(
        box_.to("wan").from(kRouterMac).ipv4(kFarClient, kPublic).tcp(40000, 80, kSyn),
        from_fwd(box_, "lan", kServerMac).ipv4(kFarClient, kLanServer).ttl(63).tcp(40000, 8080, kSyn));
    EXPECT_EQ(box_.sessions(), 2);
    box_.expect_no_record_lost();
}

/// Sessions of both families age by the same clock, and their records come back.
TEST_F(Ipv6, SessionsEndAndTheirRecordsAreUsedAgain) {
    for (int round = 0; round < 3; ++round) {
        for (std::uint16_t port = 1; port <= 100; ++port) {
            EXPECT_TRUE(
                reaches(box_.to("wan").from(kRouterMac).ipv6(kFarClient6, kPublic6).udp(port, 27015)));
        }
        EXPECT_EQ(box_.sessions(), 100);
        box_.pass(std::chrono::seconds{119});
        EXPECT_EQ(box_.sessions(), 100);
        box_.pass(std::chrono::seconds{5});
        EXPECT_EQ(box_.sessions(), 0);
        box_.expect_no_record_lost();
    }
    box_.expect_every_packet_accounted_for();
}

/// L7
TEST_F(Ipv6, ClearedSessionsAreOpenedAnew) {
    expect_forwarded(request().tcp(1, 80, kSyn), to_server().tcp(1, 8080, kSyn));
    box_.clear_sessions();
    expect_forwarded(request().tcp(1, 80, kSyn), to_server().tcp(1, 8080, kSyn));
    EXPECT_EQ(box_.sessions(), 1);
    EXPECT_THAT(box_.exchange("wan", request().tcp(2, 80, kAck), "lan"), IsEmpty());
    EXPECT_EQ(box_.count(Verdict::drop_not_syn), 1);
}

/// P3
TEST_F(Ipv6, ExtensionHeadersStayWhereTheyAre) {
    const Bytes options{0, 1, 4, 0, 0, 0, 0};
    expect_forwarded(request().udp(1, 27015).extension(0, options).extension(60, options).payload("x"),
                     from_fwd(box_, "lan", mac(5))
                         .ipv6(kFarClient6, "fd00::5"_ip6)
                         .ttl(63)
                         .udp(1, 27015)
                         .extension(0, options)
                         .extension(60, options)
                         .payload("x"));
}

/// P2, P3, P4, P5: what is malformed or can't be is dropped under its name.
TEST_F(Ipv6, BadPacketsAreDropped) {
    const auto expect_dropped = [&](const PacketBuilder& frame, Verdict verdict) {
        const std::uint64_t before = box_.count(verdict);
        EXPECT_THAT(box_.exchange("wan", frame, "lan"), IsEmpty());
        EXPECT_EQ(box_.count(verdict), before + 1) << static_cast<int>(verdict);
    };
    const auto from = [&](net::Ipv6Address source) {
        return box_.to("wan").ipv6(source, kPublic6).udp(1, 27015);
    };
    expect_dropped(request().udp(1, 27015).l4_checksum(0), Verdict::drop_bad_l4_header);
    expect_dropped(request().udp(1, 27015).extension(43, Bytes{0, 0, 0, 0, 0, 0, 0}),
                   Verdict::drop_source_route);
    expect_dropped(request().udp(1, 27015).truncated_to(60), Verdict::drop_truncated);
    expect_dropped(request().udp(1, 27015).ip_version(5), Verdict::drop_bad_ip_header);
    expect_dropped(request().udp(1, 27015).to({{0x33, 0x33, 0, 0, 0, 1}}), Verdict::drop_multicast);
    expect_dropped(request().udp(1, 27015).to(net::kBroadcastMac), Verdict::drop_multicast);
    for (const bool fragment_header : {false, true}) {
        auto many = request().udp(1, 27015);
        for (int n = 0; n < 9; ++n)
            many.extension(fragment_header && n == 4 ? 44 : 60, Bytes{0, 0, 0, 0, 0, 0, 0});
        expect_dropped(many, Verdict::drop_ipv6_header);
    }
    expect_dropped(from("::"_ip6), Verdict::drop_martian);
    expect_dropped(from("::1"_ip6), Verdict::drop_martian);
    expect_dropped(from("fe80::1"_ip6), Verdict::drop_martian);
    expect_dropped(from("ff02::1"_ip6), Verdict::drop_martian);
    expect_dropped(from("::ffff:c633:6407"_ip6), Verdict::drop_martian);
    expect_dropped(box_.to("wan").ipv6("::ffff:c633:6407"_ip6, "::ffff:c000:203"_ip6).tcp(1, 80, kSyn),
                   Verdict::drop_martian);
    expect_dropped(from("fd00::9"_ip6), Verdict::drop_martian);
    expect_dropped(from("2001:db8:2::1"_ip6), Verdict::drop_spoofed_own_address);
    expect_dropped(request().udp(1, 27016), Verdict::drop_no_rule);
    expect_dropped(request().protocol(47, Bytes(8)), Verdict::drop_unsupported_protocol);
    EXPECT_EQ(box_.sessions(), 0);
    box_.expect_every_packet_accounted_for();
}

/// L1, L4
TEST_F(Ipv6, RangesGoOntoRangesAndAPortWins) {
    rules(R"({ protocol = "udp"; external = "[2001:db8:2::3]:2000-2999"; target = "[fd00::5]:52000-52999"; },
             { protocol = "udp"; external = "[2001:db8:2::3]:2500"; target = "[fd00::4]:53"; })");
    const auto sent_to = [&](std::uint16_t port) {
        const auto sent = box_.exchange("wan", request().udp(7, port), "lan");
        return sent.size() == 1 ? look_into(sent[0]).destination : net::IpEndpoint{};
    };
    EXPECT_EQ(sent_to(2000), endpoint("fd00::5"_ip6, 52000));
    EXPECT_EQ(sent_to(2999), endpoint("fd00::5"_ip6, 52999));
    EXPECT_EQ(sent_to(2500), endpoint(kLanServer6, 53));
    EXPECT_EQ(sent_to(3000), net::IpEndpoint{});
}

/// L2
TEST_F(Ipv6, SeveralTargetsTakeTurns) {
    rules(
        R"({ protocol = "tcp"; external = "[2001:db8:2::3]:80"; target = "[fd00::4]:8080*2,[fd00::5]:8081"; })");
    std::map<std::uint16_t, int> sessions;
    for (std::uint16_t port = 1; port <= 30; ++port) {
        const auto sent = box_.exchange("wan", request().tcp(port, 80, kSyn), "lan");
        ASSERT_THAT(sent, SizeIs(1));
        ++sessions[look_into(sent[0]).destination.port.host()];
    }
    EXPECT_EQ(sessions, (std::map<std::uint16_t, int>{{8080, 20}, {8081, 10}}));
}

/// L2: by option all sessions of a client have the same target.
TEST_F(Ipv6, TargetIsChosenByTheClientsAddress) {
    rules(R"({ protocol = "tcp"; external = "[2001:db8:2::3]:80"; balance = "source-hash";
               target = "[fd00::4]:8080,[fd00::5]:8081"; })");
    std::map<std::uint16_t, int> clients;
    for (std::uint8_t n = 0; n < 60; ++n) {
        net::Ipv6Address client = kFarClient6;
        client.bytes[15] = n;
        std::set<std::uint16_t> targets;
        for (std::uint16_t port = 1; port <= 4; ++port) {
            const auto sent = box_.exchange(
                "wan", box_.to("wan").from(kRouterMac).ipv6(client, kPublic6).tcp(port, 80, kSyn), "lan");
            ASSERT_THAT(sent, SizeIs(1));
            targets.insert(look_into(sent[0]).destination.port.host());
        }
        ASSERT_THAT(targets, SizeIs(1)) << int{n};
        ++clients[*targets.begin()];
    }
    EXPECT_NEAR(clients[8080], 30, 14);
    EXPECT_THAT(clients, SizeIs(2));
}

/// L3
TEST_F(Ipv6, ClientsMayBeLeftOut) {
    rules(R"({ protocol = "tcp"; external = "[2001:db8:2::3]:80"; target = "[fd00::4]:8080";
               from = [ "2001:db8:f::/48" ]; not_from = [ "2001:db8:f:1::/64" ]; })");
    const auto from = [&](net::Ipv6Address client) {
        return box_.to("wan").from(kRouterMac).ipv6(client, kPublic6).tcp(1, 80, kSyn);
    };
    EXPECT_TRUE(reaches(from("2001:db8:f:0:ffff:ffff:ffff:ffff"_ip6)));
    EXPECT_FALSE(reaches(from("2001:db8:f:1::"_ip6)));
    EXPECT_FALSE(reaches(from("2001:db8:f:1:ffff:ffff:ffff:ffff"_ip6)));
    EXPECT_TRUE(reaches(from("2001:db8:f:2::"_ip6)));
    EXPECT_FALSE(reaches(from("2001:db8:10::"_ip6)));
    EXPECT_EQ(box_.count(Verdict::drop_source_denied), 3);
}

/// R5: whoever has a network of 64 bits counts as one client.
TEST_F(Ipv6, SessionsOfAClientAreLimited) {
    rules(R"({ protocol = "udp"; external = "[2001:db8:2::3]:80"; target = "[fd00::4]:80";
               max_sessions_per_source = 2; max_sessions = 3; })");
    const auto from = [&](net::Ipv6Address client, std::uint16_t port) {
        return box_.to("wan").from(kRouterMac).ipv6(client, kPublic6).udp(port, 80);
    };
    EXPECT_TRUE(reaches(from("2001:db8:f::1"_ip6, 1)));
    EXPECT_TRUE(reaches(from("2001:db8:f::2"_ip6, 1)));
    EXPECT_FALSE(reaches(from("2001:db8:f::3"_ip6, 1)));
    EXPECT_EQ(box_.count(Verdict::drop_source_full), 1);
    EXPECT_TRUE(reaches(from("2001:db8:f:1::1"_ip6, 1)));
    EXPECT_FALSE(reaches(from("2001:db8:f:2::1"_ip6, 1)));
    EXPECT_EQ(box_.count(Verdict::drop_rule_full), 1);
    box_.clear_sessions();
    box_.pass(std::chrono::seconds{2});
    EXPECT_TRUE(reaches(from("2001:db8:f::3"_ip6, 1)));
}

/// R5: more than so many new ones a second are refused, whoever opens them.
TEST_F(Ipv6, NewSessionsOfARuleAreLimitedInTime) {
    rules(R"({ protocol = "udp"; external = "[2001:db8:2::3]:80"; target = "[fd00::4]:80"; rate = 20; })");
    std::uint16_t port = 1;
    for (int second = 0; second < 2; ++second) {
        int opened = 0;
        for (int tries = 0; tries < 20; ++tries) opened += reaches(request().udp(port++, 80)) ? 1 : 0;
        EXPECT_EQ(opened, 3) << "a burst of a tenth of a second";
        EXPECT_EQ(box_.count(Verdict::drop_rate_limited), 17 * (second + 1));
        box_.pass(std::chrono::seconds{1});
        box_.take("lan");  // announcements
    }
}

/// P7
TEST_F(Ipv6, JumboFramesPassWhereTheLinksAllowThem) {
    std::string networks = kTwoArm6;
    for (const char* name : {"\"wan\";", "\"lan\";"})
        networks.insert(networks.find(name) + std::strlen(name), " mtu = 9000;");
    Box box{networks};
    EXPECT_THAT(
        box.exchange("wan", box.to("wan").ipv6(kFarClient6, kPublic6).udp(1, 27015).payload_bytes(8952),
                     "lan"),
        ElementsAre(from_fwd(box, "lan", mac(5))
                        .ipv6(kFarClient6, "fd00::5"_ip6)
                        .ttl(63)
                        .udp(1, 27015)
                        .payload_bytes(8952)
                        .frame()));
}

/// P6
TEST_F(Ipv6, LinksMayBeVlansOfOneDevice) {
    std::string networks = kTwoArm6;
    for (const auto& [device, vlan] : {std::pair{"net_null_wan\";", "100"}, {"net_null_lan\";", "4094"}}) {
        networks.replace(networks.find(device), std::strlen(device),
                         std::string{"net_null_trunk\"; vlan = "} + vlan + ";");
    }
    Box box{networks};
    EXPECT_THAT(
        box.exchange("wan", box.to("wan").from(kRouterMac).ipv6(kFarClient6, kPublic6).udp(1, 27015), "lan"),
        ElementsAre(
            from_fwd(box, "lan", mac(5)).ipv6(kFarClient6, "fd00::5"_ip6).ttl(63).udp(1, 27015).frame()));
    EXPECT_THAT(
        box.exchange("lan", box.to("lan").ipv6("fd00::5"_ip6, kFarClient6).udp(27015, 1), "wan"),
        ElementsAre(
            from_fwd(box, "wan", kRouterMac).ipv6(kPublic6, kFarClient6).ttl(63).udp(27015, 1).frame()));
    box.put("wan", packet().to(box.mac_of("wan")).vlan(7).ipv6(kFarClient6, kPublic6).udp(2, 27015));
    box.settle();
    EXPECT_EQ(box.count(Verdict::drop_unknown_vlan), 1);
}

/// R18: sessions of IPv6 make room as those of IPv4 do.
TEST_F(Ipv6, UnansweredSessionsMakeRoom) {
    for (std::uint16_t port = 1; port <= 1000; ++port) {
        EXPECT_TRUE(reaches(request().udp(port, 27015))) << port;
        if (port % 10 == 0) box_.pass(std::chrono::milliseconds{100});
    }
    EXPECT_LE(box_.sessions(), 256);
    box_.pass(std::chrono::seconds{1});
    box_.expect_no_record_lost();
}

/// U13
TEST_F(Ipv6, WhatIsTooBigIsAnsweredWithTheMtu) {
    Box box{R"(
        links = ( { name = "wan"; device = "net_null_wan"; addresses = [ "2001:db8:2::1/64" ]; },
                  { name = "lan"; device = "net_null_lan"; addresses = [ "fd00::1/64" ]; mtu = 1280; } );
        routes = ( { prefix = "::/0"; via = "2001:db8:2::fe"; } );
        neighbours = ( { link = "wan"; address = "2001:db8:2::fe"; mac = "02:00:00:00:00:fe"; },
                       { link = "lan"; address = "fd00::5"; mac = "02:00:00:00:00:05"; } );
        rules = ( { protocol = "udp"; external = "[2001:db8:2::3]:27015"; target = "[fd00::5]:27015"; } );
    )"};
    const auto from_client = [&](std::size_t bytes) {
        return box.to("wan").from(kRouterMac).ipv6(kFarClient6, kPublic6).udp(1, 27015).payload_bytes(bytes);
    };
    EXPECT_THAT(box.exchange("wan", from_client(1232), "lan"), SizeIs(1));
    EXPECT_THAT(box.exchange("wan", from_client(1233), "wan"),
                ElementsAre(from_fwd(box, "wan", kRouterMac)
                                .ipv6("2001:db8:2::1"_ip6, kFarClient6)
                                .icmpv6(2, 0, 1280)
                                .payload(first(from_client(1233).ip_bytes(), 1232))
                                .frame()));
}

/// A link's `mss_clamp` and `ttl = "hide"`.
TEST_F(Ipv6, MssIsClampedAndTheHopHidden) {
    Box box{R"(
        ttl = "hide";
        links = ( { name = "wan"; device = "net_null_wan"; addresses = [ "2001:db8:2::1/64" ]; mss_clamp = 1452; },
                  { name = "lan"; device = "net_null_lan"; addresses = [ "fd00::1/64" ]; } );
        routes = ( { prefix = "::/0"; via = "2001:db8:2::fe"; } );
        neighbours = ( { link = "lan"; address = "fd00::4"; mac = "02:00:00:00:00:04"; } );
        rules = ( { protocol = "tcp"; external = "[2001:db8:2::3]:80"; target = "[fd00::4]:80"; } );
    )"};
    const auto syn = [](PacketBuilder frame, std::uint16_t mss) {
        const Bytes option{2, 4, static_cast<std::uint8_t>(mss >> 8U), static_cast<std::uint8_t>(mss)};
        return frame.ttl(1).tcp(1, 80, kSyn).tcp_header_words(6).payload(option);
    };
    EXPECT_THAT(
        box.exchange("wan", syn(box.to("wan").ipv6(kFarClient6, kPublic6), 1460), "lan"),
        ElementsAre(syn(from_fwd(box, "lan", kServerMac).ipv6(kFarClient6, kLanServer6), 1432).frame()));
    EXPECT_THAT(box.exchange("wan", box.to("wan").ipv6(kFarClient6, kPublic6).ttl(0).tcp(1, 80, kAck), "lan"),
                IsEmpty());
    EXPECT_EQ(box.count(Verdict::punt_ttl_expired), 1);
}

/// T8, U9: a host inside reaches a server beside it by its external address, and is answered from there.
TEST_F(Ipv6, HostInsideReachesAServerByItsExternalAddress) {
    const auto host = "fd00::9"_ip6;
    const auto sent =
        box_.exchange("lan", box_.to("lan").from(mac(9)).ipv6(host, kPublic6).tcp(5000, 80, kSyn), "lan");
    ASSERT_THAT(sent, SizeIs(1));
    const std::uint16_t port = look_into(sent[0]).source.port.host();
    EXPECT_EQ(sent[0], from_fwd(box_, "lan", kServerMac)
                           .ipv6("fd00::1"_ip6, kLanServer6)
                           .ttl(63)
                           .tcp(port, 8080, kSyn)
                           .frame());
    box_.exchange(
        "lan", box_.to("lan").from(kServerMac).ipv6(kLanServer6, "fd00::1"_ip6).tcp(8080, port, kSyn | kAck),
        "lan");
    const Bytes mac_option{2, 1, 2, 0, 0, 0, 0, 9};
    Bytes content{host.bytes.begin(), host.bytes.end()};
    content.insert(content.end(), mac_option.begin(), mac_option.end());
    EXPECT_THAT(
        box_.exchange("lan",
                      box_.to("lan")
                          .from(mac(9))
                          .ipv6(host, "fd00::1"_ip6)
                          .ttl(255)
                          .icmpv6(136, 0, 0x60000000)
                          .payload(content),
                      "lan"),
        ElementsAre(
            from_fwd(box_, "lan", mac(9)).ipv6(kPublic6, host).ttl(63).tcp(80, 5000, kSyn | kAck).frame()));
}

/// T4, I8: those whose packets are refused are told, if the link says so: a SYN that is nobody's after 6 s.
TEST_F(Ipv6, RefusedClientsAreToldByOption) {
    Box box{R"(
        links = ( { name = "wan"; device = "net_null_wan"; addresses = [ "2001:db8:2::1/64" ]; refuse = "icmp"; },
                  { name = "lan"; device = "net_null_lan"; addresses = [ "fd00::1/64" ]; } );
        routes = ( { prefix = "::/0"; via = "2001:db8:2::fe"; } );
        neighbours = ( { link = "lan"; address = "fd00::4"; mac = "02:00:00:00:00:04"; } );
        rules = ( { protocol = "tcp"; external = "[2001:db8:2::3]:80"; target = "[fd00::4]:80";
                    from = [ "2001:db8:a::/48" ]; } );
    )"};
    box.pass(std::chrono::seconds{2});
    box.take("wan");  // announcements
    const auto request = [&] { return box.to("wan").from(kRouterMac).ipv6(kFarClient6, kPublic6); };
    const auto error = [&](const PacketBuilder& about, std::uint8_t code, std::size_t quoted) {
        return ElementsAre(from_fwd(box, "wan", kRouterMac)
                               .ipv6("2001:db8:2::1"_ip6, kFarClient6)
                               .icmpv6(1, code)
                               .payload(first(about.ip_bytes(), quoted))
                               .frame());
    };
    const auto datagram = request().udp(1, 81).payload_bytes(1400);
    EXPECT_THAT(box.exchange("wan", datagram, "wan"), error(datagram, 1, 1232));
    const auto denied = request().tcp(1, 80, kSyn);
    EXPECT_THAT(box.exchange("wan", denied, "wan"), error(denied, 1, 1232));
    EXPECT_EQ(box.count(Verdict::drop_source_denied), 1);
    const auto syn = request().tcp(1, 81, kSyn).payload_bytes(100);
    EXPECT_THAT(box.exchange("wan", syn, "wan"), IsEmpty());
    EXPECT_THAT(box.exchange("wan", request().tcp(2, 81, kAck), "wan"), IsEmpty()) << "no SYN";
    EXPECT_EQ(box.count(Verdict::drop_no_rule), 3) << "still counted for what they are";
    box.pass(std::chrono::seconds{5});
    EXPECT_THAT(box.take("wan"), IsEmpty());
    box.pass(std::chrono::milliseconds{1100});
    EXPECT_THAT(box.take("wan"), error(syn, 4, 104));
    // What is wrong with a packet is nobody's refusal.
    EXPECT_THAT(box.exchange("wan", box.to("wan").ipv6("::1"_ip6, kPublic6).udp(1, 81), "wan"), IsEmpty());
    box.expect_every_packet_accounted_for();
}

/// I10
TEST_F(Ipv6, HopLimitThatRunsOutIsAnswered) {
    EXPECT_THAT(box_.exchange("wan", request().ttl(1).tcp(1, 80, kSyn), "wan"),
                ElementsAre(from_fwd(box_, "wan", kRouterMac)
                                .ipv6("2001:db8:2::1"_ip6, kFarClient6)
                                .icmpv6(3, 0)
                                .payload(request().ttl(1).tcp(1, 80, kSyn).ip_bytes())
                                .frame()));
    EXPECT_EQ(box_.sessions(), 0);
}

/// I4, I6, U12: an error about a session reaches the server with the packet that it had sent inside.
TEST_F(Ipv6, ErrorFromOutsideIsTranslated) {
    box_.exchange("wan", request().udp(9, 27015), "lan");
    box_.exchange("lan", answer("fd00::5"_ip6).udp(27015, 9).payload("pong"), "wan");
    const auto from_router = "2001:db8:e::1"_ip6;
    const Bytes inside =
        packet().ipv6(kPublic6, kFarClient6).ttl(60).udp(27015, 9).payload("pong").ip_bytes();
    const Bytes restored =
        packet().ipv6("fd00::5"_ip6, kFarClient6).ttl(60).udp(27015, 9).payload("pong").ip_bytes();
    EXPECT_THAT(
        box_.exchange("wan", box_.to("wan").ipv6(from_router, kPublic6).icmpv6(2, 0, 1300).payload(inside),
                      "lan"),
        ElementsAre(from_fwd(box_, "lan", mac(5))
                        .ipv6(from_router, "fd00::5"_ip6)
                        .ttl(63)
                        .icmpv6(2, 0, 1300)
                        .payload(restored)
                        .frame()));
    EXPECT_EQ(box_.sessions(), 1);
    box_.expect_every_packet_accounted_for();
}

/// I5: an error from a server does not show where it is.
TEST_F(Ipv6, ErrorFromInsideComesFromTheExternalAddress) {
    box_.exchange("wan", request().udp(9, 27015).payload("ping"), "lan");
    const Bytes inside =
        packet().ipv6(kFarClient6, "fd00::5"_ip6).ttl(63).udp(9, 27015).payload("ping").ip_bytes();
    const Bytes restored =
        packet().ipv6(kFarClient6, kPublic6).ttl(63).udp(9, 27015).payload("ping").ip_bytes();
    EXPECT_THAT(box_.exchange("lan", answer("fd00::5"_ip6).icmpv6(1, 4).payload(inside), "wan"),
                ElementsAre(to_client().icmpv6(1, 4).payload(restored).frame()));
}

/// I3, I4
TEST_F(Ipv6, BadErrorsAreDropped) {
    box_.exchange("wan", request().udp(9, 27015), "lan");
    const auto error = [&](const Bytes& inside) {
        return box_.to("wan").ipv6("2001:db8:e::1"_ip6, kPublic6).icmpv6(1, 4).payload(inside);
    };
    const Bytes inside = packet().ipv6(kPublic6, kFarClient6).udp(27015, 9).ip_bytes();
    const Bytes unknown = packet().ipv6(kPublic6, kFarClient6).udp(27015, 10).ip_bytes();
    for (std::size_t bytes = 0; bytes < 48; ++bytes) reaches(error(first(inside, bytes)));
    EXPECT_EQ(box_.count(Verdict::drop_bad_icmp), 48);
    EXPECT_FALSE(reaches(error(inside).l4_checksum(1)));
    EXPECT_EQ(box_.count(Verdict::drop_bad_icmp), 49);
    const Bytes mapped =
        packet().ipv6("::ffff:c000:203"_ip6, "::ffff:c633:6407"_ip6).tcp(80, 1, kAck).ip_bytes();
    EXPECT_FALSE(reaches(error(mapped)));
    EXPECT_EQ(box_.count(Verdict::drop_bad_icmp), 50);
    EXPECT_FALSE(reaches(error(unknown)));
    EXPECT_EQ(box_.count(Verdict::drop_icmp_no_session), 1);
    EXPECT_TRUE(reaches(error(inside)));
}

/// P8
TEST(Ipv6OneArm, PartialChecksumIsCompleted) {
    Box box{R"(
        links = ( { name = "lan"; device = "net_null_lan"; addresses = [ "2001:db8:1::2/64" ];
                    rx_checksum = "partial"; } );
        neighbours = ( { link = "lan"; address = "2001:db8:1::4"; mac = "02:00:00:00:00:04"; } );
        rules = ( { protocol = "udp"; external = "[2001:db8:1::3]:53"; target = "[2001:db8:1::4]:53";
                    source = "preserve"; } );
    )"};
    const auto request =
        box.to("lan").from(kClientMac).ipv6(kClient6, kExternal6).udp(7, 53).payload("what?");
    EXPECT_THAT(box.exchange("lan", PacketBuilder{request}.partial_l4_checksum(), "lan"),
                ElementsAre(from_fwd(box, "lan", kServerMac)
                                .ipv6(kClient6, kServer6)
                                .ttl(63)
                                .udp(7, 53)
                                .payload("what?")
                                .frame()));
}

/// R15: on one segment fwd puts its own address into the packets, with ports of its own.
TEST(Ipv6OneArm, SessionsAreMasqueraded) {
    Box box{kOneArm6};
    std::map<std::uint16_t, std::uint16_t> client_port_of;
    for (std::uint16_t client_port = 1; client_port <= 100; ++client_port) {
        const auto sent = box.exchange(
            "lan", box.to("lan").from(kClientMac).ipv6(kClient6, kExternal6).tcp(client_port, 80, kSyn),
            "lan");
        ASSERT_THAT(sent, SizeIs(1));
        const Seen seen = look_into(sent[0]);
        EXPECT_EQ(seen.source.address, net::IpAddress{kFwd6});
        EXPECT_EQ(seen.destination, endpoint(kServer6, 8080));
        EXPECT_GE(seen.source.port.host(), 1024);
        client_port_of[seen.source.port.host()] = client_port;
    }
    EXPECT_THAT(client_port_of, SizeIs(100));
    for (const auto& [port, client_port] : client_port_of) {
        EXPECT_THAT(
            box.exchange("lan",
                         box.to("lan").from(kServerMac).ipv6(kServer6, kFwd6).tcp(8080, port, kSyn | kAck),
                         "lan"),
            ElementsAre(from_fwd(box, "lan", kClientMac)
                            .ipv6(kExternal6, kClient6)
                            .ttl(63)
                            .tcp(80, client_port, kSyn | kAck)
                            .frame()));
    }
    box.expect_no_record_lost();
    box.expect_every_packet_accounted_for();
}

/// S2: whichever worker sees which packet.
TEST(Ipv6OneArm, WorkersShareSessions) {
    Box box{kTwoArm6, 2};
    for (std::uint16_t port = 1; port <= 100; ++port) {
        const unsigned asked = port % 2;
        EXPECT_THAT(
            box.exchange("wan", box.to("wan").ipv6(kFarClient6, kPublic6).tcp(port, 80, kSyn), "lan", asked),
            SizeIs(1));
        EXPECT_THAT(
            box.exchange("lan", box.to("lan").ipv6(kLanServer6, kFarClient6).tcp(8080, port, kSyn | kAck),
                         "wan", 1 - asked),
            SizeIs(1));
    }
    EXPECT_EQ(box.sessions(), 100);
    box.expect_no_record_lost();
}

/// A link without an IPv6 address knows nothing of IPv6.
TEST(Ipv6OneArm, LinkWithoutIpv6DropsIt) {
    Box box{kTwoArm};
    box.put("wan", box.to("wan").ipv6(kFarClient6, kPublic6).tcp(1, 80, kSyn));
    box.settle();
    EXPECT_EQ(box.count(Verdict::drop_not_ip), 1);
    EXPECT_FALSE(box.dataplane().flows().has_ipv6());
}

}  // namespace
}  // namespace fwd::test
