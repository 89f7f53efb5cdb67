// SPDX-License-Identifier: BSD-3-Clause
// Whatever is wrong with a frame, it is dropped under its name, nothing else happens, and fwd goes
// on.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <functional>
#include <random>

#include "test/packet/networks.h"

namespace fwd::test {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

PacketBuilder request(const Box& box) {
    return box.to("lan").from(kClientMac).ipv4(kClient, kExternal);
}

/// A frame that has to be dropped, and why.
struct Row {
    const char* name;
    Verdict verdict;
    std::function<PacketBuilder(const Box&)> frame;
};
void PrintTo(const Row& row, std::ostream* out) {
    *out << row.name;
}

const Row kRows[] = {
    {"NothingAtAll", Verdict::drop_truncated, [](const Box& b) { return b.to("lan").truncated_to(0); }},
    {"HalfAnEthernetHeader", Verdict::drop_truncated,
     [](const Box& b) { return request(b).truncated_to(13); }},
    {"EthernetHeaderAlone", Verdict::drop_truncated,
     [](const Box& b) { return request(b).truncated_to(14); }},
    {"HalfAVlanTag", Verdict::drop_truncated,
     [](const Box& b) { return request(b).vlan(1).truncated_to(17); }},
    {"HalfAnIpHeader", Verdict::drop_truncated,
     [](const Box& b) { return request(b).udp(1, 53).truncated_to(14 + 19); }},
    {"HalfAUdpHeader", Verdict::drop_truncated,
     [](const Box& b) { return request(b).udp(1, 53).truncated_to(14 + 20 + 7); }},
    {"IpLengthThatEndsInsideTheUdpHeader", Verdict::drop_truncated,
     [](const Box& b) { return request(b).udp(1, 53).ip_total_bytes(27); }},
    {"IpLengthThatEndsInsideTheTcpHeader", Verdict::drop_truncated,
     [](const Box& b) { return request(b).tcp(1, 80, kSyn).ip_total_bytes(39); }},
    {"IpLengthThatEndsInsideTheIcmpHeader", Verdict::drop_truncated,
     [](const Box& b) { return request(b).icmp(8, 0).ip_total_bytes(27); }},
    {"IpLengthBeyondTheFrame", Verdict::drop_truncated,
     [](const Box& b) { return request(b).udp(1, 53).ip_total_bytes(65535); }},
    {"IpLengthOfZero", Verdict::drop_bad_ip_header,
     [](const Box& b) { return request(b).udp(1, 53).ip_total_bytes(0); }},
    {"IpLengthBelowTheHeader", Verdict::drop_bad_ip_header,
     [](const Box& b) { return request(b).udp(1, 53).ip_total_bytes(19); }},
    {"IpVersion6InAnIpv4Frame", Verdict::drop_bad_ip_header,
     [](const Box& b) { return request(b).udp(1, 53).ip_version(6); }},
    {"IpHeaderOfFourWords", Verdict::drop_bad_ip_header,
     [](const Box& b) { return request(b).udp(1, 53).ip_header_words(4); }},
    {"WrongIpChecksum", Verdict::drop_bad_ip_checksum,
     [](const Box& b) { return request(b).udp(1, 53).ip_checksum(0x1234); }},
    {"IpOptionCutShort", Verdict::drop_bad_ip_options,
     [](const Box& b) {
         return request(b).udp(1, 53).ip_options({7, 9, 4, 0, 0, 0, 0, 0});
     }},
    {"LooseSourceRoute", Verdict::drop_source_route,
     [](const Box& b) {
         return request(b).udp(1, 53).ip_options({0x83, 7, 4, 10, 0, 0, 4, 0});
     }},
    {"FragmentCutAtAnOddPlace", Verdict::drop_bad_fragment,
     [](const Box& b) { return request(b).udp(1, 53).payload_bytes(1).fragment(0x2000); }},
    {"TcpHeaderOfFourWords", Verdict::drop_bad_l4_header,
     [](const Box& b) { return request(b).tcp(1, 80, kSyn).tcp_header_words(4); }},
    {"TcpHeaderBeyondThePacket", Verdict::drop_bad_l4_header,
     [](const Box& b) { return request(b).tcp(1, 80, kSyn).tcp_header_words(6); }},
    {"UdpLengthBelowItsHeader", Verdict::drop_bad_l4_header,
     [](const Box& b) { return request(b).udp(1, 53).udp_bytes(7); }},
    {"UdpLengthBeyondThePacket", Verdict::drop_bad_l4_header,
     [](const Box& b) { return request(b).udp(1, 53).udp_bytes(9).l4_checksum(0); }},
    {"SourcePortZero", Verdict::drop_bad_l4_header, [](const Box& b) { return request(b).udp(0, 53); }},
    {"DestinationPortZero", Verdict::drop_bad_l4_header,
     [](const Box& b) { return request(b).tcp(1, 0, kSyn); }},
    {"Gre", Verdict::drop_unsupported_protocol,
     [](const Box& b) { return request(b).protocol(47, Bytes(40)); }},
    {"Ipv6", Verdict::drop_not_ip, [](const Box& b) { return request(b).udp(1, 53).ether_type(0x86dd); }},
    {"QinQ", Verdict::drop_not_ip, [](const Box& b) { return request(b).udp(1, 53).ether_type(0x88a8); }},
    {"Ieee802Dot3Length", Verdict::drop_not_ip,
     [](const Box& b) { return request(b).udp(1, 53).ether_type(46); }},
    {"SomebodyElsesMac", Verdict::drop_wrong_mac,
     [](const Box& b) { return request(b).to(mac(9)).udp(1, 53); }},
    {"BroadcastFrame", Verdict::drop_multicast,
     [](const Box& b) { return request(b).to(net::kBroadcastMac).udp(1, 53); }},
    {"MulticastFrame", Verdict::drop_multicast,
     [](const Box& b) {
         return request(b).to({{0x01, 0, 0x5e, 0, 0, 1}}).ipv4(kClient, "224.0.0.1"_ip).udp(1, 53);
     }},
    {"TaggedOnAnUntaggedLink", Verdict::drop_unknown_vlan,
     [](const Box& b) { return request(b).vlan(5).udp(1, 53); }},
    {"SourceOfZeros", Verdict::drop_martian,
     [](const Box& b) { return request(b).ipv4("0.0.0.0"_ip, kExternal).udp(1, 53); }},
    {"SourceLoopback", Verdict::drop_martian,
     [](const Box& b) { return request(b).ipv4("127.0.0.1"_ip, kExternal).udp(1, 53); }},
    {"SourceMulticast", Verdict::drop_martian,
     [](const Box& b) { return request(b).ipv4("224.0.0.5"_ip, kExternal).udp(1, 53); }},
    {"SourceAllOnes", Verdict::drop_martian,
     [](const Box& b) { return request(b).ipv4("255.255.255.255"_ip, kExternal).udp(1, 53); }},
    {"SourceDirectedBroadcast", Verdict::drop_martian,
     [](const Box& b) { return request(b).ipv4("10.0.0.255"_ip, kExternal).udp(1, 53); }},
    {"DestinationMulticast", Verdict::drop_martian,
     [](const Box& b) { return request(b).ipv4(kClient, "239.1.1.1"_ip).udp(1, 53); }},
    {"SourceIsFwdsOwnAddress", Verdict::drop_spoofed_own_address,
     [](const Box& b) { return request(b).ipv4(kFwd, kExternal).udp(1, 53); }},
    {"NoRuleForThePort", Verdict::drop_no_rule, [](const Box& b) { return request(b).udp(1, 54); }},
    {"NoRuleForTheProtocol", Verdict::drop_no_rule, [](const Box& b) { return request(b).udp(1, 80); }},
    {"NoRuleForTheAddress", Verdict::drop_no_rule,
     [](const Box& b) { return request(b).ipv4(kClient, "10.0.0.9"_ip).tcp(1, 80, kSyn); }},
    {"AddressOfTheTargetItself", Verdict::drop_no_rule,
     [](const Box& b) { return request(b).ipv4(kClient, kServer).tcp(1, 8080, kSyn); }},
    {"AckWithoutASession", Verdict::drop_not_syn, [](const Box& b) { return request(b).tcp(1, 80, kAck); }},
    {"SynAckWithoutASession", Verdict::drop_not_syn,
     [](const Box& b) { return request(b).tcp(1, 80, kSyn | kAck); }},
    {"RstWithoutASession", Verdict::drop_not_syn, [](const Box& b) { return request(b).tcp(1, 80, kRst); }},
    {"FlagsOfNothing", Verdict::drop_not_syn, [](const Box& b) { return request(b).tcp(1, 80, 0); }},
    {"SynWithFin", Verdict::drop_not_syn, [](const Box& b) { return request(b).tcp(1, 80, kSyn | kFin); }},
    {"SynWithRst", Verdict::drop_not_syn, [](const Box& b) { return request(b).tcp(1, 80, kSyn | kRst); }},
    {"EchoToAnExternalAddress", Verdict::drop_icmp_ignored,
     [](const Box& b) { return request(b).icmp(8, 0).payload("ping"); }},
    {"EchoReply", Verdict::drop_icmp_ignored,
     [](const Box& b) { return request(b).ipv4(kClient, kFwd).icmp(0, 0).payload("ping"); }},
    {"IcmpRedirect", Verdict::drop_icmp_ignored,
     [](const Box& b) { return request(b).ipv4(kClient, kFwd).icmp(5, 1).payload_bytes(28); }},
    {"WrongIcmpChecksum", Verdict::drop_bad_icmp,
     [](const Box& b) { return request(b).ipv4(kClient, kFwd).icmp(8, 0).l4_checksum(1); }},
    {"IcmpErrorAboutNothing", Verdict::drop_bad_icmp, [](const Box& b) { return request(b).icmp(3, 3); }},
    {"IcmpErrorAboutHalfAHeader", Verdict::drop_bad_icmp,
     [](const Box& b) {
         return request(b).icmp(3, 3).payload(
             first(packet().ipv4(kExternal, kClient).udp(53, 1).ip_bytes(), 19));
     }},
    {"IcmpErrorWithoutPorts", Verdict::drop_bad_icmp,
     [](const Box& b) {
         return request(b).icmp(3, 3).payload(
             first(packet().ipv4(kExternal, kClient).udp(53, 1).ip_bytes(), 27));
     }},
    {"IcmpErrorAboutAnIcmpError", Verdict::drop_bad_icmp,
     [](const Box& b) {
         return request(b).icmp(3, 3).payload(
             packet().ipv4(kExternal, kClient).icmp(3, 3).payload_bytes(28).ip_bytes());
     }},
    {"IcmpErrorAboutAnUnknownSession", Verdict::drop_icmp_no_session,
     [](const Box& b) {
         return request(b).icmp(3, 3).payload(packet().ipv4(kExternal, kClient).udp(53, 1).ip_bytes());
     }},
    {"HalfAnArpPacket", Verdict::drop_truncated,
     [](const Box& b) {
         return b.to("lan").arp(1, kClientMac, kClient, {}, kExternal).truncated_to(14 + 27);
     }},
    {"ArpForTokenRing", Verdict::drop_bad_arp,
     [](const Box& b) {
         return b.to("lan").ether_type(0x0806).raw({0, 6, 8, 0, 6, 4, 0, 1}).padding(40);
     }},
    {"ArpOfAnUnknownOperation", Verdict::drop_bad_arp,
     [](const Box& b) { return b.to("lan").arp(3, kClientMac, kClient, {}, kExternal); }},
};

class BadFrame : public ::testing::TestWithParam<Row> {};
INSTANTIATE_TEST_SUITE_P(Rows, BadFrame, ::testing::ValuesIn(kRows),
                         [](const auto& row) { return std::string{row.param.name}; });

/// I3, P3, P4, P5, T4
TEST_P(BadFrame, IsDroppedUnderItsName) {
    Box box{kOneArm};
    EXPECT_THAT(box.exchange("lan", GetParam().frame(box), "lan"), IsEmpty());
    EXPECT_EQ(box.count(GetParam().verdict), 1);
    EXPECT_EQ(box.sessions(), 0);
    box.expect_every_packet_accounted_for();
    box.expect_no_record_lost();
}

/// P4
TEST_P(BadFrame, AmongPacketsOfALiveSessionHarmsNoneOfThem) {
    Box box{kOneArm, 2};
    const std::uint16_t port = open_example(box);
    ASSERT_NE(port, 0);
    const PacketBuilder answer = box.to("lan").from(kServerMac).ipv4(kServer, kFwd);
    ASSERT_THAT(box.exchange("lan", PacketBuilder{answer}.tcp(8080, port, kSyn | kAck), "lan", 1), SizeIs(1));
    ASSERT_THAT(box.exchange("lan", request(box).tcp(40000, 80, kAck), "lan"), SizeIs(1));
    // Alone, in pairs, first and last in the burst: each bad one between others of both directions.
    const std::string burst = "bCbSbbCCSbSCbbbCSbCSCSSCbb";
    std::uint64_t bad = 0;
    for (const unsigned worker : {0U, 1U, 0U, 1U}) {
        std::vector<Frame> expected;
        std::uint16_t n = 0;
        for (const char kind : burst + burst) {
            ++n;
            if (kind == 'b') {
                ++bad;
                box.put("lan", GetParam().frame(box), worker);
            } else if (kind == 'C') {
                box.put("lan", request(box).identification(n).tcp(40000, 80, kAck).payload_bytes(n), worker);
                expected.push_back(from_fwd(box, "lan", kServerMac)
                                       .ipv4(kFwd, kServer)
                                       .ttl(63)
                                       .identification(n)
                                       .tcp(port, 8080, kAck)
                                       .payload_bytes(n)
                                       .frame());
            } else {
                box.put("lan", PacketBuilder{answer}.identification(n).tcp(8080, port, kAck).payload_bytes(n),
                        worker);
                expected.push_back(from_fwd(box, "lan", kClientMac)
                                       .ipv4(kExternal, kClient)
                                       .ttl(63)
                                       .identification(n)
                                       .tcp(80, 40000, kAck)
                                       .payload_bytes(n)
                                       .frame());
            }
        }
        ASSERT_LE(n, dataplane::kBurst);
        box.settle();
        EXPECT_EQ(box.take("lan"), expected);
    }
    EXPECT_EQ(box.count(GetParam().verdict), bad);
    EXPECT_EQ(box.sessions(), 1);
    box.expect_every_packet_accounted_for();
    box.expect_no_record_lost();
}

/// P5
TEST(Drop, SourceFromAnotherLinksNetwork) {
    Box box{kTwoArm};
    for (const auto inside : {"10.0.0.50"_ip, kLanServer}) {
        EXPECT_THAT(box.exchange("wan", box.to("wan").ipv4(inside, kPublic).tcp(1, 80, kSyn), "lan"),
                    IsEmpty());
    }
    EXPECT_EQ(box.count(Verdict::drop_martian), 2);
    EXPECT_EQ(box.sessions(), 0);
    EXPECT_THAT(box.exchange("wan", box.to("wan").ipv4("192.0.2.9"_ip, kPublic).tcp(1, 80, kSyn), "lan"),
                SizeIs(1))
        << "its own network's";
    EXPECT_THAT(box.exchange("lan", box.to("lan").ipv4("10.0.0.50"_ip, kPublic).tcp(1, 80, kSyn), "lan"),
                SizeIs(1));
}

/// P5: a network behind a router inside, too; of two ways into the world, either may be used.
TEST(Drop, SourceThatIsRoutedToWhereTheTargetIs) {
    Box box{R"(
        links = ( { name = "wan"; device = "net_null_wan"; addresses = [ "192.0.2.1/24", "2001:db8:2::1/64" ]; },
                  { name = "other"; device = "net_null_other"; addresses = [ "203.0.113.1/24" ]; },
                  { name = "lan"; device = "net_null_lan"; addresses = [ "10.0.0.1/24", "fd00::1/64" ]; } );
        routes = ( { prefix = "0.0.0.0/0"; via = "192.0.2.254"; }, { prefix = "::/0"; via = "2001:db8:2::fe"; },
                   { prefix = "198.51.100.0/24"; via = "203.0.113.254"; },
                   { prefix = "10.1.0.0/16"; via = "10.0.0.254"; }, { prefix = "fd01::/32"; via = "fd00::fe"; } );
        neighbours = ( { link = "lan"; address = "10.0.0.4"; mac = "02:00:00:00:00:04"; },
                       { link = "lan"; address = "fd00::4"; mac = "02:00:00:00:00:04"; } );
        rules = ( { protocol = "tcp"; external = "192.0.2.3:80"; target = "10.0.0.4:80"; },
                  { protocol = "tcp"; external = "192.0.2.3:81"; target = "10.0.0.4:80"; source = "masquerade"; },
                  { protocol = "tcp"; external = "192.0.2.3:82"; target = "[fd00::4]:80"; },
                  { protocol = "tcp"; external = "[2001:db8:2::3]:80"; target = "[fd00::4]:80"; } );
    )"};
    box.settle();
    box.take("lan");
    for (const std::uint16_t port : {80, 81}) {
        const auto is_let_in = [&](const char* link, net::Ipv4Address source) {
            return box.exchange(link, box.to(link).ipv4(source, kPublic).tcp(1, port, kSyn), "lan").size();
        };
        EXPECT_EQ(is_let_in("wan", "10.1.2.3"_ip), 0);
        EXPECT_EQ(is_let_in("lan", "10.1.2.3"_ip), 1);
        EXPECT_EQ(is_let_in("wan", "198.51.100.9"_ip), 1);
        EXPECT_EQ(is_let_in("other", "8.8.8.8"_ip), 1);
    }
    const auto crosses = box.to("wan").ipv4("10.1.2.3"_ip, kPublic).tcp(1, 82, kSyn);
    EXPECT_THAT(box.exchange("wan", crosses, "lan"), IsEmpty());
    EXPECT_EQ(box.count(Verdict::drop_martian), 3);
    for (const auto& [source, count] : {std::pair{"fd01::7"_ip6, 0U}, {"2001:db8:f::7"_ip6, 1U}}) {
        const auto syn = box.to("wan").ipv6(source, "2001:db8:2::3"_ip6).tcp(1, 80, kSyn);
        EXPECT_THAT(box.exchange("wan", syn, "lan"), SizeIs(count));
    }
    EXPECT_EQ(box.count(Verdict::drop_martian), 4);
    box.expect_every_packet_accounted_for();
}

TEST(Drop, FrameInSeveralBuffers) {
    Box box{kOneArm};
    rte_mbuf* head = box.dataplane().allocate();
    rte_mbuf* tail = box.dataplane().allocate();
    ASSERT_NE(rte_pktmbuf_append(head, 64), nullptr);
    ASSERT_NE(rte_pktmbuf_append(tail, 64), nullptr);
    ASSERT_EQ(rte_pktmbuf_chain(head, tail), 0);
    std::array packets{head};
    box.dataplane().workers()[0]->process(packets, {}, box.now());
    EXPECT_EQ(box.count(Verdict::drop_multi_segment), 1);
    box.expect_every_packet_accounted_for();
}

/// L3
TEST(Drop, SourceThatTheRuleDoesNotAllow) {
    Box box{kTwoArm};
    box.set_rules(R"(rules = ( { name = "web"; protocol = "tcp"; external = "192.0.2.3:80";
        target = "10.0.0.4:8080"; from = [ "198.51.100.0/29", "203.0.113.0/24" ]; } );)");
    const auto send = [&](net::Ipv4Address client) {
        return box.exchange("wan", box.to("wan").ipv4(client, kPublic).tcp(1, 80, kSyn), "lan");
    };
    EXPECT_THAT(send("198.51.100.7"_ip), SizeIs(1));
    EXPECT_THAT(send("203.0.113.255"_ip), SizeIs(1));
    EXPECT_THAT(send("198.51.100.8"_ip), IsEmpty());
    EXPECT_EQ(box.count(Verdict::drop_source_denied), 1);
}

