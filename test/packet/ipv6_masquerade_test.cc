// SPDX-License-Identifier: BSD-3-Clause
// Masquerade of IPv6 (NAT66): what masquerade_test.cc shows of IPv4, by the same table of mappings.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <set>

#include "test/packet/ipv6_networks.h"

namespace fwd::test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using namespace std::chrono_literals;

constexpr std::uint8_t kEchoRequest = 128, kEchoReply = 129, kUnreachable = 1, kTimeExceeded = 3;
constexpr auto kHost6 = kLanServer6, kOtherHost6 = "fd00::5"_ip6;
constexpr auto kPeer6 = kFarClient6, kStranger6 = "2001:db8:f::8"_ip6;
constexpr auto kWan6 = "2001:db8:2::1"_ip6, kPool6 = "2001:db8:2::77"_ip6;

/// The two networks of both families, with masquerades as the configuration says them.
std::string masqueraded6(const std::string& masquerades, const std::string& more = "") {
    std::string networks = kTwoArm6;
    networks.replace(networks.find("256"), 3, "4096");
    return more + networks + "masquerades = (" + masquerades + ");";
}

std::uint32_t echo(std::uint16_t identifier) {
    return std::uint32_t{identifier} << 16U | 1;
}
net::Ipv6Address host_number(unsigned n) {
    net::Ipv6Address host = kHost6;
    host.bytes[14] = static_cast<std::uint8_t>(n >> 8U);
    host.bytes[15] = static_cast<std::uint8_t>(n);
    return host;
}

class Masquerade6 : public ::testing::Test {
 protected:
    void use(const std::string& masquerades, const std::string& more = "") {
        box_.emplace(masqueraded6(masquerades, more));
        box_->settle();
        box_->take("wan");
        box_->take("lan");
    }
    std::vector<Frame> out(const PacketBuilder& frame) { return box_->exchange("lan", frame, "wan"); }
    std::vector<Frame> in(const PacketBuilder& frame) { return box_->exchange("wan", frame, "lan"); }
    PacketBuilder from(net::Ipv6Address host, net::Ipv6Address to = kPeer6) const {
        return box_->to("lan").ipv6(host, to);
    }
    PacketBuilder from_peer(net::Ipv6Address external, net::Ipv6Address peer = kPeer6) const {
        return box_->to("wan").from(kRouterMac).ipv6(peer, external);
    }
    PacketBuilder to_peer(net::Ipv6Address external, net::Ipv6Address peer = kPeer6) const {
        return from_fwd(*box_, "wan", kRouterMac).ipv6(external, peer).ttl(63);
    }
    PacketBuilder to_host(net::Ipv6Address from = kPeer6) const {
        return from_fwd(*box_, "lan", kServerMac).ipv6(from, kHost6).ttl(63);
    }
    static std::optional<Seen> only(const std::vector<Frame>& frames) {
        return frames.size() == 1 ? std::optional{look_into(frames[0])} : std::nullopt;
    }
    std::optional<Seen> udp(net::Ipv6Address host, std::uint16_t port, net::Ipv6Address to = kPeer6,
                            std::uint16_t to_port = 53) {
        return only(out(from(host, to).udp(port, to_port).payload("out")));
    }
    bool comes_back(const net::IpEndpoint& external, net::Ipv6Address peer, std::uint16_t port) {
        return in(from_peer(external.address.v6(), peer).udp(port, external.port.host()).payload("back"))
                   .size() == 1;
    }
    /// Without what fwd announces in the meantime.
    void pass(std::chrono::milliseconds time) {
        box_->pass(time);
        box_->take("wan");
        box_->take("lan");
    }
    std::optional<Box> box_;
};

