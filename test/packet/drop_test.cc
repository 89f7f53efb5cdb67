// SPDX-License-Identifier: BSD-3-Clause
// P3 to P5: whatever is wrong with a frame, it is dropped under its name, nothing else happens, and fwd goes
// on.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

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
    {"IpOptions", Verdict::drop_ip_options,
     [](const Box& b) {
         return request(b).udp(1, 53).ip_options({7, 7, 4, 0, 0, 0, 0, 0});
     }},
    {"LooseSourceRoute", Verdict::drop_ip_options,
     [](const Box& b) {
         return request(b).udp(1, 53).ip_options({0x83, 7, 4, 10, 0, 0, 4, 0});
     }},
    {"FirstFragment", Verdict::drop_fragment,
     [](const Box& b) { return request(b).udp(1, 53).fragment(0x2000); }},
    {"LaterFragment", Verdict::drop_fragment,
     [](const Box& b) { return request(b).udp(1, 53).fragment(185); }},
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

TEST_P(BadFrame, IsDroppedUnderItsName) {
    Box box{kOneArm};
    EXPECT_THAT(box.exchange("lan", GetParam().frame(box), "lan"), IsEmpty());
    EXPECT_EQ(box.count(GetParam().verdict), 1);
    EXPECT_EQ(box.sessions(), 0);
    box.expect_every_packet_accounted_for();
    box.expect_no_record_lost();
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

TEST(Drop, SourceThatIsFwdsOwnAddressOnTheOtherLink) {
    Box box{kTwoArm};
    box.exchange("wan", box.to("wan").ipv4(kLanAddress, kPublic).tcp(1, 80, kSyn), "lan");
    EXPECT_EQ(box.count(Verdict::drop_spoofed_own_address), 1);
}

/// What nobody thought of: valid frames with random bytes changed, cut off and filled in.
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