/// P5
TEST(Drop, SourceThatIsFwdsOwnAddressOnTheOtherLink) {
    Box box{kTwoArm};
    box.exchange("wan", box.to("wan").ipv4(kLanAddress, kPublic).tcp(1, 80, kSyn), "lan");
    EXPECT_EQ(box.count(Verdict::drop_spoofed_own_address), 1);
}

/// Puts other routes in force, as if all flows had been told of them.
void set_routes(Box& box, const std::vector<dataplane::Route>& routes) {
    auto made = dataplane::Routes::create(routes);
    ASSERT_TRUE(made);
    auto policy = std::make_unique<dataplane::Policy>(box.dataplane().policy());
    policy->routes = std::move(*made);
    ++policy->route_generation;
    box.dataplane().publish(std::move(policy));
}

constexpr dataplane::LinkId kWanLink{0}, kLanLink{1};

TEST(Drop, TargetAndClientWithoutARoute) {
    Box box{kTwoArm};
    const auto ask = [&](std::uint16_t port) {
        return box.exchange("wan", box.to("wan").ipv4(kFarClient, kPublic).tcp(port, 80, kSyn), "lan");
    };
    const auto answer = [&] {
        return box.exchange("lan", box.to("lan").ipv4(kLanServer, kFarClient).tcp(8080, 1, kSyn | kAck),
                            "wan");
    };
    ASSERT_THAT(ask(1), SizeIs(1));
    const dataplane::Route lan{{"10.0.0.0"_ip, 24}, kLanLink, std::nullopt};
    const dataplane::Route far{{"0.0.0.0"_ip, 0}, kWanLink, "192.0.2.254"_ip};
    // The way to the client is gone, with the session half open.
    set_routes(box, {lan});
    EXPECT_THAT(answer(), IsEmpty());
    EXPECT_EQ(box.count(Verdict::drop_no_route), 1);
    EXPECT_THAT(ask(1), SizeIs(1));
    // The way to the target as well: for the session that is there and for a new one.
    set_routes(box, {});
    EXPECT_THAT(ask(1), IsEmpty());
    EXPECT_THAT(ask(2), IsEmpty());
    EXPECT_EQ(box.count(Verdict::drop_no_route), 3);
    EXPECT_EQ(box.sessions(), 1);
    // Both are back.
    set_routes(box, {lan, far});
    EXPECT_THAT(ask(1), SizeIs(1));
    EXPECT_THAT(answer(), SizeIs(1));
    EXPECT_EQ(box.count(Verdict::drop_no_route), 3);
    box.expect_every_packet_accounted_for();
    box.expect_no_record_lost();
}

