// SPDX-License-Identifier: BSD-3-Clause
// Clients inside that use the external address of something inside.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/packet/outbound.h"

namespace fwd::test {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;

/// A server at 10.0.0.4 (rule "web", 192.0.2.3:80 to port 8080), a client beside it, or on a link of its own.
struct Where {
    const char* name;
    const char* link;
    net::Ipv4Address client;
    net::MacAddress mac;
};
void PrintTo(const Where& where, std::ostream* out) {
    *out << where.name;
}

class Hairpin : public ::testing::TestWithParam<Where> {
 protected:
    void TearDown() override { box_.expect_every_packet_accounted_for(); }
    PacketBuilder from_client() { return box_.to(GetParam().link).from(GetParam().mac); }
    PacketBuilder from_server() { return box_.to("lan").from(kHostMac); }
    /// What left by a link, for a packet that came in by another.
    std::vector<Frame> send(const std::string& in, const PacketBuilder& frame, const std::string& out) {
        return box_.exchange(in, frame, out);
    }

    net::Ipv4Address client_ = GetParam().client;
    Box box_{R"(
        sessions = 256;
        links = ( { name = "wan"; device = "net_null_wan"; addresses = [ "192.0.2.1/24" ]; },
                  { name = "lan"; device = "net_null_lan"; addresses = [ "10.0.0.1/24" ]; },
                  { name = "dmz"; device = "net_null_dmz"; addresses = [ "10.1.0.1/24" ]; } );
        routes = ( { prefix = "0.0.0.0/0"; via = "192.0.2.254"; } );
        neighbours = ( { link = "wan"; address = "192.0.2.254"; mac = "02:00:00:00:00:fe"; },
                       { link = "lan"; address = "10.0.0.4"; mac = "02:00:00:00:00:04"; },
                       { link = "lan"; address = "10.0.0.5"; mac = "02:00:00:00:00:05"; },
                       { link = "dmz"; address = "10.1.0.9"; mac = "02:00:00:00:00:09"; } );
        rules = ( { name = "web"; protocol = "tcp+udp"; external = "192.0.2.3:80"; target = "10.0.0.4:8080"; } );
        masquerades = ( { inside = "lan"; }, { inside = "dmz"; } );)"};
};

/// U9: the server sees the client's external address, and the client the server's.
TEST_P(Hairpin, UdpGoesThroughByARule) {
    const auto sent =
        send(GetParam().link, from_client().ipv4(client_, kPublic).udp(5000, 80).payload("q"), "lan");
    ASSERT_THAT(sent, SizeIs(1));
    const std::uint16_t port = look_into(sent[0]).source.port.host();
    EXPECT_EQ(sent[0], from_fwd(box_, "lan", kHostMac)
                           .ipv4(kWanAddress, kHost)
                           .ttl(63)
                           .udp(port, 8080)
                           .payload("q")
                           .frame());
    EXPECT_THAT(
        send("lan", from_server().ipv4(kHost, kWanAddress).udp(8080, port).payload("a"), GetParam().link),
        ElementsAre(from_fwd(box_, GetParam().link, GetParam().mac)
                        .ipv4(kPublic, client_)
                        .ttl(63)
                        .udp(80, 5000)
                        .payload("a")
                        .frame()));
    // U1: with the same endpoint as towards the world.
    const auto out = send(GetParam().link, from_client().ipv4(client_, kPeer).udp(5000, 9), "wan");
    ASSERT_THAT(out, SizeIs(1));
    EXPECT_EQ(look_into(out[0]).source, endpoint(kWanAddress, port));
}

/// T8
TEST_P(Hairpin, TcpGoesThroughByARule) {
    const auto sent = send(GetParam().link, from_client().ipv4(client_, kPublic).tcp(5000, 80, kSyn), "lan");
    ASSERT_THAT(sent, SizeIs(1));
    const std::uint16_t port = look_into(sent[0]).source.port.host();
    EXPECT_EQ(look_into(sent[0]).source.address, kWanAddress);
    EXPECT_THAT(
        send("lan", from_server().ipv4(kHost, kWanAddress).tcp(8080, port, kSyn | kAck), GetParam().link),
        ElementsAre(from_fwd(box_, GetParam().link, GetParam().mac)
                        .ipv4(kPublic, client_)
                        .ttl(63)
                        .tcp(80, 5000, kSyn | kAck)
                        .frame()));
    EXPECT_THAT(send(GetParam().link, from_client().ipv4(client_, kPublic).tcp(5000, 80, kAck), "lan"),
                SizeIs(1));
    EXPECT_EQ(box_.sessions(), 1);
}

/// I7, I5: errors from either side reach the other, and hide who is inside.
TEST_P(Hairpin, ErrorsGoThroughBothWays) {
    const auto sent =
        send(GetParam().link, from_client().ipv4(client_, kPublic).udp(5000, 80).payload("q"), "lan");
    const std::uint16_t port = look_into(sent.at(0)).source.port.host();
    EXPECT_THAT(
        send("lan",
             from_server()
                 .ipv4(kHost, kWanAddress)
                 .icmp(3, 3)
                 .payload(packet().ipv4(kWanAddress, kHost).ttl(63).udp(port, 8080).payload("q").ip_bytes()),
             GetParam().link),
        ElementsAre(
            from_fwd(box_, GetParam().link, GetParam().mac)
                .ipv4(kPublic, client_)
                .ttl(63)
                .icmp(3, 3)
                .payload(packet().ipv4(client_, kPublic).ttl(63).udp(5000, 80).payload("q").ip_bytes())
                .frame()));
    send("lan", from_server().ipv4(kHost, kWanAddress).udp(8080, port).payload("a"), GetParam().link);
    EXPECT_THAT(
        send(GetParam().link,
             from_client()
                 .ipv4(client_, kPublic)
                 .icmp(3, 3)
                 .payload(packet().ipv4(kPublic, client_).ttl(63).udp(80, 5000).payload("a").ip_bytes()),
             "lan"),
        ElementsAre(
            from_fwd(box_, "lan", kHostMac)
                .ipv4(kWanAddress, kHost)
                .ttl(63)
                .icmp(3, 3)
                .payload(packet().ipv4(kHost, kWanAddress).ttl(63).udp(8080, port).payload("a").ip_bytes())
                .frame()));
}

/// U9, U8: two hosts inside that know each other's external endpoints find each other, once both have sent.
TEST_P(Hairpin, HostsPunchHolesToEachOther) {
    const auto map = [&](const std::string& link, const PacketBuilder& frame) {
        return look_into(send(link, frame, "wan").at(0)).source.v4();
    };
    const net::Endpoint a = map(GetParam().link, from_client().ipv4(client_, kPeer).udp(5000, 3478));
    const net::Endpoint b = map("lan", from_server().ipv4(kHost, kPeer).udp(6000, 3478));
    const auto from_a = from_client().ipv4(client_, b.address).udp(5000, b.port.host()).payload("a");
    const auto from_b = from_server().ipv4(kHost, a.address).udp(6000, a.port.host()).payload("b");
    EXPECT_THAT(send(GetParam().link, from_a, "lan"), SizeIs(0));
    EXPECT_EQ(box_.count(Verdict::drop_filtered), 1);
    EXPECT_THAT(send("lan", from_b, GetParam().link),
                ElementsAre(from_fwd(box_, GetParam().link, GetParam().mac)
                                .ipv4(b.address, client_)
                                .ttl(63)
                                .udp(b.port.host(), 5000)
                                .payload("b")
                                .frame()));
    EXPECT_THAT(send(GetParam().link, from_a, "lan"), ElementsAre(from_fwd(box_, "lan", kHostMac)
                                                                      .ipv4(a.address, kHost)
                                                                      .ttl(63)
                                                                      .udp(a.port.host(), 6000)
                                                                      .payload("a")
                                                                      .frame()));
    EXPECT_EQ(box_.mappings(), 2);
}

/// U9: of an external address on the client's own segment there is no other side to be seen from: full NAT,
/// and no mapping.
TEST(HairpinOnOneSegment, IsAsTheRuleSays) {
    Box box{"masquerade_ports = \"5000-5999\";" + kOneArm +
            R"(masquerades = ( { inside = "10.0.0.0/24"; } );)"};
    const auto sent =
        box.exchange("lan", box.to("lan").from(kClientMac).ipv4(kClient, kExternal).udp(4000, 53), "lan");
    ASSERT_THAT(sent, SizeIs(1));
    EXPECT_EQ(look_into(sent[0]).source.address, kFwd);
    EXPECT_LT(look_into(sent[0]).source.port.host(), 6000);
    EXPECT_EQ(box.mappings(), 0);
}

INSTANTIATE_TEST_SUITE_P(Places, Hairpin,
                         ::testing::Values(Where{"SameLink", "lan", "10.0.0.5"_ip, mac(5)},
                                           Where{"OtherLink", "dmz", "10.1.0.9"_ip, mac(9)}),
                         [](const auto& where) { return std::string{where.param.name}; });

}  // namespace
}  // namespace fwd::test
