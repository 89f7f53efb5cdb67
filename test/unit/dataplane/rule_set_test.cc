// SPDX-License-Identifier: BSD-3-Clause
// L3: source prefixes. (The table of rules itself needs EAL: see test/packet.)
#include "dataplane/rule_set.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "test/support/packet_builder.h"

namespace fwd::dataplane {
namespace {

using net::Ipv4Address;
using net::Ipv4Prefix;
using test::operator""_ip;

TEST(ToRanges, SortsAndKeepsApart) {
    const std::vector<Ipv4Prefix> prefixes{{"10.2.0.0"_ip, 16}, {"10.0.0.0"_ip, 24}, {"192.0.2.1"_ip, 32}};
    EXPECT_EQ(to_ranges(prefixes), (std::vector<AddressRange>{{"10.0.0.0"_ip, "10.0.0.255"_ip},
                                                              {"10.2.0.0"_ip, "10.2.255.255"_ip},
                                                              {"192.0.2.1"_ip, "192.0.2.1"_ip}}));
}

TEST(ToRanges, NestedAndRepeatedPrefixesBecomeOne) {
    const std::vector<Ipv4Prefix> prefixes{
        {"10.0.1.0"_ip, 24}, {"10.0.0.0"_ip, 8}, {"10.0.1.0"_ip, 24}, {"10.255.255.255"_ip, 32}};
    EXPECT_EQ(to_ranges(prefixes), (std::vector<AddressRange>{{"10.0.0.0"_ip, "10.255.255.255"_ip}}));
}

TEST(ToRanges, EverybodyIsOneRange) {
    const std::vector<Ipv4Prefix> prefixes{{{}, 0}, {"10.0.0.0"_ip, 8}};
    EXPECT_EQ(to_ranges(prefixes), (std::vector<AddressRange>{{"0.0.0.0"_ip, "255.255.255.255"_ip}}));
}

TEST(Allows, WithoutRangesEverybody) {
    EXPECT_TRUE(ForwardingRule{}.allows("203.0.113.7"_ip));
}

TEST(Allows, AgreesWithThePrefixesThemselves) {
    std::mt19937 random{99};
    for (int round = 0; round < 500; ++round) {
        std::vector<Ipv4Prefix> prefixes;
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
                const std::uint32_t edge = prefixes[random() % prefixes.size()].address.value.host();
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