/// A frame in a buffer of fwd's own, with so many bytes free in front.
rte_mbuf* with_headroom(Box& box, const PacketBuilder& frame, std::uint16_t headroom) {
    const Bytes bytes = frame.bytes();
    rte_mbuf* packet = box.dataplane().allocate();
    packet->data_off = headroom;
    std::ranges::copy(bytes, rte_pktmbuf_mtod(packet, std::uint8_t*));
    packet->data_len = static_cast<std::uint16_t>(bytes.size());
    packet->pkt_len = packet->data_len;
    return packet;
}

const std::string kTaggedLan = R"(
    links = ( { name = "wan"; device = "net_null_wan"; addresses = [ "192.0.2.1/24" ]; },
              { name = "lan"; device = "net_null_lan"; vlan = 7; addresses = [ "10.0.0.1/24" ]; } );
)";

TEST(Drop, NoRoomInTheBufferForAVlanTag) {
    Box box{kTaggedLan + kTwoArmRest};
    const PacketBuilder frame = box.to("wan").ipv4(kFarClient, kPublic).tcp(1, 80, kSyn);
    const auto process = [&](std::uint16_t headroom) {
        std::array packets{with_headroom(box, frame, headroom)};
        box.dataplane().workers()[0]->process(packets, {}, box.now());
        box.settle();
        return box.take("lan");
    };
    const auto expected =
        from_fwd(box, "lan", mac(4)).ipv4(kFarClient, kLanServer).ttl(63).tcp(1, 8080, kSyn).frame();
    EXPECT_THAT(process(4), ::testing::ElementsAre(expected));
    for (std::uint16_t headroom = 0; headroom < 4; ++headroom) EXPECT_THAT(process(headroom), IsEmpty());
    EXPECT_EQ(box.count(Verdict::drop_no_headroom), 4);
    box.expect_every_packet_accounted_for();
}

