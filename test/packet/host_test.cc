// SPDX-License-Identifier: BSD-3-Clause
// What of the traffic for fwd's own addresses goes to the kernel, and that nothing else does.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dataplane/host_path.h"
#include "test/packet/networks.h"

namespace fwd::test {
namespace {

using dataplane::HostFlows;
using dataplane::LinkId;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using namespace std::chrono_literals;

constexpr std::uint8_t kEchoReply = 0, kUnreachable = 3, kEcho = 8;
constexpr auto kPeer = "192.0.2.10"_ip;
constexpr auto kPeerMac = mac(0x10);
constexpr auto kAllRouters = "224.0.0.18"_ip, kOspfRouters = "224.0.0.5"_ip,
               kBroadcast = "255.255.255.255"_ip;
constexpr auto kWan6 = "2001:db8:2::2"_ip6, kPeer6 = "2001:db8:2::10"_ip6, kPeerLinkLocal = "fe80::10"_ip6,
               kVrrp6 = "ff02::12"_ip6;
constexpr std::uint8_t kVrrpNumber = 112, kOspfNumber = 89;

const std::string kServices = R"(
    links = ( { name = "wan"; device = "net_null_wan"; addresses = [ "192.0.2.1/24", "2001:db8:2::2/64" ];
                host = ( "ping", "ssh", "dhcp-client", "vrrp",
                         { service = "bgp"; from = [ "192.0.2.10/32" ]; },
                         { protocol = "udp"; port = "9100-9110"; } ); },
              { name = "lan"; device = "net_null_lan"; addresses = [ "10.0.0.1/24" ]; } );
)" + kTwoArmRest;

class Host : public ::testing::Test {
 protected:
    PacketBuilder from(net::Ipv4Address source, net::Ipv4Address destination = kWanAddress) {
        return box_.to("wan").from(kPeerMac).ipv4(source, destination);
    }
    PacketBuilder from6(net::Ipv6Address source, net::Ipv6Address destination = kWan6) {
        return box_.to("wan").from(kPeerMac).ipv6(source, destination);
    }
    /// Whether the kernel gets the packet; else it must have been dropped.
    bool reaches(const PacketBuilder& frame, const std::string& link = "wan") {
        const auto before = box_.count(Verdict::punt_host);
        EXPECT_THAT(box_.exchange(link, frame, link), IsEmpty());
        const bool reached = box_.count(Verdict::punt_host) != before;
        box_.expect_every_packet_accounted_for();
        return reached;
    }
    /// The kernel has sent a packet to which this one is the answer.
    void expect(const PacketBuilder& answer) {
        const Bytes frame = answer.bytes();
        const auto packet = dataplane::parse_for_host(frame.data(), frame.size(), LinkId{0});
        ASSERT_TRUE(packet);
        box_.dataplane().host_flows().note(box_.dataplane().hash().tag(packet->key),
                                           HostFlows::Clock::now() + 1min);
    }