/// S1, P1, U1: an inside endpoint is one external endpoint to everybody, and answers come back to it.
TEST_F(Masquerade6, MappingIsTheSameForEveryDestination) {
    use(R"({ inside = "lan"; })");
    const auto sent = out(from(kHost6).udp(5000, 53).payload("q"));
    const auto first = only(sent);
    ASSERT_TRUE(first);
    EXPECT_EQ(first->source.address, net::IpAddress{kWan6});
    EXPECT_GE(first->source.port.host(), 32768) << "outbound_ports";
    const std::uint16_t port = first->source.port.host();
    EXPECT_EQ(sent[0], to_peer(kWan6).udp(port, 53).payload("q").frame());
    EXPECT_THAT(in(from_peer(kWan6).udp(53, port).payload("a")),
                ElementsAre(to_host().udp(53, 5000).payload("a").frame()));
    for (const auto& [peer, to_port] : {std::pair{kPeer6, std::uint16_t{54}}, {kStranger6, 53}}) {
        const auto again = udp(kHost6, 5000, peer, to_port);
        ASSERT_TRUE(again);
        EXPECT_EQ(again->source, first->source);
    }
    const auto other = udp(kHost6, 5001);
    ASSERT_TRUE(other);
    EXPECT_NE(other->source.port, first->source.port);
    EXPECT_EQ(box_->mappings(), 2);
    EXPECT_EQ(box_->sessions(), 4);
    box_->expect_no_record_lost();
    box_->expect_every_packet_accounted_for();
}

/// T2: TCP, with its handshake; nothing else opens a connection.
TEST_F(Masquerade6, TcpReachesTheWorld) {
    use(R"({ inside = "fd00::/64"; })");
    EXPECT_THAT(out(from(kHost6).tcp(5000, 80, kAck)), IsEmpty());
    EXPECT_EQ(box_->count(Verdict::drop_not_syn), 1);
    const auto syn = only(out(from(kHost6).tcp(5000, 80, kSyn)));
    ASSERT_TRUE(syn);
    EXPECT_THAT(in(from_peer(kWan6).tcp(80, syn->source.port.host(), kSyn | kAck)),
                ElementsAre(to_host().tcp(80, 5000, kSyn | kAck).frame()));
    box_->expect_every_packet_accounted_for();
}

/// U8: whom the host has sent to may send back, from any port; or everybody, by option.
TEST_F(Masquerade6, FilteringIsByAddressOrNone) {
    for (const bool by_address : {true, false}) {
        use(by_address ? R"({ inside = "lan"; })"
                       : R"({ inside = "lan"; filtering = "endpoint-independent"; })");
        const auto seen = udp(kHost6, 5000);
        ASSERT_TRUE(seen);
        EXPECT_TRUE(comes_back(seen->source, kPeer6, 53));
        EXPECT_TRUE(comes_back(seen->source, kPeer6, 99));
        EXPECT_EQ(comes_back(seen->source, kStranger6, 53), !by_address);
        EXPECT_EQ(box_->count(Verdict::drop_filtered), by_address ? 1 : 0);
        // Nobody has the next one.
        net::IpEndpoint free = seen->source;
        free.port = net::be16::from_host(static_cast<std::uint16_t>(free.port.host() ^ 1U));
        EXPECT_FALSE(comes_back(free, kPeer6, 53));
        box_->expect_no_record_lost();
    }
}

/// U2, R3: a host keeps to one address of a pool, which neighbour discovery answers for; hosts are spread.
TEST_F(Masquerade6, HostKeepsToOneAddressOfAPool) {
    use(R"({ inside = "lan"; pool = [ "2001:db8:2::77", "2001:db8:9::1", "192.0.2.77" ]; })");
    std::set<net::IpAddress> used;
    for (unsigned n = 0; n < 16; ++n) {
        std::set<net::IpAddress> of_host;
        for (std::uint16_t port = 5000; port < 5004; ++port) {
            const auto seen = udp(host_number(0x100 + n), port);
            ASSERT_TRUE(seen);
            EXPECT_FALSE(seen->source.address.is_v4());
            of_host.insert(seen->source.address);
        }
        EXPECT_THAT(of_host, SizeIs(1));
        used.merge(of_host);
    }
    EXPECT_THAT(used, SizeIs(2));
    const auto v4 = only(out(box_->to("lan").ipv4("10.0.0.4"_ip, kFarClient).udp(1, 2)));
    ASSERT_TRUE(v4);
    EXPECT_EQ(v4->source.address, net::IpAddress{"192.0.2.77"_ip});
    EXPECT_THAT(in(from_peer(kWan6, kPool6).udp(1, 2)), IsEmpty());
    EXPECT_EQ(box_->count(Verdict::drop_spoofed_own_address), 1);
}

