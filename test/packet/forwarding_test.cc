// SPDX-License-Identifier: BSD-3-Clause
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "test/packet/networks.h"

namespace fwd::test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST(PacketBuffers, FramesBeginWithACacheLine) {
    // 60 bytes that lie in two lines cost a miss more.
    Box box{kOneArm};
    for (int n = 0; n < 100; ++n) {
        rte_mbuf* packet = box.dataplane().allocate();
        ASSERT_NE(packet, nullptr);
        EXPECT_EQ(rte_pktmbuf_mtod(packet, std::uintptr_t) % RTE_CACHE_LINE_SIZE, 0U);
        rte_pktmbuf_free(packet);
    }
}

TEST(PacketBuffers, HaveAddressesThatDevicesReachThemBy) {
    // A NIC writes to them by DMA; virtual devices never look at them.
    ASSERT_EQ(rte_eal_iova_mode(), RTE_IOVA_VA);
    Box box{kOneArm};
    for (int n = 0; n < 100; ++n) {
        rte_mbuf* packet = box.dataplane().allocate();
        ASSERT_NE(packet, nullptr);
        EXPECT_EQ(packet->buf_iova, reinterpret_cast<std::uintptr_t>(packet->buf_addr));
        EXPECT_EQ(packet->pool->flags & RTE_MEMPOOL_F_NON_IO, 0U) << "drivers would not register it";
        rte_pktmbuf_free(packet);
    }
}

/// L1
TEST(Forwarding, RequestGoesToTheTargetAndTheAnswerComesFromTheExternalAddress) {
    Box box{kOneArm};
    const auto request = box.exchange(
        "lan", box.to("lan").from(kClientMac).ipv4(kClient, kExternal).tcp(40000, 80, kSyn).payload("hello"),
        "lan");
    ASSERT_THAT(request, SizeIs(1));
    const std::uint16_t port = look_into(request[0]).source.port.host();
    EXPECT_GE(port, 1024);
    EXPECT_EQ(request[0], from_fwd(box, "lan", kServerMac)
                              .ipv4(kFwd, kServer)
                              .ttl(63)
                              .tcp(port, 8080, kSyn)
                              .payload("hello")
                              .frame());

    EXPECT_THAT(
        box.exchange("lan", box.to("lan").from(kServerMac).ipv4(kServer, kFwd).tcp(8080, port, kSyn | kAck),
                     "lan"),
        ElementsAre(from_fwd(box, "lan", kClientMac)
                        .ipv4(kExternal, kClient)
                        .ttl(63)
                        .tcp(80, 40000, kSyn | kAck)
                        .frame()));
    EXPECT_EQ(box.sessions(), 1);
    box.expect_every_packet_accounted_for();
    box.expect_no_record_lost();
}

/// P2
TEST(Forwarding, UdpIsForwardedAndAChecksumOfZeroStaysZero) {
    Box box{kOneArm};
    const auto query = box.exchange(
        "lan",
        box.to("lan").from(kClientMac).ipv4(kClient, kExternal).udp(5000, 53).payload("q").l4_checksum(0),
        "lan");
    ASSERT_THAT(query, SizeIs(1));
    const std::uint16_t port = look_into(query[0]).source.port.host();
    EXPECT_EQ(query[0], from_fwd(box, "lan", kServerMac)
                            .ipv4(kFwd, kServer)
                            .ttl(63)
                            .udp(port, 5353)
                            .payload("q")
                            .l4_checksum(0)
                            .frame());
    EXPECT_THAT(
        box.exchange("lan",
                     box.to("lan").from(kServerMac).ipv4(kServer, kFwd).udp(5353, port).payload("answer"),
                     "lan"),
        ElementsAre(from_fwd(box, "lan", kClientMac)
                        .ipv4(kExternal, kClient)
                        .ttl(63)
                        .udp(53, 5000)
                        .payload("answer")
                        .frame()));
}

/// Between two links, plain or as VLANs of one device: the same tests.
class TwoLinks : public ::testing::TestWithParam<const std::string*> {
 protected:
    Box box_{*GetParam()};
    void expect_forwarded(const PacketBuilder& request, const PacketBuilder& forwarded) {
        EXPECT_THAT(box_.exchange("wan", request, "lan"), ElementsAre(forwarded.frame()));
        EXPECT_THAT(box_.take("wan"), IsEmpty());
    }
    PacketBuilder request() { return box_.to("wan").from(kRouterMac); }
};
INSTANTIATE_TEST_SUITE_P(Plain, TwoLinks, ::testing::Values(&kTwoArm));
INSTANTIATE_TEST_SUITE_P(Vlan, TwoLinks, ::testing::Values(&kTwoVlans));

