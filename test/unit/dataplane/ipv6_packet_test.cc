// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/ipv6_packet.h"

#include <gtest/gtest.h>

#include <ostream>
#include <random>
#include <string>

#include "dataplane/wide_translation.h"
#include "test/support/guarded_bytes.h"
#include "test/support/packet_builder.h"

namespace fwd::dataplane {
namespace {

using test::Bytes;
using test::endpoint;
using test::packet;
using test::PacketBuilder;
using test::operator""_ip6;

constexpr auto kSource = "2001:db8::1"_ip6, kDestination = "2001:db8:0:2::3"_ip6;

PacketBuilder ip() {
    return packet().ipv6(kSource, kDestination);
}
PacketBuilder udp() {
    return ip().udp(40000, 53).payload("question");
}
/// An options or routing header of so many bytes in all, without its next header.
Bytes header(std::size_t bytes, std::uint8_t type = 1, std::uint8_t segments_left = 0) {
    Bytes rest(bytes - 1);
    rest[0] = static_cast<std::uint8_t>(bytes / 8 - 1);
    rest[1] = type;
    rest[2] = segments_left;
    return rest;
}
Ipv6Packet parse_guarded(const Bytes& ip) {
    const test::GuardedBytes guarded{ip};
    return parse_ipv6(guarded.data(), guarded.size());
}

struct Row {
    std::string name;
    PacketBuilder packet;
    Verdict verdict;
    std::uint16_t l4_offset = 40;
};
std::ostream& operator<<(std::ostream& out, const Row& row) {
    return out << row.name;
}
class ParseIpv6 : public testing::TestWithParam<Row> {};

/// P2, P3, P4: IPv6 headers and their extensions: what is parsed over, and what is dropped under which name.
TEST_P(ParseIpv6, SaysWhatItIs) {
    const Row& row = GetParam();
    const Ipv6Packet parsed = parse_guarded(row.packet.ip_bytes());
    EXPECT_EQ(parsed.verdict, row.verdict);
    if (row.verdict == Verdict::forward) {
        EXPECT_EQ(parsed.l4_offset, row.l4_offset);
        EXPECT_EQ(parsed.ip_bytes, row.packet.ip_bytes().size());
    }
}

INSTANTIATE_TEST_SUITE_P(
    Rows, ParseIpv6,
    testing::Values(
        Row{"Udp", udp(), Verdict::forward}, Row{"Tcp", ip().tcp(1, 2, test::kSyn), Verdict::forward},
        Row{"Icmpv6", ip().icmpv6(128, 0), Verdict::forward},
        Row{"HopByHop", udp().extension(0, header(8)), Verdict::forward, 48},
        Row{"DestinationOptions", udp().extension(60, header(24)), Verdict::forward, 64},
        Row{"FinishedRoute", udp().extension(43, header(24, 4, 0)), Verdict::forward, 64},
        Row{"Several", udp().extension(0, header(8)).extension(60, header(16)).extension(43, header(8, 4)),
            Verdict::forward, 72},
        Row{"HopByHopLate", udp().extension(60, header(8)).extension(0, header(8)),
            Verdict::drop_ipv6_header},
        Row{"SourceRoute", udp().extension(43, header(24, 0, 1)), Verdict::drop_source_route},
        Row{"FinishedSourceRoute", udp().extension(43, header(24, 0, 0)), Verdict::drop_source_route},
        Row{"Detour", udp().extension(43, header(24, 4, 1)), Verdict::drop_source_route},
        Row{"FirstFragment", udp().extension(44, {0, 0, 1, 0, 0, 0, 1}), Verdict::forward, 48},
        Row{"LaterFragment", ip().protocol(17, {}).extension(44, {0, 1, 0, 0, 0, 0, 1}), Verdict::forward,
            48},
        Row{"FragmentCutShort", ip().protocol(17, {}).extension(44, {0, 0, 1}), Verdict::drop_truncated},
        Row{"WholeFragment", udp().extension(44, {0, 0, 0, 0, 0, 0, 1}), Verdict::forward, 48},
        Row{"TwoFragmentHeaders", udp().extension(44, Bytes(7)).extension(44, Bytes(7)),
            Verdict::drop_ipv6_header},
        Row{"Esp", ip().protocol(50, Bytes(40)), Verdict::forward},
        Row{"Empty", ip().protocol(47, {}), Verdict::forward},
        Row{"GreBehindOptions", ip().protocol(47, Bytes(4)).extension(60, header(8)), Verdict::forward, 48},
        Row{"AuthenticationHeader", ip().protocol(51, Bytes(40)), Verdict::drop_unsupported_protocol},
        Row{"Mobility", ip().protocol(135, Bytes(40)), Verdict::drop_unsupported_protocol},
        Row{"NoNextHeader", ip().protocol(59, {}), Verdict::drop_unsupported_protocol},
        Row{"Icmpv4", ip().protocol(1, Bytes(8)), Verdict::drop_unsupported_protocol},
        Row{"OtherVersion", udp().ip_version(5), Verdict::drop_bad_ip_header},
        Row{"LongerThanTheFrame", udp().ip_total_bytes(17), Verdict::drop_truncated},
        Row{"EmptyPayload", udp().ip_total_bytes(0), Verdict::drop_truncated},
        Row{"UdpLengthTooLong", udp().udp_bytes(17), Verdict::drop_bad_l4_header},
        Row{"UdpLengthTooShort", udp().udp_bytes(7), Verdict::drop_bad_l4_header},
        Row{"UdpWithoutChecksum", udp().l4_checksum(0), Verdict::drop_bad_l4_header},
        Row{"TcpHeaderTooLong", ip().tcp(1, 2, test::kSyn).tcp_header_words(6), Verdict::drop_bad_l4_header},
        Row{"PortZero", ip().udp(0, 53), Verdict::drop_bad_l4_header}),
    [](const auto& row) { return row.param.name; });

/// P3, P4: more extension headers than anybody sends cost no time.
TEST(Ipv6Packet, ExtensionHeadersAreCounted) {
    PacketBuilder frame = udp();
    for (int e = 0; e < 8; ++e) frame.extension(60, header(8));
    EXPECT_EQ(parse_guarded(frame.ip_bytes()).verdict, Verdict::forward);
    frame.extension(60, header(8));
    EXPECT_EQ(parse_guarded(frame.ip_bytes()).verdict, Verdict::drop_ipv6_header);
}

/// P4: cut off anywhere, and with any byte changed, nothing is read behind the packet.
TEST(Ipv6Packet, ReadsNothingBehindThePacket) {
    const Bytes whole = udp()
                            .extension(0, header(8))
                            .extension(60, header(16))
                            .extension(43, header(24, 4))
                            .extension(44, Bytes(7))
                            .ip_bytes();
    for (std::size_t bytes = 0; bytes < whole.size(); ++bytes) {
        EXPECT_EQ(parse_guarded(test::first(whole, bytes)).verdict, Verdict::drop_truncated) << bytes;
        for (int value = 0; value < 256; ++value) {
            Bytes changed = whole;
            changed[bytes] = static_cast<std::uint8_t>(value);
            parse_guarded(changed);
        }
    }
}

/// P1, P2: translated checksums are those that a full computation gives; a computed 0 is sent as 0xffff.
TEST(WideTranslation, ChecksumsComeOutAsIfComputedAnew) {
    std::mt19937 random{6};
    const auto any_address = [&] {
        net::Ipv6Address address;
        for (auto& byte : address.bytes)
            byte = random() % 4 == 0 ? 0xff : static_cast<std::uint8_t>(random());
        return address;
    };
    for (int round = 0; round < 20'000; ++round) {
        const auto source = any_address(), destination = any_address();
        const auto new_source = any_address(), new_destination = any_address();
        const auto port = [&] { return static_cast<std::uint16_t>(1 + random() % 65535); };
        const std::uint16_t ports[]{port(), port(), port(), port()};
        const bool udp = random() % 2 == 0;
        const Bytes payload(random() % 3);
        const auto built = [&](net::Ipv6Address from, net::Ipv6Address to, std::uint16_t p, std::uint16_t q,
                               std::uint8_t hops) {
            PacketBuilder b = packet().ipv6(from, to).ttl(hops).payload(payload).extension(60, header(8));
            return udp ? b.udp(p, q) : b.tcp(p, q, test::kAck);
        };
        Bytes ip = built(source, destination, ports[0], ports[1], 64).ip_bytes();
        const Ipv6Packet parsed = parse_ipv6(ip.data(), ip.size());
        ASSERT_EQ(parsed.verdict, Verdict::forward);
        const WideKey key = wide_key_of(LinkId{3}, ip.data(), parsed);
        EXPECT_EQ(key.source_endpoint(), endpoint(source, ports[0]));
        EXPECT_EQ(key.destination_endpoint(), endpoint(destination, ports[1]));
        const auto translation = WideTranslation::between(key, endpoint(new_source, ports[2]),
                                                          endpoint(new_destination, ports[3]));
        rewrite_ipv6(ip.data(), parsed, translation);
        const Bytes expected = built(new_source, new_destination, ports[2], ports[3], 63).ip_bytes();
        ASSERT_EQ(ip, expected);
    }
    // With every source port there is, one checksum is bound to come out as 0.
    const Bytes ip = udp().ip_bytes();
    const Ipv6Packet parsed = parse_ipv6(ip.data(), ip.size());
    const WideKey key = wide_key_of(LinkId{0}, ip.data(), parsed);
    bool zero_met = false;
    for (std::uint32_t port = 1; port < 65536; ++port) {
        Bytes copy = ip;
        rewrite_ipv6(copy.data(), parsed,
                     WideTranslation::between(key, endpoint(kSource, static_cast<std::uint16_t>(port)),
                                              key.destination_endpoint()));
        ASSERT_FALSE(copy[46] == 0 && copy[47] == 0);
        zero_met = zero_met || (copy[46] == 0xff && copy[47] == 0xff);
    }
    EXPECT_TRUE(zero_met);
}

/// P8: a checksum of the pseudo-header alone is completed, a complete one is updated.
TEST(WideTranslation, PartialChecksumIsCompleted) {
    for (std::size_t bytes = 0; bytes < 50; ++bytes) {
        for (const bool marked : {false, true}) {
            const auto built = [&](net::Ipv6Address to, std::uint8_t hops) {
                return packet().ipv6(kSource, to).ttl(hops).udp(7, 8).payload_bytes(bytes);
            };
            Bytes ip = built(kDestination, 9).partial_l4_checksum().ip_bytes();
            const Ipv6Packet parsed = parse_ipv6(ip.data(), ip.size());
            const WideKey key = wide_key_of(LinkId{0}, ip.data(), parsed);
            const auto translation =
                WideTranslation::between(key, key.source_endpoint(), endpoint("fd00::9"_ip6, 8));
            complete_ipv6_checksum(ip.data(), parsed, marked);
            rewrite_ipv6(ip.data(), parsed, translation);
            EXPECT_EQ(ip, built("fd00::9"_ip6, 8).ip_bytes());
            if (marked) continue;
            ip = built(kDestination, 9).ip_bytes();
            complete_ipv6_checksum(ip.data(), parsed, false);
            rewrite_ipv6(ip.data(), parsed, translation);
            EXPECT_EQ(ip, built("fd00::9"_ip6, 8).ip_bytes());
        }
    }
}

}  // namespace
}  // namespace fwd::dataplane