/// A pool of one family leaves the hosts of the other alone.
TEST_F(Masquerade6, PoolOfIpv4LeavesIpv6Alone) {
    use(R"({ inside = "lan"; pool = [ "192.0.2.77" ]; })");
    EXPECT_FALSE(udp(kHost6, 5000));
    EXPECT_EQ(box_->count(Verdict::drop_no_rule), 1);
}

/// U5, R8: a mapping ends five minutes after its last packet; then its port is held back.
TEST_F(Masquerade6, MappingEndsAndItsPortIsHeldBack) {
    use(R"({ inside = "lan"; pool = [ "2001:db8:2::77" ]; })");
    const auto seen = udp(kHost6, 5000);
    ASSERT_TRUE(seen);
    pass(200s);
    EXPECT_TRUE(udp(kHost6, 5000));
    pass(200s);
    EXPECT_TRUE(comes_back(seen->source, kPeer6, 9)) << "refreshed";
    pass(310s);
    EXPECT_EQ(box_->sessions(), 0);
    EXPECT_EQ(box_->mappings(), 1) << "held back";
    EXPECT_FALSE(comes_back(seen->source, kPeer6, 53));
    pass(300s);
    EXPECT_EQ(box_->mappings(), 0);
    EXPECT_EQ(box_->dataplane().mappings().key_count(), 0);
    box_->expect_no_record_lost();
}

/// U3, R11: two hosts never share an external port, and when all are taken nobody suffers.
TEST_F(Masquerade6, PortsAreNeverShared) {
    use(R"({ inside = "lan"; })", "outbound_ports = \"40000-40031\";\n");
    std::set<net::IpEndpoint> externals;
    unsigned refused = 0;
    for (unsigned n = 0; n < 40; ++n) {
        const auto seen = udp(host_number(0x200 + n), 7);
        if (seen) {
            EXPECT_TRUE(externals.insert(seen->source).second);
        } else {
            ++refused;
        }
    }
    EXPECT_GE(externals.size(), 30U);
    EXPECT_EQ(box_->count(Verdict::drop_ports_used_up), refused);
    pass(1s);
    box_->expect_no_record_lost();
}

/// R4, R5: limits are of a host, not of its network of 64 bits, and what it has used it gets back.
TEST_F(Masquerade6, EachHostHasItsOwnLimits) {
    use(R"({ inside = "lan"; max_ports_per_host = 2; max_sessions_per_source = 3; })");
    for (const auto host : {kHost6, kOtherHost6}) {
        for (std::uint16_t port = 1; port <= 2; ++port) EXPECT_TRUE(udp(host, port));
        EXPECT_FALSE(udp(host, 3));
        EXPECT_TRUE(udp(host, 1, kStranger6));
        EXPECT_FALSE(udp(host, 2, kStranger6));
    }
    EXPECT_EQ(box_->count(Verdict::drop_host_ports_full), 2);
    EXPECT_EQ(box_->count(Verdict::drop_source_full), 2);
    pass(900s);
    EXPECT_EQ(box_->sessions(), 0);
    for (std::uint16_t port = 11; port <= 12; ++port) EXPECT_TRUE(udp(kHost6, port));
    box_->expect_no_record_lost();
}

/// I1: a host's replies to nobody are not taken for its requests, with the identifier 0 either.
TEST_F(Masquerade6, EchoRepliesToNobodyAreDropped) {
    use(R"({ inside = "lan"; })");
    for (const std::uint16_t id : {0, 77}) {
        EXPECT_THAT(out(from(kHost6).icmpv6(kEchoRequest, 0, echo(id))), SizeIs(1));
        EXPECT_THAT(out(from(kHost6).icmpv6(kEchoReply, 0, echo(id))), IsEmpty()) << id;
        EXPECT_THAT(out(from(kHost6).icmpv6(kEchoRequest, 0, echo(id))), SizeIs(1));
    }
    EXPECT_EQ(box_->count(Verdict::drop_icmp_ignored), 2);
}