TEST_P(TwoLinks, ServerSeesTheClientsOwnAddress) {
    expect_forwarded(
        request().ipv4(kFarClient, kPublic).tcp(40000, 80, kSyn),
        from_fwd(box_, "lan", kServerMac).ipv4(kFarClient, kLanServer).ttl(63).tcp(40000, 8080, kSyn));
    EXPECT_THAT(
        box_.exchange(
            "lan", box_.to("lan").from(kServerMac).ipv4(kLanServer, kFarClient).tcp(8080, 40000, kSyn | kAck),
            "wan"),
        ElementsAre(from_fwd(box_, "wan", kRouterMac)
                        .ipv4(kPublic, kFarClient)
                        .ttl(63)
                        .tcp(80, 40000, kSyn | kAck)
                        .frame()));
    box_.expect_every_packet_accounted_for();
}

/// L1
TEST_P(TwoLinks, SamePortOnAnotherAddress) {
    expect_forwarded(
        request().ipv4(kFarClient, kPublic).udp(40000, 27015).payload("x"),
        from_fwd(box_, "lan", mac(5)).ipv4(kFarClient, "10.0.0.5"_ip).ttl(63).udp(40000, 27015).payload("x"));
}

TEST_P(TwoLinks, FwdsOwnAddressIsForwardedToAServerBehindIt) {
    expect_forwarded(
        request().ipv4(kFarClient, kWanAddress).tcp(40000, 2222, kSyn),
        from_fwd(box_, "lan", mac(5)).ipv4(kFarClient, "10.0.0.5"_ip).ttl(63).tcp(40000, 22, kSyn));
}

/// L1, L4
TEST_P(TwoLinks, RangeGoesOntoARangeOfTheSameSizeAndAPortAloneIsMoreSpecific) {
    box_.set_rules(R"(rules = (
        { protocol = "udp"; external = "192.0.2.3:2000-2999"; target = "10.0.0.5:52000-52999"; },
        { protocol = "udp"; external = "192.0.2.3:3000-3001"; target = "10.0.0.5:1-2"; },
        { protocol = "udp"; external = "192.0.2.3:2500"; target = "10.0.0.4:53"; },
        { protocol = "udp"; external = "192.0.2.3:2000-2999"; target = "10.0.0.4:2000-2999"; link = "lan"; } );)");
    box_.settle();
    box_.take("wan");
    box_.take("lan");
    const auto expect_target = [&](std::uint16_t port, net::Endpoint target) {
        expect_forwarded(request().ipv4(kFarClient, kPublic).udp(7, port),
                         from_fwd(box_, "lan", target.address == kLanServer ? kServerMac : mac(5))
                             .ipv4(kFarClient, target.address)
                             .ttl(63)
                             .udp(7, target.port.host()));
    };
    expect_target(2000, endpoint("10.0.0.5"_ip, 52000));
    expect_target(2499, endpoint("10.0.0.5"_ip, 52499));
    expect_target(2500, endpoint(kLanServer, 53));
    expect_target(2999, endpoint("10.0.0.5"_ip, 52999));
    expect_target(3001, endpoint("10.0.0.5"_ip, 2));
    for (const std::uint16_t port : {1999, 3002}) {
        EXPECT_THAT(box_.exchange("wan", request().ipv4(kFarClient, kPublic).udp(7, port), "lan"), IsEmpty());
    }
    EXPECT_EQ(box_.count(Verdict::drop_no_rule), 2);
    EXPECT_THAT(
        box_.exchange("lan", box_.to("lan").ipv4("10.0.0.5"_ip, kFarClient).udp(52499, 7), "wan"),
        ElementsAre(
            from_fwd(box_, "wan", kRouterMac).ipv4(kPublic, kFarClient).ttl(63).udp(2499, 7).frame()));
    box_.expect_every_packet_accounted_for();
}

