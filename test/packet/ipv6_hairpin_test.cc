// SPDX-License-Identifier: BSD-3-Clause
// Clients inside that use the external address of something inside, over IPv6: what hairpin_test.cc shows of
// IPv4.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/packet/ipv6_networks.h"

namespace fwd::test {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;

constexpr auto kWan6 = "2001:db8:2::1"_ip6;
constexpr std::uint8_t kUnreachable = 1, kPortUnreachable = 4, kTooBig = 2;

/// A server at fd00::4 (rule "web", 2001:db8:2::3 port 80 to port 8080), a client beside it, or on a link of
/// its own.
struct Where {
    const char* name;
    const char* link;
    net::Ipv6Address client;
    net::MacAddress mac;
};
void PrintTo(const Where& where, std::ostream* out) {
    *out << where.name;
}

class Hairpin6 : public ::testing::TestWithParam<Where> {
 protected:
    void SetUp() override {
        box_.settle();
        for (const char* link : {"wan", "lan", "dmz"}) box_.take(link);
    }
    void TearDown() override { box_.expect_every_packet_accounted_for(); }
    PacketBuilder from_client(net::Ipv6Address to = kPublic6) const {
        return box_.to(GetParam().link).from(GetParam().mac).ipv6(client_, to);
    }
    PacketBuilder from_server() const { return box_.to("lan").from(kServerMac).ipv6(kLanServer6, kWan6); }
    PacketBuilder to_client() const {
        return from_fwd(box_, GetParam().link, GetParam().mac).ipv6(kPublic6, client_).ttl(63);
    }
    PacketBuilder to_server() const {
        return from_fwd(box_, "lan", kServerMac).ipv6(kWan6, kLanServer6).ttl(63);
    }
    /// The port by which the server sees the client.
    std::uint16_t open(const PacketBuilder& frame) {
        const auto sent = box_.exchange(GetParam().link, frame, "lan");
        return sent.size() == 1 ? look_into(sent[0]).source.port.host() : std::uint16_t{0};
    }

