// SPDX-License-Identifier: BSD-3-Clause
// Networks of IPv6 under other prefixes (NPTv6, RFC 6296).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dataplane/net/prefix_mapping.h"
#include "test/packet/ipv6_networks.h"

namespace fwd::test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const net::PrefixMapping kMapping{{"fd00::"_ip6, 48}, {"2001:db8:aa::"_ip6, 48}};
constexpr auto kHost6 = kLanServer6, kOtherHost6 = "fd00::5"_ip6;
net::Ipv6Address outside(net::Ipv6Address host) {
    return kMapping.to_external(host)->v6();
}

std::string with_prefix(const char* more) {
    return kTwoArm6 + R"(prefixes = ( { inside = "fd00::/48"; external = "2001:db8:aa::/48";)" + more +
           "} );";
}

class Prefix : public ::testing::Test {
 protected:
    PacketBuilder out(net::Ipv6Address to) const { return box_.to("lan").from(kServerMac).ipv6(kHost6, to); }
    PacketBuilder in(net::Ipv6Address to) const {
        return box_.to("wan").from(kRouterMac).ipv6(kFarClient6, to);
    }
    PacketBuilder as_sent() const {
        return from_fwd(box_, "wan", kRouterMac).ipv6(outside(kHost6), kFarClient6).ttl(63);
    }
    PacketBuilder as_received(net::Ipv6Address host = kHost6) const {
        return from_fwd(box_, "lan", mac(static_cast<std::uint8_t>(host.bytes[15])))
            .ipv6(kFarClient6, host)
            .ttl(63);
    }

    Box box_{with_prefix("")};
};

/// P1, S1: a host reaches the world by its own counterpart, with its own ports, and is answered.
TEST_F(Prefix, HostReachesTheWorldByItsCounterpart) {
    EXPECT_THAT(box_.exchange("lan", out(kFarClient6).udp(5000, 53).payload("q"), "wan"),
                ElementsAre(as_sent().udp(5000, 53).payload("q").frame()));
    EXPECT_THAT(box_.exchange("wan", in(outside(kHost6)).udp(53, 5000).payload("a"), "lan"),
                ElementsAre(as_received().udp(53, 5000).payload("a").frame()));
    EXPECT_THAT(box_.exchange("lan", out(kFarClient6).tcp(5000, 80, kSyn), "wan"),
                ElementsAre(as_sent().tcp(5000, 80, kSyn).frame()));
    EXPECT_THAT(box_.exchange("lan", out(kFarClient6).tcp(5001, 80, kAck), "wan"), IsEmpty());
    EXPECT_EQ(box_.count(Verdict::drop_not_syn), 1);
    EXPECT_EQ(box_.sessions(), 2);
    box_.expect_no_record_lost();
    box_.expect_every_packet_accounted_for();
}

/// Hosts behind another link that is masqueraded are not the world, nor are its external addresses.
TEST(PrefixBesideAMasquerade, LetsNobodyInThere) {
    Box box{R"(
        links = ( { name = "wan"; device = "net_null_wan"; addresses = [ "2001:db8:2::1/64" ]; },
                  { name = "lan"; device = "net_null_lan"; addresses = [ "fd00::1/64" ]; },
                  { name = "dmz"; device = "net_null_dmz"; addresses = [ "fd77::1/64" ]; } );
        routes = ( { prefix = "::/0"; via = "2001:db8:2::fe"; } );
        neighbours = ( { link = "wan"; address = "2001:db8:2::fe"; mac = "02:00:00:00:00:fe"; },
                       { link = "lan"; address = "fd00::4"; mac = "02:00:00:00:00:04"; },
                       { link = "dmz"; address = "fd77::4"; mac = "02:00:00:00:00:74"; } );
        prefixes = ( { inside = "fd00::/48"; external = "2001:db8:aa::/48"; } );
        masquerades = ( { inside = "dmz"; pool = [ "2001:db8:2::77" ]; } ); )"};
    box.settle();
    for (const char* link : {"wan", "lan", "dmz"}) box.take(link);
    const auto to = [&](net::Ipv6Address destination) {
        return box.to("lan").from(kServerMac).ipv6(kHost6, destination).udp(5000, 53);
    };
    EXPECT_THAT(box.exchange("lan", to(kFarClient6), "wan"), SizeIs(1));
    EXPECT_THAT(box.exchange("lan", to("fd77::4"_ip6), "dmz"), IsEmpty());
    EXPECT_THAT(box.exchange("lan", to("2001:db8:2::77"_ip6), "wan"), IsEmpty());
    EXPECT_EQ(box.count(Verdict::drop_no_rule), 2);
    box.expect_every_packet_accounted_for();
}

