// SPDX-License-Identifier: BSD-3-Clause
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "dataplane/neighbour_discovery.h"
#include "test/packet/ipv6_networks.h"

namespace fwd::test {
namespace {

using dataplane::kAllNodes;
using dataplane::multicast_mac;
using dataplane::solicited_node;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;
using testing::UnorderedElementsAre;
using namespace std::chrono_literals;

constexpr std::uint8_t kSourceLinkLayer = 1, kTargetLinkLayer = 2;
constexpr std::uint32_t kSolicited = 0x40000000, kOverride = 0x20000000;

Bytes body(net::Ipv6Address target, std::uint8_t option = 0, net::MacAddress mac = {}) {
    Bytes bytes{target.bytes.begin(), target.bytes.end()};
    if (option == 0) return bytes;
    bytes.push_back(option);
    bytes.push_back(1);
    bytes.insert(bytes.end(), mac.bytes.begin(), mac.bytes.end());
    return bytes;
}
PacketBuilder solicitation(PacketBuilder frame, net::Ipv6Address source, net::Ipv6Address destination,
                           Bytes content) {
    return frame.ipv6(source, destination).ttl(255).icmpv6(135, 0).payload(std::move(content));
}
PacketBuilder advertisement(PacketBuilder frame, net::Ipv6Address source, net::Ipv6Address destination,
                            std::uint32_t flags, Bytes content) {
    return frame.ipv6(source, destination).ttl(255).icmpv6(136, 0, flags).payload(std::move(content));
}

/// What fwd says about the groups that it listens to.
Frame report(const Box& box, const std::set<net::Ipv6Address>& groups, std::uint8_t record_type) {
    Bytes records;
    for (const net::Ipv6Address& group : groups) {
        records.insert(records.end(), {record_type, 0, 0, 0});
        records.insert(records.end(), group.bytes.begin(), group.bytes.end());
    }
    const auto routers = "ff02::16"_ip6;
    return from_fwd(box, "lan", multicast_mac(routers))
        .ipv6(box.links()[0].link_local, routers)
        .ttl(1)
        .extension(0, Bytes{0, 5, 2, 0, 0, 1, 0})
        .icmpv6(143, 0, static_cast<std::uint32_t>(groups.size()))
        .payload(records)
        .frame();
}
PacketBuilder listener_query(net::Ipv6Address source) {
    return packet()
        .to(multicast_mac(kAllNodes))
        .from(kClientMac)
        .ipv6(source, kAllNodes)
        .ttl(1)
        .extension(0, Bytes{0, 5, 2, 0, 0, 1, 0})
        .icmpv6(130, 0)
        .payload_bytes(20);
}

const std::string kSegment = R"(
    sessions = 256;
    links = ( { name = "lan"; device = "net_null_lan"; addresses = [ "2001:db8:1::2/64" ]; ping = true; } );
    rules = ( { protocol = "udp"; external = "[2001:db8:1::3]:53"; target = "[2001:db8:1::4]:53"; } );
)";

class Nd : public testing::Test {
 protected:
    Nd() {
        box_.pass(1500ms);
        announced_ = box_.take("lan");
    }
    PacketBuilder to_group(net::Ipv6Address group) const {
        return packet().to(multicast_mac(group)).from(kClientMac);
    }
    PacketBuilder asks_for(net::Ipv6Address target) const {
        const auto group = solicited_node(target);
        return solicitation(to_group(group), kClient6, group, body(target, kSourceLinkLayer, kClientMac));
    }
    PacketBuilder answer(net::Ipv6Address target) const {
        return advertisement(from_fwd(box_, "lan", kClientMac), target, kClient6, kSolicited | kOverride,
                             body(target, kTargetLinkLayer, box_.mac_of("lan")));
    }
    PacketBuilder request(std::uint16_t port = 7) const {
        return box_.to("lan").from(kClientMac).ipv6(kClient6, kExternal6).udp(port, 53);
    }
    /// What fwd asks to find the server.
    PacketBuilder question() const {
        const auto group = solicited_node(kServer6);
        return solicitation(from_fwd(box_, "lan", multicast_mac(group)), kFwd6, group,
                            body(kServer6, kSourceLinkLayer, box_.mac_of("lan")));
    }
    PacketBuilder server_is_at(net::MacAddress mac, std::uint32_t flags = kSolicited | kOverride) const {
        return advertisement(box_.to("lan").from(mac), kServer6, kFwd6, flags,
                             body(kServer6, kTargetLinkLayer, mac));
    }