    Box box_{kServices};
};

/// T4: what is not listed stays as silent as everywhere.
TEST_F(Host, ListedServicesReachTheKernelAndNoOthers) {
    EXPECT_TRUE(reaches(from(kPeer).tcp(40000, 22, kSyn)));
    EXPECT_TRUE(reaches(from(kFarClient).tcp(40000, 22, kAck))) << "its connections are the kernel's matter";
    EXPECT_TRUE(reaches(from(kPeer).udp(40000, 9100)));
    EXPECT_TRUE(reaches(from(kPeer).udp(40000, 9110).payload_bytes(1400)));
    EXPECT_FALSE(reaches(from(kPeer).udp(40000, 9099)));
    EXPECT_FALSE(reaches(from(kPeer).udp(40000, 9111)));
    EXPECT_FALSE(reaches(from(kPeer).tcp(40000, 9100, kSyn)));
    EXPECT_FALSE(reaches(from(kPeer).tcp(40000, 23, kSyn)));
    EXPECT_FALSE(reaches(from(kPeer).udp(40000, 22)));
    EXPECT_FALSE(reaches(from(kPeer, kPublic).tcp(40000, 22, kSyn))) << "an address of rules alone";
    EXPECT_FALSE(reaches(from(kPeer, kLanAddress).tcp(40000, 22, kSyn))) << "an own address of another link";
}

TEST_F(Host, AListOfSourcesIsKept) {
    EXPECT_TRUE(reaches(from(kPeer).ttl(1).tcp(179, 179, kSyn))) << "as BGP speaks to its neighbour";
    EXPECT_FALSE(reaches(from(kFarClient).tcp(179, 179, kSyn)));
    EXPECT_FALSE(reaches(from6(kPeer6).tcp(179, 179, kSyn)));
}

/// T4: an interface that has `host` is no way to the kernel by another link.
TEST_F(Host, OtherLinksHaveNone) {
    EXPECT_FALSE(
        reaches(box_.to("lan").from(kServerMac).ipv4(kLanServer, kLanAddress).tcp(1, 22, kSyn), "lan"));
    EXPECT_FALSE(
        reaches(box_.to("lan").from(kServerMac).ipv4(kLanServer, kWanAddress).tcp(1, 22, kSyn), "lan"));
}

TEST_F(Host, ARuleComesFirst) {
    box_.set_rules(
        R"(rules = ( { name = "ssh"; protocol = "tcp"; external = "192.0.2.1:22"; target = "10.0.0.5:22"; } );)");
    EXPECT_THAT(box_.exchange("wan", from(kFarClient).tcp(40000, 22, kSyn), "lan"), SizeIs(1));
    EXPECT_EQ(box_.count(Verdict::punt_host), 0);
    EXPECT_FALSE(reaches(from(kFarClient).tcp(40001, 22, kAck))) << "nor what the rule refuses";
}

/// P5: what a listed service needs of multicast and broadcast, and no more.
TEST_F(Host, GroupsAndBroadcastsOfListedServices) {
    const auto group = [&](net::Ipv4Address to, std::uint8_t protocol, std::uint8_t last) {
        return packet()
            .to({{0x01, 0x00, 0x5e, 0, 0, last}})
            .from(kPeerMac)
            .ipv4(kPeer, to)
            .protocol(protocol, Bytes(20));
    };
    EXPECT_TRUE(reaches(group(kAllRouters, kVrrpNumber, 18)));
    EXPECT_TRUE(reaches(from(kPeer).protocol(kVrrpNumber, Bytes(20)))) << "to its own address alone";
    EXPECT_FALSE(reaches(group(kOspfRouters, kOspfNumber, 5))) << "not listed";
    EXPECT_FALSE(reaches(group("239.0.0.18"_ip, kVrrpNumber, 18))) << "beyond the link";
    const auto broadcast = [&](std::uint16_t from, std::uint16_t to) {
        return packet().to(net::kBroadcastMac).from(kPeerMac).ipv4(kPeer, kBroadcast).udp(from, to);
    };
    EXPECT_TRUE(reaches(broadcast(67, 68)));
    EXPECT_FALSE(reaches(from(kPeer, "192.0.2.77"_ip).udp(67, 68))) << "to another host";
    EXPECT_FALSE(reaches(from(kPeer, kLanServer).udp(67, 68))) << "the kernel is no way through";
    EXPECT_FALSE(reaches(broadcast(68, 67))) << "a client's";
    EXPECT_FALSE(reaches(broadcast(1, 68)));
    EXPECT_FALSE(reaches(broadcast(1, 9100)));
    EXPECT_TRUE(reaches(packet()
                            .to({{0x33, 0x33, 0, 0, 0, 0x12}})
                            .from(kPeerMac)
                            .ipv6(kPeerLinkLocal, kVrrp6)
                            .protocol(kVrrpNumber, Bytes(20))));
    EXPECT_TRUE(reaches(from6(kPeerLinkLocal, box_.links()[0].link_local).udp(547, 546)));
}

TEST(HostOfALan, DhcpServerHearsThoseWhoHaveNoAddressYet) {
    Box box{R"(
        links = ( { name = "lan"; device = "net_null_lan"; addresses = [ "10.0.0.1/24" ];
                    host = ( "dhcp-server", "dns" ); } );
    )"};
    const auto reaches = [&](const PacketBuilder& frame) {
        const auto before = box.count(Verdict::punt_host);
        EXPECT_THAT(box.exchange("lan", frame, "lan"), IsEmpty());
        return box.count(Verdict::punt_host) != before;
    };
    const auto nobodys = [&](net::Ipv4Address to) {
        return packet().to(net::kBroadcastMac).from(kPeerMac).ipv4("0.0.0.0"_ip, to);
    };
    EXPECT_TRUE(reaches(nobodys(kBroadcast).udp(68, 67)));
    EXPECT_TRUE(reaches(box.to("lan").from(kPeerMac).ipv4(kLanServer, "10.0.0.1"_ip).udp(68, 67)))
        << "for more time";
    EXPECT_FALSE(reaches(nobodys(kBroadcast).udp(68, 53)));
    EXPECT_FALSE(reaches(box.to("lan").from(kPeerMac).ipv4("0.0.0.0"_ip, "10.0.0.1"_ip).udp(68, 53)));
    box.expect_every_packet_accounted_for();
}

TEST_F(Host, IPv6HasTheSameServices) {
    EXPECT_TRUE(reaches(from6(kPeer6).tcp(40000, 22, kSyn)));
    EXPECT_TRUE(reaches(from6(kPeer6).icmpv6(128, 0, 7)));
    EXPECT_FALSE(reaches(from6(kPeer6).tcp(40000, 23, kSyn)));
    EXPECT_FALSE(reaches(from6(kPeer6).icmpv6(137, 0, 7))) << "redirect";
    EXPECT_FALSE(reaches(from6(kPeer6).icmpv6(129, 0, 7))) << "an answer to nothing";
}

/// T4: a stranger can't guess his way in as an answer.
TEST_F(Host, AnswersReachItAndNothingElseThatLooksLikeThem) {
    const auto answer = from(kFarClient).tcp(443, 40000, kSyn | kAck);
    EXPECT_FALSE(reaches(answer));
    expect(answer);
    EXPECT_TRUE(reaches(answer));
    EXPECT_TRUE(reaches(from(kFarClient).tcp(443, 40000, kRst)));
    EXPECT_FALSE(reaches(from(kFarClient).tcp(443, 40001, kAck)));
    EXPECT_FALSE(reaches(from(kFarClient).tcp(444, 40000, kAck)));
    EXPECT_FALSE(reaches(from(kPeer).tcp(443, 40000, kAck)));
    EXPECT_FALSE(reaches(from(kFarClient).udp(443, 40000)));
    const auto answer6 = from6(kPeer6).udp(53, 40000);
    expect(answer6);
    EXPECT_TRUE(reaches(answer6));
    EXPECT_FALSE(reaches(from6(kPeer6).udp(53, 40001)));
}

TEST_F(Host, PingGoesBothWays) {
    EXPECT_TRUE(reaches(from(kPeer).icmp(kEcho, 0, 0x70000)));
    const auto reply = from(kPeer).icmp(kEchoReply, 0, 0x80001);
    EXPECT_FALSE(reaches(reply));
    expect(reply);
    EXPECT_TRUE(reaches(reply));
    EXPECT_FALSE(reaches(from(kPeer).icmp(kEchoReply, 0, 0x90001))) << "another identifier";
    EXPECT_FALSE(reaches(from(kPeer).icmp(13, 0, 1))) << "timestamp";
    EXPECT_FALSE(reaches(from(kPeer).icmp(kEcho, 0, 7).l4_checksum(0x1234)));
}

/// I4: errors about what the kernel has sent.
TEST_F(Host, ErrorsAboutItsOwnPacketsReachIt) {
    const auto about = [&](std::uint16_t source_port, std::uint16_t port) {
        const Bytes sent = packet().ipv4(kWanAddress, kFarClient).tcp(source_port, port, kAck).ip_bytes();
        return from("203.0.113.1"_ip).icmp(kUnreachable, 4, 1400).payload(sent);
    };
    EXPECT_FALSE(reaches(about(40000, 443)));
    EXPECT_EQ(box_.count(Verdict::drop_icmp_no_session), 1);
    expect(from(kFarClient).tcp(443, 40000, kAck));
    EXPECT_FALSE(reaches(about(40001, 443)));
    EXPECT_FALSE(reaches(about(80, 443)));
    EXPECT_TRUE(reaches(about(22, 5000))) << "of a listed service's answer";
    const Bytes others = packet().ipv4(kLanAddress, kFarClient).tcp(22, 5000, kAck).ip_bytes();
    EXPECT_FALSE(reaches(from("203.0.113.1"_ip).icmp(kUnreachable, 4, 1400).payload(others)))
        << "about a packet from another address than the error's destination";
}

TEST_F(Host, WhoHasNoAddressYetIsGivenOneByDhcp) {
    box_.dataplane().set_addresses(LinkId{0}, {});
    EXPECT_TRUE(reaches(from(kPeer, "192.0.2.77"_ip).udp(67, 68)));
    EXPECT_FALSE(reaches(from(kPeer, "192.0.2.77"_ip).udp(67, 69)));
    EXPECT_FALSE(reaches(from(kPeer, "192.0.2.77"_ip).tcp(1, 22, kSyn)));
}

/// P5: hosts inside that are behind a router are known by routes alone.
TEST_F(Host, SpoofedInsideSourcesDoNotReachIt) {
    const std::string wan =
        R"(links = ( { name = "wan"; device = "net_null_wan"; addresses = [ "192.0.2.1/24" ];
                host = ( { service = "snmp"; from = [ "10.0.0.0/8" ]; } ); },
              { name = "lan"; device = "net_null_lan"; addresses = [ "10.0.0.1/24" ]; } );
        sessions = 256;
        routes = ( { prefix = "10.1.0.0/16"; via = "10.0.0.4"; }, { prefix = "0.0.0.0/0"; via = "192.0.2.254"; } );
    )";
    for (const bool masqueraded : {true, false}) {
        Box box{wan + (masqueraded ? R"(masquerades = ( { inside = "10.1.0.0/16"; } );)" : "")};
        box.exchange("wan", box.to("wan").from(kRouterMac).ipv4("10.1.0.5"_ip, kWanAddress).udp(1, 161),
                     "wan");
        EXPECT_EQ(box.count(Verdict::punt_host), masqueraded ? 0 : 1);
    }
}

