// SPDX-License-Identifier: BSD-3-Clause
// Fragments of IPv6 (RFC 8200, section 4.5), within IPv6 and from one family to the other (RFC 7915).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <optional>
#include <random>

#include "dataplane/fragment_table.h"
#include "test/packet/ipv6_networks.h"

namespace fwd::test {
namespace {

using dataplane::FragmentTable;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using namespace std::chrono_literals;

constexpr std::uint8_t kFragment = 44, kDestinationOptions = 60;
constexpr std::uint16_t kMore4 = 0x2000;

/// A fragment header's bytes behind its next header.
Bytes fragment_header(std::size_t offset, bool more, std::uint32_t id) {
    const std::size_t word = offset | (more ? 1U : 0U);
    return {0,
            static_cast<std::uint8_t>(word >> 8U),
            static_cast<std::uint8_t>(word),
            static_cast<std::uint8_t>(id >> 24U),
            static_cast<std::uint8_t>(id >> 16U),
            static_cast<std::uint8_t>(id >> 8U),
            static_cast<std::uint8_t>(id)};
}

/// A packet without extension headers in fragments as a sender with this MTU makes them.
std::vector<PacketBuilder> fragments_of(const PacketBuilder& whole, std::uint32_t id,
                                        std::size_t mtu = 1500) {
    const Bytes ip = whole.ip_bytes();
    const std::size_t piece = (mtu - 48) / 8 * 8;
    std::vector<PacketBuilder> fragments;
    for (std::size_t at = 40; at < ip.size(); at += piece) {
        const std::size_t end = std::min(at + piece, ip.size());
        const auto begin = ip.begin() + static_cast<std::ptrdiff_t>(at);
        fragments.push_back(PacketBuilder{whole}
                                .protocol(ip[6], {begin, ip.begin() + static_cast<std::ptrdiff_t>(end)})
                                .extension(kFragment, fragment_header(at - 40, end < ip.size(), id)));
    }
    return fragments;
}
/// The same of IPv4.
std::vector<PacketBuilder> ipv4_fragments_of(const PacketBuilder& whole, std::size_t mtu = 1500) {
    const Bytes ip = whole.ip_bytes();
    const std::size_t piece = (mtu - 20) / 8 * 8;
    std::vector<PacketBuilder> fragments;
    for (std::size_t at = 20; at < ip.size(); at += piece) {
        const std::size_t end = std::min(at + piece, ip.size());
        const auto word = static_cast<std::uint16_t>((at - 20) / 8 | (end < ip.size() ? kMore4 : 0));
        const auto begin = ip.begin() + static_cast<std::ptrdiff_t>(at);
        fragments.push_back(PacketBuilder{whole}
                                .protocol(ip[9], {begin, ip.begin() + static_cast<std::ptrdiff_t>(end)})
                                .fragment(word));
    }
    return fragments;
}

/// Puts parts together; nullopt when one is missing or comes twice.
std::optional<Bytes> joined_parts(const std::map<std::size_t, Bytes>& parts) {
    Bytes content;
    for (const auto& [at, part] : parts) {
        if (at != content.size()) return std::nullopt;
        content.insert(content.end(), part.begin(), part.end());
    }
    return content;
}

/// The IPv6 packet that frames are fragments of; empty when something is missing, comes twice or is wrong.
Bytes joined(const std::vector<Frame>& frames, std::optional<std::uint32_t> id = std::nullopt) {
    std::map<std::size_t, Bytes> parts;
    Bytes header;
    bool last_seen = false;
    for (const Frame& frame : frames) {
        const Bytes ip{frame.bytes.begin() + 14, frame.bytes.end()};
        if (ip.size() < 48 || ip[6] != kFragment || ip.size() != 40U + (ip[4] << 8U | ip[5])) return {};
        const std::size_t word = ip[42] << 8U | ip[43];
        const std::uint32_t seen = std::uint32_t{ip[44]} << 24U | ip[45] << 16U | ip[46] << 8U | ip[47];
        if (seen != id.value_or(seen)) return {};
        id = seen;
        if (!parts.emplace(word & 0xfff8U, Bytes{ip.begin() + 48, ip.end()}).second) return {};
        if ((word & 1U) == 0) last_seen = true;
        header.assign(ip.begin(), ip.begin() + 40);
        header[6] = ip[40];
    }
    const auto content = joined_parts(parts);
    if (!last_seen || !content) return {};
    header[4] = static_cast<std::uint8_t>(content->size() >> 8U);
    header[5] = static_cast<std::uint8_t>(content->size());
    header.insert(header.end(), content->begin(), content->end());
    return header;
}
/// What IPv4 fragments carry together.
Bytes ipv4_content(const std::vector<Frame>& frames) {
    std::map<std::size_t, Bytes> parts;
    for (const Frame& frame : frames) {
        const Bytes ip{frame.bytes.begin() + 14, frame.bytes.end()};
        if (slow_checksum(std::span{ip}.first(20)) != 0) return {};
        const std::size_t word = ip[6] << 8U | ip[7];
        if (!parts.emplace((word & 0x1fffU) * 8, Bytes{ip.begin() + 20, ip.end()}).second) return {};
        if (!std::equal(ip.begin() + 4, ip.begin() + 6, frames.front().bytes.begin() + 18)) return {};
    }
    return joined_parts(parts).value_or(Bytes{});
}

class Ipv6Fragments : public ::testing::Test {
 protected:
    PacketBuilder request(std::size_t bytes, std::uint16_t port = 4000) const {
        return box_.to("wan")
            .from(kRouterMac)
            .ipv6(kFarClient6, kPublic6)
            .udp(port, 27015)
            .payload_bytes(bytes);
    }
    static PacketBuilder request_as_forwarded(std::size_t bytes, std::uint16_t port = 4000) {
        return packet().ipv6(kFarClient6, "fd00::5"_ip6).ttl(63).udp(port, 27015).payload_bytes(bytes);
    }
    std::vector<Frame> send(const std::vector<PacketBuilder>& fragments, const char* from = "wan",
                            const char* to = "lan") {
        for (const PacketBuilder& fragment : fragments) box_.put(from, fragment);
        box_.settle();
        return box_.take(to);
    }
    std::uint64_t held() const {
        return box_.total(&dataplane::ThreadCounters::held) -
               box_.total(&dataplane::ThreadCounters::released);
    }

