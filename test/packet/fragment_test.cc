// SPDX-License-Identifier: BSD-3-Clause
// Fragments, through the whole pipeline: in any order, hostile ones, and what they may take.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>

#include "dataplane/fragment_table.h"
#include "test/packet/outbound.h"

namespace fwd::test {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;
using namespace std::chrono_literals;
using dataplane::FragmentTable;

constexpr std::uint16_t kMore = 0x2000;

/// A packet in fragments as a sender with this MTU makes them.
std::vector<PacketBuilder> fragments_of(const PacketBuilder& whole, std::size_t mtu = 1500) {
    const Bytes ip = whole.ip_bytes();
    const std::size_t piece = (mtu - 20) / 8 * 8;
    std::vector<PacketBuilder> fragments;
    for (std::size_t at = 20; at < ip.size(); at += piece) {
        const std::size_t end = std::min(at + piece, ip.size());
        const auto word = static_cast<std::uint16_t>((at - 20) / 8 | (end < ip.size() ? kMore : 0));
        const auto begin = ip.begin() + static_cast<std::ptrdiff_t>(at);
        fragments.push_back(PacketBuilder{whole}
                                .protocol(ip[9], {begin, ip.begin() + static_cast<std::ptrdiff_t>(end)})
                                .fragment(word));
    }
    return fragments;
}

std::uint16_t identification_of(const Frame& frame) {
    return static_cast<std::uint16_t>(frame.bytes.at(18) << 8U | frame.bytes.at(19));
}

/// The packet that frames are fragments of; empty when something is missing, comes twice or is wrong.
Bytes joined(const std::vector<Frame>& frames) {
    std::map<std::size_t, Bytes> parts;
    Bytes header;
    std::vector<std::size_t> last;  // no more follows them, they say
    for (const Frame& frame : frames) {
        const Bytes ip{frame.bytes.begin() + 14, frame.bytes.end()};
        if (slow_checksum(std::span{ip}.first(20)) != 0) return {};
        if (identification_of(frame) != identification_of(frames.front())) return {};
        const unsigned word = ip[6] << 8U | ip[7];
        if (!parts.emplace((word & 0x1fffU) * 8, Bytes{ip.begin() + 20, ip.end()}).second) return {};
        if ((word & kMore) == 0) last.push_back((word & 0x1fffU) * 8);
        header.assign(ip.begin(), ip.begin() + 20);
    }
    Bytes content;
    for (const auto& [at, part] : parts) {
        if (at != content.size()) return {};
        content.insert(content.end(), part.begin(), part.end());
    }
    if (parts.empty() || last != std::vector{parts.rbegin()->first}) return {};
    header[2] = static_cast<std::uint8_t>((20 + content.size()) >> 8U);
    header[3] = static_cast<std::uint8_t>(20 + content.size());
    header[6] = header[7] = header[10] = header[11] = 0;
    const std::uint16_t sum = slow_checksum(header);
    header[10] = static_cast<std::uint8_t>(sum >> 8U);
    header[11] = static_cast<std::uint8_t>(sum);
    header.insert(header.end(), content.begin(), content.end());
    return header;
}

class Fragments : public ::testing::Test {
 protected:
    PacketBuilder request(std::size_t bytes, std::uint16_t port = 4000) {
        return box_.to("wan")
            .ipv4(kFarClient, kPublic)
            .udp(port, 27015)
            .payload_bytes(bytes)
            .identification(++id_);
    }
    PacketBuilder request_as_forwarded(std::size_t bytes, std::uint16_t port = 4000) {
        return packet()
            .ipv4(kFarClient, "10.0.0.5"_ip)
            .ttl(63)
            .udp(port, 27015)
            .payload_bytes(bytes)
            .identification(id_);
    }
    void put_all(const std::vector<PacketBuilder>& fragments) {
        for (const PacketBuilder& fragment : fragments) box_.put("wan", fragment);
        box_.settle();
    }
    std::uint64_t held() const {
        return box_.total(&dataplane::ThreadCounters::held) -
               box_.total(&dataplane::ThreadCounters::released);
    }

