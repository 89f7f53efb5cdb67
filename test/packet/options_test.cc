// SPDX-License-Identifier: BSD-3-Clause
// Packets with IP options, through the whole pipeline.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/packet/networks.h"

namespace fwd::test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const Bytes kRouterAlert{0x94, 4, 0, 0};
const Bytes kMany{1, 0x44, 8, 5, 0, 1, 2, 3, 4, 0x94, 4, 0, 0, 0, 0, 0};

PacketBuilder request(const Box& box) {
    return box.to("lan").from(kClientMac).ipv4(kClient, kExternal);
}

/// P3: a session whose packets have options is opened, translated and answered like any other.
TEST(IpOptions, ArePassedOn) {
    Box box{kOneArm};
    for (const Bytes& options : {kRouterAlert, kMany}) {
        const auto sent =
            box.exchange("lan", request(box).udp(7, 53).payload("query").ip_options(options), "lan");
        ASSERT_THAT(sent, SizeIs(1));
        const std::size_t ports = 14 + 20 + options.size();
        const auto port = static_cast<std::uint16_t>(sent[0].bytes[ports] << 8U | sent[0].bytes[ports + 1]);
        EXPECT_EQ(sent[0], from_fwd(box, "lan", kServerMac)
                               .ipv4(kFwd, kServer)
                               .ttl(63)
                               .udp(port, 5353)
                               .payload("query")
                               .ip_options(options)
                               .frame());
        EXPECT_THAT(box.exchange("lan",
                                 box.to("lan")
                                     .from(kServerMac)
                                     .ipv4(kServer, kFwd)
                                     .udp(5353, port)
                                     .payload("answer")
                                     .ip_options(kMany),
                                 "lan"),
                    ElementsAre(from_fwd(box, "lan", kClientMac)
                                    .ipv4(kExternal, kClient)
                                    .ttl(63)
                                    .udp(53, 7)
                                    .payload("answer")
                                    .ip_options(kMany)
                                    .frame()));
    }
    EXPECT_EQ(box.sessions(), 1);
    box.expect_every_packet_accounted_for();
}

/// P3, U13: what just fits passes, and no byte more.
TEST(IpOptions, CountIntoTheMtu) {
    Box box{kOneArm};
    const auto send = [&](std::size_t ip_bytes) {
        return box.exchange("lan",
                            request(box)
                                .udp(7, 53)
                                .payload_bytes(ip_bytes - 20 - 4 - 8)
                                .dont_fragment()
                                .ip_options(kRouterAlert),
                            "lan");
    };
    EXPECT_THAT(send(1500), SizeIs(1));
    EXPECT_EQ(box.count(Verdict::punt_too_big), 0);
    send(1501);
    EXPECT_EQ(box.count(Verdict::punt_too_big), 1);
}

/// P3: the flags of TCP are found behind them: a SYN opens, anything else does not.
TEST(IpOptions, DoNotHideTcpFlags) {
    Box box{kTwoArm};
    const auto send = [&](std::uint8_t flags) {
        return box.exchange(
            "wan", box.to("wan").ipv4(kFarClient, kPublic).tcp(1, 80, flags).ip_options(kRouterAlert), "lan");
    };
    EXPECT_THAT(send(kAck), IsEmpty());
    EXPECT_EQ(box.count(Verdict::drop_not_syn), 1);
    EXPECT_THAT(send(kSyn), ElementsAre(from_fwd(box, "lan", mac(4))
                                            .ipv4(kFarClient, kLanServer)
                                            .ttl(63)
                                            .tcp(1, 8080, kSyn)
                                            .ip_options(kRouterAlert)
                                            .frame()));
    EXPECT_THAT(send(kSyn | kFin), SizeIs(1));
    EXPECT_EQ(box.count(Verdict::drop_not_syn), 1);
}

/// P3: what would be dropped without options is dropped with them, for the same reason.
TEST(IpOptions, ChangeNothingAboutWhatIsDropped) {
    Box box{kOneArm};
    const auto send = [&](const PacketBuilder& frame) {
        return box.exchange("lan", PacketBuilder{frame}.ip_options(kRouterAlert), "lan");
    };
    EXPECT_THAT(send(request(box).udp(1, 54)), IsEmpty());
    EXPECT_EQ(box.count(Verdict::drop_no_rule), 1);
    EXPECT_THAT(send(request(box).ipv4("127.0.0.1"_ip, kExternal).udp(1, 53)), IsEmpty());
    EXPECT_EQ(box.count(Verdict::drop_martian), 1);
    EXPECT_THAT(send(request(box).udp(1, 53).ttl(1)), SizeIs(1)) << "time exceeded";
    EXPECT_EQ(box.count(Verdict::punt_ttl_expired), 1);
    box.expect_every_packet_accounted_for();
}

/// P3, I1: a ping with options is answered without them; an error with options is translated.
TEST(IpOptions, OfIcmpAreTakenOff) {
    Box box{kOneArm};
    EXPECT_THAT(
        box.exchange("lan", request(box).ipv4(kClient, kFwd).icmp(8, 0, 5).payload("ping").ip_options(kMany),
                     "lan"),
        ElementsAre(
            from_fwd(box, "lan", kClientMac).ipv4(kFwd, kClient).icmp(0, 0, 5).payload("ping").frame()));
    const std::uint16_t port = open_example(box);
    const auto error = box.to("lan")
                           .from(kServerMac)
                           .ipv4(kServer, kFwd)
                           .icmp(3, 3)
                           .payload(packet().ipv4(kFwd, kServer).ttl(63).tcp(port, 8080, kSyn).ip_bytes());
    const auto plain = box.exchange("lan", error, "lan");
    ASSERT_THAT(plain, SizeIs(1));
    EXPECT_EQ(box.exchange("lan", PacketBuilder{error}.ip_options(kRouterAlert), "lan"), plain);
}

/// P3, P8: a checksum that only covers the pseudo-header is completed behind options, too.
TEST(IpOptions, DoNotHideAPartialChecksum) {
    Box box{R"(
        links = ( { name = "wan"; device = "net_null_wan"; addresses = [ "192.0.2.1/24" ]; rx_checksum = "partial"; },
                  { name = "lan"; device = "net_null_lan"; addresses = [ "10.0.0.1/24" ]; } );
    )" + kTwoArmRest};
    for (const bool tcp : {true, false}) {
        auto request = box.to("wan").ipv4(kFarClient, kPublic).payload("abcde").ip_options(kRouterAlert);
        auto expected =
            from_fwd(box, "lan", mac(tcp ? 4 : 5)).ttl(63).payload("abcde").ip_options(kRouterAlert);
        if (tcp) {
            request.tcp(1, 80, kSyn);
            expected.ipv4(kFarClient, kLanServer).tcp(1, 8080, kSyn);
        } else {
            request.udp(1, 27015);
            expected.ipv4(kFarClient, "10.0.0.5"_ip).udp(1, 27015);
        }
        EXPECT_THAT(box.exchange("wan", request.partial_l4_checksum(), "lan"), ElementsAre(expected.frame()));
    }
}

}  // namespace
}  // namespace fwd::test