/// L2
TEST_P(TwoLinks, SeveralTargetsTakeTurnsAndASessionStaysWithItsOwn) {
    box_.set_rules(
        R"(rules = ( { protocol = "tcp"; external = "192.0.2.3:80"; target = "10.0.0.4:8080*2,10.0.0.5:8081"; } );)");
    box_.settle();
    std::map<std::uint16_t, net::IpEndpoint> target_of;
    std::map<std::uint16_t, int> sessions;
    for (std::uint16_t port = 1; port <= 30; ++port) {
        const auto sent =
            box_.exchange("wan", request().ipv4(kFarClient, kPublic).tcp(port, 80, kSyn), "lan");
        ASSERT_THAT(sent, SizeIs(1));
        target_of[port] = look_into(sent[0]).destination;
        ++sessions[target_of[port].port.host()];
    }
    for (std::uint16_t port = 1; port <= 30; ++port) {
        const auto sent =
            box_.exchange("wan", request().ipv4(kFarClient, kPublic).tcp(port, 80, kAck), "lan");
        ASSERT_THAT(sent, SizeIs(1));
        EXPECT_EQ(look_into(sent[0]).destination, target_of[port]);
    }
    EXPECT_EQ(sessions, (std::map<std::uint16_t, int>{{8080, 20}, {8081, 10}}));
    box_.expect_every_packet_accounted_for();
}

/// L2: by option all sessions of a client have the same target; clients are spread by weight.
TEST_P(TwoLinks, TargetIsChosenByTheClientsAddress) {
    box_.set_rules(R"(rules = ( { protocol = "tcp"; external = "192.0.2.3:80"; balance = "source-hash";
                                  target = "10.0.0.4:8080*3,10.0.0.5:8081"; } );)");
    box_.settle();
    std::map<std::uint16_t, int> clients;
    for (std::uint32_t n = 0; n < 60; ++n) {
        const auto client = net::Ipv4Address::from_host(0xc6336400U + n);
        std::set<std::uint16_t> targets;
        for (std::uint16_t port = 1; port <= 4; ++port) {
            const auto sent =
                box_.exchange("wan", request().ipv4(client, kPublic).tcp(port, 80, kSyn), "lan");
            ASSERT_THAT(sent, SizeIs(1));
            targets.insert(look_into(sent[0]).destination.port.host());
        }
        ASSERT_THAT(targets, SizeIs(1)) << n;
        ++clients[*targets.begin()];
    }
    EXPECT_NEAR(clients[8080], 45, 12);
    EXPECT_NEAR(clients[8081], 15, 12);
}

/// L3
TEST_P(TwoLinks, ClientsMayBeLeftOut) {
    box_.set_rules(R"(rules = ( { protocol = "tcp"; external = "192.0.2.3:80"; target = "10.0.0.4:8080";
                                  from = [ "198.51.100.0/24" ]; not_from = [ "198.51.100.64/26" ]; } );)");
    box_.settle();
    const auto reaches = [&](net::Ipv4Address client) {
        return !box_.exchange("wan", request().ipv4(client, kPublic).tcp(1, 80, kSyn), "lan").empty();
    };
    EXPECT_TRUE(reaches("198.51.100.63"_ip));
    EXPECT_FALSE(reaches("198.51.100.64"_ip));
    EXPECT_FALSE(reaches("198.51.100.127"_ip));
    EXPECT_TRUE(reaches("198.51.100.128"_ip));
    EXPECT_FALSE(reaches("198.51.101.1"_ip));
    EXPECT_EQ(box_.count(Verdict::drop_source_denied), 3);
}

/// P7
TEST_P(TwoLinks, FrameOfTheLinksMtuPasses) {
    box_.exchange("wan", request().ipv4(kFarClient, kPublic).udp(1, 27015), "lan");
    expect_forwarded(request().ipv4(kFarClient, kPublic).udp(1, 27015).payload_bytes(1472),
                     from_fwd(box_, "lan", mac(5))
                         .ipv4(kFarClient, "10.0.0.5"_ip)
                         .ttl(63)
                         .udp(1, 27015)
                         .payload_bytes(1472));
}

/// S4
TEST_P(TwoLinks, EthernetPaddingIsCutOffAndNeverCountedIntoAChecksum) {
    expect_forwarded(
        request().ipv4(kFarClient, kPublic).udp(7, 27015).payload("x").padding(17),
        from_fwd(box_, "lan", mac(5)).ipv4(kFarClient, "10.0.0.5"_ip).ttl(63).udp(7, 27015).payload("x"));
}

TEST_P(TwoLinks, RequestByTheWrongLinkIsNotTheSessions) {
    expect_forwarded(
        request().ipv4(kFarClient, kPublic).tcp(40000, 80, kSyn),
        from_fwd(box_, "lan", kServerMac).ipv4(kFarClient, kLanServer).ttl(63).tcp(40000, 8080, kSyn));
    EXPECT_THAT(box_.exchange("wan", request().ipv4(kLanServer, kFarClient).tcp(8080, 40000, kAck), "wan"),
                IsEmpty());
    EXPECT_EQ(box_.count(Verdict::drop_martian), 1) << "the target is not at that link";
}