    Box box_{kTwoArm};
    std::uint16_t id_ = 100;
};

/// U14: every order of a datagram's fragments gives the same translated datagram.
TEST_F(Fragments, AreTranslatedInWhateverOrderTheyCome) {
    std::vector<std::size_t> order(4);
    std::iota(order.begin(), order.end(), 0);
    do {
        const auto fragments = fragments_of(request(5000));
        ASSERT_EQ(fragments.size(), order.size());
        for (const std::size_t i : order) {
            box_.put("wan", fragments[i]);
            box_.settle();
        }
        EXPECT_EQ(joined(box_.take("lan")), request_as_forwarded(5000).ip_bytes());
    } while (std::ranges::next_permutation(order).found);
    EXPECT_EQ(box_.sessions(), 1);
    EXPECT_EQ(held(), 0);
    box_.expect_every_packet_accounted_for();
    box_.expect_no_record_lost();
}

/// U14: the biggest datagram there is, first fragment last, by small networks, through full NAT, both ways.
TEST(FragmentsOfMasqueradedSession, BiggestDatagramComesBackToo) {
    Box box{kOneArm};
    const auto send = [&](const PacketBuilder& whole, std::size_t mtu) {
        auto fragments = fragments_of(whole, mtu);
        std::ranges::reverse(fragments);
        for (const auto& fragment : fragments) box.put("lan", fragment);
        box.settle();
        return box.take("lan");
    };
    for (const std::size_t mtu : {1500, 576}) {
        const auto there = send(
            box.to("lan").from(kClientMac).ipv4(kClient, kExternal).udp(5000, 53).payload_bytes(65507), mtu);
        ASSERT_FALSE(there.empty());
        const std::uint16_t port = look_into(there.front()).source.port.host();
        EXPECT_EQ(joined(there), packet()
                                     .ipv4(kFwd, kServer)
                                     .ttl(63)
                                     .udp(port, 5353)
                                     .payload_bytes(65507)
                                     .identification(identification_of(there.front()))
                                     .ip_bytes());
        const auto back = send(
            box.to("lan").from(kServerMac).ipv4(kServer, kFwd).udp(5353, port).payload_bytes(65507), mtu);
        ASSERT_FALSE(back.empty());
        EXPECT_EQ(joined(back), packet()
                                    .ipv4(kExternal, kClient)
                                    .ttl(63)
                                    .udp(53, 5000)
                                    .payload_bytes(65507)
                                    .identification(identification_of(back.front()))
                                    .ip_bytes());
    }
    EXPECT_EQ(box.sessions(), 1);
    box.expect_every_packet_accounted_for();
}

/// U14: of a host inside that reaches the world by masquerade, and of the answers.
TEST(FragmentsOfAnInsideHost, AreTranslatedInWhateverOrderTheyCome) {
    Box box{masqueraded(R"({ name = "home"; inside = "lan"; })")};
    Outbound out{box};
    const auto opened = out.udp(endpoint(kHost, 5000), endpoint(kPeer, 53));
    ASSERT_TRUE(opened);
    const std::uint16_t port = opened->source.port.host();
    std::uint16_t id = 100;
    std::vector<std::size_t> order{0, 1, 2};
    const auto exchanged = [&](const std::string& in, const PacketBuilder& whole, const std::string& by) {
        const auto fragments = fragments_of(PacketBuilder{whole}.identification(id));
        for (const std::size_t i : order) {
            box.put(in, fragments.at(i));
            box.settle();
        }
        return box.take(by);
    };
    const auto is_right = [&](const std::vector<Frame>& sent, const PacketBuilder& headers, bool renumbered) {
        ASSERT_FALSE(sent.empty());
        EXPECT_EQ(identification_of(sent.front()) != id, renumbered);
        EXPECT_EQ(joined(sent), PacketBuilder{headers}
                                    .ttl(63)
                                    .payload_bytes(4000)
                                    .identification(identification_of(sent.front()))
                                    .ip_bytes());
    };
    do {
        ++id;
        is_right(exchanged("lan",
                           box.to("lan").from(kHostMac).ipv4(kHost, kPeer).udp(5000, 53).payload_bytes(4000),
                           "wan"),
                 packet().ipv4(kWanAddress, kPeer).udp(port, 53), true);
        is_right(
            exchanged("wan", box.to("wan").ipv4(kPeer, kWanAddress).udp(53, port).payload_bytes(4000), "lan"),
            packet().ipv4(kPeer, kHost).udp(53, 5000), false);
    } while (std::ranges::next_permutation(order).found);
    EXPECT_EQ(box.sessions(), 1);
    box.expect_every_packet_accounted_for();
}

/// U14: senders that leave by one address know nothing of each other's identifications (RFC 6864, section
/// 5.3).
TEST(FragmentsOfTwoSenders, AreNeverMixedUp) {
    Box box{kTwoArm};
    box.set_rules(R"(rules = (
        { protocol = "udp"; external = "192.0.2.3:53"; target = "10.0.0.4:53"; source = "masquerade"; } );)");
    const auto datagram = [&](net::Ipv4Address client, std::size_t bytes) {
        return box.to("wan").ipv4(client, kPublic).udp(9, 53).payload_bytes(bytes).identification(7);
    };
    const auto is_apart = [&](const std::vector<std::size_t>& sizes) {
        std::map<std::uint16_t, std::vector<Frame>> datagrams;
        for (const Frame& frame : box.take("lan")) datagrams[identification_of(frame)].push_back(frame);
        std::vector<std::size_t> seen;
        for (const auto& [id, frames] : datagrams) seen.push_back(joined(frames).size());
        std::ranges::sort(seen);
        EXPECT_EQ(seen, sizes);
    };
    const auto first = fragments_of(datagram(kFarClient, 2000));
    const auto second = fragments_of(datagram("198.51.100.8"_ip, 2001));
    for (const auto& fragment : {first[0], second[0], second[1], first[1]}) box.put("wan", fragment);
    box.settle();
    is_apart({2028, 2029});
    // The same datagram once more is another one.
    for (int i = 0; i < 2; ++i)
        for (const auto& fragment : {first[1], first[0]}) box.put("wan", fragment);
    box.settle();
    is_apart({2028, 2028});
    box.expect_every_packet_accounted_for();
}

