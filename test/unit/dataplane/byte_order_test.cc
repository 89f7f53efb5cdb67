// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/net/byte_order.h"

#include <gtest/gtest.h>

#include <cstring>
#include <type_traits>

#include "dataplane/net/address.h"
#include "test/support/packet_builder.h"

namespace fwd::net {
namespace {

using test::operator""_ip;

TEST(ByteOrder, MostSignificantByteStandsFirst) {
    const be16 port = be16::from_host(0x1f90);
    const be32 address = be32::from_host(0x0a000003);
    EXPECT_EQ(std::memcmp(&port, "\x1f\x90", 2), 0);
    EXPECT_EQ(std::memcmp(&address, "\x0a\x00\x00\x03", 4), 0);
    EXPECT_EQ(be16::from_wire(port.wire()).host(), 0x1f90);
    EXPECT_EQ(be32::from_wire(address.wire()).host(), 0x0a000003U);
}

TEST(ByteOrder, ComparesAsNumbers) {
    EXPECT_LT(be16::from_host(0x00ff), be16::from_host(0x0100));
    EXPECT_LT(be32::from_host(0x000000ff), be32::from_host(0x01000000));
}

TEST(ByteOrder, NeverConvertsByItself) {
    EXPECT_FALSE((std::is_convertible_v<std::uint16_t, be16>));
    EXPECT_FALSE((std::is_convertible_v<be16, std::uint16_t>));
    EXPECT_FALSE((std::is_constructible_v<be16, std::uint16_t>));
}

TEST(Ipv4Prefix, ContainsItsHostsAndNobodyElse) {
    const Ipv4Prefix network{"10.1.2.0"_ip, 23};
    EXPECT_TRUE(network.contains("10.1.2.0"_ip));
    EXPECT_TRUE(network.contains("10.1.3.255"_ip));
    EXPECT_FALSE(network.contains("10.1.4.0"_ip));
    EXPECT_FALSE(network.contains("10.1.1.255"_ip));
    EXPECT_TRUE((Ipv4Prefix{{}, 0}).contains("255.255.255.255"_ip));
    EXPECT_TRUE((Ipv4Prefix{"10.1.2.3"_ip, 32}).contains("10.1.2.3"_ip));
    EXPECT_FALSE((Ipv4Prefix{"10.1.2.3"_ip, 32}).contains("10.1.2.2"_ip));
}

TEST(InterfaceAddress, NamesItsNetwork) {
    EXPECT_EQ((InterfaceAddress{"10.1.3.7"_ip, 23}).prefix(), (Ipv4Prefix{"10.1.2.0"_ip, 23}));
    EXPECT_EQ((InterfaceAddress{"10.1.3.7"_ip, 0}).prefix(), (Ipv4Prefix{{}, 0}));
    EXPECT_EQ((InterfaceAddress{"10.1.3.7"_ip, 32}).prefix(), (Ipv4Prefix{"10.1.3.7"_ip, 32}));
}

}  // namespace
}  // namespace fwd::net
