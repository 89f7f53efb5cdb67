// SPDX-License-Identifier: BSD-3-Clause
// Targets and source prefixes. (The table of rules itself needs EAL: see test/packet.)
#include "dataplane/rule_set.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <random>

#include "test/support/packet_builder.h"

namespace fwd::dataplane {
namespace {

using net::AddressRange;
using net::allowed_sources;
using net::IpPrefix;
using net::Ipv4Address;
using net::to_ranges;
using test::operator""_ip;

TEST(ToRanges, SortsAndKeepsApart) {
    const std::vector<IpPrefix> prefixes{{"10.2.0.0"_ip, 16}, {"10.0.0.0"_ip, 24}, {"192.0.2.1"_ip, 32}};
    EXPECT_EQ(to_ranges(prefixes), (std::vector<AddressRange>{{"10.0.0.0"_ip, "10.0.0.255"_ip},
                                                              {"10.2.0.0"_ip, "10.2.255.255"_ip},
                                                              {"192.0.2.1"_ip, "192.0.2.1"_ip}}));
}

TEST(ToRanges, NestedAndRepeatedPrefixesBecomeOne) {
    const std::vector<IpPrefix> prefixes{
        {"10.0.1.0"_ip, 24}, {"10.0.0.0"_ip, 8}, {"10.0.1.0"_ip, 24}, {"10.255.255.255"_ip, 32}};
    EXPECT_EQ(to_ranges(prefixes), (std::vector<AddressRange>{{"10.0.0.0"_ip, "10.255.255.255"_ip}}));
}

TEST(ToRanges, EverybodyIsOneRange) {
    const std::vector<IpPrefix> prefixes{net::kAnyIpv4, {"10.0.0.0"_ip, 8}};
    EXPECT_EQ(to_ranges(prefixes), (std::vector<AddressRange>{{"0.0.0.0"_ip, "255.255.255.255"_ip}}));
}

TEST(Allows, WithoutRangesEverybody) {
    EXPECT_TRUE(ForwardingRule{}.allows("203.0.113.7"_ip));
}

std::vector<WeightedTarget> weighted(std::initializer_list<std::uint16_t> weights) {
    std::vector<WeightedTarget> targets;
    for (const std::uint16_t weight : weights) {
        const auto host = static_cast<std::uint32_t>(0x0a000004U + targets.size());
        targets.push_back({net::Endpoint{Ipv4Address::from_host(host), net::be16::from_host(80)}, weight});
    }
    return targets;
}

FlowHash some_hash() {
    FlowHash::Secret secret{};
    for (std::size_t i = 0; i < sizeof secret.bytes; ++i)
        secret.bytes[i] = static_cast<std::uint8_t>(i * 37 + 1);
    return FlowHash{secret};
}

/// L2
TEST(Turns, AreSpreadByWeight) {
    EXPECT_EQ(turns_of(weighted({1, 1})), (std::vector<std::uint8_t>{0, 1}));
    EXPECT_EQ(turns_of(weighted({5, 1, 1})), (std::vector<std::uint8_t>{0, 0, 1, 0, 2, 0, 0}));
    EXPECT_EQ(turns_of(weighted({100, 50})), (std::vector<std::uint8_t>{0, 1, 0})) << "no more than it takes";
    const auto turns = turns_of(weighted({7, 3, 100}));
    for (const auto& [target, weight] : {std::pair{0, 7}, {1, 3}, {2, 100}})
        EXPECT_EQ(std::ranges::count(turns, target), weight);
}

/// L2
TEST(SourceHash, GivesEachClientItsTargetByWeightAndMovesNoOneBetweenOthers) {
    const FlowHash hash = some_hash();
    ForwardingRule rule;
    rule.balance = Balance::source_hash;
    rule.external = net::Endpoint{"192.0.2.3"_ip, net::be16::from_host(80)};
    rule.targets = weighted({1, 2, 5});
    ForwardingRule without = rule;
    without.targets.erase(without.targets.begin() + 1);
    std::array<int, 3> clients{};
    constexpr int kClients = 40'000;
    for (std::uint32_t i = 0; i < kClients; ++i) {
        const auto client = Ipv4Address::from_host(0xc6330000U + i);
        const net::IpEndpoint picked = rule.pick_target(hash, client, rule.external.first, i);
        EXPECT_EQ(picked, rule.pick_target(hash, client, rule.external.first, i + 1));
        const std::size_t index = picked.address.v4().value.host() - 0x0a000004U;
        ++clients.at(index);
        if (index != 1) {
            EXPECT_EQ(without.pick_target(hash, client, rule.external.first, 0), picked);
        }
    }
    for (const auto& [index, share] : {std::pair{0U, 1.0 / 8}, {1U, 2.0 / 8}, {2U, 5.0 / 8}})
        EXPECT_NEAR(clients[index], kClients * share, kClients / 80.0);
}

/// L3
TEST(AllowedSources, AreThoseOfOneListThatAreNotInTheOther) {
    const std::vector<IpPrefix> none;
    const std::vector<IpPrefix> ten{{"10.0.0.0"_ip, 8}};
    const std::vector<IpPrefix> inside{{"10.1.0.0"_ip, 16}, {"10.255.0.0"_ip, 16}, {"11.0.0.0"_ip, 8}};
    EXPECT_EQ(allowed_sources(none, none), std::vector<AddressRange>{});
    EXPECT_EQ(allowed_sources(ten, inside),
              (std::vector<AddressRange>{{"10.0.0.0"_ip, "10.0.255.255"_ip},
                                         {"10.2.0.0"_ip, "10.254.255.255"_ip}}));
    EXPECT_EQ(allowed_sources(none, ten), (std::vector<AddressRange>{{"0.0.0.0"_ip, "9.255.255.255"_ip},
                                                                     {"11.0.0.0"_ip, "255.255.255.255"_ip}}));
    EXPECT_EQ(allowed_sources(ten, ten), std::vector<AddressRange>{});
}

/// L3
TEST(AllowedSources, AgreeWithThePrefixesThemselves) {
    std::mt19937 random{7};
    const auto some = [&](unsigned count) {
        std::vector<IpPrefix> prefixes;
        for (unsigned n = 0; n < count; ++n)
            prefixes.push_back(
                net::InterfaceAddress{Ipv4Address::from_host((random() & 0xfU) << 28U | (random() & 3U)),
                                      static_cast<std::uint8_t>(random() % 33)}
                    .prefix());
        return prefixes;
    };
    const auto in = [](const std::vector<IpPrefix>& prefixes, Ipv4Address address) {
        return std::ranges::any_of(prefixes, [&](const auto& p) { return p.contains(address); });
    };
    for (int round = 0; round < 500; ++round) {
        const auto allowed = some(random() % 5);
        const auto denied = some(1 + random() % 5);
        ForwardingRule rule;
        rule.allowed_sources = allowed_sources(allowed, denied);
        if (rule.allowed_sources.empty()) continue;  // nobody: refused before
        for (int probe = 0; probe < 200; ++probe) {
            const Ipv4Address source = Ipv4Address::from_host((random() & 0xfU) << 28U | (random() & 7U));
            ASSERT_EQ(rule.allows(source), (allowed.empty() || in(allowed, source)) && !in(denied, source));
        }
    }
}

/// L3
TEST(Allows, AgreesWithThePrefixesThemselves) {
    std::mt19937 random{99};
    for (int round = 0; round < 500; ++round) {
        std::vector<IpPrefix> prefixes;
        for (unsigned n = 1 + random() % 12; n != 0; --n) {
            // Few address bits in play, so that prefixes nest and touch.
            const Ipv4Address address =
                Ipv4Address::from_host((random() & 0x000000ffU) << 24U | (random() & 0xffU));
            prefixes.push_back(
                net::InterfaceAddress{address, static_cast<std::uint8_t>(random() % 33)}.prefix());
        }
        ForwardingRule rule;
        rule.allowed_sources = to_ranges(prefixes);
        for (std::size_t i = 1; i < rule.allowed_sources.size(); ++i) {
            ASSERT_LT(rule.allowed_sources[i - 1].last, rule.allowed_sources[i].first);
        }
        for (int probe = 0; probe < 200; ++probe) {
            Ipv4Address source = Ipv4Address::from_host(random());
            if (probe % 2 == 0) {
                const std::uint32_t edge = prefixes[random() % prefixes.size()].address.v4().value.host();
                source = Ipv4Address::from_host(edge + random() % 3 - 1);
            }
            const bool wanted =
                std::ranges::any_of(prefixes, [&](const auto& p) { return p.contains(source); });
            ASSERT_EQ(rule.allows(source), wanted)
                << std::hex << source.value.host() << " in round " << round;
        }
    }
}

}  // namespace
}  // namespace fwd::dataplane
