// SPDX-License-Identifier: BSD-3-Clause
// ARP (RFC 826, RFC 5227): who fwd answers for, how it asks, what waits meanwhile.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/packet/networks.h"

namespace fwd::test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;
using namespace std::chrono_literals;

constexpr std::uint16_t kRequest = 1, kReply = 2;

const std::string kNobodyKnown = R"(
    links = ( { name = "lan"; device = "net_null_lan"; addresses = [ "10.0.0.2/24" ]; } );
    rules = ( { name = "web"; protocol = "tcp"; external = "10.0.0.3:80"; target = "10.0.0.4:8080"; },
              { name = "dns"; protocol = "udp"; external = "10.0.0.3:53"; target = "10.0.0.4:5353"; } );
)";

class Arp : public ::testing::Test {
 protected:
    Box box_{kNobodyKnown};

    Frame question(net::Ipv4Address about) {
        return from_fwd(box_, "lan", net::kBroadcastMac)
            .arp(kRequest, box_.mac_of("lan"), kFwd, {}, about)
            .frame();
    }
    Frame announcement(net::Ipv4Address address) {
        return from_fwd(box_, "lan", net::kBroadcastMac)
            .arp(kRequest, box_.mac_of("lan"), address, {}, address)
            .frame();
    }
    PacketBuilder answer(net::Ipv4Address who, net::MacAddress where) {
        return box_.to("lan").from(where).arp(kReply, where, who, box_.mac_of("lan"), kFwd);
    }
    PacketBuilder query(std::uint16_t port = 5000) {
        return box_.to("lan").from(kClientMac).ipv4(kClient, kExternal).udp(port, 53).payload("q");
    }
};

TEST_F(Arp, AnswersForItsOwnAndForExternalAddressesAndForNothingElse) {
    const auto ask = [&](net::Ipv4Address about, net::MacAddress to) {
        return box_.exchange(
            "lan", packet().to(to).from(kClientMac).arp(kRequest, kClientMac, kClient, {}, about), "lan");
    };
    for (const auto address : {kFwd, kExternal}) {
        for (const auto to : {net::kBroadcastMac, box_.mac_of("lan")}) {
            EXPECT_THAT(ask(address, to),
                        ElementsAre(from_fwd(box_, "lan", kClientMac)
                                        .arp(kReply, box_.mac_of("lan"), address, kClientMac, kClient)
                                        .frame()));
        }
    }
    EXPECT_THAT(ask(kServer, net::kBroadcastMac), IsEmpty());
    EXPECT_THAT(ask("10.0.0.99"_ip, net::kBroadcastMac), IsEmpty());
    box_.expect_every_packet_accounted_for();
}

TEST_F(Arp, NewExternalAddressIsAnnounced) {
    box_.set_rules(
        R"(rules = ( { name = "web"; protocol = "tcp"; external = "10.0.0.3:80"; target = "10.0.0.4:8080"; },
                               { name = "new"; protocol = "tcp"; external = "10.0.0.9:80"; target = "10.0.0.4:80"; } );)");
    box_.settle();
    EXPECT_THAT(box_.take("lan"), ElementsAre(announcement("10.0.0.9"_ip)));
}

TEST_F(Arp, AllAddressesAreAnnouncedAgainWhenTheLinkHasComeUp) {
    box_.pass(5s);
    EXPECT_THAT(box_.take("lan"), IsEmpty()) << "once is enough while it stays up";
    box_.unplug("lan");
    box_.plug("lan");
    EXPECT_THAT(box_.take("lan"), UnorderedElementsAre(announcement(kFwd), announcement(kExternal)));
}

TEST(Neighbour, ThousandsOfNewAddressesAreAllAnnouncedWithinARoomyTime) {
    constexpr int kAddresses = 5000;
    Box box{R"(
        links = ( { name = "lan"; device = "net_null_lan"; addresses = [ "10.0.0.2/16" ]; } );
    )",
            1, 2 * kAddresses};
    std::string rules;
    for (int i = 0; i < kAddresses; ++i) {
        rules += (i == 0 ? "" : ",") +
                 std::string{R"({ protocol = "udp"; target = "10.0.0.4:1"; external = "10.0.)"} +
                 std::to_string(1 + i / 250) + "." + std::to_string(1 + i % 250) + ":1\"; }";
    }
    box.set_rules("rules = ( " + rules + " );");
    box.pass(10s);
    EXPECT_THAT(box.take("lan"), SizeIs(kAddresses));
    EXPECT_EQ(box.count(Verdict::drop_tx_full), 0);
}

