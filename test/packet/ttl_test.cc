// SPDX-License-Identifier: BSD-3-Clause
// fwd as no hop: `ttl = "hide"`.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/packet/networks.h"

namespace fwd::test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

/// I10: every TTL comes out as it went in, in both directions, the last one as well.
TEST(HiddenHop, LeavesTheTtlAlone) {
    Box box{"ttl = \"hide\";" + kTwoArm};
    for (const std::uint8_t ttl : {1, 2, 64, 254, 255}) {
        for (int packets = 0; packets < 2; ++packets) {
            EXPECT_THAT(
                box.exchange("wan", box.to("wan").ipv4(kFarClient, kPublic).ttl(ttl).tcp(ttl, 80, kSyn),
                             "lan"),
                ElementsAre(from_fwd(box, "lan", mac(4))
                                .ipv4(kFarClient, kLanServer)
                                .ttl(ttl)
                                .tcp(ttl, 8080, kSyn)
                                .frame()));
        }
        EXPECT_THAT(
            box.exchange("lan",
                         box.to("lan").ipv4(kLanServer, kFarClient).ttl(ttl).tcp(8080, ttl, kSyn | kAck),
                         "wan"),
            ElementsAre(from_fwd(box, "wan", kRouterMac)
                            .ipv4(kPublic, kFarClient)
                            .ttl(ttl)
                            .tcp(80, ttl, kSyn | kAck)
                            .frame()));
    }
    EXPECT_EQ(box.count(Verdict::punt_ttl_expired), 0);
    EXPECT_THAT(box.exchange("wan", box.to("wan").ipv4(kFarClient, kPublic).ttl(0).tcp(1, 80, kAck), "wan"),
                SizeIs(1));
    EXPECT_EQ(box.count(Verdict::punt_ttl_expired), 1) << "0 is what nobody may send";
    box.expect_every_packet_accounted_for();
}

/// I10: of fragments, packets with options and ICMP errors, too.
TEST(HiddenHop, LeavesTheTtlOfUnusualPacketsAlone) {
    Box box{"ttl = \"hide\";" + kTwoArm};
    const Bytes options{0x94, 4, 0, 0};
    const auto request = box.to("wan").ipv4(kFarClient, kPublic).ttl(1).udp(1, 27015).payload("abc");
    const auto expected =
        from_fwd(box, "lan", mac(5)).ipv4(kFarClient, "10.0.0.5"_ip).ttl(1).udp(1, 27015).payload("abc");
    EXPECT_THAT(box.exchange("wan", PacketBuilder{request}.ip_options(options), "lan"),
                ElementsAre(PacketBuilder{expected}.ip_options(options).frame()));
    EXPECT_THAT(box.exchange("wan", PacketBuilder{request}.protocol(17, Bytes(8, 1)).fragment(3), "lan"),
                IsEmpty());
    const auto first = [](PacketBuilder whole) {
        Bytes content = whole.payload_bytes(40).ip_bytes();
        return whole.protocol(17, {content.begin() + 20, content.begin() + 44}).fragment(0x2000);
    };
    EXPECT_THAT(box.exchange("wan", first(request), "lan"),
                ElementsAre(first(expected).frame(),
                            PacketBuilder{expected}.protocol(17, Bytes(8, 1)).fragment(3).frame()));
    const auto error = [&](const PacketBuilder& inside) {
        return packet().ttl(1).icmp(3, 3).payload(inside.ip_bytes());
    };
    const auto sent = box.exchange("lan",
                                   error(packet().ipv4(kFarClient, "10.0.0.5"_ip).ttl(1).udp(1, 27015))
                                       .to(box.mac_of("lan"))
                                       .ipv4("10.0.0.5"_ip, kFarClient),
                                   "wan");
    EXPECT_THAT(sent, ElementsAre(error(packet().ipv4(kFarClient, kPublic).ttl(1).udp(1, 27015))
                                      .to(kRouterMac)
                                      .from(box.mac_of("wan"))
                                      .ipv4(kPublic, kFarClient)
                                      .frame()));
}

/// I10, P8: together with a partial checksum.
TEST(HiddenHop, CompletesPartialChecksumsAsEver) {
    Box box{R"(
        ttl = "hide";
        links = ( { name = "wan"; device = "net_null_wan"; addresses = [ "192.0.2.1/24" ]; rx_checksum = "partial"; },
                  { name = "lan"; device = "net_null_lan"; addresses = [ "10.0.0.1/24" ]; } );
    )" + kTwoArmRest};
    EXPECT_THAT(
        box.exchange("wan",
                     box.to("wan").ipv4(kFarClient, kPublic).ttl(9).tcp(1, 80, kSyn).partial_l4_checksum(),
                     "lan"),
        ElementsAre(
            from_fwd(box, "lan", mac(4)).ipv4(kFarClient, kLanServer).ttl(9).tcp(1, 8080, kSyn).frame()));
}

}  // namespace
}  // namespace fwd::test