/// I1, I4, I5: ping by its identifier, and errors about it.
TEST_F(Masquerade6, EchoIsMasqueradedByItsIdentifier) {
    use(R"({ inside = "lan"; })");
    std::vector<std::uint16_t> identifiers;
    for (const auto host : {kHost6, kOtherHost6}) {
        const auto sent = out(from(host).icmpv6(kEchoRequest, 0, echo(7)).payload("ping"));
        ASSERT_THAT(sent, SizeIs(1));
        const auto& bytes = sent[0].bytes;
        identifiers.push_back(static_cast<std::uint16_t>(bytes[58] << 8U | bytes[59]));
        EXPECT_EQ(sent[0],
                  to_peer(kWan6).icmpv6(kEchoRequest, 0, echo(identifiers.back())).payload("ping").frame());
    }
    EXPECT_NE(identifiers[0], identifiers[1]);
    EXPECT_THAT(in(from_peer(kWan6).icmpv6(kEchoReply, 0, echo(identifiers[0])).payload("ping")),
                ElementsAre(to_host().icmpv6(kEchoReply, 0, echo(7)).payload("ping").frame()));
    EXPECT_THAT(in(from_peer(kWan6).icmpv6(kEchoRequest, 0, echo(identifiers[0])).payload("ping")),
                IsEmpty());
    const auto router = "2001:db8:e::1"_ip6;
    EXPECT_THAT(
        in(from_peer(kWan6, router)
               .icmpv6(kTimeExceeded, 0)
               .payload(packet()
                            .ipv6(kWan6, kPeer6)
                            .ttl(1)
                            .icmpv6(kEchoRequest, 0, echo(identifiers[0]))
                            .ip_bytes())),
        ElementsAre(
            to_host(router)
                .icmpv6(kTimeExceeded, 0)
                .payload(packet().ipv6(kHost6, kPeer6).ttl(1).icmpv6(kEchoRequest, 0, echo(7)).ip_bytes())
                .frame()));
    box_->expect_no_record_lost();
    box_->expect_every_packet_accounted_for();
}

/// I4, I5: errors about UDP from both sides; who is inside stays hidden.
TEST_F(Masquerade6, ErrorsAreTranslated) {
    use(R"({ inside = "lan"; })");
    const auto seen = udp(kHost6, 5000);
    ASSERT_TRUE(seen);
    const std::uint16_t port = seen->source.port.host();
    const auto quoted = [](net::Ipv6Address from, std::uint16_t from_port) {
        return packet().ipv6(from, kPeer6).ttl(9).udp(from_port, 53).payload("out").ip_bytes();
    };
    EXPECT_THAT(in(from_peer(kWan6).icmpv6(kUnreachable, 4).payload(quoted(kWan6, port))),
                ElementsAre(to_host().icmpv6(kUnreachable, 4).payload(quoted(kHost6, 5000)).frame()));
    const auto answer = [](net::Ipv6Address to, std::uint16_t to_port) {
        return packet().ipv6(kPeer6, to).ttl(9).udp(53, to_port).payload("a").ip_bytes();
    };
    EXPECT_TRUE(comes_back(seen->source, kPeer6, 53));
    EXPECT_THAT(out(from(kHost6).icmpv6(kUnreachable, 4).payload(answer(kHost6, 5000))),
                ElementsAre(to_peer(kWan6).icmpv6(kUnreachable, 4).payload(answer(kWan6, port)).frame()));
}