TEST_F(Arp, PacketsWaitForTheAnswerAndThenGoInOrder) {
    EXPECT_THAT(box_.exchange("lan", query(1), "lan"), ElementsAre(question(kServer)));
    EXPECT_THAT(box_.exchange("lan", query(2), "lan"), IsEmpty());
    EXPECT_THAT(box_.exchange("lan", query(3), "lan"), IsEmpty());
    box_.expect_every_packet_accounted_for();
    const auto sent = box_.exchange("lan", answer(kServer, kServerMac), "lan");
    ASSERT_THAT(sent, SizeIs(3));
    for (const Frame& frame : sent) EXPECT_EQ(look_into(frame).destination, endpoint(kServer, 5353));
    EXPECT_THAT(box_.exchange("lan", query(1), "lan"), SizeIs(1));
    box_.expect_every_packet_accounted_for();
}

TEST_F(Arp, FewPacketsWaitTheOthersAreDropped) {
    for (std::uint16_t port = 1; port <= 50; ++port) box_.put("lan", query(port));
    box_.settle();
    EXPECT_EQ(box_.count(Verdict::drop_hold_limited), 50 - 16);
    box_.expect_every_packet_accounted_for();
}

TEST_F(Arp, UnansweredItAsksThreeTimesThenDropsWhatWaits) {
    box_.put("lan", query());
    box_.settle();
    box_.pass(10s);
    EXPECT_THAT(box_.take("lan"), ElementsAre(question(kServer), question(kServer), question(kServer)));
    EXPECT_EQ(box_.count(Verdict::drop_hold_expired), 1);
    // After a pause the next packet starts over.
    EXPECT_THAT(box_.exchange("lan", query(), "lan"), ElementsAre(question(kServer)));
    EXPECT_THAT(box_.exchange("lan", answer(kServer, kServerMac), "lan"), SizeIs(1));
    box_.expect_every_packet_accounted_for();
}

TEST_F(Arp, WhileANextHopDoesNotAnswerItsPacketsAreDroppedAtOnce) {
    box_.put("lan", query());
    box_.settle();
    box_.pass(3100ms);
    EXPECT_THAT(box_.exchange("lan", query(), "lan"), SizeIs(3)) << "three questions, no fourth";
    EXPECT_EQ(box_.count(Verdict::drop_neighbour_failed), 1);
}

TEST_F(Arp, ANeighbourInUseIsAskedAgainBeforeItIsForgotten) {
    box_.exchange("lan", query(), "lan");
    box_.exchange("lan", answer(kServer, kServerMac), "lan");
    for (int i = 0; i < 7; ++i) {
        box_.pass(10s);
        box_.put("lan", query());
        box_.settle();
    }
    const auto sent = box_.take("lan");
    EXPECT_THAT(
        sent,
        ::testing::Contains(
            from_fwd(box_, "lan", kServerMac).arp(kRequest, box_.mac_of("lan"), kFwd, {}, kServer).frame()));
    // Nobody answers: from some time on packets wait again instead of leaving for a machine that has gone.
    box_.pass(10s);
    EXPECT_THAT(box_.exchange("lan", query(), "lan"), ::testing::Each(question(kServer)));
}

TEST_F(Arp, ANeighbourThatNobodyUsesIsForgotten) {
    box_.exchange("lan", query(), "lan");
    box_.exchange("lan", answer(kServer, kServerMac), "lan");
    EXPECT_EQ(box_.neighbour_count(), 1);
    box_.pass(65s);
    EXPECT_EQ(box_.neighbour_count(), 0);
    // The session lives on and asks anew.
    EXPECT_EQ(box_.sessions(), 1);
    EXPECT_THAT(box_.exchange("lan", query(), "lan"), ElementsAre(question(kServer)));
}

TEST_F(Arp, ANewMacAddressIsTakenOverAtOnce) {
    box_.exchange("lan", query(), "lan");
    box_.exchange("lan", answer(kServer, kServerMac), "lan");
    // Another machine takes over the address and says so.
    box_.exchange(
        "lan", packet().to(net::kBroadcastMac).from(mac(0x44)).arp(kRequest, mac(0x44), kServer, {}, kServer),
        "lan");
    const auto sent = box_.exchange("lan", query(), "lan");
    ASSERT_THAT(sent, SizeIs(1));
    EXPECT_TRUE(std::equal(sent[0].bytes.begin(), sent[0].bytes.begin() + 6, mac(0x44).bytes.begin()));
}