/// U14, I1: a long ping of a host inside, and its answer.
TEST(FragmentsOfAPing, AreMasqueradedInWhateverOrderTheyCome) {
    Box box{masqueraded(R"({ name = "home"; inside = "lan"; })")};
    std::vector<std::size_t> order{0, 1, 2};
    const auto exchanged = [&](const std::string& in, const PacketBuilder& whole, const std::string& by) {
        const auto fragments = fragments_of(whole);
        for (const std::size_t i : order) {
            box.put(in, fragments.at(i));
            box.settle();
        }
        return box.take(by);
    };
    // Of an ICMP error's type are the bytes that the second fragment begins with.
    const auto ping = [&](PacketBuilder headers, std::uint8_t type, std::uint32_t rest, std::uint16_t id) {
        return headers.icmp(type, 0, rest).payload(Bytes(4000, 3)).identification(id);
    };
    std::uint16_t id = 100;
    do {
        ++id;
        const auto there = exchanged(
            "lan", ping(box.to("lan").from(kHostMac).ipv4(kHost, kPeer), 8, 77U << 16U | id, id), "wan");
        ASSERT_THAT(there, SizeIs(3));
        const auto begins = std::ranges::find_if(there, [](const Frame& frame) {
            return ((frame.bytes[20] << 8U | frame.bytes[21]) & 0x1fff) == 0;
        });
        ASSERT_NE(begins, there.end());
        const auto identifier = static_cast<std::uint32_t>(begins->bytes.at(38) << 8U | begins->bytes.at(39));
        EXPECT_EQ(joined(there), ping(packet().ipv4(kWanAddress, kPeer).ttl(63), 8, identifier << 16U | id,
                                      identification_of(there.front()))
                                     .ip_bytes());
        EXPECT_EQ(
            joined(exchanged(
                "wan", ping(box.to("wan").ipv4(kPeer, kWanAddress), 0, identifier << 16U | id, id), "lan")),
            ping(packet().ipv4(kPeer, kHost).ttl(63), 0, 77U << 16U | id, id).ip_bytes());
    } while (std::ranges::next_permutation(order).found);
    EXPECT_EQ(box.sessions(), 1);
    // Nobody has asked for this one, and no errors come in fragments.
    EXPECT_THAT(exchanged("wan", ping(box.to("wan").ipv4(kPeer, kWanAddress), 0, 1, 7), "lan"), IsEmpty());
    EXPECT_THAT(exchanged("lan", ping(box.to("lan").ipv4(kHost, kPeer), 3, 1, 8), "wan"), IsEmpty());
    EXPECT_EQ(box.count(Verdict::drop_icmp_ignored), 6);
    box.expect_every_packet_accounted_for();
    box.expect_no_record_lost();
}