TEST(Drop, NoRoomForAVlanTagInAPacketThatHasWaited) {
    Box box{kTaggedLan + R"(
        rules = ( { name = "web"; protocol = "tcp"; external = "192.0.2.3:80"; target = "10.0.0.4:8080"; } );)"};
    std::array packets{with_headroom(box, box.to("wan").ipv4(kFarClient, kPublic).tcp(1, 80, kSyn), 3),
                       with_headroom(box, box.to("wan").ipv4(kFarClient, kPublic).tcp(2, 80, kSyn), 4)};
    box.dataplane().workers()[0]->process(packets, {}, box.now());
    box.settle();
    EXPECT_THAT(box.take("lan"), SizeIs(1)) << "the question";
    EXPECT_EQ(box.total(&dataplane::ThreadCounters::held), 2);
    const auto sent = box.exchange(
        "lan", box.to("lan").arp(2, kServerMac, kLanServer, box.mac_of("lan"), kLanAddress), "lan");
    ASSERT_THAT(sent, SizeIs(1));
    EXPECT_EQ(look_into(sent[0]).source, endpoint(kFarClient, 2));
    EXPECT_EQ(box.count(Verdict::drop_no_headroom), 1);
    box.expect_every_packet_accounted_for();
}

/// What another worker does to the record meanwhile, frozen halfway.
TEST(Drop, PacketThatMeetsItsSessionWhileItIsOpenedOrEnded) {
    using dataplane::RecordState;
    Box box{kTwoArm};
    const auto ask = [&] {
        return box.exchange("wan", box.to("wan").ipv4(kFarClient, kPublic).udp(1, 27015), "lan");
    };
    const auto answer = [&] {
        return box.exchange("lan", box.to("lan").ipv4("10.0.0.5"_ip, kFarClient).udp(27015, 1), "wan");
    };
    ASSERT_THAT(ask(), SizeIs(1));
    ASSERT_THAT(answer(), SizeIs(1));
    dataplane::FlowTable& flows = box.dataplane().flows();
    const auto both_become = [&](RecordState state) {
        for (std::uint32_t at = 0; at < flows.position_count(); ++at) {
            dataplane::Flow& flow = flows.flow(dataplane::FlowPosition{at});
            if (flow.load_state().state() != RecordState::free)
                flow.state.store(flow.load_state().with(state));
        }
    };
    both_become(RecordState::opening);
    EXPECT_THAT(ask(), IsEmpty());
    EXPECT_THAT(answer(), IsEmpty());
    EXPECT_EQ(box.count(Verdict::drop_session_opening), 2);
    both_become(RecordState::dead);
    EXPECT_THAT(ask(), IsEmpty());
    EXPECT_THAT(answer(), IsEmpty());
    EXPECT_EQ(box.count(Verdict::drop_session_ending), 2);
    both_become(RecordState::live);
    EXPECT_THAT(ask(), SizeIs(1));
    EXPECT_THAT(answer(), SizeIs(1));
    EXPECT_EQ(box.sessions(), 1);
    box.expect_every_packet_accounted_for();
    box.expect_no_record_lost();
}