/// I1: pings too.
TEST_F(Prefix, HostPingsTheWorld) {
    const Bytes rest{'p', 'i', 'n', 'g'};
    EXPECT_THAT(box_.exchange("lan", out(kFarClient6).icmpv6(128, 0, 0x00070001).payload(rest), "wan"),
                ElementsAre(as_sent().icmpv6(128, 0, 0x00070001).payload(rest).frame()));
    EXPECT_THAT(box_.exchange("wan", in(outside(kHost6)).icmpv6(129, 0, 0x00070001).payload(rest), "lan"),
                ElementsAre(as_received().icmpv6(129, 0, 0x00070001).payload(rest).frame()));
    EXPECT_THAT(box_.exchange("wan", in(outside(kHost6)).icmpv6(129, 0, 0x00080001).payload(rest), "lan"),
                IsEmpty());
    EXPECT_THAT(box_.exchange("wan", in(outside(kHost6)).icmpv6(128, 0, 0x00080001).payload(rest), "lan"),
                IsEmpty());
    EXPECT_EQ(box_.count(Verdict::drop_icmp_ignored), 2);
    box_.expect_every_packet_accounted_for();
}

/// I4, I5: errors from either side are translated, and hide who is inside.
TEST_F(Prefix, ErrorsAreTranslated) {
    box_.exchange("lan", out(kFarClient6).udp(5000, 53).payload("q"), "wan");
    const auto router = "2001:db8:e::1"_ip6;
    const Bytes sent =
        packet().ipv6(outside(kHost6), kFarClient6).ttl(9).udp(5000, 53).payload("q").ip_bytes();
    const Bytes restored = packet().ipv6(kHost6, kFarClient6).ttl(9).udp(5000, 53).payload("q").ip_bytes();
    EXPECT_THAT(
        box_.exchange("wan", box_.to("wan").ipv6(router, outside(kHost6)).icmpv6(3, 0).payload(sent), "lan"),
        ElementsAre(from_fwd(box_, "lan", kServerMac)
                        .ipv6(router, kHost6)
                        .ttl(63)
                        .icmpv6(3, 0)
                        .payload(restored)
                        .frame()));
    box_.exchange("wan", in(outside(kHost6)).udp(53, 5000).payload("a"), "lan");
    const Bytes got = packet().ipv6(kFarClient6, kHost6).ttl(9).udp(53, 5000).payload("a").ip_bytes();
    const Bytes as_it_was =
        packet().ipv6(kFarClient6, outside(kHost6)).ttl(9).udp(53, 5000).payload("a").ip_bytes();
    EXPECT_THAT(box_.exchange("lan", out(kFarClient6).icmpv6(1, 4).payload(got), "wan"),
                ElementsAre(as_sent().icmpv6(1, 4).payload(as_it_was).frame()));
}

/// I4, I5: errors about pings as well, cut short or not; only the addresses differ.
TEST_F(Prefix, ErrorsAboutPingsAreTranslated) {
    box_.exchange("lan", out(kFarClient6).icmpv6(128, 0, 0x00070001).payload("ping"), "wan");
    const auto request = [](net::Ipv6Address from) {
        return packet().ipv6(from, kFarClient6).ttl(9).icmpv6(128, 0, 0x00070001).payload("ping").ip_bytes();
    };
    const auto reply = [](net::Ipv6Address to) {
        return packet().ipv6(kFarClient6, to).ttl(9).icmpv6(129, 0, 0x00070001).payload("ping").ip_bytes();
    };
    const auto router = "2001:db8:e::1"_ip6;
    for (const std::uint8_t type : {1, 2, 3, 4}) {
        for (const std::size_t quoted : {48, 52}) {
            EXPECT_THAT(box_.exchange("wan",
                                      box_.to("wan")
                                          .ipv6(router, outside(kHost6))
                                          .icmpv6(type, 0, 1280)
                                          .payload(first(request(outside(kHost6)), quoted)),
                                      "lan"),
                        ElementsAre(from_fwd(box_, "lan", kServerMac)
                                        .ipv6(router, kHost6)
                                        .ttl(63)
                                        .icmpv6(type, 0, 1280)
                                        .payload(first(request(kHost6), quoted))
                                        .frame()));
        }
    }
    box_.exchange("wan", in(outside(kHost6)).icmpv6(129, 0, 0x00070001).payload("ping"), "lan");
    EXPECT_THAT(box_.exchange("lan", out(kFarClient6).icmpv6(1, 1).payload(reply(kHost6)), "wan"),
                ElementsAre(as_sent().icmpv6(1, 1).payload(reply(outside(kHost6))).frame()));
    // Nobody has sent the one that this is about.
    box_.exchange("wan",
                  in(outside(kHost6))
                      .icmpv6(1, 0)
                      .payload(packet().ipv6(outside(kHost6), kFarClient6).icmpv6(128, 0, 9).ip_bytes()),
                  "lan");
    EXPECT_EQ(box_.count(Verdict::drop_icmp_no_session), 1);
    box_.expect_every_packet_accounted_for();
}