/// P1: with an identifier of 0, a reply without content is all zeros in its first fragment.
TEST(FragmentsOfAPing, OfZerosHaveARightChecksum) {
    Box box{masqueraded(R"({ name = "home"; inside = "lan"; })")};
    const auto there = box.exchange("lan", box.to("lan").ipv4(kHost, kPeer).icmp(8, 0, 0), "wan");
    ASSERT_THAT(there, SizeIs(1));
    const auto identifier = static_cast<std::uint32_t>(there[0].bytes.at(38) << 8U | there[0].bytes.at(39))
                            << 16U;
    for (const std::uint8_t last : {0, 1}) {
        Bytes content(3000, 0);
        content.back() = last;
        for (const auto& fragment : fragments_of(box.to("wan")
                                                     .ipv4(kPeer, kWanAddress)
                                                     .icmp(0, 0, identifier)
                                                     .payload(content)
                                                     .identification(last)))
            box.put("wan", fragment);
        box.settle();
        const Bytes reply = joined(box.take("lan"));
        ASSERT_THAT(reply, SizeIs(3028));
        EXPECT_EQ(slow_checksum(std::span{reply}.subspan(20)), 0);
    }
}

/// U14: TCP too, also when the segment opens the connection.
TEST_F(Fragments, OfTcpAreTranslated) {
    for (const std::uint8_t flags : {kSyn, kAck}) {
        const auto segment = box_.to("wan").ipv4(kFarClient, kPublic).tcp(1, 80, flags).payload_bytes(3000);
        put_all(fragments_of(PacketBuilder{segment}.identification(++id_)));
        EXPECT_EQ(joined(box_.take("lan")), packet()
                                                .ipv4(kFarClient, kLanServer)
                                                .ttl(63)
                                                .tcp(1, 8080, flags)
                                                .payload_bytes(3000)
                                                .identification(id_)
                                                .ip_bytes());
    }
}

/// U14, P2: a UDP checksum of 0 stays one.
TEST_F(Fragments, WithoutAUdpChecksumKeepNone) {
    put_all(fragments_of(request(3000).l4_checksum(0)));
    EXPECT_EQ(joined(box_.take("lan")), request_as_forwarded(3000).l4_checksum(0).ip_bytes());
}

