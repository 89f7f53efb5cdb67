// SPDX-License-Identifier: BSD-3-Clause
// Errors about a session, restored to what their addressee had sent.
#include "dataplane/icmp_error.h"

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
using test::packet;
using test::PacketBuilder;
using test::operator""_ip;

constexpr net::Endpoint kClient = endpoint("198.51.100.7"_ip, 40000),
                        kExternal = endpoint("203.0.113.1"_ip, 80), kOwn = endpoint("10.0.0.2"_ip, 23456),
                        kTarget = endpoint("10.0.0.4"_ip, 8080);
constexpr LinkId kLan{1};
constexpr std::uint32_t kMtu1400 = 1400;

PacketBuilder inner(net::Protocol protocol, net::Endpoint source, net::Endpoint destination) {
    PacketBuilder builder;
    builder.ipv4(source.address, destination.address).payload("0123456789abcdef");
    if (protocol == net::Protocol::udp) return builder.udp(source.port.host(), destination.port.host());
    return builder.tcp(source.port.host(), destination.port.host(), test::kAck);
}

/// The key of a session's answers, and what happens to them.
FlowKey answers_key(net::Protocol protocol) {
    FlowKey key;
    key.ingress = kLan;
    key.protocol = protocol;
    key.source = kTarget.address;
    key.source_port = kTarget.port;
    key.destination = kOwn.address;
    key.destination_port = kOwn.port;
    return key;
}
FlowKey requests_key(net::Protocol protocol) {
    FlowKey key;
    key.ingress = kLan;
    key.protocol = protocol;
    key.source = kClient.address;
    key.source_port = kClient.port;
    key.destination = kExternal.address;
    key.destination_port = kExternal.port;
    return key;
}

std::optional<FlowKey> parsed(const Bytes& ip) {
    const test::GuardedBytes guarded{ip};
    return parse_icmp_error(guarded.data(), static_cast<std::uint16_t>(ip.size()), kLan);
}

Frame turned(const Bytes& ip, const FlowKey& key, const Translation& answers, bool hide_source) {
    const test::GuardedBytes guarded{ip};
    rewrite_icmp_error(guarded.data(), static_cast<std::uint16_t>(ip.size()), key, answers, hide_source);
    return {{guarded.span().begin(), guarded.span().end()}};
}

PacketBuilder error(std::uint8_t type, std::uint8_t code, const Bytes& quoted) {
    return packet().icmp(type, code, kMtu1400).payload(quoted);
}

struct Quote {
    const char* name;
    net::Protocol protocol;
    std::size_t quoted_bytes;  // of the packet inside
};
class IcmpError : public ::testing::TestWithParam<Quote> {};

INSTANTIATE_TEST_SUITE_P(Quotes, IcmpError,
                         ::testing::Values(Quote{"WholeUdp", net::Protocol::udp, 9999},
                                           Quote{"UdpHeaderOnly", net::Protocol::udp, 28},
                                           Quote{"WholeTcp", net::Protocol::tcp, 9999},
                                           Quote{"TcpPortsAndSequenceNumber", net::Protocol::tcp, 28},
                                           Quote{"TcpUpToItsChecksum", net::Protocol::tcp, 20 + 18}),
                         [](const auto& row) { return row.param.name; });

/// I5, T9: the target's side complains about what fwd sent there; the client must see its own packet and the
/// external address.
TEST_P(IcmpError, FromTheTargetsSideReachesTheClient) {
    const auto [name, protocol, quoted] = GetParam();
    const Translation answers = Translation::between(answers_key(protocol), kExternal, kClient);
    const Bytes sent = test::first(inner(protocol, kOwn, kTarget).ip_bytes(), quoted);
    const Bytes received = test::first(inner(protocol, kClient, kExternal).ip_bytes(), quoted);
    // The target itself, and a router in front of it.
    for (const auto complainer : {kTarget.address, "10.0.0.254"_ip}) {
        const Bytes in = error(3, 4, sent).ipv4(complainer, kOwn.address).ttl(64).ip_bytes();
        EXPECT_TRUE(icmp_checksum_good(in.data(), static_cast<std::uint16_t>(in.size())));
        ASSERT_EQ(parsed(in), answers_key(protocol));
        EXPECT_EQ(turned(in, answers_key(protocol), answers, true),
                  (Frame{error(3, 4, received).ipv4(kExternal.address, kClient.address).ttl(63).ip_bytes()}));
    }
}

/// I4, T9: the client's side complains about an answer; the target must see its own packet.
TEST_P(IcmpError, FromTheClientsSideReachesTheTarget) {
    const auto [name, protocol, quoted] = GetParam();
    const Translation requests = Translation::between(requests_key(protocol), kOwn, kTarget);
    const Bytes sent = test::first(inner(protocol, kExternal, kClient).ip_bytes(), quoted);
    const Bytes received = test::first(inner(protocol, kTarget, kOwn).ip_bytes(), quoted);

    const Bytes in = error(3, 3, sent).ipv4(kClient.address, kExternal.address).ttl(9).ip_bytes();
    ASSERT_EQ(parsed(in), requests_key(protocol));
    EXPECT_EQ(turned(in, requests_key(protocol), requests, false),
              (Frame{error(3, 3, received).ipv4(kOwn.address, kTarget.address).ttl(8).ip_bytes()}));
    // A router on the way keeps its address.
    const Bytes routers = error(11, 0, sent).ipv4("192.0.2.9"_ip, kExternal.address).ttl(9).ip_bytes();
    EXPECT_EQ(turned(routers, requests_key(protocol), requests, false),
              (Frame{error(11, 0, received).ipv4("192.0.2.9"_ip, kTarget.address).ttl(8).ip_bytes()}));
}