    /// fwd's report of its groups: those of its own addresses and of an external one.
    Frame listens_to(net::Ipv6Address external, std::uint8_t record_type) const {
        return report(
            box_,
            {solicited_node(box_.links()[0].link_local), solicited_node(kFwd6), solicited_node(external)},
            record_type);
    }

    Box box_{kSegment};
    std::vector<Frame> announced_;
};

/// P5: of questions. What answers fwd's own comes through beside it.
TEST_F(Nd, FloodOfQuestionsIsLimitedAndCounted) {
    for (int i = 0; i < 20'000; ++i) {
        box_.put_many("lan", asks_for(kExternal6));
        if (i % 500 == 0) box_.settle();
    }
    box_.settle();
    EXPECT_LE(box_.take("lan").size(), 2000);
    EXPECT_GE(box_.count(Verdict::drop_punt_limited), 18'000);
    EXPECT_THAT(box_.exchange("lan", request(), "lan"), ElementsAre(question().frame()));
    EXPECT_THAT(box_.exchange("lan", server_is_at(kServerMac), "lan"), SizeIs(1));
    box_.expect_every_packet_accounted_for();
}

TEST_F(Nd, OwnAndExternalAddressesAreAnsweredFor) {
    EXPECT_THAT(box_.exchange("lan", asks_for(kFwd6), "lan"), ElementsAre(answer(kFwd6).frame()));
    EXPECT_THAT(box_.exchange("lan", asks_for(kExternal6), "lan"), ElementsAre(answer(kExternal6).frame()));
    const net::Ipv6Address link_local = box_.dataplane().links()[0].link_local;
    EXPECT_THAT(box_.exchange("lan", asks_for(link_local), "lan"), ElementsAre(answer(link_local).frame()));
    EXPECT_THAT(box_.exchange("lan", asks_for(kServer6), "lan"), IsEmpty());
    // Whoever knows the address already may ask there.
    EXPECT_THAT(
        box_.exchange("lan", solicitation(box_.to("lan").from(kClientMac), kClient6, kFwd6, body(kFwd6)),
                      "lan"),
        ElementsAre(answer(kFwd6).frame()));
    box_.expect_every_packet_accounted_for();
}

/// P5: nobody is to be found at fwd's own MAC address.
/// R18: whoever asks for fwd's address has said where it is (RFC 4861, section 7.2.3).
TEST_F(Nd, WhoAsksForFwdNeedNotBeAsked) {
    const auto other = mac(9);
    const auto host = "2001:db8:1::9"_ip6;
    const auto group = solicited_node(kExternal6);
    EXPECT_THAT(box_.exchange("lan",
                              solicitation(packet().to(multicast_mac(group)).from(other), host, group,
                                           body(kExternal6, kSourceLinkLayer, other)),
                              "lan"),
                SizeIs(1));
    box_.exchange("lan", server_is_at(kServerMac), "lan");
    box_.exchange("lan", box_.to("lan").from(other).ipv6(host, kExternal6).udp(7, 53), "lan");
    const auto sent = box_.exchange("lan", server_is_at(kServerMac), "lan");
    ASSERT_THAT(sent, SizeIs(1)) << "which waited for the server";
    const auto port = look_into(sent[0]).source.port.host();
    EXPECT_THAT(
        box_.exchange("lan", box_.to("lan").from(kServerMac).ipv6(kServer6, kFwd6).udp(53, port), "lan"),
        ElementsAre(from_fwd(box_, "lan", other).ipv6(kExternal6, host).ttl(63).udp(53, 7).frame()));
}

TEST_F(Nd, OwnMacAddressIsNobodyElses) {
    EXPECT_THAT(box_.exchange("lan",
                              solicitation(box_.to("lan").from(kClientMac), kClient6, kFwd6,
                                           body(kFwd6, kSourceLinkLayer, box_.mac_of("lan"))),
                              "lan"),
                IsEmpty());
}

TEST_F(Nd, WhoFindsOutWhetherAnAddressIsFreeIsToldSo) {
    const auto group = solicited_node(kExternal6);
    EXPECT_THAT(
        box_.exchange("lan", solicitation(to_group(group), {}, group, body(kExternal6)), "lan"),
        ElementsAre(advertisement(from_fwd(box_, "lan", multicast_mac(kAllNodes)), kExternal6, kAllNodes,
                                  kOverride, body(kExternal6, kTargetLinkLayer, box_.mac_of("lan")))
                        .frame()));
}

/// P4: what RFC 4861, section 7.1, has hosts discard.
TEST_F(Nd, MalformedMessagesAreDropped) {
    const auto expect_dropped = [&](const PacketBuilder& frame, Verdict verdict = Verdict::drop_bad_nd) {
        const std::uint64_t before = box_.count(verdict);
        EXPECT_THAT(box_.exchange("lan", frame, "lan"), IsEmpty());
        EXPECT_EQ(box_.count(verdict), before + 1);
    };
    const auto group = solicited_node(kFwd6);
    const auto with = [&](Bytes content) { return solicitation(to_group(group), kClient6, group, content); };
    Bytes no_length = body(kFwd6, kSourceLinkLayer, kClientMac);
    no_length[17] = 0;
    Bytes too_long = no_length;
    too_long[17] = 2;
    expect_dropped(asks_for(kFwd6).ttl(254));
    expect_dropped(asks_for(kFwd6).l4_checksum(1), Verdict::drop_bad_icmp);
    expect_dropped(with(first(body(kFwd6), 15)));
    expect_dropped(with(no_length));
    expect_dropped(with(too_long));
    expect_dropped(with(body("ff02::1"_ip6)));
    expect_dropped(solicitation(to_group(group), {}, group, body(kFwd6, kSourceLinkLayer, kClientMac)));
    expect_dropped(solicitation(to_group(kAllNodes), {}, kAllNodes, body(kFwd6)));
    expect_dropped(advertisement(to_group(kAllNodes), kServer6, kAllNodes, kSolicited, body(kServer6)));
    expect_dropped(asks_for(kFwd6).icmpv6(135, 1));
    // What routers say is ignored, redirects as well.
    for (const std::uint8_t type : {133, 134}) {
        expect_dropped(to_group(kAllNodes).ipv6("fe80::1"_ip6, kAllNodes).ttl(255).icmpv6(type, 0),
                       Verdict::drop_multicast);
    }
    expect_dropped(box_.to("lan").ipv6("fe80::1"_ip6, kFwd6).ttl(255).icmpv6(137, 0).payload_bytes(32),
                   Verdict::drop_icmp_ignored);
    box_.expect_every_packet_accounted_for();
}

TEST_F(Nd, PacketsWaitForTheNextHopsAnswer) {
    EXPECT_THAT(box_.exchange("lan", request(), "lan"), ElementsAre(question().frame()));
    EXPECT_THAT(box_.exchange("lan", request(8), "lan"), IsEmpty());
    const auto sent = box_.exchange("lan", server_is_at(kServerMac), "lan");
    ASSERT_THAT(sent, SizeIs(2));
    for (const Frame& frame : sent) {
        EXPECT_EQ(look_into(frame).destination, endpoint(kServer6, 53));
        EXPECT_EQ(first(frame.bytes, 6), Bytes(kServerMac.bytes.begin(), kServerMac.bytes.end()));
    }
    EXPECT_THAT(box_.exchange("lan", request(), "lan"), SizeIs(1));
    box_.expect_every_packet_accounted_for();
}

TEST_F(Nd, AfterThreeQuestionsTheNextHopHasFailed) {
    box_.put("lan", request());
    box_.settle();
    box_.pass(4s);
    EXPECT_THAT(box_.take("lan"), ElementsAre(question().frame(), question().frame(), question().frame()));
    EXPECT_EQ(box_.count(Verdict::drop_hold_expired), 1);
    EXPECT_THAT(box_.exchange("lan", request(), "lan"), IsEmpty());
    EXPECT_EQ(box_.count(Verdict::drop_neighbour_failed), 1);
    box_.expect_every_packet_accounted_for();
}

/// RFC 4861, section 7.2.5: what is known is not replaced by who does not say so.
TEST_F(Nd, OnlyOverridingAdvertisementsMoveANextHop) {
    box_.exchange("lan", request(), "lan");
    box_.exchange("lan", server_is_at(kServerMac), "lan");
    const auto sent_to = [&] { return first(box_.exchange("lan", request(), "lan").at(0).bytes, 6); };
    const auto bytes_of = [](net::MacAddress mac) { return Bytes(mac.bytes.begin(), mac.bytes.end()); };
    box_.exchange("lan", server_is_at(mac(0x44), 0), "lan");
    EXPECT_EQ(sent_to(), bytes_of(kServerMac));
    box_.exchange("lan", server_is_at(mac(0x44), kOverride), "lan");
    EXPECT_EQ(sent_to(), bytes_of(mac(0x44)));
}

TEST_F(Nd, FreeAddressesAreAnnounced) {
    const auto announcement = [&](net::Ipv6Address address) {
        return advertisement(from_fwd(box_, "lan", multicast_mac(kAllNodes)), address, kAllNodes, kOverride,
                             body(address, kTargetLinkLayer, box_.mac_of("lan")))
            .frame();
    };
    EXPECT_THAT(announced_, ElementsAre(announcement(kFwd6)));
    box_.set_rules(
        R"(rules = ( { protocol = "udp"; external = "[2001:db8:1::30]:53"; target = "[2001:db8:1::4]:53"; } );)");
    box_.settle();
    EXPECT_THAT(box_.take("lan"), UnorderedElementsAre(announcement("2001:db8:1::30"_ip6),
                                                       listens_to("2001:db8:1::30"_ip6, 4)));
}

/// Switches that filter multicast ask who listens, and forget who does not say (RFC 3810).
TEST_F(Nd, ListenerQueryIsAnsweredWithTheGroups) {
    EXPECT_THAT(box_.exchange("lan", listener_query("fe80::1"_ip6), "lan"),
                ElementsAre(listens_to(kExternal6, 2)));
    EXPECT_THAT(box_.exchange("lan", listener_query(kClient6), "lan"), IsEmpty());
    EXPECT_THAT(box_.exchange("lan", listener_query("fe80::1"_ip6).ttl(2), "lan"), IsEmpty());
    // Whoever asks all the time is answered once a second.
    for (int n = 0; n < 5; ++n)
        EXPECT_THAT(box_.exchange("lan", listener_query("fe80::1"_ip6), "lan"), IsEmpty());
    box_.pass(1100ms);
    EXPECT_THAT(box_.take("lan"), ElementsAre(listens_to(kExternal6, 2)));
    box_.expect_every_packet_accounted_for();
}

/// Those of the kernel's services too, which hears no query.
TEST(ListenerReport, NamesTheGroupsOfRoutingAndVrrp) {
    Box box{R"(
        links = ( { name = "lan"; device = "net_null_lan"; addresses = [ "2001:db8:1::2/64" ];
                    host = ( "ssh", "ospf", "vrrp" ); } );
    )"};
    box.pass(1500ms);
    box.take("lan");
    const std::set<net::Ipv6Address> groups{solicited_node(box.links()[0].link_local), solicited_node(kFwd6),
                                            "ff02::5"_ip6, "ff02::6"_ip6, "ff02::12"_ip6};
    EXPECT_THAT(box.exchange("lan", listener_query("fe80::1"_ip6), "lan"),
                ElementsAre(report(box, groups, 2)));
}

/// RFC 4862: an own address that another host has is that host's.
TEST(DuplicateAddress, IsNotAnsweredFor) {
    Box box{kSegment};
    const auto group = solicited_node(kFwd6);
    const auto asks = solicitation(packet().to(multicast_mac(group)).from(kClientMac), kClient6, group,
                                   body(kFwd6, kSourceLinkLayer, kClientMac));
    EXPECT_THAT(box.exchange("lan", asks, "lan"), IsEmpty()) << "it is not sure yet whether it is free";
    box.exchange("lan",
                 advertisement(packet().to(multicast_mac(kAllNodes)).from(mac(0x66)), kFwd6, kAllNodes,
                               kOverride, body(kFwd6, kTargetLinkLayer, mac(0x66))),
                 "lan");
    box.pass(1500ms);
    box.take("lan");
    EXPECT_THAT(box.exchange("lan", asks, "lan"), IsEmpty());
}

/// I1
TEST_F(Nd, PingOfAnOwnAddressIsAnswered) {
    const auto ping = [&](net::Ipv6Address source, net::Ipv6Address destination) {
        return box_.to("lan")
            .from(kClientMac)
            .ipv6(source, destination)
            .icmpv6(128, 0, 0x00010002)
            .payload("abc");
    };
    EXPECT_THAT(box_.exchange("lan", ping(kClient6, kFwd6), "lan"),
                ElementsAre(from_fwd(box_, "lan", kClientMac)
                                .ipv6(kFwd6, kClient6)
                                .icmpv6(129, 0, 0x00010002)
                                .payload("abc")
                                .frame()));
    const net::Ipv6Address link_local = box_.dataplane().links()[0].link_local;
    EXPECT_THAT(box_.exchange("lan", ping("fe80::1"_ip6, link_local), "lan"), SizeIs(1));
    EXPECT_THAT(box_.exchange("lan", ping(kClient6, kExternal6), "lan"), IsEmpty());
    EXPECT_THAT(box_.exchange("lan", ping(kFwd6, kFwd6), "lan"), IsEmpty());
    box_.expect_every_packet_accounted_for();
}

/// Routers of IPv6 are mostly known by their link-local addresses.
TEST(LinkLocalGateway, IsAskedForAndUsed) {
    Box box{R"(
        links = ( { name = "wan"; device = "net_null_wan"; addresses = [ "2001:db8:2::1/64" ]; },
                  { name = "lan"; device = "net_null_lan"; addresses = [ "fd00::1/64" ]; } );
        routes = ( { prefix = "::/0"; via = "fe80::1"; link = "wan"; } );
        neighbours = ( { link = "lan"; address = "fd00::4"; mac = "02:00:00:00:00:04"; } );
        rules = ( { protocol = "udp"; external = "[2001:db8:2::3]:53"; target = "[fd00::4]:53"; } );
    )"};
    box.pass(1500ms);
    box.take("wan");
    box.take("lan");
    box.exchange("wan", box.to("wan").ipv6(kFarClient6, kPublic6).udp(7, 53), "lan");
    const auto reply = box.to("lan").ipv6(kLanServer6, kFarClient6).udp(53, 7);
    const auto group = solicited_node("fe80::1"_ip6);
    const net::Ipv6Address own = box.dataplane().links()[0].link_local;
    EXPECT_THAT(box.exchange("lan", reply, "wan"),
                ElementsAre(solicitation(from_fwd(box, "wan", multicast_mac(group)), own, group,
                                         body("fe80::1"_ip6, kSourceLinkLayer, box.mac_of("wan")))
                                .frame()));
    EXPECT_THAT(
        box.exchange("wan",
                     advertisement(box.to("wan").from(kRouterMac), "fe80::1"_ip6, own, kSolicited | kOverride,
                                   body("fe80::1"_ip6, kTargetLinkLayer, kRouterMac)),
                     "wan"),
        ElementsAre(from_fwd(box, "wan", kRouterMac).ipv6(kPublic6, kFarClient6).ttl(63).udp(53, 7).frame()));
}

}  // namespace
}  // namespace fwd::test