/// U14: a fragment that comes twice is dropped, and spoils nothing.
TEST_F(Fragments, ThatComeTwiceAreForwardedOnce) {
    const auto fragments = fragments_of(request(5000));
    put_all(
        {fragments[2], fragments[2], fragments[0], fragments[0], fragments[1], fragments[1], fragments[3]});
    EXPECT_EQ(joined(box_.take("lan")), request_as_forwarded(5000).ip_bytes());
    EXPECT_EQ(box_.count(Verdict::drop_fragment_overlap), 3);
    box_.expect_every_packet_accounted_for();
}

/// U14: overlapping fragments (teardrop and its like) never make a whole datagram.
TEST_F(Fragments, ThatOverlapSpoilTheDatagram) {
    const auto piece = [&](std::size_t first, std::size_t units, bool more) {
        return PacketBuilder{request(0)}
            .protocol(17, Bytes(units * 8, 0x55))
            .fragment(static_cast<std::uint16_t>(first | (more ? kMore : 0)));
    };
    const std::vector<std::pair<std::size_t, std::vector<PacketBuilder>>> cases{
        {1, {piece(0, 0, false), piece(2, 10, true), piece(12, 2, false)}},  // begins inside the first one
        {1, {piece(0, 0, false), piece(1, 3, false), piece(4, 10, true)}},   // ends inside it
        {2, {piece(0, 0, false), piece(4, 4, false), piece(4, 5, false)}},   // two ends
        {2, {piece(0, 0, false), piece(4, 4, false), piece(9, 2, true)}},    // behind the end
        {2, {piece(0, 0, false), piece(9, 5, true), piece(5, 2, false)}},    // an end before the end
    };
    for (const auto& [forwarded, pieces] : cases) {
        ++id_;
        const std::uint64_t before = box_.count(Verdict::drop_fragment_overlap);
        auto all = pieces;
        all[0] = fragments_of(request(5000)).front().protocol(17, [&] {
            Bytes first = request(16).ip_bytes();
            first.erase(first.begin(), first.begin() + 20);
            first[4] = 1;  // the UDP length, of more than this fragment
            return first;
        }());
        for (auto& fragment : all) fragment.identification(id_);
        put_all(all);
        EXPECT_THAT(box_.take("lan"), SizeIs(forwarded));
        EXPECT_EQ(box_.count(Verdict::drop_fragment_overlap) - before, all.size() - forwarded);
        // Nor does what comes later.
        box_.put("wan", PacketBuilder{all[1]}.fragment(kMore | 100));
        box_.settle();
        EXPECT_THAT(box_.take("lan"), IsEmpty());
    }
    box_.expect_every_packet_accounted_for();
}

/// U14, P4: what can't be a fragment is dropped under its name.
TEST_F(Fragments, ThatCannotBeAreDropped) {
    const auto udp_header = [](std::uint16_t source, std::uint16_t destination, std::uint16_t bytes) {
        const auto high = [](std::uint16_t v) { return static_cast<std::uint8_t>(v >> 8U); };
        const auto low = [](std::uint16_t v) { return static_cast<std::uint8_t>(v); };
        return Bytes{
            high(source), low(source), high(destination), low(destination), high(bytes), low(bytes), 0, 0};
    };
    Bytes tcp_with_long_options(24, 1);
    tcp_with_long_options[12] = 0xf0;
    const std::vector<std::tuple<const char*, std::uint8_t, Bytes, std::uint16_t>> rows{
        {"empty", 17, {}, 5},
        {"cut at an odd place", 17, Bytes(9), kMore | 5},
        {"beyond 64 KiB", 17, Bytes(16), 0x1fff},
        {"a byte beyond 64 KiB", 17, Bytes(12), 0x1ffc},
        {"TCP without its header", 6, Bytes(16, 1), kMore},
        {"TCP without its options", 6, tcp_with_long_options, kMore},
        {"source port 0", 17, udp_header(0, 27015, 100), kMore},
        {"destination port 0", 17, udp_header(1, 0, 100), kMore},
        {"a UDP datagram that ends in its first fragment", 17, udp_header(1, 27015, 8), kMore},
    };
    std::uint64_t dropped = 0;
    for (const auto& [name, protocol, content, word] : rows) {
        box_.put("wan", request(0).protocol(protocol, content).fragment(word));
        box_.settle();
        EXPECT_EQ(box_.count(Verdict::drop_bad_fragment), ++dropped) << name;
    }
    box_.put("wan", request(0).protocol(132, Bytes(16)).fragment(kMore));
    box_.settle();
    EXPECT_EQ(box_.count(Verdict::drop_unsupported_protocol), 1);
    EXPECT_THAT(box_.take("lan"), IsEmpty());
    EXPECT_EQ(box_.sessions(), 0);
    box_.expect_every_packet_accounted_for();
}

