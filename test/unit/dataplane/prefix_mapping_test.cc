// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/net/prefix_mapping.h"

#include <gtest/gtest.h>

#include <random>

#include "test/support/packet_builder.h"

namespace fwd::net {
namespace {

using test::operator""_ip6;

std::uint16_t sum_of(const IpAddress& address) {
    return fold_checksum(checksum_sum(address.v6().bytes.data(), 16)) % 0xffff;
}

/// RFC 6296, section 2.6 and appendix B: its own example.
TEST(PrefixMapping, IsThatOfTheRfc) {
    const PrefixMapping mapping{{"fd01:203:405::"_ip6, 48}, {"2001:db8:1::"_ip6, 48}};
    EXPECT_EQ(mapping.to_external("fd01:203:405:1::1234"_ip6), IpAddress{"2001:db8:1:d550::1234"_ip6});
    EXPECT_EQ(mapping.to_inside("2001:db8:1:d550::1234"_ip6), IpAddress{"fd01:203:405:1::1234"_ip6});
}

TEST(PrefixMapping, AddressesWithoutACounterpartHaveNone) {
    const PrefixMapping short_ones{{"fd01:203:405::"_ip6, 48}, {"2001:db8:1::"_ip6, 48}};
    EXPECT_FALSE(short_ones.to_external("fd01:203:405:ffff::1"_ip6));
    const PrefixMapping long_ones{{"fd01:203:405:7::"_ip6, 64}, {"2001:db8:1:9::"_ip6, 64}};
    EXPECT_FALSE(long_ones.to_external("fd01:203:405:7:ffff:ffff:ffff:ffff"_ip6));
    EXPECT_TRUE(long_ones.to_external("fd01:203:405:7:ffff:ffff:ffff:1"_ip6));
}

/// P1: there and back an address is itself, its sum never changes, and it is in the other prefix.
TEST(PrefixMapping, ThereAndBackAnAddressIsItselfAndItsSumTheSame) {
    std::mt19937_64 random{7};
    for (const std::uint8_t length : {16, 32, 40, 48, 52, 56, 63, 64}) {
        for (int round = 0; round < 2000; ++round) {
            const auto prefix = [&] {
                const IpAddress any = IpAddress::from_number(uint128{random()} << 64U);
                return IpPrefix{IpAddress::from_number(any.number() & IpPrefix{any, length}.mask()), length};
            };
            const PrefixMapping mapping{prefix(), prefix()};
            const uint128 host = (uint128{random()} << 64U | random()) & ~mapping.inside().mask();
            const IpAddress address = IpAddress::from_number(mapping.inside().address.number() | host);
            const auto external = mapping.to_external(address);
            ASSERT_TRUE(external);
            EXPECT_TRUE(mapping.external().contains(*external));
            EXPECT_EQ(sum_of(*external), sum_of(address));
            EXPECT_EQ(mapping.to_inside(*external), address);
        }
    }
}

}  // namespace
}  // namespace fwd::net