/// L1: and tunnels, which fwd knows by their addresses.
TEST_F(Prefix, HostSendsByProtocolsWithoutPorts) {
    const Bytes esp(24, 7);
    EXPECT_THAT(box_.exchange("wan", in(outside(kHost6)).protocol(50, esp), "lan"), IsEmpty());
    EXPECT_EQ(box_.count(Verdict::drop_unsupported_protocol), 1) << "nobody has asked";
    EXPECT_THAT(box_.exchange("lan", out(kFarClient6).protocol(50, esp), "wan"),
                ElementsAre(as_sent().protocol(50, esp).frame()));
    EXPECT_THAT(box_.exchange("wan", in(outside(kHost6)).protocol(50, esp), "lan"),
                ElementsAre(as_received().protocol(50, esp).frame()));
    EXPECT_EQ(box_.sessions(), 1);
    box_.expect_every_packet_accounted_for();
}

/// P5: the world opens nothing without being asked to, nor does anybody pass for a host inside.
TEST_F(Prefix, NobodyElseComesIn) {
    EXPECT_THAT(box_.exchange("wan", in(outside(kHost6)).udp(1, 2), "lan"), IsEmpty());
    EXPECT_EQ(box_.count(Verdict::drop_no_rule), 1);
    const auto as = [&](net::Ipv6Address source) {
        return box_.exchange("wan", box_.to("wan").ipv6(source, outside(kOtherHost6)).udp(1, 2), "lan");
    };
    EXPECT_THAT(as("fd00::9"_ip6), IsEmpty());
    EXPECT_THAT(as("fd00:0:0:7::9"_ip6), IsEmpty()) << "to which there is no route but out";
    EXPECT_THAT(as(outside(kHost6)), IsEmpty()) << "a counterpart";
    EXPECT_EQ(box_.count(Verdict::drop_martian), 2);
    EXPECT_EQ(box_.count(Verdict::drop_spoofed_own_address), 1);
    EXPECT_EQ(box_.count(Verdict::drop_no_rule), 1);
    // From inside: to fwd itself, and to another one inside.
    EXPECT_THAT(box_.exchange("lan", out("2001:db8:2::1"_ip6).udp(1, 2), "lan"), IsEmpty());
    EXPECT_THAT(box_.exchange("lan", out(kOtherHost6).udp(1, 2), "lan"), IsEmpty());
    EXPECT_EQ(box_.count(Verdict::drop_no_rule), 3);
    // An answer that nobody has asked for.
    EXPECT_THAT(box_.exchange("lan", out(kFarClient6).icmpv6(129, 0, 7), "wan"), IsEmpty());
    EXPECT_EQ(box_.count(Verdict::drop_icmp_ignored), 1);
    EXPECT_EQ(box_.sessions(), 0);
    box_.expect_every_packet_accounted_for();
}

/// L4, U9: by option the world may, and hosts inside reach each other so, too; a rule is more specific.
TEST(InboundPrefix, LetsTheWorldIn) {
    Box box{with_prefix(" inbound = true;")};
    const auto in = [&](net::Ipv6Address to) { return box.to("wan").from(kRouterMac).ipv6(kFarClient6, to); };
    EXPECT_THAT(box.exchange("wan", in(outside(kHost6)).tcp(4000, 8080, kSyn), "lan"),
                ElementsAre(from_fwd(box, "lan", kServerMac)
                                .ipv6(kFarClient6, kHost6)
                                .ttl(63)
                                .tcp(4000, 8080, kSyn)
                                .frame()));
    EXPECT_THAT(
        box.exchange("lan", box.to("lan").ipv6(kHost6, kFarClient6).tcp(8080, 4000, kSyn | kAck), "wan"),
        ElementsAre(from_fwd(box, "wan", kRouterMac)
                        .ipv6(outside(kHost6), kFarClient6)
                        .ttl(63)
                        .tcp(8080, 4000, kSyn | kAck)
                        .frame()));
    EXPECT_THAT(
        box.exchange("lan", box.to("lan").ipv6(kHost6, outside(kOtherHost6)).udp(7, 8), "lan"),
        ElementsAre(
            from_fwd(box, "lan", mac(5)).ipv6(outside(kHost6), kOtherHost6).ttl(63).udp(7, 8).frame()));
    EXPECT_THAT(
        box.exchange("wan", box.to("wan").ipv6("fd00:0:0:7::9"_ip6, outside(kOtherHost6)).udp(1, 2), "lan"),
        IsEmpty());
    EXPECT_EQ(box.count(Verdict::drop_martian), 1) << "who passes for a host inside";
    for (const auto nowhere : {"fd00:0:0:7::9"_ip6, "fd00::1"_ip6})  // no route but out; fwd's own
        EXPECT_THAT(box.exchange("wan", in(outside(nowhere)).udp(1, 2), "wan"), IsEmpty());
    EXPECT_EQ(box.count(Verdict::drop_no_rule), 2);
    box.set_rules(
        R"(rules = ( { protocol = "tcp"; external = "[2001:db8:aa::7]:80"; target = "[fd00::5]:8080"; } );)");
    box.settle();
    box.take("lan");
    EXPECT_THAT(box.exchange("wan", in("2001:db8:aa::7"_ip6).tcp(1, 80, kSyn), "lan"), SizeIs(1));
    box.expect_no_record_lost();
    box.expect_every_packet_accounted_for();
}

}  // namespace
}  // namespace fwd::test