/// U14: what becomes of the first fragment becomes of all, whether they came before or after.
TEST_F(Fragments, ShareTheFirstOnesFate) {
    auto fragments = fragments_of(box_.to("wan").ipv4(kFarClient, kPublic).udp(1, 9).payload_bytes(5000));
    std::swap(fragments[0], fragments[2]);
    put_all(fragments);
    EXPECT_EQ(box_.count(Verdict::drop_no_rule), 4);

    fragments = fragments_of(request(5000).ttl(1));
    put_all(fragments);
    EXPECT_EQ(box_.count(Verdict::punt_ttl_expired), 1) << "one answer for all";
    EXPECT_EQ(box_.count(Verdict::drop_ttl_expired), 3);
    EXPECT_THAT(box_.take("wan"), SizeIs(1));
    EXPECT_THAT(box_.take("lan"), IsEmpty());
    box_.expect_every_packet_accounted_for();
}

/// U14: a datagram that was refused may come once more, with the same identification, and pass.
TEST_F(Fragments, OfARefusedDatagramMayComeAgain) {
    const auto answer = fragments_of(box_.to("lan")
                                         .from(mac(5))
                                         .ipv4("10.0.0.5"_ip, kFarClient)
                                         .udp(27015, 4000)
                                         .payload_bytes(5000)
                                         .identification(7));
    for (const bool explained : {false, true}) {
        if (explained) box_.exchange("wan", request(100), "lan");
        for (const PacketBuilder& fragment : answer) box_.put("lan", fragment);
        box_.settle();
        EXPECT_THAT(box_.take("wan"), SizeIs(explained ? answer.size() : 0));
    }
    box_.expect_every_packet_accounted_for();
}

/// U14: the last fragments alone take a bounded number of buffers, for a bounded time, also without traffic.
TEST_F(Fragments, WithoutTheirFirstOneWaitBoundedInNumberAndTime) {
    constexpr unsigned kFlood = 2000;
    for (unsigned i = 0; i < kFlood; ++i) {
        box_.put("wan", fragments_of(request(5000))[1 + i % 3]);
        if (i % 50 == 0) box_.settle();
    }
    box_.settle();
    EXPECT_LE(held(), FragmentTable::kWays) << "one source, one set";
    EXPECT_GT(held(), 0);
    EXPECT_EQ(box_.dataplane().buffers_in_use(), held());
    EXPECT_EQ(box_.count(Verdict::drop_fragment_expired), kFlood - held());
    box_.expect_every_packet_accounted_for();

    box_.pass(14s);
    EXPECT_GT(held(), 0);
    box_.pass(2s);
    EXPECT_EQ(held(), 0);
    EXPECT_EQ(box_.count(Verdict::drop_fragment_expired), kFlood);
    box_.expect_every_packet_accounted_for();
}