/// Design: own services come before ports that are drawn.
TEST_F(Host, PortsOfServicesAreNotDrawn) {
    Box box{R"(
        links = ( { name = "wan"; device = "net_null_wan"; addresses = [ "192.0.2.1/24" ];
                    host = ( { protocol = "udp"; port = "40000-40062"; } ); },
                  { name = "lan"; device = "net_null_lan"; addresses = [ "10.0.0.1/24" ]; } );
        outbound_ports = "40000-40063";
        masquerades = ( { inside = "lan"; } );
    )" + kTwoArmRest};
    const auto sent =
        box.exchange("lan", box.to("lan").from(kServerMac).ipv4(kLanServer, kFarClient).udp(7, 53), "wan");
    for (const Frame& frame : sent) EXPECT_EQ(look_into(frame).source.port.host(), 40063);
    EXPECT_LE(sent.size(), 1) << "128 random probes may miss the only one";
}

/// Design: where the kernel speaks to a rule's target itself, full NAT does not take its port.
TEST_F(Host, PortsOfTheKernelsConnectionsAreNotDrawn) {
    const auto expect_others = [](Box& box, PacketBuilder request, const auto& answer_to) {
        for (std::uint16_t port = 40000; port < 40032; ++port) {
            const Bytes answer = answer_to(port);
            const auto packet = dataplane::parse_for_host(answer.data(), answer.size(), LinkId{1});
            ASSERT_TRUE(packet);
            box.dataplane().host_flows().note(box.dataplane().hash().tag(packet->key),
                                              HostFlows::Clock::now() + 1min);
        }
        for (std::uint16_t client = 1; client <= 16; ++client) {
            const auto sent = box.exchange("wan", request.udp(client, 53), "lan");
            ASSERT_THAT(sent, SizeIs(1));
            EXPECT_GE(look_into(sent.front()).source.port.host(), 40032);
        }
    };
    Box box{R"(
        links = ( { name = "wan"; device = "net_null_wan"; addresses = [ "192.0.2.1/24", "2001:db8:2::2/64" ]; },
                  { name = "lan"; device = "net_null_lan"; addresses = [ "10.0.0.1/24", "2001:db8:1::1/64" ];
                    host = ( "ping" ); } );
        masquerade_ports = "40000-40063";
        neighbours = ( { link = "lan"; address = "10.0.0.4"; mac = "02:00:00:00:00:04"; },
                       { link = "lan"; address = "2001:db8:1::4"; mac = "02:00:00:00:00:04"; } );
        rules = ( { name = "dns"; protocol = "udp"; external = "192.0.2.3:53"; target = "10.0.0.4:53";
                    source = "masquerade"; },
                  { name = "dns6"; protocol = "udp"; external = "[2001:db8:2::3]:53";
                    target = "[2001:db8:1::4]:53"; source = "masquerade"; } );
    )"};
    expect_others(box, box.to("wan").from(kPeerMac).ipv4(kPeer, "192.0.2.3"_ip), [&](std::uint16_t port) {
        return box.to("lan").from(kServerMac).ipv4(kLanServer, "10.0.0.1"_ip).udp(53, port).bytes();
    });
    expect_others(box, box.to("wan").from(kPeerMac).ipv6(kPeer6, "2001:db8:2::3"_ip6),
                  [&](std::uint16_t port) {
                      return box.to("lan")
                          .from(kServerMac)
                          .ipv6("2001:db8:1::4"_ip6, "2001:db8:1::1"_ip6)
                          .udp(53, port)
                          .bytes();
                  });
}

