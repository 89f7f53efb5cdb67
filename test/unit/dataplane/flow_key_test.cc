// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/flow_key.h"

#include <gtest/gtest.h>
#include <cstring>

#include <algorithm>
#include <bit>
#include <cstring>
#include <random>
#include <set>
#include <vector>

#include "test/support/equal_crc.h"
#include "test/support/guarded_bytes.h"
#include "test/support/packet_builder.h"

namespace fwd::dataplane {
namespace {

using test::endpoint;
using test::packet;
using test::operator""_ip;

FlowKey key_by_hand(std::uint8_t link, net::Protocol protocol, net::Endpoint source,
                    net::Endpoint destination) {
    FlowKey key;
    key.ingress = LinkId{link};
    key.protocol = protocol;
    key.source = source.address;
    key.destination = destination.address;
    key.source_port = source.port;
    key.destination_port = destination.port;
    return key;
}

FlowKey key_of(std::uint8_t link, const test::Bytes& ip) {
    const test::GuardedBytes guarded{test::first(ip, 24)};  // ports are the last that may be read
    return FlowKey::from_packet(LinkId{link}, guarded.data());
}

FlowHash::Secret secret(std::uint8_t seed) {
    FlowHash::Secret secret;
    std::mt19937 random{seed};
    for (auto& byte : secret.bytes) byte = static_cast<std::uint8_t>(random());
    return secret;
}

TEST(FlowKey, FromPacketEqualsOneBuiltByHand) {
    const auto udp = packet().ipv4("10.0.0.1"_ip, "203.0.113.9"_ip).udp(40000, 53).payload("q").ip_bytes();
    EXPECT_EQ(key_of(0, udp), key_by_hand(0, net::Protocol::udp, endpoint("10.0.0.1"_ip, 40000),
                                          endpoint("203.0.113.9"_ip, 53)));
    const auto tcp = packet().ipv4("255.1.2.3"_ip, "1.255.0.254"_ip).tcp(1, 65535, test::kSyn).ip_bytes();
    EXPECT_EQ(key_of(31, tcp), key_by_hand(31, net::Protocol::tcp, endpoint("255.1.2.3"_ip, 1),
                                           endpoint("1.255.0.254"_ip, 65535)));
}

TEST(FlowKey, NeitherTtlNorChecksumsNorPayloadCount) {
    const auto one = packet().ipv4("10.0.0.1"_ip, "10.0.0.3"_ip).udp(1, 2).ttl(64).payload("a").ip_bytes();
    const auto other = packet()
                           .ipv4("10.0.0.1"_ip, "10.0.0.3"_ip)
                           .udp(1, 2)
                           .ttl(3)
                           .payload("bcd")
                           .dont_fragment()
                           .ip_bytes();
    EXPECT_EQ(key_of(1, one), key_of(1, other));
}

TEST(FlowKey, EveryPartOfTheTupleCounts) {
    const auto ip = [](net::Ipv4Address a, net::Ipv4Address b, std::uint16_t p, std::uint16_t q) {
        return packet().ipv4(a, b).udp(p, q).ip_bytes();
    };
    std::set<FlowKey,
             decltype([](const FlowKey& a, const FlowKey& b) { return std::memcmp(&a, &b, sizeof a) < 0; })>
        keys;
    keys.insert(key_of(0, ip("10.0.0.1"_ip, "10.0.0.2"_ip, 1, 2)));
    keys.insert(key_of(1, ip("10.0.0.1"_ip, "10.0.0.2"_ip, 1, 2)));
    keys.insert(key_of(0, ip("10.0.0.9"_ip, "10.0.0.2"_ip, 1, 2)));
    keys.insert(key_of(0, ip("10.0.0.1"_ip, "10.0.0.9"_ip, 1, 2)));
    keys.insert(key_of(0, ip("10.0.0.1"_ip, "10.0.0.2"_ip, 9, 2)));
    keys.insert(key_of(0, ip("10.0.0.1"_ip, "10.0.0.2"_ip, 1, 9)));
    keys.insert(key_of(0, packet().ipv4("10.0.0.1"_ip, "10.0.0.2"_ip).tcp(1, 2, 0).ip_bytes()));
    EXPECT_EQ(keys.size(), 7U);
}

TEST(FlowHash, DependsOnTheSecretAlone) {
    const FlowKey key =
        key_by_hand(0, net::Protocol::tcp, endpoint("10.0.0.1"_ip, 1), endpoint("10.0.0.2"_ip, 2));
    EXPECT_EQ(FlowHash{secret(1)}(key), FlowHash{secret(1)}(key));
    EXPECT_NE(FlowHash{secret(1)}(key), FlowHash{secret(2)}(key));
}

TEST(FlowHash, OneBitOfTheKeyChangesHalfOfTheHash) {
    const FlowHash hash{secret(3)};
    std::mt19937_64 random{7};
    double changed = 0;
    constexpr int kRounds = 200;
    for (int round = 0; round < kRounds; ++round) {
        alignas(16) std::array<std::uint64_t, 2> words{random(), random()};
        for (unsigned bit = 0; bit < 128; ++bit) {
            auto flipped = words;
            flipped[bit / 64] ^= std::uint64_t{1} << bit % 64;
            changed +=
                std::popcount(hash(std::bit_cast<FlowKey>(words)) ^ hash(std::bit_cast<FlowKey>(flipped)));
        }
    }
    EXPECT_NEAR(changed / kRounds / 128, 16, 0.5);
}

TEST(FlowHash, AnyTwoBytesOfTheKeyReachAllOfTheHash) {
    const FlowHash hash{secret(4)};
    constexpr std::size_t kBytes = sizeof(FlowKey);
    std::vector<std::uint32_t> hashes(65536);
    for (std::size_t first = 0; first < kBytes; ++first) {
        for (std::size_t second = first + 1; second < kBytes; ++second) {
            std::array<std::uint8_t, kBytes> bytes{};
            for (unsigned n = 0; n < 65536; ++n) {
                bytes[first] = static_cast<std::uint8_t>(n);
                bytes[second] = static_cast<std::uint8_t>(n >> 8U);
                hashes[n] = hash(std::bit_cast<FlowKey>(bytes));
            }
            std::ranges::sort(hashes);
            const auto different = std::unique(hashes.begin(), hashes.end()) - hashes.begin();
            // Half a collision is expected of 65 536 numbers drawn from 2^32.
            EXPECT_GT(different, 65536 - 12) << "bytes " << first << " and " << second;
        }
    }
}

TEST(FlowHash, TuplesOfOneCrcSpreadOverAllBuckets) {
    const std::vector<FlowKey> keys = test::keys_of_equal_crc(100'000);
    ASSERT_EQ(keys.size(), 100'000U);
    const std::uint32_t crc = test::crc(keys[0]);
    for (const FlowKey& key : keys) ASSERT_EQ(test::crc(key), crc);

    for (const std::uint8_t seed : {1, 2, 3}) {
        const FlowHash hash{secret(seed)};
        constexpr std::size_t kBuckets = 16384;
        std::vector<unsigned> load(kBuckets);
        std::vector<unsigned> signatures(65536);  // rte_hash also keeps the upper half
        for (const FlowKey& key : keys) {
            ++load[hash(key) % kBuckets];
            ++signatures[hash(key) >> 16U];
        }
        // 6.1 on average; of as many balls thrown at random, no bucket gets 26 once in a thousand runs.
        EXPECT_LT(std::ranges::max(load), 26U);
        EXPECT_LT(std::ranges::count(load, 0U), 100);
        EXPECT_LT(std::ranges::max(signatures), 16U);
    }
}

TEST(FlowHash, RandomNumbersDoNotRepeatAndUseEveryBit) {
    const FlowHash hash{secret(5)};
    std::set<std::uint64_t> seen;
    std::uint64_t ones = 0;
    std::uint64_t zeros = 0;
    for (std::uint64_t counter = 0; counter < 10'000; ++counter) {
        const std::uint64_t number = hash.random(counter);
        seen.insert(number);
        ones |= number;
        zeros |= ~number;
    }
    EXPECT_EQ(seen.size(), 10'000U);
    EXPECT_EQ(ones & zeros, ~std::uint64_t{0});
    EXPECT_NE(FlowHash{secret(6)}.random(0), hash.random(0));
}

}  // namespace
}  // namespace fwd::dataplane