TEST(IcmpErrorRewrite, UdpChecksumInsideFollowsRfc768) {
    const FlowKey key = answers_key(net::Protocol::udp);
    const Translation answers = Translation::between(key, kExternal, kClient);
    const Bytes absent = inner(net::Protocol::udp, kOwn, kTarget).l4_checksum(0).ip_bytes();
    EXPECT_EQ(turned(error(3, 1, absent).ipv4(kTarget.address, kOwn.address).ip_bytes(), key, answers, true),
              (Frame{error(3, 1, inner(net::Protocol::udp, kClient, kExternal).l4_checksum(0).ip_bytes())
                         .ipv4(kExternal.address, kClient.address)
                         .ttl(63)
                         .ip_bytes()}));
}

/// I5
TEST(IcmpErrorRewrite, RandomSessionsAreRestored) {
    std::mt19937 random{5508};
    for (int round = 0; round < 20'000; ++round) {
        const auto any = [&random] {
            return endpoint(net::Ipv4Address::from_host(random()), static_cast<std::uint16_t>(random() | 1U));
        };
        const net::Endpoint client = any(), external = any(), own = any(), target = any();
        const auto protocol = random() % 2 == 0 ? net::Protocol::udp : net::Protocol::tcp;
        FlowKey key = answers_key(protocol);
        key.source = target.address;
        key.source_port = target.port;
        key.destination = own.address;
        key.destination_port = own.port;
        // Even: half a checksum can't be updated.
        const std::size_t quoted = 28 + random() % 12 * 2;
        const Bytes in = error(11, 0, test::first(inner(protocol, own, target).ip_bytes(), quoted))
                             .ipv4("192.0.2.1"_ip, own.address)
                             .ip_bytes();
        ASSERT_EQ(parsed(in), key);
        ASSERT_EQ(turned(in, key, Translation::between(key, external, client), true),
                  (Frame{error(11, 0, test::first(inner(protocol, client, external).ip_bytes(), quoted))
                             .ipv4(external.address, client.address)
                             .ttl(63)
                             .ip_bytes()}))
            << "round " << round;
    }
}

/// I3
TEST(IcmpErrorParse, WhatIsInsideMustBeWhole) {
    const auto inside = [](const Bytes& quoted) {
        return parsed(error(3, 1, quoted).ipv4(kTarget.address, kOwn.address).ip_bytes()).has_value();
    };
    const PacketBuilder good = inner(net::Protocol::udp, kOwn, kTarget);
    EXPECT_TRUE(inside(good.ip_bytes()));
    for (std::size_t bytes = 0; bytes < 28; ++bytes) {
        EXPECT_FALSE(inside(test::first(good.ip_bytes(), bytes))) << bytes << " bytes inside";
    }
    EXPECT_FALSE(inside(PacketBuilder{good}.ip_checksum(0x1234).ip_bytes()));
    EXPECT_FALSE(inside(PacketBuilder{good}.ip_version(6).ip_bytes()));
    const PacketBuilder options = PacketBuilder{good}.ip_options({1, 1, 1, 1});
    EXPECT_TRUE(inside(options.ip_bytes()));
    for (std::size_t bytes = 0; bytes < 32; ++bytes) {
        EXPECT_FALSE(inside(test::first(options.ip_bytes(), bytes))) << bytes << " bytes inside";
    }
    EXPECT_FALSE(inside(PacketBuilder{good}.fragment(0x0010).ip_bytes()));
    EXPECT_FALSE(inside(PacketBuilder{good}.ip_total_bytes(27).ip_bytes()));
    EXPECT_FALSE(inside(PacketBuilder{good}.protocol(1, Bytes(16, 1)).ip_bytes()));
    EXPECT_FALSE(inside(PacketBuilder{good}.protocol(136, Bytes(16, 1)).ip_bytes()));
}

/// I3
TEST(IcmpErrorParse, ChecksumIsVerified) {
    const Bytes good = error(3, 1, inner(net::Protocol::udp, kOwn, kTarget).ip_bytes())
                           .ipv4(kTarget.address, kOwn.address)
                           .ip_bytes();
    EXPECT_TRUE(icmp_checksum_good(good.data(), static_cast<std::uint16_t>(good.size())));
    for (std::size_t byte = 20; byte < good.size(); ++byte) {
        Bytes bad = good;
        bad[byte] ^= 0x40;
        EXPECT_FALSE(icmp_checksum_good(bad.data(), static_cast<std::uint16_t>(bad.size())))
            << "byte " << byte;
    }
}

TEST(IcmpErrorParse, OnlyErrorsCarryAPacket) {
    for (unsigned type = 0; type < 256; ++type) {
        EXPECT_EQ(is_icmp_error(static_cast<std::uint8_t>(type)), type == 3 || type == 11 || type == 12)
            << type;
    }
}

}  // namespace
}  // namespace fwd::dataplane
