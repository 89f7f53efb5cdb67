// SPDX-License-Identifier: BSD-3-Clause
// Masquerade of IPv6 (NAT66): what masquerade_test.cc does not show of both families.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <optional>
#include <set>

#include "dataplane/neighbour_discovery.h"
#include "test/packet/ipv6_networks.h"

namespace fwd::test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using namespace std::chrono_literals;

constexpr std::uint8_t kEchoRequest = 128, kEchoReply = 129, kUnreachable = 1, kTimeExceeded = 3;
constexpr auto kHost6 = kLanServer6, kOtherHost6 = "fd00::5"_ip6;
constexpr auto kPeer6 = kFarClient6;
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
    std::optional<Box> box_;
};

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

/// U2, R3: a host keeps to one address of a pool; hosts are spread.
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

/// R3: neighbour discovery answers for the addresses of a pool, on their segment alone.
TEST_F(Masquerade6, PoolIsFwdsOwnByNeighbourDiscovery) {
    use(R"({ inside = "lan"; pool = [ "2001:db8:2::77", "2001:db8:9::1" ]; })");
    const auto asker = "2001:db8:2::fe"_ip6;
    const auto ask = [&](const char* link, net::Ipv6Address target) {
        const auto group = dataplane::solicited_node(target);
        Bytes content{target.bytes.begin(), target.bytes.end()};
        content.insert(content.end(), {1, 1, 2, 0, 0, 0, 0, 0xfe});
        return box_->exchange(link,
                              packet()
                                  .to(dataplane::multicast_mac(group))
                                  .from(kRouterMac)
                                  .ipv6(asker, group)
                                  .ttl(255)
                                  .icmpv6(135, 0)
                                  .payload(content),
                              link);
    };
    Bytes content{kPool6.bytes.begin(), kPool6.bytes.end()};
    const auto mac = box_->mac_of("wan");
    content.insert(content.end(), {2, 1});
    content.insert(content.end(), mac.bytes.begin(), mac.bytes.end());
    EXPECT_THAT(ask("wan", kPool6), ElementsAre(from_fwd(*box_, "wan", kRouterMac)
                                                    .ipv6(kPool6, asker)
                                                    .ttl(255)
                                                    .icmpv6(136, 0, 0x60000000)
                                                    .payload(content)
                                                    .frame()));
    EXPECT_THAT(ask("wan", "2001:db8:2::78"_ip6), IsEmpty());
    EXPECT_THAT(ask("lan", kPool6), IsEmpty());
}

/// A pool of one family leaves the hosts of the other alone.
TEST_F(Masquerade6, PoolOfIpv4LeavesIpv6Alone) {
    use(R"({ inside = "lan"; pool = [ "192.0.2.77" ]; })");
    EXPECT_FALSE(udp(kHost6, 5000));
    EXPECT_EQ(box_->count(Verdict::drop_no_rule), 1);
}

/// U1, R16: an address that goes takes nothing from mappings of the other family.
TEST_F(Masquerade6, MappingsDoNotNoticeThatAnAddressOfTheOtherFamilyGoes) {
    for (const auto& stays : {net::IpInterfaceAddress{kWanAddress, 24}, net::IpInterfaceAddress{kWan6, 64}}) {
        use(R"({ inside = "lan"; })");
        const bool of_v4 = stays.address.is_v4();
        const auto source_to = [&](std::uint16_t port) -> std::optional<net::IpEndpoint> {
            const auto to_world = of_v4 ? box_->to("lan").ipv4(kLanServer, kFarClient) : from(kHost6);
            const auto seen = only(out(PacketBuilder{to_world}.udp(5000, port)));
            return seen ? std::optional{seen->source} : std::nullopt;
        };
        const auto before = source_to(53);
        ASSERT_TRUE(before);
        box_->dataplane().set_addresses(dataplane::LinkId{0}, std::array{stays});
        box_->settle();
        box_->take("wan");
        EXPECT_EQ(source_to(54), before) << "IPv" << (of_v4 ? 4 : 6);
    }
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