/// P4, P5: nothing that could not have come by the link, and nothing that is not whole.
TEST_F(Host, NothingThatIsFalseReachesIt) {
    EXPECT_FALSE(reaches(from(kWanAddress).tcp(1, 22, kSyn))) << "its own address";
    EXPECT_FALSE(reaches(from(kLanServer).tcp(1, 22, kSyn))) << "a host of another link";
    EXPECT_FALSE(reaches(from("127.0.0.1"_ip).tcp(1, 22, kSyn)));
    EXPECT_FALSE(reaches(from("224.0.0.1"_ip).udp(1, 9100)));
    EXPECT_FALSE(reaches(from("192.0.2.255"_ip).udp(1, 9100)));
    EXPECT_FALSE(reaches(from6(kWan6).tcp(1, 22, kSyn))) << "its own address";
    EXPECT_FALSE(reaches(from(kPeer).fragment(0x2000).udp(1, 9100).payload_bytes(64)));
    EXPECT_FALSE(reaches(from(kPeer).fragment(0x0001).udp(1, 9100).payload_bytes(64)));
    EXPECT_FALSE(reaches(from(kPeer).ip_options(Bytes{1, 1, 1, 1}).tcp(1, 22, kSyn)));
    for (const std::uint8_t header : {std::uint8_t{0}, std::uint8_t{60}})
        EXPECT_FALSE(reaches(from6(kPeer6).extension(header, Bytes{0, 1, 4, 0, 0, 0, 0}).tcp(1, 22, kSyn)));
    EXPECT_FALSE(reaches(from6(kPeer6).extension(44, Bytes{0, 0, 0, 0, 0, 0, 9}).tcp(1, 22, kSyn)));
    EXPECT_FALSE(reaches(from(kPeer).ip_checksum(0x1234).tcp(1, 22, kSyn)));
    EXPECT_FALSE(reaches(from(kPeer).tcp(1, 22, kSyn).truncated_to(40)));
    EXPECT_FALSE(reaches(from(kPeer).tcp(0, 22, kSyn)));
    EXPECT_FALSE(reaches(packet().to(kServerMac).from(kPeerMac).ipv4(kPeer, kWanAddress).tcp(1, 22, kSyn)))
        << "to another MAC address";
}