/// P6
TEST(Forwarding, FrameWithoutTheTagOfAnyLinkIsDropped) {
    Box box{kTwoVlans};
    box.put("wan", packet().to(box.mac_of("wan")).ipv4(kFarClient, kPublic).tcp(1, 80, kSyn));
    box.put("wan", packet().to(box.mac_of("wan")).vlan(7).ipv4(kFarClient, kPublic).tcp(1, 80, kSyn));
    box.settle();
    EXPECT_EQ(box.count(Verdict::drop_unknown_vlan), 2);
}

/// P7
TEST(Forwarding, JumboFramesPassWhereTheLinksAllowThem) {
    Box box{R"(
        links = ( { name = "wan"; device = "net_null_wan"; addresses = [ "192.0.2.1/24" ]; mtu = 9000; },
                  { name = "lan"; device = "net_null_lan"; addresses = [ "10.0.0.1/24" ]; mtu = 9000; } );
    )" + kTwoArmRest};
    EXPECT_THAT(
        box.exchange("wan", box.to("wan").ipv4(kFarClient, kPublic).udp(1, 27015).payload_bytes(8972), "lan"),
        ElementsAre(from_fwd(box, "lan", mac(5))
                        .ipv4(kFarClient, "10.0.0.5"_ip)
                        .ttl(63)
                        .udp(1, 27015)
                        .payload_bytes(8972)
                        .frame()));
}

TEST(Forwarding, LongestPrefixChoosesTheWay) {
    Box box{R"(
        links = ( { name = "wan"; device = "net_null_wan"; addresses = [ "192.0.2.1/24" ]; },
                  { name = "lan"; device = "net_null_lan"; addresses = [ "10.0.0.1/24" ]; } );
        routes = ( { prefix = "0.0.0.0/0"; via = "192.0.2.254"; },
                   { prefix = "172.16.0.0/12"; via = "10.0.0.4"; },
                   { prefix = "172.16.9.0/24"; via = "10.0.0.5"; } );
        neighbours = ( { link = "wan"; address = "192.0.2.254"; mac = "02:00:00:00:00:fe"; },
                       { link = "lan"; address = "10.0.0.4"; mac = "02:00:00:00:00:04"; },
                       { link = "lan"; address = "10.0.0.5"; mac = "02:00:00:00:00:05"; } );
        rules = ( { name = "far"; protocol = "tcp"; external = "192.0.2.3:80"; target = "172.16.8.1:80"; },
                  { name = "nearer"; protocol = "tcp"; external = "192.0.2.3:81"; target = "172.16.9.1:80"; } );
    )"};
    EXPECT_THAT(
        box.exchange("wan", box.to("wan").ipv4(kFarClient, kPublic).tcp(1, 80, kSyn), "lan"),
        ElementsAre(
            from_fwd(box, "lan", mac(4)).ipv4(kFarClient, "172.16.8.1"_ip).ttl(63).tcp(1, 80, kSyn).frame()));
    EXPECT_THAT(
        box.exchange("wan", box.to("wan").ipv4(kFarClient, kPublic).tcp(1, 81, kSyn), "lan"),
        ElementsAre(
            from_fwd(box, "lan", mac(5)).ipv4(kFarClient, "172.16.9.1"_ip).ttl(63).tcp(1, 80, kSyn).frame()));
}

/// P8: what virtual links hand over never leads to a wrong checksum on the wire.
TEST(Forwarding, PartialChecksumIsCompleted) {
    Box box{R"(
        links = ( { name = "wan"; device = "net_null_wan"; addresses = [ "192.0.2.1/24" ];
                    rx_checksum = "partial"; },
                  { name = "lan"; device = "net_null_lan"; addresses = [ "10.0.0.1/24" ];
                    rx_checksum = "partial"; } );
    )" + kTwoArmRest};
    for (int length = 0; length < 300; ++length) {
        const auto bytes = static_cast<std::size_t>(length);
        const auto request = box.to("wan").from(kRouterMac).ipv4(kFarClient, kPublic);
        EXPECT_THAT(
            box.exchange("wan",
                         PacketBuilder{request}.udp(1, 27015).payload_bytes(bytes).partial_l4_checksum(),
                         "lan"),
            ElementsAre(from_fwd(box, "lan", mac(5))
                            .ipv4(kFarClient, "10.0.0.5"_ip)
                            .ttl(63)
                            .udp(1, 27015)
                            .payload_bytes(bytes)
                            .frame()));
        EXPECT_THAT(
            box.exchange("wan",
                         PacketBuilder{request}.tcp(1, 80, kSyn).payload_bytes(bytes).partial_l4_checksum(),
                         "lan"),
            ElementsAre(from_fwd(box, "lan", mac(4))
                            .ipv4(kFarClient, kLanServer)
                            .ttl(63)
                            .tcp(1, 8080, kSyn)
                            .payload_bytes(bytes)
                            .frame()));
    }
    // A complete one passes as well.
    EXPECT_THAT(
        box.exchange("wan", box.to("wan").ipv4(kFarClient, kPublic).udp(2, 27015).payload("x"), "lan"),
        ElementsAre(from_fwd(box, "lan", mac(5))
                        .ipv4(kFarClient, "10.0.0.5"_ip)
                        .ttl(63)
                        .udp(2, 27015)
                        .payload("x")
                        .frame()));
}