TEST(Drop, WhatControlHasNoRoomForWhenItDoesNotLook) {
    Box box{R"(
        links = ( { name = "lan"; device = "net_null_lan"; addresses = [ "10.0.0.2/24" ]; } );
        rules = ( { name = "dns"; protocol = "udp"; external = "10.0.0.3:53"; target = "10.0.0.4:5353"; } );
    )"};
    const auto question =
        packet().to(net::kBroadcastMac).from(kClientMac).arp(1, kClientMac, kClient, {}, kExternal).bytes();
    const auto query = request(box).udp(1, 53).bytes();
    // For some seconds as much of both as the rate limits let through.
    constexpr unsigned kSeconds = 8, kOfEach = 400;
    for (unsigned second = 0; second < kSeconds; ++second) {
        for (unsigned i = 0; i < kOfEach; ++i) {
            box.put("lan", question);
            box.put("lan", query);
            if (i % 32 == 31) box.poll();
        }
        for (int round = 0; round < 16; ++round) box.poll();
        box.advance_to({box.now().cycles + rte_get_tsc_hz()});
    }
    EXPECT_EQ(box.count(Verdict::drop_punt_limited) + box.count(Verdict::drop_hold_limited), 0);
    const std::uint64_t handed_over = box.count(Verdict::punt_arp) + box.count(Verdict::hold_neighbour);
    EXPECT_EQ(handed_over, rte_ring_count(box.dataplane().shared().punts));
    EXPECT_GE(handed_over, 4000);
    EXPECT_EQ(box.count(Verdict::drop_control_full), std::uint64_t{2} * kSeconds * kOfEach - handed_over);
    EXPECT_EQ(box.total(&dataplane::ThreadCounters::held) - box.total(&dataplane::ThreadCounters::released),
              box.count(Verdict::hold_neighbour));
    // Control is back: what it has got is worked off, and fwd goes on.
    box.settle();
    box.take("lan");
    box.expect_every_packet_accounted_for();
    EXPECT_THAT(
        box.exchange("lan", box.to("lan").arp(2, kServerMac, kServer, box.mac_of("lan"), kFwd), "lan"),
        SizeIs(16))
        << "what waited";
    EXPECT_THAT(box.exchange("lan", request(box).udp(1, 53), "lan"), SizeIs(1));
    box.expect_every_packet_accounted_for();
}