/// U14: fragments of what a host sends.
TEST_F(Masquerade6, FragmentsAreTranslated) {
    use(R"({ inside = "lan"; })");
    const Bytes whole = packet().ipv6(kHost6, kPeer6).udp(5000, 53).payload_bytes(24).ip_bytes();
    const Bytes head{whole.begin() + 40, whole.begin() + 56}, tail{whole.begin() + 56, whole.end()};
    const auto begin = out(from(kHost6).protocol(17, head).extension(44, {0, 0, 1, 0, 0, 0, 9}));
    ASSERT_THAT(begin, SizeIs(1));
    const Bytes chosen{begin[0].bytes.begin() + 58, begin[0].bytes.begin() + 62};
    EXPECT_NE(chosen, (Bytes{0, 0, 0, 9})) << "another host may have taken the same";
    Bytes header{0, 0, 16};
    header.insert(header.end(), chosen.begin(), chosen.end());
    const auto rest = out(from(kHost6).protocol(17, tail).extension(44, {0, 0, 16, 0, 0, 0, 9}));
    EXPECT_THAT(rest, ElementsAre(to_peer(kWan6).protocol(17, tail).extension(44, header).frame()));
}

/// U9: an inside host reaches another by its mapping's external endpoint, and by a rule's, and is seen as its
/// own.
TEST_F(Masquerade6, HairpinShowsTheExternalEndpoint) {
    use(R"({ inside = "lan"; filtering = "endpoint-independent"; })");
    const auto server = udp(kOtherHost6, 6000);
    ASSERT_TRUE(server);
    const auto hairpin = only(box_->exchange(
        "lan", from(kHost6, server->source.address.v6()).udp(5000, server->source.port.host()), "lan"));
    ASSERT_TRUE(hairpin);
    EXPECT_EQ(hairpin->source.address, net::IpAddress{kWan6});
    EXPECT_EQ(hairpin->destination, endpoint(kOtherHost6, 6000));
    const auto seen = udp(kHost6, 5000);
    ASSERT_TRUE(seen);
    EXPECT_EQ(hairpin->source, seen->source);
    const auto by_rule = only(box_->exchange("lan", from(kHost6, kPublic6).udp(5000, 27015), "lan"));
    ASSERT_TRUE(by_rule);
    EXPECT_EQ(by_rule->source, seen->source);
    EXPECT_EQ(by_rule->destination, endpoint(kOtherHost6, 27015));
    box_->expect_no_record_lost();
    box_->expect_every_packet_accounted_for();
}

/// P5: nobody outside passes for a host inside, and nothing goes from one inside network to another.
TEST_F(Masquerade6, NobodyElseIsMasqueraded) {
    use(R"({ inside = "fd00::/48"; to = [ "2001:db8:f::/48" ]; })");
    EXPECT_THAT(in(from_peer(kWan6, "fd00::9"_ip6).udp(1, 2)), IsEmpty());
    EXPECT_EQ(box_->count(Verdict::drop_martian), 1);
    EXPECT_THAT(in(from_peer("2001:db8:f::9"_ip6).udp(1, 2)), IsEmpty()) << "no host inside";
    EXPECT_FALSE(udp(kHost6, 1, kWan6)) << "fwd's own";
    EXPECT_FALSE(udp(kHost6, 1, kOtherHost6)) << "inside";
    EXPECT_EQ(box_->count(Verdict::drop_no_rule), 3);
    EXPECT_FALSE(udp(kHost6, 1, "2001:db8:e::1"_ip6)) << "where nobody may go";
    EXPECT_EQ(box_->count(Verdict::drop_destination_denied), 1);
    EXPECT_THAT(out(from(kHost6).protocol(47, Bytes(8))), IsEmpty());
    EXPECT_EQ(box_->count(Verdict::drop_unsupported_protocol), 1);
    EXPECT_EQ(box_->sessions(), 0);
    EXPECT_EQ(box_->mappings(), 0);
    box_->expect_every_packet_accounted_for();
}

/// L4: hosts that have counterparts in another network keep them beside a masquerade of their link.
TEST_F(Masquerade6, PrefixesComeFirst) {
    use(R"({ inside = "lan"; })",
        R"(prefixes = ( { inside = "fd00::/48"; external = "2001:db8:aa::/48"; } );)");
    const auto seen = udp(kHost6, 5000);
    ASSERT_TRUE(seen);
    EXPECT_EQ(seen->source.port.host(), 5000);
    EXPECT_EQ(seen->source.address.v6().bytes[5], 0xaa);
    EXPECT_EQ(box_->mappings(), 0);
}

}  // namespace
}  // namespace fwd::test