TEST(Forwarding, AnswerMayArriveOnAnyWorkersQueue) {
    Box box{kOneArm, 2};
    for (std::uint16_t client_port = 1000; client_port < 1100; ++client_port) {
        const unsigned asked = client_port % 2;
        const std::uint16_t port = open_example(box, client_port, asked);
        EXPECT_THAT(box.exchange("lan", box.to("lan").ipv4(kServer, kFwd).tcp(8080, port, kSyn | kAck), "lan",
                                 1 - asked),
                    ElementsAre(from_fwd(box, "lan", kClientMac)
                                    .ipv4(kExternal, kClient)
                                    .ttl(63)
                                    .tcp(80, client_port, kSyn | kAck)
                                    .frame()));
    }
    EXPECT_EQ(box.sessions(), 100);
    box.expect_no_record_lost();
}

TEST(Forwarding, DeviceWithFewerQueuesThanWorkersCarriesAllTraffic) {
    Box box{R"(
        links = ( { name = "wan"; device = "net_null_wan"; addresses = [ "192.0.2.1/24" ]; queues = 1; },
                  { name = "lan"; device = "net_null_lan"; addresses = [ "10.0.0.1/24" ]; queues = 1; } );
    )" + kTwoArmRest,
            3};
    for (std::uint16_t port = 1; port < 200; ++port) {
        EXPECT_THAT(box.exchange("wan", box.to("wan").ipv4(kFarClient, kPublic).tcp(port, 80, kSyn), "lan"),
                    SizeIs(1));
        EXPECT_THAT(
            box.exchange("lan", box.to("lan").ipv4(kLanServer, kFarClient).tcp(8080, port, kAck), "wan"),
            SizeIs(1));
    }
    box.expect_every_packet_accounted_for();
}

TEST(Forwarding, WhatADeviceDoesNotTakeIsCountedAndFreed) {
    Box box{kTwoArm};
    box.exchange("wan", box.to("wan").ipv4(kFarClient, kPublic).udp(1, 27015), "lan");
    box.refuse_transmit("lan", 1000);
    for (int i = 0; i < 100; ++i) box.put("wan", box.to("wan").ipv4(kFarClient, kPublic).udp(1, 27015));
    box.settle();
    EXPECT_EQ(box.count(Verdict::drop_tx_full), 100);
    box.refuse_transmit("lan", 0);
    box.expect_every_packet_accounted_for();
}

TEST(Forwarding, WhatIsForARemovedDeviceIsCountedAndOtherLinksGoOn) {
    Box box{kTwoArm, 2};
    for (const unsigned worker : {0U, 1U}) {
        EXPECT_THAT(box.exchange("wan", box.to("wan").ipv4(kFarClient, kPublic).udp(1, 27015), "lan", worker),
                    SizeIs(1));
    }
    box.remove_device("lan");
    for (const unsigned worker : {0U, 1U})
        box.put("wan", box.to("wan").ipv4(kFarClient, kPublic).udp(1, 27015), worker);
    box.settle();
    EXPECT_EQ(box.count(Verdict::drop_link_removed), 2);
    EXPECT_EQ(box.sessions(), 1);
    EXPECT_THAT(
        box.exchange("wan", box.to("wan").from(kRouterMac).ipv4(kFarClient, kPublic).ttl(1).tcp(1, 80, kSyn),
                     "wan"),
        SizeIs(1));
    box.expect_every_packet_accounted_for();
}

TEST(Forwarding, WorkersSendThroughTheOneThatHasTheQueue) {
    Box box{kTwoArm, 2};
    // Control has no queue at all: its answers leave as well.
    EXPECT_THAT(
        box.exchange("wan", box.to("wan").from(kRouterMac).ipv4(kFarClient, kPublic).ttl(1).tcp(1, 80, kSyn),
                     "wan", 1),
        SizeIs(1));
}

}  // namespace
}  // namespace fwd::test