    Box box_{kTwoArm6};
};

/// U14: every order of a datagram's fragments gives the same translated datagram, as over IPv4.
TEST_F(Ipv6Fragments, AreTranslatedInWhateverOrderTheyCome) {
    std::vector<std::size_t> order(4);
    std::iota(order.begin(), order.end(), 0);
    std::uint32_t id = 0x12345678;
    do {
        const auto fragments = fragments_of(request(5000), ++id);
        ASSERT_EQ(fragments.size(), order.size());
        for (const std::size_t i : order) {
            box_.put("wan", fragments[i]);
            box_.settle();
        }
        EXPECT_EQ(joined(box_.take("lan"), id), request_as_forwarded(5000).ip_bytes());
    } while (std::ranges::next_permutation(order).found);
    EXPECT_EQ(box_.sessions(), 1);
    EXPECT_EQ(held(), 0);
    box_.expect_every_packet_accounted_for();
    box_.expect_no_record_lost();
}

/// U14: the biggest datagram there is, and back.
TEST_F(Ipv6Fragments, BiggestDatagramComesBackToo) {
    auto fragments = fragments_of(request(65'527), 7, 1280);
    std::ranges::reverse(fragments);
    EXPECT_EQ(joined(send(fragments)), request_as_forwarded(65'527).ip_bytes());
    const auto answer =
        box_.to("lan").ipv6("fd00::5"_ip6, kFarClient6).udp(27015, 4000).payload_bytes(65'527);
    EXPECT_EQ(joined(send(fragments_of(answer, 8, 1280), "lan", "wan")),
              packet().ipv6(kPublic6, kFarClient6).ttl(63).udp(27015, 4000).payload_bytes(65'527).ip_bytes());
    box_.expect_every_packet_accounted_for();
}

/// U14: TCP too, also when the segment opens the connection.
TEST_F(Ipv6Fragments, OfTcpAreTranslated) {
    std::uint32_t id = 0;
    for (const std::uint8_t flags : {kSyn, kAck}) {
        const auto segment = box_.to("wan").ipv6(kFarClient6, kPublic6).tcp(1, 80, flags).payload_bytes(3000);
        EXPECT_EQ(joined(send(fragments_of(segment, ++id))), packet()
                                                                 .ipv6(kFarClient6, kLanServer6)
                                                                 .ttl(63)
                                                                 .tcp(1, 8080, flags)
                                                                 .payload_bytes(3000)
                                                                 .ip_bytes());
    }
}

/// RFC 6946: a fragment that is the whole packet is like any other packet, header and all.
TEST_F(Ipv6Fragments, ThatAreWholeAreNoneAtAll) {
    const Bytes atomic = fragment_header(0, false, 5);
    EXPECT_THAT(box_.exchange("wan", request(100).extension(kFragment, atomic), "lan"),
                ::testing::ElementsAre(from_fwd(box_, "lan", mac(5))
                                           .ipv6(kFarClient6, "fd00::5"_ip6)
                                           .ttl(63)
                                           .udp(4000, 27015)
                                           .payload_bytes(100)
                                           .extension(kFragment, atomic)
                                           .frame()));
    box_.put("wan", request(100).extension(kFragment, atomic).extension(kFragment, atomic));
    box_.settle();
    EXPECT_EQ(box_.count(Verdict::drop_ipv6_header), 1);
}

/// U14, P4: what no sender makes is dropped, and parts that overlap spoil the datagram (RFC 5722).
TEST_F(Ipv6Fragments, ThatCannotBeAreDropped) {
    const auto dropped = [&](const PacketBuilder& frame, Verdict verdict) {
        const std::uint64_t before = box_.count(verdict);
        EXPECT_THAT(send({frame}), IsEmpty());
        EXPECT_EQ(box_.count(verdict), before + 1) << static_cast<int>(verdict);
    };
    const auto piece = [&](std::size_t bytes, std::size_t offset, bool more, std::uint32_t id) {
        return box_.to("wan")
            .ipv6(kFarClient6, kPublic6)
            .protocol(17, Bytes(bytes))
            .extension(kFragment, fragment_header(offset, more, id));
    };
    dropped(piece(0, 8, true, 1), Verdict::drop_bad_fragment);
    dropped(piece(12, 8, true, 2), Verdict::drop_bad_fragment);
    dropped(piece(8, 65528, false, 3), Verdict::drop_bad_fragment);
    dropped(piece(8, 0, true, 4), Verdict::drop_bad_fragment);
    const auto fragments = fragments_of(request(3000), 9);
    EXPECT_THAT(send({fragments[0]}), SizeIs(1));
    EXPECT_THAT(send({fragments[0]}), IsEmpty());
    EXPECT_EQ(box_.count(Verdict::drop_fragment_overlap), 1);
    dropped(piece(1456, 1440, true, 9), Verdict::drop_fragment_overlap);
    dropped(fragments[1], Verdict::drop_fragment_overlap);
    dropped(fragments_of(request(3000).l4_checksum(0), 10)[0], Verdict::drop_bad_l4_header);
    dropped(fragments_of(request(3000).ipv6("::1"_ip6, kPublic6), 11)[0], Verdict::drop_martian);
    dropped(fragments_of(request(3000).to({{0x33, 0x33, 0, 0, 0, 1}}), 12)[0], Verdict::drop_multicast);
    box_.expect_every_packet_accounted_for();
}

/// U14: those that wait for their first one take bounded room, and go when their time is up.
TEST_F(Ipv6Fragments, WithoutTheirFirstOneWaitBoundedInNumberAndTime) {
    for (std::uint32_t id = 0; id < 500; ++id) {
        box_.put("wan", fragments_of(request(3000), id)[1]);
        if (id % 32 == 31) box_.settle();
    }
    box_.settle();
    EXPECT_THAT(box_.take("lan"), IsEmpty());
    EXPECT_LE(held(), 32);
    EXPECT_GT(held(), 0);
    box_.pass(20s);
    EXPECT_EQ(held(), 0);
    EXPECT_EQ(box_.count(Verdict::drop_fragment_expired), 500);
    box_.expect_every_packet_accounted_for();
}

/// U14: those of one source, a network of 64 bits, take no more than its share.
TEST_F(Ipv6Fragments, OfOneSourceTakeNoMoreThanItsShare) {
    const auto kOther = "2001:db8:f:2::8"_ip6;
    const auto innocent = fragments_of(request(5000).ipv6(kOther, kPublic6), 1);
    box_.put("wan", innocent[1]);
    const auto flood = fragments_of(request(65507), 2, 128);
    for (std::size_t i = flood.size() - 1; i != 0; --i) {
        box_.put("wan", flood[i]);
        if (i % 50 == 0) box_.settle();
    }
    box_.settle();
    EXPECT_LE(held(), FragmentTable::kMostWaiting + 1);
    EXPECT_GT(box_.count(Verdict::drop_fragments_full), 0);
    EXPECT_EQ(joined(send({innocent[0], innocent[2], innocent[3]})),
              request_as_forwarded(5000).ipv6(kOther, "fd00::5"_ip6).ip_bytes());
    box_.pass(20s);
    EXPECT_EQ(held(), 0);
    box_.expect_every_packet_accounted_for();
}

/// U14: they share what becomes of the first one.
TEST_F(Ipv6Fragments, ShareTheFirstOnesFate) {
    auto fragments =
        fragments_of(box_.to("wan").ipv6(kFarClient6, kPublic6).udp(1, 9999).payload_bytes(4000), 3);
    std::ranges::reverse(fragments);
    EXPECT_THAT(send(fragments), IsEmpty());
    EXPECT_EQ(box_.count(Verdict::drop_no_rule), 3);
    for (PacketBuilder& fragment : fragments = fragments_of(request(4000), 4)) fragment.ttl(1);
    EXPECT_THAT(send(fragments), IsEmpty());
    EXPECT_EQ(box_.count(Verdict::punt_ttl_expired), 1);
    EXPECT_EQ(box_.count(Verdict::drop_ttl_expired), 2);
    box_.expect_every_packet_accounted_for();
}

/// U13: too big for the next link, the first one is answered with the MTU.
TEST(Ipv6FragmentsThatAreTooBig, AreAnsweredOnce) {
    std::string narrow = kTwoArm6;
    const std::string lan = R"("net_null_lan";)";
    narrow.insert(narrow.find(lan) + lan.size(), " mtu = 1280;");
    Box box{narrow};
    for (const auto& fragment : fragments_of(
             box.to("wan").from(kRouterMac).ipv6(kFarClient6, kPublic6).udp(4000, 27015).payload_bytes(4000),
             1)) {
        box.put("wan", fragment);
    }
    box.settle();
    EXPECT_EQ(box.count(Verdict::punt_too_big), 1);
    EXPECT_THAT(box.take("wan"), SizeIs(1));
    EXPECT_EQ(box.count(Verdict::drop_too_big), 1) << "nobody answers a later one";
    EXPECT_THAT(box.take("lan"), SizeIs(1)) << "the third one fits";
    box.expect_every_packet_accounted_for();
}

/// I1: pings in fragments are answered, and no other ICMPv6 is looked at.
TEST(Ipv6FragmentsOfAPing, AreAnswered) {
    Box box{kOneArm6};
    const auto put = [&](std::vector<PacketBuilder> fragments) {
        std::ranges::reverse(fragments);
        for (const auto& fragment : fragments) box.put("lan", fragment);
        box.settle();
        return box.take("lan");
    };
    const auto ping = [&](net::Ipv6Address to, std::uint8_t type) {
        return box.to("lan")
            .from(kClientMac)
            .ipv6(kClient6, to)
            .icmpv6(type, 0, 0x00070001)
            .payload_bytes(8000);
    };
    EXPECT_EQ(joined(put(fragments_of(ping(kFwd6, 128), 1)), 1),
              packet().ipv6(kFwd6, kClient6).icmpv6(129, 0, 0x00070001).payload_bytes(8000).ip_bytes());
    EXPECT_THAT(put(fragments_of(ping(kExternal6, 128), 2)), IsEmpty());
    EXPECT_THAT(put(fragments_of(ping(kFwd6, 135), 3)), IsEmpty());
    EXPECT_EQ(box.count(Verdict::drop_icmp_ignored), 12);
    box.expect_every_packet_accounted_for();
}

/// U14, I1: of a host inside, and the answer.
TEST(Ipv6FragmentsOfAPing, AreMasqueraded) {
    constexpr auto kWan6 = "2001:db8:2::1"_ip6;
    Box box{kTwoArm6 + R"(masquerades = ( { name = "home"; inside = "lan"; } );)"};
    box.settle();
    box.take("wan");
    const auto exchanged = [&](const char* in, const PacketBuilder& whole, const char* by) {
        auto fragments = fragments_of(whole, 5);
        std::ranges::reverse(fragments);
        for (const auto& fragment : fragments) box.put(in, fragment);
        box.settle();
        return box.take(by);
    };
    const auto ping = [](PacketBuilder headers, std::uint8_t type, std::uint32_t identifier) {
        return headers.icmpv6(type, 0, identifier << 16U | 1U).payload_bytes(3000);
    };
    const auto there = exchanged("lan", ping(box.to("lan").ipv6(kLanServer6, kFarClient6), 128, 77), "wan");
    ASSERT_THAT(there, SizeIs(3));
    const std::uint32_t identifier =
        static_cast<std::uint32_t>(there[0].bytes.at(66) << 8U | there[0].bytes.at(67));
    EXPECT_EQ(joined(there), ping(packet().ipv6(kWan6, kFarClient6).ttl(63), 128, identifier).ip_bytes());
    EXPECT_EQ(joined(exchanged("wan",
                               ping(box.to("wan").from(kRouterMac).ipv6(kFarClient6, kWan6), 129, identifier),
                               "lan"),
                     5),
              ping(packet().ipv6(kFarClient6, kLanServer6).ttl(63), 129, 77).ip_bytes());
    EXPECT_EQ(box.sessions(), 1);
    box.expect_every_packet_accounted_for();
}

class CrossingFragments : public Ipv6Fragments {
 protected:
    CrossingFragments() {
        box_.set_rules(R"(rules = (
            { protocol = "tcp+udp"; external = "192.0.2.3:80"; target = "[fd00::4]:8080"; },
            { protocol = "tcp+udp"; external = "[2001:db8:2::3]:80"; target = "10.0.0.4:8080"; } );)");
        box_.settle();
        box_.take("wan");
        box_.take("lan");
    }
    PacketBuilder request4(std::size_t bytes) const {
        return box_.to("wan")
            .from(kRouterMac)
            .ipv4(kFarClient, kPublic)
            .udp(9, 80)
            .payload_bytes(bytes)
            .identification(0x4321);
    }
    static PacketBuilder as_ipv6(std::size_t bytes, std::uint16_t port) {
        return packet().ipv6("fd00::1"_ip6, kLanServer6).ttl(63).udp(port, 8080).payload_bytes(bytes);
    }
    static std::uint16_t port_of(const Frame& frame) {
        return static_cast<std::uint16_t>(frame.bytes.at(14 + 48) << 8U | frame.bytes.at(14 + 49));
    }
};

/// U14: fragments of IPv4 become fragments of IPv6, and the answers' the reverse.
TEST_F(CrossingFragments, OfIpv4BecomeFragmentsOfIpv6AndTheReverse) {
    auto fragments = ipv4_fragments_of(request4(4000), 1200);
    std::rotate(fragments.begin(), fragments.begin() + 1, fragments.end());
    const auto there = send(fragments);
    ASSERT_THAT(there, SizeIs(4));
    const std::uint16_t port = port_of(there[0]);
    EXPECT_EQ(joined(there), as_ipv6(4000, port).ip_bytes());

    const auto answer = box_.to("lan").ipv6(kLanServer6, "fd00::1"_ip6).udp(8080, port).payload_bytes(4000);
    const auto back = send(fragments_of(answer, 0x99998888), "lan", "wan");
    const Bytes expected = packet().ipv4(kPublic, kFarClient).udp(80, 9).payload_bytes(4000).ip_bytes();
    EXPECT_EQ(ipv4_content(back), Bytes(expected.begin() + 20, expected.end()));
    box_.expect_every_packet_accounted_for();
    box_.expect_no_record_lost();
}

/// P4: IPv6 counts its longest datagram without the fixed header, IPv4 with it.
TEST_F(CrossingFragments, DatagramsThatIpv4HasNoRoomForLoseTheirEnd) {
    const auto fragments = [&](std::size_t bytes, std::uint32_t id) {
        return fragments_of(box_.to("wan").ipv6(kFarClient6, kPublic6).udp(9, 80).payload_bytes(bytes), id);
    };
    const auto fits = fragments(65507, 1);
    EXPECT_THAT(send(fits), SizeIs(fits.size()));
    EXPECT_EQ(box_.count(Verdict::drop_bad_fragment), 0);
    const auto too_long = fragments(65508, 2);
    EXPECT_THAT(send(too_long), SizeIs(too_long.size() - 1));
    EXPECT_EQ(box_.count(Verdict::drop_bad_fragment), 1);
    box_.expect_every_packet_accounted_for();
}

/// U13, U14: what may be fragmented is cut to what IPv6 carries everywhere (RFC 7915, section 4); also
/// without a UDP checksum. What may not is whole up to the link's MTU.
TEST_F(CrossingFragments, PacketsThatMayBeCutFitEverywhere) {
    for (const bool has_checksum : {true, false}) {
        auto whole = request4(1472);
        const auto there = send({has_checksum ? whole : whole.l4_checksum(0)});
        ASSERT_THAT(there, SizeIs(2));
        for (const Frame& frame : there) EXPECT_LE(frame.bytes.size(), 14 + 1280);
        EXPECT_EQ(joined(there), as_ipv6(1472, port_of(there[0])).ip_bytes());
    }
    const auto large = send(ipv4_fragments_of(request4(4000)));
    EXPECT_THAT(large, SizeIs(5)) << "a full one of IPv4 is more than one of IPv6";
    for (const Frame& frame : large) EXPECT_LE(frame.bytes.size(), 14 + 1280);
    EXPECT_EQ(joined(large), as_ipv6(4000, port_of(large[0])).ip_bytes());
    const std::size_t headers6 = 48, headers4 = 28;
    EXPECT_THAT(send({request4(1280 - headers6)}), SizeIs(1));
    EXPECT_THAT(send({request4(1281 - headers6)}), SizeIs(2));
    EXPECT_THAT(send({request4(1500 - headers6).dont_fragment()}), SizeIs(1));
    EXPECT_THAT(send({request4(1500 - headers4).dont_fragment()}), IsEmpty());
    EXPECT_EQ(box_.count(Verdict::punt_too_big), 1);
    box_.expect_every_packet_accounted_for();
}

/// U13: where the operator knows that the IPv6 network carries more, packets stay whole for longer.
TEST(CrossingFragmentsOfALargerNetwork, AreCutToWhatItCarries) {
    std::string networks = kTwoArm6.substr(0, kTwoArm6.find("rules = "));
    const std::string link = R"(name = "lan";)";
    networks.insert(networks.find(link) + link.size(), " lowest_ipv6_mtu = 1400;");
    Box box{networks};
    box.set_rules(
        R"(rules = ( { protocol = "udp"; external = "192.0.2.3:80"; target = "[fd00::4]:80"; } );)");
    const auto send = [&](std::size_t bytes) {
        box.put("wan",
                box.to("wan").from(kRouterMac).ipv4(kFarClient, kPublic).udp(9, 80).payload_bytes(bytes));
        box.settle();
        return box.take("lan");
    };
    send(1);  // and whatever opening needs
    EXPECT_THAT(send(1400 - 48), SizeIs(1));
    EXPECT_THAT(send(1401 - 48), SizeIs(2));
    box.expect_every_packet_accounted_for();
}

/// RFC 7915, 4.1 and 4.5: IPv4's options are left out; a datagram without a checksum can't cross in pieces.
TEST_F(CrossingFragments, WhatTheOtherFamilyDoesNotHave) {
    const auto sent = send({request4(100).ip_options({1, 1, 1, 0})});
    ASSERT_THAT(sent, SizeIs(1));
    EXPECT_EQ(sent[0], from_fwd(box_, "lan", kServerMac)
                           .ipv6("fd00::1"_ip6, kLanServer6)
                           .ttl(63)
                           .udp(look_into(sent[0]).source.port.host(), 8080)
                           .payload_bytes(100)
                           .frame());
    EXPECT_THAT(send({ipv4_fragments_of(request4(3000).l4_checksum(0))[0]}), IsEmpty());
    EXPECT_EQ(box_.count(Verdict::drop_ipv6_fragment), 1);
    auto with_options =
        fragments_of(box_.to("wan").ipv6(kFarClient6, kPublic6).udp(9, 80).payload_bytes(3000), 2)[0];
    with_options.extension(kDestinationOptions, {0, 1, 4, 0, 0, 0, 0});
    EXPECT_THAT(send({with_options}), IsEmpty());
    EXPECT_EQ(box_.count(Verdict::drop_ipv6_fragment), 2);
    box_.expect_every_packet_accounted_for();
}

/// Makes the ICMPv6 checksum right of a frame whose ICMPv6 begins right behind its IPv6 header.
void sum_icmpv6(Bytes& frame) {
    if (frame.size() < 62 || frame[20] != 58) return;
    frame[56] = frame[57] = 0;
    Bytes summed(frame.begin() + 22, frame.begin() + 54);
    const std::size_t bytes = frame.size() - 54;
    summed.insert(summed.end(), {0, 0, static_cast<std::uint8_t>(bytes >> 8U),
                                 static_cast<std::uint8_t>(bytes), 0, 0, 0, 58});
    summed.insert(summed.end(), frame.begin() + 54, frame.end());
    const std::uint16_t sum = slow_checksum(summed);
    frame[56] = static_cast<std::uint8_t>(sum >> 8U);
    frame[57] = static_cast<std::uint8_t>(sum);
}

/// P4: whatever comes, nothing is read or written outside of a frame, and every packet is accounted for.
TEST(Ipv6Drop, MutatedFramesNeverHarm) {
    Box box{kTwoArm6};
    box.set_rules(R"(rules = (
        { protocol = "tcp+udp"; external = "192.0.2.3:80"; target = "[fd00::4]:8080"; },
        { protocol = "tcp+udp"; external = "[2001:db8:2::3]:80"; target = "10.0.0.4:8080"; },
        { protocol = "udp"; external = "[2001:db8:2::3]:27015"; target = "[fd00::5]:27015"; },
        { protocol = "all"; external = "2001:db8:2::5"; target = "fd00::5"; } );)");
    box.settle();
    const auto in = box.to("wan").from(kRouterMac).ipv6(kFarClient6, kPublic6);
    const auto quoted = packet().ipv6(kPublic6, kFarClient6).udp(27015, 9).payload("pong");
    const auto whole = PacketBuilder{in}.ipv6(kFarClient6, "2001:db8:2::5"_ip6);
    const auto tunnelled = packet().ipv6("2001:db8:2::5"_ip6, kFarClient6).protocol(47, Bytes(30));
    const auto pinged = packet().ipv6("2001:db8:2::5"_ip6, kFarClient6).icmpv6(129, 0, 7);
    const auto datagram = PacketBuilder{in}.udp(9, 27015).payload_bytes(1800);
    const auto tunnel = PacketBuilder{whole}.protocol(47, Bytes(1800));
    const auto crossing = PacketBuilder{in}.udp(9, 80).payload_bytes(1800);
    const auto from_ipv4 =
        box.to("wan").from(kRouterMac).ipv4(kFarClient, kPublic).udp(9, 80).payload_bytes(1800);
    std::vector<Bytes> seeds{
        PacketBuilder{in}.udp(9, 27015).payload("ping").bytes(),
        PacketBuilder{in}.tcp(9, 80, kSyn).bytes(),
        PacketBuilder{in}.udp(9, 80).extension(0, {0, 1, 4, 0, 0, 0, 0}).payload("x").bytes(),
        PacketBuilder{in}.icmpv6(1, 4).payload(quoted.ip_bytes()).bytes(),
        PacketBuilder{in}.icmpv6(2, 0, 1300).payload(quoted.ip_bytes()).bytes(),
        PacketBuilder{in}.icmpv6(128, 0).payload("echo").bytes(),
        PacketBuilder{whole}.icmpv6(128, 0, 7).payload("echo").bytes(),
        PacketBuilder{whole}.protocol(47, Bytes(30)).bytes(),
        PacketBuilder{whole}.icmpv6(3, 0).payload(tunnelled.ip_bytes()).bytes(),
        PacketBuilder{whole}.icmpv6(4, 0).payload(pinged.ip_bytes()).bytes(),
        PacketBuilder{in}.ttl(255).icmpv6(135, 0).payload_bytes(24).bytes(),
        PacketBuilder{in}.ttl(255).icmpv6(136, 0).payload_bytes(24).bytes(),
        PacketBuilder{in}.ttl(1).extension(0, {0, 5, 2, 0, 0, 1, 0}).icmpv6(130, 0).payload_bytes(20).bytes(),
        box.to("wan").from(kRouterMac).ipv4(kFarClient, kPublic).tcp(9, 80, kSyn).bytes(),
    };
    for (const auto& fragment : fragments_of(datagram, 1)) seeds.push_back(fragment.bytes());
    for (const auto& fragment : fragments_of(crossing, 2)) seeds.push_back(fragment.bytes());
    for (const auto& fragment : fragments_of(tunnel, 3)) seeds.push_back(fragment.bytes());
    for (const auto& fragment : ipv4_fragments_of(from_ipv4)) seeds.push_back(fragment.bytes());
    std::mt19937 random{20261126};
    const auto below = [&random](std::size_t n) { return static_cast<std::size_t>(random() % n); };
    for (int i = 0; i < 60'000; ++i) {
        Bytes frame = seeds[below(seeds.size())];
        // Mostly in the headers.
        for (std::size_t n = below(4); n > 0; --n)
            frame[12 + below(std::min<std::size_t>(frame.size(), 130) - 12)] =
                static_cast<std::uint8_t>(random());
        if (below(5) == 0) frame.resize(below(frame.size() + 1));
        if (below(2) == 0) sum_icmpv6(frame);
        box.put("wan", frame);
        if (i % 16 == 0) box.settle();
        if (i % 1000 == 0) box.pass(1000ms);
    }
    box.settle();
    box.take("wan");
    box.take("lan");
    box.pass(20s);
    box.expect_every_packet_accounted_for();
    box.expect_no_record_lost();
    EXPECT_THAT(box.exchange("wan", PacketBuilder{in}.udp(10, 27015), "lan"), SizeIs(1));
}

}  // namespace
}  // namespace fwd::test
