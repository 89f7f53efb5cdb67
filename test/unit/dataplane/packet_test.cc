// SPDX-License-Identifier: BSD-3-Clause
// Every frame that is not what it says is dropped under a name. Each frame ends at the
// end of readable memory, so a read outside of it kills the test.
#include "dataplane/packet.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <ostream>
#include <random>
#include <string>

#include "test/support/guarded_bytes.h"
#include "test/support/packet_builder.h"

namespace fwd::dataplane {

std::ostream& operator<<(std::ostream& out, Verdict verdict) {
    return out << kVerdictNames[static_cast<std::size_t>(verdict)].name;
}

namespace {

using test::Bytes;
using test::packet;
using test::PacketBuilder;
using test::operator""_ip;

constexpr net::MacAddress kOwnMac = test::mac(1);
constexpr std::uint16_t kVlan = 5;
constexpr LinkId kUntagged{0}, kTagged{1};

PortAddressing port() {
    PortAddressing port;
    port.mac = kOwnMac;
    port.link_of_vlan[0] = kUntagged.value;
    port.link_of_vlan[kVlan] = kTagged.value;
    return port;
}

ParsedPacket parse(const std::uint8_t* frame, std::size_t bytes, const PortAddressing& port,
                   std::uint16_t hardware_vlan, bool ip_checksum_good) {
    return dataplane::parse(frame, bytes, port, UsualBeginning{port.mac}, hardware_vlan, ip_checksum_good);
}

ParsedPacket parse_guarded(const Bytes& frame, std::uint16_t hardware_vlan = 0, bool checksum_good = false) {
    const test::GuardedBytes guarded{frame};
    ParsedPacket result = parse(guarded.data(), guarded.size(), port(), hardware_vlan, checksum_good);
    if (result.kind != PacketKind::unusual) return result;
    result.verdict = check_unusual(guarded.data() + result.l3_offset, result.ip_bytes);
    if (result.verdict != Verdict::forward) result.kind = PacketKind::dropped;
    return result;
}

PacketBuilder to_us() {
    return packet().to(kOwnMac).ipv4("10.0.0.1"_ip, "10.0.0.3"_ip);
}
/// An ARP request of nobody for nothing, well formed.
Bytes arp_request() {
    Bytes bytes{0, 1, 8, 0, 6, 4, 0, 1};
    bytes.resize(28);
    return bytes;
}

PacketBuilder udp() {
    return to_us().udp(40000, 53).payload("query");
}
PacketBuilder tcp() {
    return to_us().tcp(40000, 80, test::kSyn);
}
PacketBuilder ping() {
    return to_us().icmp(8, 0, 0x00010001).payload("ping");
}

struct Row {
    const char* name;
    PacketBuilder frame;
    Verdict verdict;
};
void PrintTo(const Row& row, std::ostream* out) {
    *out << row.name;
}

class BadFrame : public ::testing::TestWithParam<Row> {};

/// P3, P4, P6
TEST_P(BadFrame, IsDroppedByName) {
    const ParsedPacket result = parse_guarded(GetParam().frame.bytes());
    EXPECT_EQ(result.kind, PacketKind::dropped);
    EXPECT_EQ(result.verdict, GetParam().verdict);
}

INSTANTIATE_TEST_SUITE_P(
    Parse, BadFrame,
    ::testing::Values(
        Row{"Nothing", udp().truncated_to(0), Verdict::drop_truncated},
        Row{"HalfAnEthernetHeader", udp().truncated_to(13), Verdict::drop_truncated},
        Row{"OnlyAnEthernetHeader", udp().truncated_to(14), Verdict::drop_truncated},
        Row{"HalfAVlanTag", udp().vlan(kVlan).truncated_to(17), Verdict::drop_truncated},
        Row{"HalfAnIpHeader", udp().truncated_to(33), Verdict::drop_truncated},
        Row{"HalfAUdpHeader", to_us().protocol(17, {1, 2, 3, 4, 0, 7, 0}), Verdict::drop_truncated},
        Row{"HalfATcpHeader", to_us().protocol(6, Bytes(19, 1)), Verdict::drop_truncated},
        Row{"HalfAnIcmpHeader", to_us().protocol(1, Bytes(7, 1)), Verdict::drop_truncated},
        Row{"IpPacketLongerThanItsFrame", udp().truncated_to(14 + 20 + 8 + 4), Verdict::drop_truncated},
        Row{"IpLengthOneTooMuch", udp().ip_total_bytes(20 + 8 + 5 + 1), Verdict::drop_truncated},
        Row{"IpLengthOfSixtyFourK", udp().ip_total_bytes(0xffff), Verdict::drop_truncated},
        Row{"OtherEtherType", udp().ether_type(0x88cc), Verdict::drop_not_ip},
        Row{"Ipv6", udp().ether_type(0x86dd), Verdict::drop_not_ip},
        Row{"LengthInsteadOfEtherType", udp().ether_type(46), Verdict::drop_not_ip},
        Row{"TwoVlanTags", udp().vlan(kVlan).ether_type(0x8100), Verdict::drop_not_ip},
        Row{"SomebodyElsesMac", udp().to(test::mac(2)), Verdict::drop_wrong_mac},
        Row{"BroadcastMac", udp().to(net::kBroadcastMac), Verdict::drop_multicast},
        Row{"MulticastMac", udp().to({{0x01, 0, 0x5e, 0, 0, 1}}), Verdict::drop_multicast},
        Row{"MulticastArp", udp().to({{0x01, 0, 0x5e, 0, 0, 1}}).ether_type(0x0806), Verdict::drop_multicast},
        Row{"UnknownVlan", udp().vlan(6), Verdict::drop_unknown_vlan},
        Row{"IpVersionSix", udp().ip_version(6), Verdict::drop_bad_ip_header},
        Row{"IpVersionZero", udp().ip_version(0), Verdict::drop_bad_ip_header},
        Row{"HeaderOfSixteenBytes", udp().ip_header_words(4), Verdict::drop_bad_ip_header},
        Row{"HeaderOfNoBytes", udp().ip_header_words(0), Verdict::drop_bad_ip_header},
        Row{"IpLengthBelowItsHeader", udp().ip_total_bytes(19), Verdict::drop_bad_ip_header},
        Row{"IpLengthZero", udp().ip_total_bytes(0), Verdict::drop_bad_ip_header},
        Row{"HeaderLongerThanThePacket", to_us().protocol(17, Bytes(8, 1)).ip_header_words(15),
            Verdict::drop_bad_ip_header},
        Row{"HeaderChecksumZero", udp().ip_checksum(0), Verdict::drop_bad_ip_checksum},
        Row{"HeaderChecksumAllOnes", udp().ip_checksum(0xffff), Verdict::drop_bad_ip_checksum},
        Row{"LooseSourceRoute", tcp().ip_options({0x83, 7, 4, 10, 0, 0, 9, 0}), Verdict::drop_source_route},
        Row{"StrictSourceRouteBehindOthers", ping().ip_options({1, 0x44, 4, 5, 0, 0x89, 7, 4, 10, 0, 0, 9}),
            Verdict::drop_source_route},
        Row{"SourceRouteInAFragment", udp().ip_options({0x83, 3, 4, 0}).fragment(1),
            Verdict::drop_source_route},
        Row{"OptionWithoutALength", udp().ip_options({1, 1, 1, 7}), Verdict::drop_bad_ip_options},
        Row{"OptionOfNoLength", udp().ip_options({7, 0, 0, 0}), Verdict::drop_bad_ip_options},
        Row{"OptionOfOneByte", udp().ip_options({7, 1, 0, 0}), Verdict::drop_bad_ip_options},
        Row{"OptionBeyondTheHeader", udp().ip_options({1, 7, 4, 4}), Verdict::drop_bad_ip_options},
        Row{"WrongChecksumOfAHeaderWithOptions", udp().ip_options({1, 1, 1, 1}).ip_checksum(1),
            Verdict::drop_bad_ip_checksum},
        Row{"UdpHeaderCutShortBehindOptions", to_us().protocol(17, Bytes(7, 1)).ip_options({1, 1, 1, 1}),
            Verdict::drop_truncated},
        Row{"FragmentOfUdpLite", to_us().protocol(136, Bytes(40, 1)).fragment(0x2000),
            Verdict::drop_unsupported_protocol},
        Row{"UdpLengthBelowItsHeader", udp().udp_bytes(7), Verdict::drop_bad_l4_header},
        Row{"UdpLengthZero", udp().udp_bytes(0), Verdict::drop_bad_l4_header},
        Row{"UdpLengthBeyondThePacket", udp().udp_bytes(8 + 5 + 1), Verdict::drop_bad_l4_header},
        Row{"TcpHeaderOfSixteenBytes", tcp().tcp_header_words(4), Verdict::drop_bad_l4_header},
        Row{"TcpHeaderOfNoBytes", tcp().tcp_header_words(0), Verdict::drop_bad_l4_header},
        Row{"TcpHeaderBeyondThePacket", tcp().tcp_header_words(6), Verdict::drop_bad_l4_header},
        Row{"SourcePortZero", to_us().udp(0, 53), Verdict::drop_bad_l4_header},
        Row{"DestinationPortZero", to_us().udp(40000, 0), Verdict::drop_bad_l4_header},
        Row{"TcpPortZero", to_us().tcp(40000, 0, test::kSyn), Verdict::drop_bad_l4_header},
        Row{"UdpLite", to_us().protocol(136, Bytes(40, 1)), Verdict::drop_unsupported_protocol},
        Row{"Icmpv6", to_us().protocol(58, Bytes(40, 1)), Verdict::drop_unsupported_protocol},
        Row{"AuthenticationHeader", to_us().protocol(51, Bytes(40, 1)), Verdict::drop_unsupported_protocol},
        Row{"ProtocolZero", to_us().protocol(0, Bytes(40, 1)), Verdict::drop_unsupported_protocol},
        Row{"NothingBehindTheIpHeader", to_us().protocol(17, {}), Verdict::drop_truncated}),
    [](const auto& row) { return row.param.name; });

struct Good {
    const char* name;
    PacketBuilder frame;
    PacketKind kind;
    LinkId link;
    std::uint16_t l3_offset;
    std::uint16_t ip_bytes;
};
void PrintTo(const Good& row, std::ostream* out) {
    *out << row.name;
}

class GoodFrame : public ::testing::TestWithParam<Good> {};

/// P6, S4
TEST_P(GoodFrame, IsUnderstood) {
    const Good& row = GetParam();
    const ParsedPacket result = parse_guarded(row.frame.bytes());
    EXPECT_EQ(result.kind, row.kind) << result.verdict;
    EXPECT_EQ(result.link, row.link);
    EXPECT_EQ(result.l3_offset, row.l3_offset);
    EXPECT_EQ(result.ip_bytes, row.ip_bytes);
}

/// P4
TEST_P(GoodFrame, EveryTruncationIsDropped) {
    const Good& row = GetParam();
    const Bytes whole = row.frame.bytes();
    const std::size_t needed = row.l3_offset + (row.kind == PacketKind::arp ? std::size_t{0} : row.ip_bytes);
    for (std::size_t bytes = 0; bytes < needed; ++bytes) {
        const ParsedPacket result = parse_guarded(test::first(whole, bytes));
        ASSERT_EQ(result.kind, PacketKind::dropped) << bytes << " bytes";
        ASSERT_EQ(result.verdict, Verdict::drop_truncated) << bytes << " bytes";
    }
}

INSTANTIATE_TEST_SUITE_P(
    Parse, GoodFrame,
    ::testing::Values(
        Good{"Udp", udp(), PacketKind::tcp_or_udp, kUntagged, 14, 33},
        Good{"EmptyUdp", to_us().udp(1, 65535), PacketKind::tcp_or_udp, kUntagged, 14, 28},
        Good{"Tcp", tcp(), PacketKind::tcp_or_udp, kUntagged, 14, 40},
        Good{"TcpWithOptions", tcp().payload(Bytes(12, 1)).tcp_header_words(8), PacketKind::tcp_or_udp,
             kUntagged, 14, 52},
        Good{"Icmp", ping(), PacketKind::icmp, kUntagged, 14, 32},
        Good{"DontFragment", udp().dont_fragment(), PacketKind::tcp_or_udp, kUntagged, 14, 33},
        Good{"IpOptions", udp().ip_options({1, 1, 1, 0}), PacketKind::unusual, kUntagged, 14, 37},
        Good{"SourceRouteBehindTheEndOfOptions", udp().ip_options({0, 0x83, 3, 4}), PacketKind::unusual,
             kUntagged, 14, 37},
        Good{"IcmpWithOptions", ping().ip_options({7, 3, 4, 0}), PacketKind::unusual, kUntagged, 14, 36},
        Good{"FirstFragment", udp().fragment(0x2000), PacketKind::unusual, kUntagged, 14, 33},
        Good{"LaterFragment", udp().fragment(0x0001), PacketKind::unusual, kUntagged, 14, 33},
        Good{"LastFragment", udp().fragment(0x1fff), PacketKind::unusual, kUntagged, 14, 33},
        Good{"PaddingDoesNotCount", udp().padding(13), PacketKind::tcp_or_udp, kUntagged, 14, 33},
        Good{"TrailerOfAKilobyte", tcp().padding(1024), PacketKind::tcp_or_udp, kUntagged, 14, 40},
        Good{"UdpOptionsBehindTheDatagram", udp().udp_bytes(8), PacketKind::tcp_or_udp, kUntagged, 14, 33},
        Good{"Tagged", udp().vlan(kVlan), PacketKind::tcp_or_udp, kTagged, 18, 33},
        Good{"TagWithPriority", udp().vlan(0xe000 | kVlan), PacketKind::tcp_or_udp, kTagged, 18, 33},
        Good{"PriorityTagWithoutVlan", udp().vlan(0xe000), PacketKind::tcp_or_udp, kUntagged, 18, 33},
        Good{"Jumbo", to_us().udp(1, 2).payload_bytes(8972), PacketKind::tcp_or_udp, kUntagged, 14, 9000},
        Good{"Arp", packet().to(kOwnMac).ether_type(0x0806).raw(arp_request()), PacketKind::arp, kUntagged,
             14, 0},
        Good{"BroadcastArp", packet().to(net::kBroadcastMac).ether_type(0x0806).raw(arp_request()),
             PacketKind::arp, kUntagged, 14, 0},
        Good{"TaggedArp", packet().to(net::kBroadcastMac).vlan(kVlan).ether_type(0x0806).raw(arp_request()),
             PacketKind::arp, kTagged, 18, 0}),
    [](const auto& row) { return row.param.name; });

/// P6
TEST(Parse, TagThatTheDeviceTookOffNamesTheLink) {
    EXPECT_EQ(parse_guarded(udp().bytes(), kVlan).link, kTagged);
    EXPECT_EQ(parse_guarded(udp().bytes(), 0xe000 | kVlan).link, kTagged);
    EXPECT_EQ(parse_guarded(udp().bytes(), 6).verdict, Verdict::drop_unknown_vlan);
    // One tag off, one left: two tags.
    EXPECT_EQ(parse_guarded(udp().vlan(kVlan).bytes(), kVlan).verdict, Verdict::drop_not_ip);
}

TEST(Parse, ChecksumThatTheDeviceVerifiedIsNotSummedAgain) {
    EXPECT_EQ(parse_guarded(udp().ip_checksum(0x1111).bytes(), 0, true).kind, PacketKind::tcp_or_udp);
}

TEST(Parse, EveryWrongHeaderChecksumIsCaught) {
    const Bytes good = udp().bytes();
    for (std::size_t byte = 14; byte < 34; ++byte) {
        for (unsigned bit = 0; bit < 8; ++bit) {
            Bytes bad = good;
            bad[byte] = static_cast<std::uint8_t>(bad[byte] ^ 1U << bit);
            EXPECT_EQ(parse_guarded(bad).kind, PacketKind::dropped) << "byte " << byte << " bit " << bit;
        }
    }
}

TEST(Parse, DroppedFramesNameTheirLinkOnceItIsKnown) {
    EXPECT_EQ(parse_guarded(udp().truncated_to(13).bytes()).link, LinkId{kNoLink});
    EXPECT_EQ(parse_guarded(udp().vlan(6).bytes()).link, LinkId{kNoLink});
    EXPECT_EQ(parse_guarded(udp().vlan(kVlan).ip_total_bytes(0).bytes()).link, kTagged);
}

/// P4: and the short way through usual packets says what the long one says.
TEST(Parse, RandomDamageNeverReadsOutside) {
    std::mt19937 random{4711};
    const Bytes seeds[] = {udp().bytes(), tcp().bytes(), ping().bytes(), udp().vlan(kVlan).bytes(),
                           udp().ip_options(Bytes(40, 1)).bytes()};
    const PortAddressing addressing = port();
    test::GuardedMemory memory{2048};
    for (int round = 0; round < 200'000; ++round) {
        Bytes frame = seeds[random() % std::size(seeds)];
        for (unsigned n = random() % 6; n != 0; --n)
            frame[random() % frame.size()] = static_cast<std::uint8_t>(random());
        frame.resize(random() % (frame.size() + 1));
        std::uint8_t* at = memory.begin() + memory.bytes() - frame.size();
        std::ranges::copy(frame, at);
        const std::uint16_t tag = random() % 8 == 0 ? kVlan : 0;
        const bool is_good = random() % 2 == 0;
        const ParsedPacket result = parse(at, frame.size(), addressing, tag, is_good);
        ASSERT_EQ(result, parse_any(at, frame.size(), addressing, tag, is_good)) << "round " << round;
        if (result.kind != PacketKind::arp && result.kind != PacketKind::dropped) {
            ASSERT_LE(result.l3_offset + result.ip_bytes, frame.size()) << "round " << round;
        }
    }
}

TEST(GuardedBytesDeathTest, OneByteTooFarIsCaught) {
    const test::GuardedBytes guarded{udp().bytes()};
    volatile const std::uint8_t* bytes = guarded.data();
    EXPECT_EQ(bytes[guarded.size() - 1], 'y');
    EXPECT_DEATH((void)bytes[guarded.size()], "");
}

TEST(GuardedBytesDeathTest, ParserThatBelievesAWrongLengthIsCaught) {
    const test::GuardedBytes guarded{udp().ip_total_bytes(20).truncated_to(33).bytes()};
    EXPECT_EQ(parse(guarded.data(), guarded.size(), port(), 0, false).verdict, Verdict::drop_truncated);
    EXPECT_DEATH(
        std::exit(static_cast<int>(parse(guarded.data(), guarded.size() + 1, port(), 0, false).verdict)), "");
}

}  // namespace
}  // namespace fwd::dataplane
