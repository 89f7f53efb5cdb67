// SPDX-License-Identifier: BSD-3-Clause
// What a rewritten packet must be is built anew from words, with checksums computed byte by byte.
#include "dataplane/translation.h"

#include <gtest/gtest.h>

#include <random>

#include "dataplane/packet.h"
#include "test/support/guarded_bytes.h"
#include "test/support/packet_builder.h"

namespace fwd::dataplane {
namespace {

using test::Bytes;
using test::endpoint;
using test::Frame;
using test::PacketBuilder;
using test::operator""_ip;

constexpr std::uint32_t kSeed = 1624;
constexpr int kRounds = 100'000;

struct Tuple {
    net::Endpoint source, destination;
};

/// A random packet, as it arrives and as it has to leave.
struct Sample {
    net::Protocol protocol;
    Tuple before, after;
    std::uint8_t ttl;
    Bytes payload;
    std::uint8_t flags;

    explicit Sample(std::mt19937& random)
        : protocol{random() % 2 == 0 ? net::Protocol::udp : net::Protocol::tcp},
          ttl{static_cast<std::uint8_t>(2 + random() % 254)},
          payload(random() % 64),
          flags{static_cast<std::uint8_t>(random())} {
        const auto any = [&random] {
            // Words of all zeros and all ones are what RFC 1624 is about.
            const auto word = [&random]() -> std::uint32_t {
                switch (random() % 6) {
                    case 0:
                        return 0;
                    case 1:
                        return 0xffff;
                    default:
                        return random() & 0xffffU;
                }
            };
            return net::Endpoint{net::Ipv4Address::from_host(word() << 16U | word()),
                                 net::be16::from_host(static_cast<std::uint16_t>(word()))};
        };
        before = {any(), any()};
        after = {any(), any()};
        for (auto& byte : payload) byte = static_cast<std::uint8_t>(random());
    }

    PacketBuilder build(const Tuple& tuple, std::uint8_t hops) const {
        PacketBuilder builder;
        builder.ipv4(tuple.source.address, tuple.destination.address).ttl(hops).payload(payload);
        if (protocol == net::Protocol::udp) {
            builder.udp(tuple.source.port.host(), tuple.destination.port.host());
        } else {
            builder.tcp(tuple.source.port.host(), tuple.destination.port.host(), flags);
        }
        return builder;
    }
    PacketBuilder arriving() const { return build(before, ttl); }
    PacketBuilder leaving() const { return build(after, static_cast<std::uint8_t>(ttl - 1)); }