TEST(Drop, MorePacketsForANextHopThanAWorkerMayHandOver) {
    Box box{R"(
        links = ( { name = "lan"; device = "net_null_lan"; addresses = [ "10.0.0.2/24" ]; } );
        rules = ( { name = "dns"; protocol = "udp"; external = "10.0.0.3:53"; target = "10.0.0.4:5353"; } );
    )"};
    for (unsigned i = 0; i < 3000; ++i) box.put("lan", request(box).udp(1, 53));
    for (unsigned round = 0; round < 3000 / dataplane::kBurst + 1; ++round) box.poll();
    const std::uint64_t handed_over = box.count(Verdict::hold_neighbour);
    EXPECT_GE(handed_over, 1000);
    EXPECT_LE(handed_over, 1500);
    EXPECT_EQ(box.count(Verdict::drop_hold_limited), 3000 - handed_over);
    box.settle();
    box.expect_every_packet_accounted_for();
}

/// The configuration insists on an address for each link; the data plane does not count on it.
TEST(Drop, MasqueradeBehindALinkWithoutAnAddress) {
    Box box{kOneArm};
    box.dataplane().set_addresses(dataplane::LinkId{0}, {});
    EXPECT_THAT(box.exchange("lan", request(box).udp(1, 53), "lan"), IsEmpty());
    EXPECT_EQ(box.count(Verdict::drop_no_own_address), 1);
    EXPECT_EQ(box.sessions(), 0);
}