/// P5: a flood at a service leaves room for what the kernel waits for, and control its time.
TEST_F(Host, AFloodIsLimitedAndAnswersPassBesideIt) {
    const auto answer = from(kFarClient).tcp(443, 40000, kAck);
    expect(answer);
    for (int i = 0; i < 20000; ++i) {
        box_.put("wan", from(kPeer).tcp(static_cast<std::uint16_t>(1 + i % 60000), 22, kSyn));
        if (i % 64 == 63) box_.settle();
    }
    box_.settle();
    EXPECT_GE(box_.count(Verdict::punt_host), 2500);
    EXPECT_GT(box_.count(Verdict::drop_punt_limited), 0);
    EXPECT_EQ(box_.count(Verdict::punt_host) + box_.count(Verdict::drop_punt_limited), 20000);
    EXPECT_TRUE(reaches(answer));
    EXPECT_TRUE(reaches(from(kFarClient).tcp(40000, 22, kAck).payload_bytes(10))) << "who has come in before";
}

TEST_F(Host, RefusalsByIcmpAreNotForTheKernels) {
    Box box{R"(
        links = ( { name = "wan"; device = "net_null_wan"; addresses = [ "192.0.2.1/24" ]; refuse = "icmp";
                    host = [ "ssh" ]; },
                  { name = "lan"; device = "net_null_lan"; addresses = [ "10.0.0.1/24" ]; } );
    )" + kTwoArmRest};
    const auto to = [&] { return box.to("wan").from(kRouterMac).ipv4(kFarClient, kWanAddress); };
    EXPECT_THAT(box.exchange("wan", to().tcp(1, 22, kSyn), "wan"), IsEmpty());
    EXPECT_EQ(box.count(Verdict::punt_host), 1);
    EXPECT_EQ(box.count(Verdict::punt_syn_refused), 0);
    EXPECT_THAT(box.exchange("wan", to().tcp(1, 23, kSyn), "wan"), IsEmpty());
    EXPECT_EQ(box.count(Verdict::punt_syn_refused), 1);
}