TEST_F(Arp, NobodyCanTakeFwdsOwnOrExternalAddresses) {
    box_.exchange("lan", query(), "lan");
    for (const auto address : {kFwd, kExternal}) box_.exchange("lan", answer(address, mac(0x66)), "lan");
    EXPECT_EQ(box_.neighbour_count(), 1);
    EXPECT_THAT(box_.exchange("lan", answer(kServer, {{0x01, 0, 0, 0, 0, 1}}), "lan"), IsEmpty())
        << "a multicast address is nobody's";
    EXPECT_THAT(box_.exchange("lan", answer(kServer, kServerMac), "lan"), SizeIs(1));
}

/// P5
TEST_F(Arp, FloodOfArpIsLimitedAndCounted) {
    for (int i = 0; i < 20'000; ++i) {
        box_.put("lan", packet()
                            .to(net::kBroadcastMac)
                            .from(kClientMac)
                            .arp(kRequest, kClientMac, kClient, {}, kExternal));
        if (i % 500 == 0) box_.settle();
    }
    box_.settle();
    EXPECT_LE(box_.take("lan").size(), 2000);
    EXPECT_GE(box_.count(Verdict::drop_punt_limited), 18'000);
    box_.expect_every_packet_accounted_for();
}

TEST(Neighbour, FloodOfArpTakesNothingFromOtherLinksNorFromTheAnswersThatFwdWaitsFor) {
    for (const std::string flooded : {"wan", "lan"}) {
        Box box{R"(
            links = ( { name = "wan"; device = "net_null_wan"; addresses = [ "192.0.2.1/24" ]; },
                      { name = "lan"; device = "net_null_lan"; addresses = [ "10.0.0.1/24" ]; } );
            rules = ( { name = "web"; protocol = "tcp"; external = "192.0.2.3:80"; target = "10.0.0.4:80"; } );
        )"};
        const auto question = box.to(flooded)
                                  .to(net::kBroadcastMac)
                                  .from(mac(9))
                                  .arp(kRequest, mac(9), "192.0.2.9"_ip, {}, "192.0.2.77"_ip);
        for (int i = 0; i < 5000; ++i) {
            box.put_many(flooded, question);
            if (i % 100 == 0) box.settle();
        }
        box.settle();
        EXPECT_GT(box.count(Verdict::drop_punt_limited), 2000);
        EXPECT_THAT(box.exchange("wan", box.to("wan").ipv4("192.0.2.9"_ip, kPublic).tcp(1, 80, kSyn), "lan"),
                    SizeIs(1))
            << "a question";
        EXPECT_THAT(
            box.exchange("lan",
                         box.to("lan").arp(kReply, kServerMac, kLanServer, box.mac_of("lan"), kLanAddress),
                         "lan"),
            SizeIs(1))
            << "what waited for this answer";
    }
}

/// Clients of a large network of the link's own, most of whom somebody makes up.
class Crowd : public ::testing::Test {
 protected:
    /// A client's SYN, and the server's answer.
    void connect(net::Ipv4Address client) {
        box_.put_many("wan", box_.to("wan").ipv4(client, "172.16.0.3"_ip).tcp(1, 80, kSyn));
        box_.settle();
        box_.put_many("lan", box_.to("lan").ipv4(kLanServer, client).tcp(8080, 1, kSyn | kAck));
        box_.settle();
    }

    Box box_{R"(
        links = ( { name = "wan"; device = "net_null_wan"; addresses = [ "172.16.0.1/16" ]; },
                  { name = "lan"; device = "net_null_lan"; addresses = [ "10.0.0.1/24" ]; } );
        neighbours = ( { link = "lan"; address = "10.0.0.4"; mac = "02:00:00:00:00:04"; } );
        rules = ( { name = "web"; protocol = "tcp"; external = "172.16.0.3:80"; target = "10.0.0.4:8080"; } );
    )"};
};

TEST_F(Crowd, ThousandsThatDoNotExistLeaveRoomForThoseThatDo) {
    for (std::uint32_t i = 0; i < 10'000; ++i) {
        connect(net::Ipv4Address::from_host(0xac100100U + i));
        if (i % 200 == 0) box_.pass(100ms);
    }
    box_.pass(5s);
    box_.take("wan");
    const auto client = "172.16.200.1"_ip;
    connect(client);
    EXPECT_THAT(box_.take("wan"), SizeIs(1)) << "a question";
    EXPECT_THAT(
        box_.exchange("wan",
                      box_.to("wan").arp(kReply, kClientMac, client, box_.mac_of("wan"), "172.16.0.1"_ip),
                      "wan"),
        SizeIs(1))
        << "the server's answer, which has waited";
    box_.expect_every_packet_accounted_for();
}

/// R18: whoever asks for fwd's address has said where it is, so that its answers need not wait among those
/// that a flood of made-up sources of its network makes wait. Those who ask for nothing but to be remembered
/// are not.
TEST_F(Crowd, WhoAsksForFwdIsKnownAmongAllThatAreMadeUp) {
    const auto ask = [&](net::Ipv4Address client) {
        box_.put_many("wan", packet()
                                 .to(net::kBroadcastMac)
                                 .from(kClientMac)
                                 .arp(kRequest, kClientMac, client, {}, "172.16.0.3"_ip));
        box_.settle();
    };
    for (std::uint32_t i = 0; i < 3000; ++i) connect(net::Ipv4Address::from_host(0xac100100U + i));
    EXPECT_GT(box_.count(Verdict::drop_hold_limited), 1000);
    box_.take("wan");
    const auto client = "172.16.200.1"_ip;
    ask(client);
    box_.take("wan");
    connect(client);
    EXPECT_THAT(box_.take("wan"), ElementsAre(from_fwd(box_, "wan", kClientMac)
                                                  .ipv4("172.16.0.3"_ip, client)
                                                  .ttl(63)
                                                  .tcp(80, 1, kSyn | kAck)
                                                  .frame()));
    box_.pass(10s);
    const std::size_t before = box_.neighbour_count();
    ask("198.51.100.9"_ip);
    EXPECT_EQ(box_.neighbour_count(), before) << "of no network of the link's";
    for (std::uint32_t i = 0; i < 600; ++i) ask(net::Ipv4Address::from_host(0xac108000U + i));
    const std::size_t known = box_.neighbour_count();
    box_.pass(3s);
    EXPECT_GT(known - box_.neighbour_count(), 450) << "who is sent nothing is forgotten";
    box_.expect_every_packet_accounted_for();
}

TEST(Neighbour, StaticOnesNeverChange) {
    Box box{kOneArm};
    box.exchange(
        "lan", box.to("lan").from(mac(0x66)).arp(kReply, mac(0x66), kServer, box.mac_of("lan"), kFwd), "lan");
    box.pass(300s);
    const auto sent = box.exchange("lan", box.to("lan").ipv4(kClient, kExternal).udp(1, 53), "lan");
    ASSERT_THAT(sent, SizeIs(1));
    EXPECT_TRUE(std::equal(sent[0].bytes.begin(), sent[0].bytes.begin() + 6, kServerMac.bytes.begin()));
}

TEST(Neighbour, ArpAndHeldPacketsCarryTheLinksTag) {
    Box box{R"(
        links = ( { name = "wan"; device = "net_null_trunk"; vlan = 100; addresses = [ "192.0.2.1/24" ]; },
                  { name = "lan"; device = "net_null_trunk"; vlan = 200; addresses = [ "10.0.0.1/24" ]; } );
        rules = ( { name = "web"; protocol = "tcp"; external = "192.0.2.3:80"; target = "10.0.0.4:80"; } );
    )"};
    const auto question = from_fwd(box, "lan", net::kBroadcastMac)
                              .arp(kRequest, box.mac_of("lan"), kLanAddress, {}, kLanServer);
    EXPECT_THAT(box.exchange("wan", box.to("wan").ipv4("192.0.2.9"_ip, kPublic).tcp(1, 80, kSyn), "lan"),
                ElementsAre(question.frame()));
    EXPECT_THAT(
        box.exchange("lan", box.to("lan").arp(kReply, kServerMac, kLanServer, box.mac_of("lan"), kLanAddress),
                     "lan"),
        ElementsAre(from_fwd(box, "lan", kServerMac)
                        .ipv4("192.0.2.9"_ip, kLanServer)
                        .ttl(63)
                        .tcp(1, 80, kSyn)
                        .frame()));
    EXPECT_THAT(
        box.exchange("wan", box.to("wan").from(mac(9)).arp(kRequest, mac(9), "192.0.2.9"_ip, {}, kPublic),
                     "wan"),
        ElementsAre(from_fwd(box, "wan", mac(9))
                        .arp(kReply, box.mac_of("wan"), kPublic, mac(9), "192.0.2.9"_ip)
                        .frame()));
}

}  // namespace
}  // namespace fwd::test