    Translation translation() const {
        FlowKey key;
        key.protocol = protocol;
        key.source = before.source.address;
        key.destination = before.destination.address;
        key.source_port = before.source.port;
        key.destination_port = before.destination.port;
        return Translation::between(key, after.source, after.destination);
    }
    /// Chooses the last two bytes so that the sum of the packet that leaves comes out as 0.
    void make_leaving_checksum_zero() {
        payload.resize(payload.size() / 2 * 2 + 2);
        payload[payload.size() - 2] = payload[payload.size() - 1] = 0;
        const Bytes ip = leaving().ip_bytes();
        const std::size_t field = 20 + (protocol == net::Protocol::udp ? 6 : 16);
        payload[payload.size() - 2] = ip[field];
        payload[payload.size() - 1] = ip[field + 1];
    }
};

Frame rewritten(const Bytes& ip, const Translation& translation) {
    const test::GuardedBytes packet{ip};
    rewrite(packet.data(), translation);
    return {{packet.span().begin(), packet.span().end()}};
}
Frame rewritten_partial(const Bytes& ip, const Translation& translation, bool marked) {
    const test::GuardedBytes packet{ip};
    complete_checksum(packet.data(), static_cast<std::uint16_t>(ip.size()), marked);
    rewrite(packet.data(), translation);
    return {{packet.span().begin(), packet.span().end()}};
}
Frame ip_of(const PacketBuilder& builder) {
    return {builder.ip_bytes()};
}
std::uint16_t checksum_of(const Frame& ip, net::Protocol protocol) {
    const std::size_t at = 20 + (protocol == net::Protocol::udp ? 6 : 16);
    return static_cast<std::uint16_t>(ip.bytes[at] << 8U | ip.bytes[at + 1]);
}

/// P1
TEST(Rewrite, EqualsAPacketBuiltAnew) {
    std::mt19937 random{kSeed};
    for (int round = 0; round < kRounds; ++round) {
        const Sample sample{random};
        ASSERT_EQ(rewritten(sample.arriving().ip_bytes(), sample.translation()), ip_of(sample.leaving()))
            << "seed " << kSeed << " round " << round;
    }
}

/// P1, P2
TEST(Rewrite, ChecksumsThatComeOutAsZeroAreRight) {
    std::mt19937 random{kSeed};
    for (int round = 0; round < kRounds / 10; ++round) {
        Sample sample{random};
        sample.make_leaving_checksum_zero();
        const Frame out = rewritten(sample.arriving().ip_bytes(), sample.translation());
        ASSERT_EQ(out, ip_of(sample.leaving())) << "seed " << kSeed << " round " << round;
        ASSERT_EQ(checksum_of(out, sample.protocol), sample.protocol == net::Protocol::udp ? 0xffff : 0);
    }
}

/// P1
TEST(Rewrite, ChecksumsThatAreZeroBeforeBecomeRight) {
    std::mt19937 random{kSeed};
    for (int round = 0; round < kRounds / 10; ++round) {
        Sample sample{random};
        std::swap(sample.before, sample.after);
        sample.make_leaving_checksum_zero();
        // What left with TTL - 1 now arrives.
        std::swap(sample.before, sample.after);
        ASSERT_EQ(rewritten(sample.arriving().ip_bytes(), sample.translation()), ip_of(sample.leaving()))
            << "seed " << kSeed << " round " << round;
    }
}

/// P2
TEST(Rewrite, AbsentUdpChecksumStaysAbsent) {
    std::mt19937 random{kSeed};
    for (int round = 0; round < 1000; ++round) {
        Sample sample{random};
        sample.protocol = net::Protocol::udp;
        for (const bool partial : {false, true}) {
            const Bytes in = sample.arriving().l4_checksum(0).ip_bytes();
            const Frame out = partial ? rewritten_partial(in, sample.translation(), false)
                                      : rewritten(in, sample.translation());
            ASSERT_EQ(out, ip_of(sample.leaving().l4_checksum(0)));
        }
    }
}

TEST(Rewrite, WrongChecksumStaysWrong) {
    std::mt19937 random{kSeed};
    for (int round = 0; round < 1000; ++round) {
        const Sample sample{random};
        Bytes in = sample.arriving().ip_bytes();
        in[20 + (sample.protocol == net::Protocol::udp ? 6 : 16)] ^= 0x10;
        const Frame out = rewritten(in, sample.translation());
        ASSERT_NE(checksum_of(out, sample.protocol), checksum_of(ip_of(sample.leaving()), sample.protocol));
    }
}

TEST(Rewrite, ForwardThenReverseIsTheIdentity) {
    std::mt19937 random{kSeed};
    for (int round = 0; round < kRounds / 10; ++round) {
        const Sample sample{random};
        const Translation forward = sample.translation();
        const FlowKey answers = forward.reverse_key(LinkId{3}, sample.protocol);
        EXPECT_EQ(answers.ingress, LinkId{3});
        EXPECT_EQ(answers.source_endpoint(), sample.after.destination);
        EXPECT_EQ(answers.destination_endpoint(), sample.after.source);

        const Translation reverse =
            Translation::between(answers, sample.before.destination, sample.before.source);
        const Tuple answer{sample.after.destination, sample.after.source};
        const Tuple answer_after{sample.before.destination, sample.before.source};
        ASSERT_EQ(rewritten(sample.build(answer, 64).ip_bytes(), reverse),
                  ip_of(sample.build(answer_after, 63)));
    }
}

/// P8
TEST(RewritePartial, PseudoHeaderSumIsCompletedInFull) {
    std::mt19937 random{kSeed};
    for (int round = 0; round < kRounds / 10; ++round) {
        Sample sample{random};
        if (round % 4 == 0) sample.make_leaving_checksum_zero();
        if (round % 4 == 1) {  // what it would have been when it arrived
            std::swap(sample.before, sample.after);
            sample.make_leaving_checksum_zero();
            std::swap(sample.before, sample.after);
        }
        ASSERT_EQ(rewritten_partial(sample.arriving().partial_l4_checksum().ip_bytes(), sample.translation(),
                                    false),
                  ip_of(sample.leaving()))
            << "seed " << kSeed << " round " << round;
    }
}

/// P8
TEST(RewritePartial, CompleteChecksumIsUpdatedAsEver) {
    std::mt19937 random{kSeed};
    for (int round = 0; round < kRounds / 10; ++round) {
        const Sample sample{random};
        ASSERT_EQ(rewritten_partial(sample.arriving().ip_bytes(), sample.translation(), false),
                  ip_of(sample.leaving()))
            << "seed " << kSeed << " round " << round;
    }
}

/// P8
TEST(RewritePartial, WhatTheDeviceMarksIsCompletedWhateverStandsThere) {
    std::mt19937 random{kSeed};
    for (int round = 0; round < 1000; ++round) {
        const Sample sample{random};
        const auto garbage = static_cast<std::uint16_t>(random());
        ASSERT_EQ(
            rewritten_partial(sample.arriving().l4_checksum(garbage).ip_bytes(), sample.translation(), true),
            ip_of(sample.leaving()));
    }
}

TEST(RewritePartial, BytesBehindTheDatagramAreNotSummed) {
    std::mt19937 random{kSeed};
    for (int round = 0; round < 1000; ++round) {
        Sample sample{random};
        sample.protocol = net::Protocol::udp;
        sample.payload.resize(20);
        const std::uint16_t datagram = 8 + 9;  // RFC 9868: options behind it
        ASSERT_EQ(rewritten_partial(sample.arriving().udp_bytes(datagram).partial_l4_checksum().ip_bytes(),
                                    sample.translation(), false),
                  ip_of(sample.leaving().udp_bytes(datagram)));
    }
}

}  // namespace
}  // namespace fwd::dataplane