/// P6
TEST_F(Host, LinksWithVlansHaveServices) {
    Box box{R"(
        links = ( { name = "wan"; device = "net_null_trunk"; vlan = 100; addresses = [ "192.0.2.1/24" ];
                    host = [ "ssh", "vrrp" ]; },
                  { name = "lan"; device = "net_null_trunk"; vlan = 4094; addresses = [ "10.0.0.1/24" ]; } );
    )" + kTwoArmRest};
    box.exchange("wan", box.to("wan").from(kRouterMac).ipv4(kFarClient, kWanAddress).tcp(1, 22, kSyn), "wan");
    EXPECT_EQ(box.count(Verdict::punt_host), 1);
    box.exchange("lan", box.to("lan").from(kServerMac).ipv4(kLanServer, kWanAddress).tcp(1, 22, kSyn), "lan");
    EXPECT_EQ(box.count(Verdict::punt_host), 1);
}

/// R16: of own addresses one that comes is used at once, one that goes is nobody's.
TEST_F(Host, ALinksAddressesMayChange) {
    constexpr auto kOther = "192.0.2.77"_ip;
    EXPECT_FALSE(reaches(from(kPeer, kOther).tcp(1, 22, kSyn)));
    const std::vector<net::IpInterfaceAddress> other{net::IpInterfaceAddress{kOther, 24}};
    box_.dataplane().set_addresses(LinkId{0}, other);
    EXPECT_TRUE(reaches(from(kPeer, kOther).tcp(1, 22, kSyn)));
    EXPECT_FALSE(reaches(from(kPeer).tcp(1, 22, kSyn)));
    EXPECT_FALSE(reaches(from(kOther, kOther).tcp(1, 22, kSyn)));
    box_.dataplane().set_addresses(LinkId{0}, {});
    EXPECT_FALSE(reaches(from(kPeer, kOther).tcp(1, 22, kSyn)));
}

TEST(HostFlows, AreForgottenInTime) {
    HostFlows flows;
    const auto now = HostFlows::Clock::now();
    EXPECT_FALSE(flows.knows(77));
    flows.note(77, now + 1s);
    flows.note(78, now + 3s);
    EXPECT_TRUE(flows.knows(77));
    flows.note(77, now + 2s);
    flows.expire(now + 1500ms);
    EXPECT_TRUE(flows.knows(77)) << "noted again";
    flows.expire(now + 2s);
    EXPECT_FALSE(flows.knows(77));
    EXPECT_TRUE(flows.knows(78));
}

TEST(HostFlows, TheOneThatWouldGoFirstMakesRoom) {
    HostFlows flows;
    const auto now = HostFlows::Clock::now();
    constexpr std::uint64_t kMany = 20000;
    const auto tag = [](std::uint64_t i) { return i << 1U | 1U; };  // as FlowHash::tag() is
    for (std::uint64_t i = 1; i <= kMany; ++i) flows.note(tag(i), now + std::chrono::milliseconds{i});
    std::uint64_t known = 0;
    for (std::uint64_t i = 1; i <= kMany; ++i) known += flows.knows(tag(i)) ? 1 : 0;
    EXPECT_EQ(known, 16384);
    EXPECT_FALSE(flows.knows(tag(1)));
    EXPECT_TRUE(flows.knows(tag(kMany)));
}

}  // namespace
}  // namespace fwd::test