/// U14: a datagram in very many pieces takes no more than its source's share, and takes nothing from others.
TEST_F(Fragments, OfOneSourceTakeNoMoreThanItsShare) {
    constexpr auto kOther = "198.51.100.8"_ip;
    const auto innocent = fragments_of(request(5000).ipv4(kOther, kPublic));
    box_.put("wan", innocent[1]);
    const std::uint16_t innocent_id = id_;
    const auto flood = fragments_of(request(65507), 68);
    for (std::size_t i = flood.size() - 1; i != 0; --i) {
        box_.put("wan", flood[i]);
        if (i % 50 == 0) box_.settle();
    }
    box_.settle();
    EXPECT_LE(held(), FragmentTable::kMostWaiting + 1);
    EXPECT_GT(box_.count(Verdict::drop_fragments_full), 0);
    for (const std::size_t i : {0, 2, 3}) box_.put("wan", innocent[i]);
    box_.settle();
    EXPECT_EQ(joined(box_.take("lan")),
              request_as_forwarded(5000).ipv4(kOther, "10.0.0.5"_ip).identification(innocent_id).ip_bytes());
    box_.pass(16s);
    EXPECT_EQ(held(), 0);
    box_.expect_every_packet_accounted_for();
}

/// U14: with room for no more, a datagram that waits for its first fragment makes room for the next.
TEST_F(Fragments, ThatWaitLongestMakeRoom) {
    const auto waiting = [&] {
        auto fragments = fragments_of(request(65507));
        fragments.erase(fragments.begin());
        return fragments;
    };
    for (unsigned datagram = 0; datagram < 5; ++datagram) {
        put_all(waiting());
        EXPECT_LE(held(), FragmentTable::kMostWaiting);
    }
    const std::uint16_t last = id_;
    EXPECT_GT(box_.count(Verdict::drop_fragments_full), 0);
    id_ = last - 1;
    box_.put("wan", fragments_of(request(65507)).front());
    box_.settle();
    EXPECT_EQ(joined(box_.take("lan")), request_as_forwarded(65507).ip_bytes()) << "the last one is whole";
    box_.pass(16s);
    box_.expect_every_packet_accounted_for();
}

/// U14: a flood of first fragments of many sources leaves room for a datagram whose fragments come together.
TEST_F(Fragments, PassUnderAFloodOfFirstOnes) {
    for (unsigned i = 0; i < 5000; ++i) {
        const auto source = net::Ipv4Address::from_host(0xc6336400U + i % 200);
        box_.put("wan", fragments_of(request(5000).ipv4(source, kPublic)).front());
        if (i % 50 == 0) box_.settle();
    }
    box_.settle();
    box_.take("lan");
    put_all(fragments_of(request(20000, 5)));
    EXPECT_EQ(joined(box_.take("lan")), request_as_forwarded(20000, 5).ip_bytes());
    EXPECT_EQ(held(), 0);
    box_.expect_every_packet_accounted_for();
}

/// U14: once the session is gone, what is left of a datagram opens no other.
TEST_F(Fragments, DoNotOutliveTheirSession) {
    const auto fragments = fragments_of(request(5000));
    put_all({fragments[0], fragments[1]});
    EXPECT_THAT(box_.take("lan"), SizeIs(2));
    box_.clear_sessions();
    box_.pass(2s);
    ASSERT_EQ(box_.sessions(), 0);
    put_all({fragments[2], fragments[3]});
    EXPECT_THAT(box_.take("lan"), IsEmpty());
    EXPECT_EQ(box_.count(Verdict::drop_fragment_expired), 2);
    EXPECT_EQ(box_.sessions(), 0);
}