    net::Ipv6Address client_ = GetParam().client;
    Box box_{R"(
        sessions = 256;
        links = ( { name = "wan"; device = "net_null_wan"; addresses = [ "2001:db8:2::1/64" ]; },
                  { name = "lan"; device = "net_null_lan"; addresses = [ "fd00::1/64" ]; },
                  { name = "dmz"; device = "net_null_dmz"; addresses = [ "fd00:1::1/64" ]; } );
        routes = ( { prefix = "::/0"; via = "2001:db8:2::fe"; } );
        neighbours = ( { link = "wan"; address = "2001:db8:2::fe"; mac = "02:00:00:00:00:fe"; },
                       { link = "lan"; address = "fd00::4"; mac = "02:00:00:00:00:04"; },
                       { link = "lan"; address = "fd00::5"; mac = "02:00:00:00:00:05"; },
                       { link = "dmz"; address = "fd00:1::9"; mac = "02:00:00:00:00:09"; } );
        rules = ( { name = "web"; protocol = "tcp+udp"; external = "[2001:db8:2::3]:80"; target = "[fd00::4]:8080"; } );
        masquerades = ( { inside = "lan"; }, { inside = "dmz"; } );)"};
};

/// U9, T8: the server sees the client's external address, and the client the server's.
TEST_P(Hairpin6, UdpAndTcpGoThroughByARule) {
    const std::uint16_t port = open(from_client().udp(5000, 80).payload("q"));
    ASSERT_NE(port, 0);
    EXPECT_THAT(box_.exchange(GetParam().link, from_client().udp(5000, 80).payload("q"), "lan"),
                ElementsAre(to_server().udp(port, 8080).payload("q").frame()));
    EXPECT_THAT(box_.exchange("lan", from_server().udp(8080, port).payload("a"), GetParam().link),
                ElementsAre(to_client().udp(80, 5000).payload("a").frame()));
    const std::uint16_t tcp_port = open(from_client().tcp(5000, 80, kSyn));
    ASSERT_NE(tcp_port, 0);
    EXPECT_THAT(box_.exchange("lan", from_server().tcp(8080, tcp_port, kSyn | kAck), GetParam().link),
                ElementsAre(to_client().tcp(80, 5000, kSyn | kAck).frame()));
    EXPECT_THAT(box_.exchange(GetParam().link, from_client().tcp(5000, 80, kAck), "lan"),
                ElementsAre(to_server().tcp(tcp_port, 8080, kAck).frame()));
    EXPECT_EQ(box_.sessions(), 2);
    // U1: with the same endpoint as towards the world.
    const auto out = box_.exchange(GetParam().link, from_client(kFarClient6).udp(5000, 9), "wan");
    ASSERT_THAT(out, SizeIs(1));
    EXPECT_EQ(look_into(out[0]).source, endpoint(kWan6, port));
}

/// I7, I4, I5: errors from either side reach the other, and hide who is inside.
TEST_P(Hairpin6, ErrorsGoThroughBothWays) {
    const std::uint16_t port = open(from_client().udp(5000, 80).payload("q"));
    ASSERT_NE(port, 0);
    box_.exchange("lan", from_server().udp(8080, port).payload("a"), GetParam().link);
    const Bytes seen_by_server =
        packet().ipv6(kWan6, kLanServer6).ttl(63).udp(port, 8080).payload("q").ip_bytes();
    const Bytes sent_by_client =
        packet().ipv6(client_, kPublic6).ttl(63).udp(5000, 80).payload("q").ip_bytes();
    EXPECT_THAT(
        box_.exchange("lan", from_server().icmpv6(kUnreachable, kPortUnreachable).payload(seen_by_server),
                      GetParam().link),
        ElementsAre(to_client().icmpv6(kUnreachable, kPortUnreachable).payload(sent_by_client).frame()));
    EXPECT_THAT(
        box_.exchange("lan", from_server().icmpv6(kTooBig, 0, 1300).payload(seen_by_server), GetParam().link),
        ElementsAre(to_client().icmpv6(kTooBig, 0, 1300).payload(sent_by_client).frame()));
    const Bytes seen_by_client =
        packet().ipv6(kPublic6, client_).ttl(63).udp(80, 5000).payload("a").ip_bytes();
    const Bytes sent_by_server =
        packet().ipv6(kLanServer6, kWan6).ttl(63).udp(8080, port).payload("a").ip_bytes();
    EXPECT_THAT(
        box_.exchange(GetParam().link,
                      from_client().icmpv6(kUnreachable, kPortUnreachable).payload(seen_by_client), "lan"),
        ElementsAre(to_server().icmpv6(kUnreachable, kPortUnreachable).payload(sent_by_server).frame()));
    EXPECT_EQ(box_.sessions(), 1);
}

INSTANTIATE_TEST_SUITE_P(Places, Hairpin6,
                         ::testing::Values(Where{"SameLink", "lan", "fd00::5"_ip6, mac(5)},
                                           Where{"OtherLink", "dmz", "fd00:1::9"_ip6, mac(9)}),
                         [](const auto& where) { return std::string{where.param.name}; });

/// U9: of an external address on the client's own segment there is no other side to be seen from.
TEST(Hairpin6OnOneSegment, IsAsTheRuleSays) {
    Box box{"masquerade_ports = \"5000-5999\";" + kOneArm6 +
            R"(masquerades = ( { inside = "2001:db8:1::/64"; } );)"};
    box.settle();
    box.take("lan");
    const auto sent =
        box.exchange("lan", box.to("lan").from(kClientMac).ipv6(kClient6, kExternal6).udp(4000, 53), "lan");
    ASSERT_THAT(sent, SizeIs(1));
    EXPECT_EQ(look_into(sent[0]).source.address, net::IpAddress{kFwd6});
    EXPECT_LT(look_into(sent[0]).source.port.host(), 6000);
    EXPECT_EQ(box.mappings(), 0);
}

}  // namespace
}  // namespace fwd::test
