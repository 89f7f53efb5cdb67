// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/icmp_query.h"

#include <gtest/gtest.h>

#include <random>
#include <utility>

#include "test/support/packet_builder.h"

namespace fwd::dataplane {
namespace {

using namespace fwd::test;

constexpr LinkId kWan{1}, kLan{2};
constexpr auto kClient = "198.51.100.7"_ip, kPublic = "203.0.113.5"_ip, kInside = "10.0.0.5"_ip;

Bytes query(std::uint8_t type, net::Ipv4Address from, net::Ipv4Address to, std::uint16_t id,
            std::uint16_t sequence, std::uint8_t ttl, const Bytes& data = {}) {
    return packet()
        .ipv4(from, to)
        .ttl(ttl)
        .icmp(type, 0, std::uint32_t{id} << 16U | sequence)
        .payload(data)
        .ip_bytes();
}

TEST(IcmpQuery, IdentifierStandsWhereTheClientsPortWould) {
    const FlowKey request = query_key(kWan, query(8, kClient, kPublic, 0x1234, 7, 64).data());
    EXPECT_EQ(request.ingress, kWan);
    EXPECT_EQ(request.protocol, net::Protocol::icmp);
    EXPECT_EQ(request.source_endpoint(), endpoint(kClient, 0x1234));
    EXPECT_EQ(request.destination_endpoint(), endpoint(kPublic, 0));
    const FlowKey reply = query_key(kLan, query(0, kInside, kClient, 0x1234, 7, 64).data());
    EXPECT_EQ(reply.source_endpoint(), endpoint(kInside, 0));
    EXPECT_EQ(reply.destination_endpoint(), endpoint(kClient, 0x1234));

    const Translation forward =
        Translation::between(request, endpoint(kClient, 0x1234), endpoint(kInside, 0));
    EXPECT_EQ(forward.reverse_key(kLan, net::Protocol::icmp), reply);
}

/// P1: with identifiers of 0 and 0xffff, and messages that are all zeros.
TEST(IcmpQuery, RewritingItThereAndBackIsExactAndLeavesRightChecksums) {
    std::mt19937 random{5};
    for (int i = 0; i < 10'000; ++i) {
        const auto id = static_cast<std::uint16_t>(i % 3 == 0 ? 0 : i % 3 == 1 ? 0xffff : random());
        const auto new_id = static_cast<std::uint16_t>(i % 7 == 0 ? 0xffff : random());
        const auto sequence = static_cast<std::uint16_t>(random() % 2);
        Bytes data(random() % 5);
        const auto [asks, answers_it] = i % 5 == 0 ? std::pair<std::uint8_t, std::uint8_t>{13, 14}
                                                   : std::pair<std::uint8_t, std::uint8_t>{8, 0};
        for (auto& byte : data) byte = static_cast<std::uint8_t>(i % 2 == 0 ? 0 : random());
        Bytes request = query(asks, kClient, kPublic, id, sequence, 64, data);
        const FlowKey key = query_key(kWan, request.data());
        const Translation there = Translation::between(key, endpoint(kPublic, new_id), endpoint(kInside, 0));
        rewrite_icmp_query(request.data(), there);
        ASSERT_EQ(request, query(asks, kPublic, kInside, new_id, sequence, 63, data)) << i;

        Bytes reply = query(answers_it, kInside, kPublic, new_id, sequence, 64, data);
        const FlowKey answers = there.reverse_key(kLan, net::Protocol::icmp);
        ASSERT_EQ(query_key(kLan, reply.data()), answers);
        rewrite_icmp_query(reply.data(),
                           Translation::between(answers, key.destination_endpoint(), key.source_endpoint()));
        ASSERT_EQ(reply, query(answers_it, kPublic, kClient, id, sequence, 63, data)) << i;
    }
}

TEST(Portless, OnlyAddressesTtlAndTheHeadersChecksumChange) {
    const Bytes content{0x30, 0x01, 0x88, 0x0b, 0, 1, 2, 3, 4};
    Bytes gre = packet().ipv4(kClient, kPublic).protocol(47, content).ip_bytes();
    const FlowKey key = portless_key(kWan, gre.data());
    EXPECT_EQ(static_cast<int>(key.protocol), 47);
    EXPECT_EQ(key.source_endpoint(), endpoint(kClient, 0));
    EXPECT_EQ(key.destination_endpoint(), endpoint(kPublic, 0));
    rewrite_addresses(gre.data(), Translation::between(key, endpoint(kClient, 0), endpoint(kInside, 0)));
    EXPECT_EQ(gre, packet().ipv4(kClient, kInside).ttl(63).protocol(47, content).ip_bytes());
}

}  // namespace
}  // namespace fwd::dataplane