/// U14, I1: a long ping of fwd's own address is answered, fragment by fragment.
TEST(FragmentsOfAPing, AreAnswered) {
    Box box{kOneArm};
    auto fragments = fragments_of(
        box.to("lan").from(kClientMac).ipv4(kClient, kFwd).icmp(8, 0, 0x00070001).payload_bytes(8000));
    std::swap(fragments[0], fragments[3]);
    for (const auto& fragment : fragments) box.put("lan", fragment);
    box.settle();
    EXPECT_EQ(joined(box.take("lan")),
              packet().ipv4(kFwd, kClient).icmp(0, 0, 0x00070001).payload_bytes(8000).ip_bytes());
    // Nobody else's, and no other ICMP.
    for (const auto& fragment :
         fragments_of(box.to("lan").from(kClientMac).ipv4(kClient, kExternal).icmp(8, 0).payload_bytes(3000)))
        box.put("lan", fragment);
    for (const auto& fragment :
         fragments_of(box.to("lan").from(kClientMac).ipv4(kClient, kFwd).icmp(3, 3).payload_bytes(3000)))
        box.put("lan", fragment);
    box.settle();
    EXPECT_THAT(box.take("lan"), IsEmpty());
    EXPECT_EQ(box.count(Verdict::drop_icmp_ignored), 6);
    box.expect_every_packet_accounted_for();
}

const std::string kNarrowLan = R"(
    links = ( { name = "wan"; device = "net_null_wan"; addresses = [ "192.0.2.1/24" ]; },
              { name = "lan"; device = "net_null_lan"; mtu = 1280; addresses = [ "10.0.0.1/24" ]; } );
)";

/// U13, U14: what may be fragmented and is too big for the next link is, also what is a fragment already, and
/// also while the next hop still has to be found.
TEST(PacketThatIsTooBig, IsFragmentedWithoutDf) {
    for (const bool known : {true, false}) {
        Box box{kNarrowLan + (known ? kTwoArmRest : R"(
            routes = ( { prefix = "0.0.0.0/0"; via = "192.0.2.254"; } );
            rules = ( { name = "game"; protocol = "udp"; external = "192.0.2.3:27015"; target = "10.0.0.5:27015"; } );
        )")};
        for (const std::size_t bytes : {1253, 1400, 1472, 4000, 8000}) {
            const auto whole = box.to("wan").ipv4(kFarClient, kPublic).udp(4000, 27015).payload_bytes(bytes);
            for (const auto& fragment : fragments_of(whole)) box.put("wan", fragment);
            box.settle();
            auto sent = box.take("lan");
            if (!known) {
                EXPECT_THAT(sent, SizeIs(1)) << "ARP's question";
                sent = box.exchange(
                    "lan", box.to("lan").arp(2, mac(5), "10.0.0.5"_ip, box.mac_of("lan"), kLanAddress),
                    "lan");
            }
            EXPECT_GT(sent.size(), 1);
            for (const Frame& frame : sent) EXPECT_LE(frame.bytes.size(), 14 + 1280);
            EXPECT_EQ(joined(sent), packet()
                                        .ipv4(kFarClient, "10.0.0.5"_ip)
                                        .ttl(63)
                                        .udp(4000, 27015)
                                        .payload_bytes(bytes)
                                        .ip_bytes());
            if (!known) break;
        }
        EXPECT_EQ(box.count(Verdict::drop_too_big), 0);
        box.expect_every_packet_accounted_for();
    }
}

/// U13, U14: fragments with DF that are too big for the next link are answered once, the first one.
TEST(FragmentsThatAreTooBig, AreAnsweredOnce) {
    Box box{kNarrowLan + kTwoArmRest};
    for (auto& fragment : fragments_of(
             box.to("wan").ipv4(kFarClient, kPublic).udp(4000, 27015).payload_bytes(4000).dont_fragment()))
        box.put("wan", fragment.dont_fragment());
    box.settle();
    EXPECT_EQ(box.count(Verdict::punt_too_big), 1);
    EXPECT_THAT(box.take("wan"), SizeIs(1));
    EXPECT_EQ(box.count(Verdict::drop_too_big), 1) << "nobody answers a later one";
    EXPECT_THAT(box.take("lan"), SizeIs(1)) << "the third one fits";
    box.expect_every_packet_accounted_for();
}

}  // namespace
}  // namespace fwd::test