/// Each reason for a drop is named by some test of this folder.
TEST(Drop, EveryReasonHasATest) {
    std::string tests;
    for (const auto& file : std::filesystem::directory_iterator{TEST_SOURCES}) {
        if (!file.path().string().ends_with("_test.cc")) continue;
        std::ifstream text{file.path()};
        tests.append(std::istreambuf_iterator<char>{text}, {});
    }
    for (const auto& row : dataplane::kVerdictNames) {
        if (!is_drop(row.verdict)) continue;
        std::string name = "Verdict::drop_" + std::string{row.name};
        std::ranges::replace(name, '-', '_');
        bool is_named = false;
        for (std::size_t at = tests.find(name); at != std::string::npos && !is_named;
             at = tests.find(name, at + 1)) {
            const char next = tests[at + name.size()];
            is_named = next != '_' && std::isalnum(static_cast<unsigned char>(next)) == 0;
        }
        EXPECT_TRUE(is_named) << name;
    }
}

/// P4: what nobody thought of, valid frames with random bytes changed, cut off and filled in.
TEST(Drop, MutatedFramesNeverHarm) {
    Box box{kOneArm};
    const std::uint16_t port = open_example(box);
    const Bytes quoted = packet().ipv4(kFwd, kServer).tcp(port, 8080, kAck).ip_bytes();
    const std::vector<Bytes> seeds{
        request(box).tcp(40000, 80, kAck).payload_bytes(40).bytes(),
        request(box).udp(1, 53).payload_bytes(12).bytes(),
        box.to("lan").from(kServerMac).ipv4(kServer, kFwd).tcp(8080, port, kAck).bytes(),
        box.to("lan").from(kServerMac).ipv4(kServer, kFwd).icmp(3, 4, 1400).payload(quoted).bytes(),
        request(box).ipv4(kClient, kFwd).icmp(8, 0).payload_bytes(9).bytes(),
        box.to("lan").arp(1, kClientMac, kClient, {}, kExternal).bytes(),
    };
    std::mt19937 random{20261124};
    const auto below = [&random](std::size_t n) { return static_cast<std::size_t>(random() % n); };
    for (int i = 0; i < 100'000; ++i) {
        Bytes frame = seeds[below(seeds.size())];
        // Behind the MAC addresses, so that most get past the first check; whole again as IP says or not.
        for (std::size_t n = below(4); n > 0; --n)
            frame[12 + below(frame.size() - 12)] = static_cast<std::uint8_t>(random());
        if (below(4) == 0) frame.resize(below(frame.size() + 1));
        if (below(3) == 0 && frame.size() >= 34 && frame[12] == 8 && frame[13] == 0) {
            frame[24] = frame[25] = 0;
            const std::uint16_t sum = slow_checksum(std::span{frame}.subspan(14, 20));
            frame[24] = static_cast<std::uint8_t>(sum >> 8U);
            frame[25] = static_cast<std::uint8_t>(sum);
        }
        box.put("lan", frame);
        if (i % 16 == 0) box.settle();
        if (i % 1000 == 0) box.pass(std::chrono::milliseconds{1000});
    }
    box.settle();
    box.take("lan");
    box.expect_every_packet_accounted_for();
    box.expect_no_record_lost();
    EXPECT_EQ(open_example(box, 40001) != 0, true);
}

}  // namespace
}  // namespace fwd::test
