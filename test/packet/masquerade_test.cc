// SPDX-License-Identifier: BSD-3-Clause
// Hosts inside reach the world under external addresses: mappings, who is let in by them, how long they last,
// and what happens when they run out.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "control/counter_watch.h"
#include "control/text.h"
#include "test/packet/outbound.h"

namespace fwd::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using namespace std::chrono_literals;

const std::string kHome = R"({ name = "home"; inside = "lan"; })";
const auto kSomePool =
    R"({ name = "home"; inside = "lan"; pool = [ "192.0.2.7", "203.0.113.9", "192.0.2.5" ]; })";

std::string text(const net::IpAddress& address, std::uint16_t port) {
    return control::to_text(endpoint(address, port));
}

class MasqueradeTest : public ::testing::Test {
 protected:
    explicit MasqueradeTest(const Family& family) : in_{family} {}
    void use(const std::string& masquerades, const std::string& more = "") {
        box_.emplace(masqueraded(masquerades, more, in_));
        out_.emplace(*box_);
        pass(0s);
    }
    std::optional<Seen> udp(std::uint16_t port, const net::IpEndpoint& to) { return udp(port, to, in_.host); }
    std::optional<Seen> udp(std::uint16_t port, const net::IpEndpoint& to, const net::IpAddress& host) {
        return out_->udp(endpoint(host, port), to);
    }
    void rules(const std::string& list) {
        box_->set_rules(list);
        pass(0s);
    }
    /// Without what fwd announces meanwhile.
    void pass(std::chrono::milliseconds time) {
        box_->pass(time);
        box_->settle();
        box_->take("wan");
        box_->take("lan");
    }
    /// What the log says of all that has been refused.
    std::vector<std::string> told() {
        return control::CounterWatch{box_->dataplane()}.look(control::CounterWatch::Clock::now());
    }
    void SetUp() override { use(kHome); }
    void TearDown() override { box_->expect_every_packet_accounted_for(); }

    const Family& in_;
    std::optional<Box> box_;
    std::optional<Outbound> out_;
};

/// In both families, by one table of mappings.
class Masquerade : public MasqueradeTest, public ::testing::WithParamInterface<const Family*> {
 protected:
    Masquerade() : MasqueradeTest{*GetParam()} {}
};
INSTANTIATE_TEST_SUITE_P(, Masquerade, ::testing::Values(&kIpv4, &kIpv6),
                         [](const auto& test) { return std::string{test.param->name}; });

/// Of IPv4; what is IPv6's alone has ipv6_masquerade_test.cc.
class Masquerade4 : public MasqueradeTest {
 protected:
    Masquerade4() : MasqueradeTest{kIpv4} {}
};

/// P1, S1: both ways, by the first packet.
TEST_P(Masquerade, PacketsLeaveUnderTheLinksOwnAddressAndAnswersComeBack) {
    const auto sent = box_->exchange(
        "lan", box_->to("lan").from(kHostMac).ip(in_.host, in_.peer).udp(5000, 53).payload("q"), "wan");
    ASSERT_THAT(sent, SizeIs(1));
    const Seen seen = look_into(sent[0]);
    EXPECT_EQ(sent[0], from_fwd(*box_, "wan", kRouterMac)
                           .ip(in_.wan, in_.peer)
                           .ttl(63)
                           .udp(seen.source.port.host(), 53)
                           .payload("q")
                           .frame());
    EXPECT_THAT(
        box_->exchange("wan",
                       box_->to("wan").ip(in_.peer, in_.wan).udp(53, seen.source.port.host()).payload("a"),
                       "lan"),
        ElementsAre(from_fwd(*box_, "lan", kHostMac)
                        .ip(in_.peer, in_.host)
                        .ttl(63)
                        .udp(53, 5000)
                        .payload("a")
                        .frame()));
}

/// U1: whomever an endpoint inside talks to, it is the same one outside.
TEST_P(Masquerade, MappingIsEndpointIndependent) {
    const auto first = udp(5000, endpoint(in_.peer, 53));
    ASSERT_TRUE(first);
    for (const auto& to : {endpoint(in_.peer, 54), endpoint(in_.stranger, 53), endpoint(in_.stranger, 9)})
        EXPECT_EQ(udp(5000, to)->source, first->source);
    EXPECT_NE(udp(5001, endpoint(in_.peer, 53))->source, first->source);
    EXPECT_EQ(box_->mappings(), 2);
}

/// U1: TCP as well.
TEST_P(Masquerade, MappingOfTcpIsEndpointIndependent) {
    const auto first = out_->tcp(endpoint(in_.host, 5000), endpoint(in_.peer, 80));
    const auto second = out_->tcp(endpoint(in_.host, 5000), endpoint(in_.stranger, 443));
    ASSERT_TRUE(first && second);
    EXPECT_EQ(first->source, second->source);
}

/// U2, R3: a host keeps to one address of the pool, with every port and protocol; all addresses are used.
TEST_F(Masquerade4, HostKeepsToOneAddressOfAPool) {
    use(kSomePool);
    std::set<net::IpAddress> used;
    for (std::uint32_t host = 10; host < 60; ++host) {
        const auto address = net::Ipv4Address::from_host((10U << 24U) + host);
        std::set<net::IpAddress> of_host;
        for (std::uint16_t port = 1024; port < 1030; ++port) {
            of_host.insert(udp(port, endpoint(kPeer, 53), address)->source.address);
            of_host.insert(out_->tcp(endpoint(address, port), endpoint(kPeer, 80))->source.address);
        }
        EXPECT_THAT(of_host, SizeIs(1));
        used.merge(of_host);
    }
    EXPECT_THAT(used, ::testing::UnorderedElementsAre("192.0.2.7"_ip, "203.0.113.9"_ip, "192.0.2.5"_ip));
}

/// R3: fwd answers ARP for the addresses of a pool, on their segment alone.
TEST_F(Masquerade4, PoolIsFwdsOwnByArp) {
    use(kSomePool);
    const auto ask = [&](const char* link, net::Ipv4Address target) {
        return box_->exchange(
            link, box_->to(link).from(kRouterMac).arp(1, kRouterMac, "192.0.2.254"_ip, {}, target), link);
    };
    EXPECT_THAT(ask("wan", "192.0.2.7"_ip), SizeIs(1));
    EXPECT_THAT(ask("wan", "192.0.2.8"_ip), SizeIs(0));
    EXPECT_THAT(ask("lan", "192.0.2.7"_ip), SizeIs(0));
}

/// U1, R16: as long as the address is fwd's; one that a lease has taken away is nobody's source any more.
TEST_P(Masquerade, MappingsOfAnAddressThatHasGoneBeginAnew) {
    const auto wan = dataplane::LinkId{0};
    ASSERT_EQ(box_->settings().links[0].name, "wan");
    const auto set = [&](std::vector<net::IpInterfaceAddress> own) {
        box_->dataplane().set_addresses(wan, own);
        pass(0s);
    };
    const std::uint8_t length = in_.wan.is_v4() ? 24 : 64;
    const net::IpInterfaceAddress first{in_.wan, length}, second{in_.external, length};
    const auto before = udp(5000, endpoint(in_.peer, 53));
    ASSERT_TRUE(before);
    set({first, second});
    EXPECT_EQ(udp(5000, endpoint(in_.stranger, 53))->source, before->source)
        << "one that has come changes nothing";
    set({second});
    box_->end_sessions();
    const auto after = udp(5000, endpoint(in_.peer, 53));
    ASSERT_TRUE(after);
    EXPECT_EQ(after->source.address, second.address);
    EXPECT_EQ(udp(5000, endpoint(in_.stranger, 53))->source, after->source);
}

/// I1, U1: and an identifier, whomever its host pings (RFC 5508, REQ-1a).
TEST_P(Masquerade, MappingOfEchoIsEndpointIndependent) {
    const bool is_v4 = in_.host.is_v4();
    const auto external_id = [&](const net::IpAddress& host, const net::IpAddress& to, std::uint32_t id) {
        auto request = box_->to("lan").ip(host, to);
        is_v4 ? request.icmp(8, 0, id << 16U) : request.icmpv6(128, 0, id << 16U);
        const Bytes sent = box_->exchange("lan", request, "wan").at(0).bytes;
        const std::size_t at = is_v4 ? 38 : 58;
        return sent.at(at) << 8U | sent.at(at + 1);
    };
    const auto first = external_id(in_.host, in_.peer, 7);
    EXPECT_EQ(external_id(in_.host, in_.stranger, 7), first);
    EXPECT_NE(external_id(in_.host, in_.peer, 8), first);
    EXPECT_NE(external_id(in_.other_host, in_.peer, 7), first);
    EXPECT_EQ(box_->mappings(), 3);
}

/// U3, T7: two inside endpoints never have the same external port, whatever they talk to.
TEST_P(Masquerade, NoPortIsGivenToTwo) {
    use(kHome, "outbound_ports = \"40000-40199\";");
    std::map<net::IpEndpoint, unsigned> used;
    for (std::uint16_t port = 2000; port < 2060; ++port) {
        for (const auto host : {in_.host, in_.other_host})
            ++used[udp(port, endpoint(in_.peer, port), host)->source];
    }
    EXPECT_THAT(used, SizeIs(120));
}

/// R15: ports are not one after the other. RFC 4787 REQ-4: even stays even, odd stays odd.
TEST_P(Masquerade, PortsAreRandomAndKeepTheirParity) {
    unsigned near = 0;
    std::uint16_t last = 0;
    for (std::uint16_t port = 2000; port < 2100; ++port) {
        const std::uint16_t external = udp(port, endpoint(in_.peer, 53))->source.port.host();
        EXPECT_EQ(external % 2, port % 2);
        EXPECT_GE(external, 32768);
        if (std::abs(external - last) < 16) ++near;
        last = external;
    }
    EXPECT_LT(near, 10);
}

/// R16: a port is nobody else's because the rules have changed.
TEST_P(Masquerade, MappingsSurviveAReload) {
    const auto before = udp(5000, endpoint(in_.peer, 53));
    rules(R"(rules = ( { protocol = "udp"; external = ")" + text(in_.external, 9) + R"("; target = ")" +
          text(in_.host, 9) + R"("; } ); masquerades = ()" + kHome + ");");
    EXPECT_EQ(udp(5000, endpoint(in_.stranger, 53))->source, before->source);
    EXPECT_TRUE(out_->udp_back(endpoint(in_.peer, 53), before->source));
}

/// R16: nor because the masquerade itself has changed, went and came again.
TEST_P(Masquerade, NobodyGetsAPortOfAMasqueradeThatHasChanged) {
    constexpr std::uint16_t kHosts = 200;
    const auto pool = [](const net::IpAddress& address) {
        return R"(masquerades = ( { name = "home"; inside = "lan"; pool = [ ")" + control::to_text(address) +
               R"(" ]; } );)";
    };
    std::map<net::IpEndpoint, net::IpEndpoint> owners;
    std::uint16_t port = 1000;
    const auto open_some = [&] {
        for (const std::uint16_t end = port + kHosts; port < end; ++port) {
            const auto sent = udp(port, endpoint(in_.peer, 53));
            ASSERT_TRUE(sent) << port;
            const auto [at, is_new] = owners.emplace(sent->source, endpoint(in_.host, port));
            EXPECT_TRUE(is_new) << "port " << port << " and port " << at->second.port.host();
        }
    };
    for (const unsigned address : {0, 1, 0}) {
        rules(pool(next(in_.external, address)));
        open_some();
        rules("masquerades = ( );");
    }
    EXPECT_EQ(owners.size(), 3 * kHosts);
    for (const auto& [external, host] : owners) {
        const auto back = out_->udp_back(endpoint(in_.peer, 53), external);
        ASSERT_TRUE(back) << "sessions live on";
        EXPECT_EQ(back->destination, host);
    }
}

/// U8: whom the host has sent to may answer from any port; nobody else gets in.
TEST_P(Masquerade, FilteringIsAddressDependent) {
    const auto external = udp(5000, endpoint(in_.peer, 53))->source;
    const auto in = out_->udp_back(endpoint(in_.peer, 4444), external);
    ASSERT_TRUE(in);
    EXPECT_EQ(in->source, endpoint(in_.peer, 4444));
    EXPECT_EQ(in->destination, endpoint(in_.host, 5000));
    EXPECT_EQ(udp(5000, endpoint(in_.peer, 4444))->source, external);
    EXPECT_FALSE(out_->udp_back(endpoint(in_.stranger, 53), external));
    EXPECT_EQ(box_->count(Verdict::drop_filtered), 1);
    udp(5000, endpoint(in_.stranger, 99));
    EXPECT_TRUE(out_->udp_back(endpoint(in_.stranger, 53), external));
}

/// U8: by option everybody gets in.
TEST_P(Masquerade, FilteringIsEndpointIndependentByOption) {
    use(R"({ inside = "lan"; filtering = "endpoint-independent"; })");
    const auto external = udp(5000, endpoint(in_.peer, 53))->source;
    const auto in = out_->udp_back(endpoint(in_.stranger, 7), external);
    ASSERT_TRUE(in);
    EXPECT_EQ(in->destination, endpoint(in_.host, 5000));
    EXPECT_EQ(udp(5000, endpoint(in_.stranger, 7))->source, external);
    EXPECT_FALSE(out_->udp_back(endpoint(in_.stranger, 7), endpoint(in_.wan, 1)));
}

/// T2: a connection is opened from outside too, and one that both open at once.
TEST_P(Masquerade, TcpIsOpenedFromEitherSideOrBoth) {
    const auto host = endpoint(in_.host, 5000);
    const auto external = out_->tcp(host, endpoint(in_.peer, 80))->source;
    EXPECT_EQ(out_->tcp_back(endpoint(in_.peer, 80), external, kSyn)->destination, host);
    EXPECT_TRUE(out_->tcp(host, endpoint(in_.peer, 80), kSyn | kAck));
    EXPECT_TRUE(out_->tcp_back(endpoint(in_.peer, 80), external, kSyn | kAck));
    EXPECT_EQ(out_->tcp_back(endpoint(in_.peer, 99), external, kSyn)->destination, host);
    EXPECT_EQ(out_->tcp(host, endpoint(in_.peer, 99), kSyn | kAck)->source, external);
    EXPECT_TRUE(out_->tcp_back(endpoint(in_.peer, 99), external, kAck));
    EXPECT_FALSE(out_->tcp_back(endpoint(in_.peer, 98), external, kAck));
    EXPECT_EQ(box_->sessions(), 2);
}

/// U5: five minutes from the last packet on, though its session is long gone.
TEST_P(Masquerade, MappingLastsFiveMinutes) {
    const auto external = udp(5000, endpoint(in_.peer, 53))->source;
    pass(290s);
    EXPECT_EQ(box_->sessions(), 0);
    EXPECT_TRUE(out_->udp_back(endpoint(in_.peer, 53), external));
    pass(290s);
    EXPECT_EQ(udp(5000, endpoint(in_.stranger, 53))->source, external);
    pass(310s);
    EXPECT_FALSE(out_->udp_back(endpoint(in_.stranger, 53), external));
    pass(125s);
    EXPECT_EQ(box_->mappings(), 0);
    EXPECT_EQ(box_->dataplane().mappings().key_count(), 0);
    box_->expect_no_record_lost();
}

/// U5, R8: both by configuration.
TEST_P(Masquerade, MappingAndItsPortLastAsLongAsConfigured) {
    use(kHome, "outbound_ports = \"40000-40000\"; timeouts = { mapping = 120; port_quarantine = 20; };");
    const auto of_other = [&] { return udp(5000, endpoint(in_.peer, 53), in_.other_host); };
    ASSERT_TRUE(udp(5000, endpoint(in_.peer, 53)));
    pass(130s);
    EXPECT_EQ(box_->sessions(), 0);
    EXPECT_FALSE(of_other()) << "held back";
    pass(15s);
    EXPECT_TRUE(of_other());
}

/// U6: packets of either side keep a session alive, by option those from inside alone.
TEST_P(Masquerade, InboundPacketsRefreshUnlessSwitchedOff) {
    for (const bool inbound : {true, false}) {
        use(inbound ? kHome : R"({ inside = "lan"; inbound_refresh = false; })");
        const auto external = udp(5000, endpoint(in_.peer, 53))->source;
        out_->udp_back(endpoint(in_.peer, 53), external);
        for (int i = 0; i < 4; ++i) {
            pass(200s);
            EXPECT_EQ(out_->udp_back(endpoint(in_.peer, 53), external).has_value(), inbound || i == 0) << i;
        }
        udp(5000, endpoint(in_.peer, 53));
        pass(200s);
        EXPECT_TRUE(udp(5000, endpoint(in_.peer, 53)));
        box_->expect_every_packet_accounted_for();
    }
}

/// U6: nor does whoever a host has sent to keep a mapping by ever new ports, where inbound packets do not.
TEST_P(Masquerade, NewSessionsFromOutsideDoNotRefreshWhereSwitchedOff) {
    for (const char* filtering : {"address-dependent", "endpoint-independent"}) {
        use(std::string{R"({ inside = "lan"; inbound_refresh = false; filtering = ")"} + filtering + "\"; }");
        const auto external = udp(5000, endpoint(in_.peer, 53))->source;
        std::uint16_t port = 1000;
        EXPECT_TRUE(out_->udp_back(endpoint(in_.peer, port), external));
        for (int i = 0; i < 8; ++i) {
            pass(130s);
            out_->udp_back(endpoint(in_.peer, ++port), external);
        }
        EXPECT_FALSE(out_->udp_back(endpoint(in_.peer, ++port), external)) << filtering;
    }
}

/// R8: for two minutes an external port is nobody's but its last owner's.
TEST_P(Masquerade, PortIsHeldBackAfterUse) {
    use(kHome, "outbound_ports = \"40000-40000\";");
    udp(5000, endpoint(in_.peer, 53));
    pass(303s);
    EXPECT_EQ(box_->sessions(), 0);
    EXPECT_FALSE(udp(5000, endpoint(in_.peer, 53), in_.other_host));
    EXPECT_EQ(box_->count(Verdict::drop_ports_used_up), 1);
    EXPECT_TRUE(udp(5000, endpoint(in_.peer, 53)));
    pass(303s);
    EXPECT_FALSE(udp(5000, endpoint(in_.peer, 53), in_.other_host));
    pass(121s);
    EXPECT_TRUE(udp(5000, endpoint(in_.peer, 53), in_.other_host));
}

/// R8, U8: a port that is held back lets nobody in, whatever the filtering.
TEST_P(Masquerade, PortThatIsHeldBackLetsNobodyIn) {
    use(R"({ inside = "lan"; filtering = "endpoint-independent"; })");
    const auto external = udp(5000, endpoint(in_.peer, 53))->source;
    pass(303s);
    ASSERT_EQ(box_->sessions(), 0);
    ASSERT_EQ(box_->mappings(), 1);
    EXPECT_FALSE(out_->udp_back(endpoint(in_.peer, 53), external));
    EXPECT_EQ(box_->count(Verdict::drop_no_rule), 1);
}

/// R8: after a clean end of TCP it is free.
TEST_P(Masquerade, PortOfClosedTcpIsFreeAtOnce) {
    use(kHome, "outbound_ports = \"40000-40000\";");
    const auto external = out_->tcp(endpoint(in_.host, 5000), endpoint(in_.peer, 80))->source;
    out_->tcp_back(endpoint(in_.peer, 80), external, kSyn | kAck);
    out_->tcp(endpoint(in_.host, 5000), endpoint(in_.peer, 80), kAck);
    out_->tcp(endpoint(in_.host, 5000), endpoint(in_.peer, 80), kFin | kAck);
    out_->tcp_back(endpoint(in_.peer, 80), external, kFin | kAck);
    out_->tcp(endpoint(in_.host, 5000), endpoint(in_.peer, 80), kAck);
    EXPECT_FALSE(out_->tcp(endpoint(in_.other_host, 5000), endpoint(in_.peer, 80)));
    pass(248s);
    EXPECT_EQ(box_->sessions(), 0);
    EXPECT_TRUE(out_->tcp(endpoint(in_.other_host, 5000), endpoint(in_.peer, 80)));
}

/// R4: a host has no more ports than it may have, and others have theirs.
TEST_P(Masquerade, HostHasItsLimitOfPorts) {
    use(R"({ inside = "lan"; max_ports_per_host = 3; })");
    for (std::uint16_t port = 5000; port < 5003; ++port) EXPECT_TRUE(udp(port, endpoint(in_.peer, 53)));
    EXPECT_FALSE(udp(5003, endpoint(in_.peer, 53)));
    EXPECT_EQ(box_->count(Verdict::drop_host_ports_full), 1);
    EXPECT_TRUE(udp(5002, endpoint(in_.stranger, 53)));
    EXPECT_TRUE(udp(5003, endpoint(in_.peer, 53), in_.other_host));
    pass(430s);
    EXPECT_TRUE(udp(5003, endpoint(in_.peer, 53)));
}

/// R5: a host has no more sessions than it may have.
TEST_P(Masquerade, HostHasItsLimitOfSessions) {
    use(R"({ inside = "lan"; max_sessions_per_source = 2; })");
    EXPECT_TRUE(udp(5000, endpoint(in_.peer, 1)));
    EXPECT_TRUE(udp(5000, endpoint(in_.peer, 2)));
    EXPECT_FALSE(udp(5000, endpoint(in_.peer, 3)));
    EXPECT_EQ(box_->count(Verdict::drop_source_full), 1);
    EXPECT_TRUE(udp(5000, endpoint(in_.peer, 3), in_.other_host));
    pass(125s);
    EXPECT_TRUE(udp(5000, endpoint(in_.peer, 3)));
    EXPECT_TRUE(udp(5000, endpoint(in_.peer, 4)));
    EXPECT_FALSE(udp(5000, endpoint(in_.peer, 5)));
}

/// R5: nor have all hosts together more than they may have.
TEST_P(Masquerade, HostsTogetherHaveTheirLimitOfSessions) {
    use(R"({ inside = "lan"; max_sessions = 3; })");
    const auto open = [&](const net::IpAddress& host, std::uint16_t to) {
        return udp(5000, endpoint(in_.peer, to), host).has_value();
    };
    EXPECT_TRUE(open(in_.host, 1) && open(in_.host, 2) && open(in_.other_host, 1));
    EXPECT_FALSE(open(in_.host, 3));
    EXPECT_FALSE(open(in_.other_host, 2));
    EXPECT_EQ(box_->count(Verdict::drop_rule_full), 2);
    EXPECT_TRUE(open(in_.host, 2)) << "one that is there goes on";
    box_->end_sessions();
    pass(0s);
    EXPECT_TRUE(open(in_.other_host, 2));
}

/// R5: nor do they open more in a second.
TEST_P(Masquerade, HostsTogetherHaveTheirLimitOfNewSessionsASecond) {
    use(R"({ inside = "lan"; rate = 20; })");
    std::uint16_t port = 1;
    for (int second = 0; second < 2; ++second) {
        int opened = 0;
        for (int tries = 0; tries < 20; ++tries) {
            const auto& host = tries % 2 == 0 ? in_.host : in_.other_host;
            opened += udp(5000, endpoint(in_.peer, port++), host) ? 1 : 0;
        }
        EXPECT_EQ(opened, 3) << "a burst of a tenth of a second";
        EXPECT_EQ(box_->count(Verdict::drop_rate_limited), 17 * (second + 1));
        pass(1s);
    }
}

/// R5: what others open to a host does not take anything away from it.
TEST_P(Masquerade, StrangersDoNotUseUpAHostsLimits) {
    use(R"({ inside = "lan"; filtering = "endpoint-independent"; max_sessions_per_source = 2; rate = 20; })");
    const auto external = udp(5000, endpoint(in_.peer, 53))->source;
    for (std::uint16_t port = 1000; port < 1100; ++port)
        EXPECT_TRUE(out_->udp_back(endpoint(in_.stranger, port), external)) << port;
    EXPECT_TRUE(udp(5001, endpoint(in_.peer, 53)));
    EXPECT_FALSE(udp(5002, endpoint(in_.peer, 53)));
    EXPECT_EQ(box_->count(Verdict::drop_source_full), 1);
}

/// R11, U1: one host that sends to the whole world takes no room from the others: each of its sessions gets
/// its answers, and new mappings find their place.
TEST_P(Masquerade, ScannerInsideTakesNoMappingsFromOthers) {
    use(kHome, "mappings = 64;");
    const auto external = udp(5000, endpoint(in_.peer, 53))->source;
    for (unsigned n = 0; n < 3000; ++n) {
        const auto there = endpoint(next(in_.peer, 1 + n), 53);
        const auto sent = udp(5000, there);
        ASSERT_TRUE(sent) << n;
        ASSERT_EQ(sent->source, external) << n;
        ASSERT_EQ(out_->udp_back(there, external)->destination, endpoint(in_.host, 5000)) << n;
    }
    EXPECT_LE(box_->dataplane().mappings().key_count(), 2 + 4 * 64);
    for (std::uint16_t port = 6000; port < 6060; ++port)
        EXPECT_TRUE(udp(port, endpoint(in_.stranger, 53), in_.other_host)) << port;
    EXPECT_EQ(box_->count(Verdict::drop_mappings_full), 0);
    pass(310s);
    pass(310s);
    pass(125s);
    EXPECT_EQ(box_->mappings(), 0);
    EXPECT_EQ(box_->dataplane().mappings().key_count(), 0);
    box_->expect_no_record_lost();
}

/// R8, R11: where mappings get scarce, ports are not held back.
TEST_P(Masquerade, PortsAreNotHeldBackWhereMappingsAreScarce) {
    use(kHome, "mappings = 16;");
    for (std::uint16_t port = 2000; port < 2016; ++port) EXPECT_TRUE(udp(port, endpoint(in_.peer, 53)));
    EXPECT_FALSE(udp(2016, endpoint(in_.peer, 53)));
    pass(310s);
    for (std::uint16_t port = 3000; port < 3004; ++port)
        EXPECT_TRUE(udp(port, endpoint(in_.peer, 53))) << port;
}

/// R11: out of ports, what is new is dropped, counted and logged; what is there does not notice.
TEST_P(Masquerade, OutOfPortsLiveSessionsGoOn) {
    use(kHome, "outbound_ports = \"40000-40003\";");
    std::vector<net::IpEndpoint> externals;
    for (std::uint16_t port = 5000; port < 5004; ++port)
        externals.push_back(udp(port, endpoint(in_.peer, 53))->source);
    for (std::uint16_t port = 6000; port < 6010; ++port) EXPECT_FALSE(udp(port, endpoint(in_.peer, 53)));
    EXPECT_EQ(box_->count(Verdict::drop_ports_used_up), 10);
    EXPECT_THAT(told(), ElementsAre(HasSubstr("no source port is free, 10 new session(s) refused")));
    for (std::uint16_t i = 0; i < 4; ++i) {
        EXPECT_EQ(out_->udp_back(endpoint(in_.peer, 53), externals[i])->destination,
                  endpoint(in_.host, 5000 + i));
        EXPECT_EQ(udp(5000 + i, endpoint(in_.stranger, 53))->source, externals[i]);
    }
    EXPECT_EQ(box_->mappings(), 4);
}

/// R11: the same when the table of mappings is full.
TEST_P(Masquerade, OutOfMappingsLiveSessionsGoOn) {
    use(kHome, "mappings = 16;");
    const auto first = udp(2000, endpoint(in_.peer, 53))->source;
    unsigned refused = 0;
    for (std::uint16_t port = 2001; port < 2030; ++port) refused += udp(port, endpoint(in_.peer, 53)) ? 0 : 1;
    EXPECT_EQ(box_->count(Verdict::drop_mappings_full), refused);
    EXPECT_EQ(refused, 14);
    EXPECT_THAT(told(), ElementsAre(HasSubstr("the mapping table is full, 14 new session(s) refused")));
    EXPECT_TRUE(out_->udp_back(endpoint(in_.peer, 53), first));
    pass(430s);
    EXPECT_EQ(box_->mappings(), 0);
    EXPECT_TRUE(udp(2029, endpoint(in_.peer, 53)));
}

/// I8, R11: a host whose link says so is told that there is no room for it, in ports as in mappings.
TEST_P(Masquerade, OutOfRoomHostIsToldByOption) {
    for (const auto& [room, verdict] :
         {std::pair{"outbound_ports = \"40000-40003\";", Verdict::drop_ports_used_up},
          {"mappings = 16;", Verdict::drop_mappings_full}}) {
        for (const bool is_told : {false, true}) {
            std::string config = masqueraded(kHome, room, in_);
            if (is_told) config.insert(config.find("name = \"lan\";"), "refuse = \"icmp\"; ");
            box_.emplace(config);
            out_.emplace(*box_);
            pass(0s);
            const auto packet = [&](std::uint16_t port) {
                return box_->to("lan").from(kHostMac).ip(in_.host, in_.peer).udp(port, 53).payload("out");
            };
            std::uint16_t port = 1;
            while (box_->exchange("lan", packet(port), "wan").size() == 1) ++port;
            const auto told = box_->take("lan");
            if (!is_told) {
                EXPECT_THAT(told, SizeIs(0));
            } else {
                auto error = from_fwd(*box_, "lan", kHostMac).ip(in_.lan, in_.host);
                if (in_.host.is_v4()) {
                    error.identification(0).dont_fragment().icmp(3, 13);
                } else {
                    error.icmpv6(1, 1);
                }
                EXPECT_THAT(told, ElementsAre(error.payload(packet(port).ip_bytes()).frame()));
            }
            EXPECT_EQ(box_->count(verdict), 1);
            EXPECT_THAT(box_->exchange("lan", packet(1), "wan"), SizeIs(1)) << "it goes on";
        }
    }
}

/// U11: with thousands of mappings and a full session table an endpoint is treated as without them.
TEST_P(Masquerade, LoadChangesNoBehaviour) {
    use(kHome, "mappings = 4096;");
    const auto external = udp(5000, endpoint(in_.peer, 53))->source;
    EXPECT_FALSE(out_->udp_back(endpoint(in_.stranger, 53), external));
    for (unsigned n = 0; n < 6000; ++n) {
        box_->put_many("lan", box_->to("lan")
                                  .ip(next(in_.host, 28 + n % 150), next(in_.peer, 1000 + n))
                                  .udp(static_cast<std::uint16_t>(1024 + n / 150 % 20), 53));
        if (n % 512 == 0) box_->settle();
    }
    box_->settle();
    box_->take("wan");
    EXPECT_GT(box_->sessions(), 3000);
    EXPECT_GT(box_->mappings(), 2900);
    EXPECT_EQ(udp(5000, endpoint(in_.peer, 53))->source, external);
    EXPECT_EQ(udp(5000, endpoint(in_.peer, 54))->source, external);
    EXPECT_EQ(out_->udp_back(endpoint(in_.peer, 55), external)->destination, endpoint(in_.host, 5000));
    EXPECT_FALSE(out_->udp_back(endpoint(in_.stranger, 53), external));
}

/// U11: one endpoint with thousands of peers: whom it has sent to may send back from any port, as ever.
TEST_F(Masquerade4, ManyPeersChangeNoFiltering) {
    use(kHome, "mappings = 1024;");
    const auto external = udp(5000, endpoint(kPeer, 53))->source;
    const auto peer = [](std::uint32_t n) {
        return endpoint(net::Ipv4Address::from_host((198U << 24U) + n), 53);
    };
    for (std::uint32_t n = 0; n < 3000; ++n) ASSERT_TRUE(udp(5000, peer(n))) << n;
    for (const std::uint32_t n : {0U, 1500U, 2999U})
        EXPECT_TRUE(out_->udp_back(endpoint(net::Ipv4Address::from_host((198U << 24U) + n), 99), external))
            << n;
    for (const auto& stranger : {endpoint(kStranger, 53), peer(3000)})
        EXPECT_FALSE(out_->udp_back(stranger, external));
    // Nor for what has been idle for less than the mapping timer.
    box_->pass(250s);
    EXPECT_TRUE(out_->udp_back(endpoint(net::Ipv4Address::from_host((198U << 24U) + 700), 99), external));
}

/// A rule's external port comes first: it is never drawn, and the rule's packets find the rule.
TEST_P(Masquerade, PortsOfRulesAreNotDrawn) {
    use(kHome, "outbound_ports = \"40000-40003\";");
    rules(R"(rules = ( { protocol = "udp"; external = ")" + text(in_.wan, 40000) + R"(-40002"; target = ")" +
          text(in_.other_host, 1) + R"(-3"; } ); masquerades = ()" + kHome + ");");
    EXPECT_EQ(udp(5001, endpoint(in_.peer, 53))->source, endpoint(in_.wan, 40003));
    EXPECT_FALSE(udp(5000, endpoint(in_.peer, 53)));
    EXPECT_EQ(out_->udp_back(endpoint(in_.peer, 53), endpoint(in_.wan, 40001))->destination,
              endpoint(in_.other_host, 2));
}

/// Full NAT of rules takes no port that masquerades may need.
TEST_F(Masquerade4, FullNatAndMasqueradeHavePortsOfTheirOwn) {
    use(kHome, "masquerade_ports = \"40000-40003\"; outbound_ports = \"40002-40005\";");
    box_->set_rules(
        "rules = ( { protocol = \"udp\"; external = \"10.0.0.9:53\"; target = \"198.51.100.7:53\"; "
        "source = \"masquerade\"; } ); masquerades = (" +
        kHome + ");");
    std::set<std::uint16_t> full_nat;
    for (std::uint16_t port = 1; port < 40; ++port) {
        if (const auto seen = udp(port, endpoint("10.0.0.9"_ip, 53)))
            full_nat.insert(seen->source.port.host());
    }
    std::set<std::uint16_t> outbound;
    for (std::uint16_t port = 1; port < 40; ++port) {
        if (const auto seen = udp(port, endpoint(kPeer, 99))) outbound.insert(seen->source.port.host());
    }
    EXPECT_THAT(full_nat, ElementsAre(40000, 40001));
    EXPECT_THAT(outbound, ElementsAre(40002, 40003, 40004, 40005));
}

TEST_F(Masquerade4, OnlyListedDestinationsAreReached) {
    use(R"({ inside = "lan"; to = [ "198.51.100.7/32", "203.0.113.0/24" ]; })");
    EXPECT_TRUE(udp(5000, endpoint(kPeer, 53)));
    EXPECT_TRUE(udp(5000, endpoint("203.0.113.200"_ip, 53)));
    EXPECT_FALSE(udp(5000, endpoint(kStranger, 53)));
    EXPECT_EQ(box_->count(Verdict::drop_destination_denied), 1);
}

/// The most specific hosts decide, and what they may not reach they reach by no other masquerade.
TEST_F(Masquerade4, MostSpecificHostsWin) {
    use(R"({ inside = "lan"; }, { name = "some"; inside = "10.0.0.4/32"; pool = [ "192.0.2.9" ]; to = [ "198.51.100.7/32" ]; },
           { name = "more"; inside = "10.0.0.4/32"; pool = [ "192.0.2.10" ]; to = [ "203.0.113.0/24" ]; })");
    EXPECT_EQ(udp(5000, endpoint(kPeer, 53))->source.address, "192.0.2.9"_ip);
    EXPECT_EQ(udp(5000, endpoint("203.0.113.1"_ip, 53))->source.address, "192.0.2.10"_ip);
    EXPECT_FALSE(udp(5000, endpoint(kStranger, 53)));
    EXPECT_EQ(udp(5000, endpoint(kStranger, 53), kOtherHost)->source.address, kWanAddress);
}

/// P5: nobody outside is taken for a host inside, also where that is behind a router; and nobody inside for
/// one outside.
TEST_F(Masquerade4, SpoofedInsideSourcesAreDropped) {
    box_.emplace(R"(
        links = ( { name = "wan"; device = "net_null_wan"; addresses = [ "192.0.2.1/24" ]; },
                  { name = "lan"; device = "net_null_lan"; addresses = [ "10.0.0.1/24" ]; } );
        routes = ( { prefix = "0.0.0.0/0"; via = "192.0.2.254"; }, { prefix = "10.7.0.0/16"; via = "10.0.0.4"; } );
        rules = ( { protocol = "udp"; external = "192.0.2.3:53"; target = "10.0.0.4:53"; } );
        neighbours = ( { link = "wan"; address = "192.0.2.254"; mac = "02:00:00:00:00:fe"; } );
        masquerades = ( { inside = "lan"; } );)");
    out_.emplace(*box_);
    EXPECT_TRUE(udp(5000, endpoint(kPeer, 53), "10.7.1.1"_ip));
    box_->put("wan", box_->to("wan").ipv4("10.7.1.1"_ip, "192.0.2.3"_ip).udp(5000, 53));
    box_->put("wan", box_->to("wan").ipv4("10.7.1.1"_ip, kPeer).udp(5000, 53));
    box_->put("lan", box_->to("lan").ipv4(kPeer, kStranger).udp(5000, 53));
    box_->settle();
    EXPECT_EQ(box_->count(Verdict::drop_martian), 2);
    EXPECT_EQ(box_->count(Verdict::drop_no_rule), 1);
    EXPECT_EQ(box_->sessions(), 1);
}

/// P5
TEST_F(Masquerade4, AddressOfAPoolIsNobodysSource) {
    use(R"({ inside = "lan"; pool = ["192.0.2.50"]; filtering = "endpoint-independent"; })");
    const auto external = udp(5000, endpoint(kPeer, 53))->source;
    ASSERT_EQ(external.address, "192.0.2.50"_ip);
    EXPECT_FALSE(out_->udp_back(endpoint("192.0.2.50"_ip, 53), external));
    EXPECT_EQ(box_->count(Verdict::drop_spoofed_own_address), 1);
}

/// What is inside, and fwd itself, are not the world.
TEST_F(Masquerade4, NothingButTheWorldIsReached) {
    EXPECT_FALSE(udp(5000, endpoint(kWanAddress, 53)));
    EXPECT_FALSE(udp(5000, endpoint(kLanAddress, 53)));
    EXPECT_FALSE(udp(5000, endpoint(kOtherHost, 53)));
    EXPECT_FALSE(out_->udp_back(endpoint(kPeer, 53), endpoint(kHost, 5000)));
    EXPECT_EQ(box_->count(Verdict::drop_no_rule), 4);
    EXPECT_EQ(box_->sessions(), 0);
    EXPECT_FALSE(out_->tcp(endpoint(kHost, 5000), endpoint(kPeer, 80), kAck));
    EXPECT_EQ(box_->count(Verdict::drop_not_syn), 1);
    EXPECT_EQ(box_->mappings(), 0);
}

/// I4, U12, T10: an error from a router in the world reaches the host with its own addresses in it, and ends
/// nothing.
TEST_F(Masquerade4, ErrorFromOutsideReachesTheHost) {
    const auto external = udp(5000, endpoint(kPeer, 53))->source;
    const std::uint16_t port = external.port.host();
    EXPECT_THAT(
        box_->exchange(
            "wan",
            box_->to("wan")
                .ipv4("203.0.113.77"_ip, kWanAddress)
                .icmp(11, 0)
                .payload(packet().ipv4(kWanAddress, kPeer).ttl(1).udp(port, 53).payload("out").ip_bytes()),
            "lan"),
        ElementsAre(from_fwd(*box_, "lan", kHostMac)
                        .ipv4("203.0.113.77"_ip, kHost)
                        .ttl(63)
                        .icmp(11, 0)
                        .payload(packet().ipv4(kHost, kPeer).ttl(1).udp(5000, 53).payload("out").ip_bytes())
                        .frame()));
    EXPECT_EQ(udp(5000, endpoint(kStranger, 53))->source, external);
    EXPECT_TRUE(out_->udp_back(endpoint(kPeer, 53), external));
}

/// I5: an error from inside comes from the external address.
TEST_F(Masquerade4, ErrorFromInsideComesFromTheExternalAddress) {
    const std::uint16_t port = udp(5000, endpoint(kPeer, 53))->source.port.host();
    out_->udp_back(endpoint(kPeer, 53), endpoint(kWanAddress, port));
    for (const auto from : {kHost, "10.0.0.77"_ip}) {
        EXPECT_THAT(
            box_->exchange(
                "lan",
                box_->to("lan")
                    .ipv4(from, kPeer)
                    .icmp(3, 3)
                    .payload(packet().ipv4(kPeer, kHost).ttl(63).udp(53, 5000).payload("back").ip_bytes()),
                "wan"),
            ElementsAre(
                from_fwd(*box_, "wan", kRouterMac)
                    .ipv4(kWanAddress, kPeer)
                    .ttl(63)
                    .icmp(3, 3)
                    .payload(
                        packet().ipv4(kPeer, kWanAddress).ttl(63).udp(53, port).payload("back").ip_bytes())
                    .frame()));
    }
}

/// I1, I2: echo goes out under an external identifier, one for each host that uses the same; the answer comes
/// back under the host's, also more than a minute later.
TEST_F(Masquerade4, EchoIsMasqueradedByIdentifier) {
    const auto identifier_of = [](const Frame& frame) {
        return frame.bytes.at(38) << 8U | frame.bytes.at(39);
    };
    std::set<unsigned> identifiers;
    for (const auto& [host, mac] : {std::pair{kHost, kHostMac}, {kOtherHost, kOtherHostMac}}) {
        const auto sent = box_->exchange(
            "lan", box_->to("lan").from(mac).ipv4(host, kPeer).icmp(8, 0, 77U << 16U | 1U).payload("ping"),
            "wan");
        ASSERT_THAT(sent, SizeIs(1));
        const auto id = static_cast<std::uint32_t>(identifier_of(sent[0]));
        identifiers.insert(id);
        EXPECT_EQ(sent[0], from_fwd(*box_, "wan", kRouterMac)
                               .ipv4(kWanAddress, kPeer)
                               .ttl(63)
                               .icmp(8, 0, id << 16U | 1U)
                               .payload("ping")
                               .frame());
        box_->pass(61s);
        EXPECT_THAT(
            box_->exchange(
                "wan", box_->to("wan").ipv4(kPeer, kWanAddress).icmp(0, 0, id << 16U | 1U).payload("ping"),
                "lan"),
            ElementsAre(from_fwd(*box_, "lan", mac)
                            .ipv4(kPeer, host)
                            .ttl(63)
                            .icmp(0, 0, 77U << 16U | 1U)
                            .payload("ping")
                            .frame()));
    }
    EXPECT_THAT(identifiers, SizeIs(2));
}

/// I1: of RFC 5508's queries there is one beside echo that is still asked.
TEST_F(Masquerade4, TimestampsAreMasqueradedAsEchoIs) {
    const std::string times(12, 't');
    const auto sent = box_->exchange(
        "lan", box_->to("lan").from(kHostMac).ipv4(kHost, kPeer).icmp(13, 0, 77U << 16U | 1U).payload(times),
        "wan");
    ASSERT_THAT(sent, SizeIs(1));
    const auto id = static_cast<std::uint32_t>(sent[0].bytes.at(38) << 8U | sent[0].bytes.at(39));
    EXPECT_EQ(sent[0], from_fwd(*box_, "wan", kRouterMac)
                           .ipv4(kWanAddress, kPeer)
                           .ttl(63)
                           .icmp(13, 0, id << 16U | 1U)
                           .payload(times)
                           .frame());
    const auto reply = box_->to("wan").ipv4(kPeer, kWanAddress).icmp(14, 0, id << 16U | 1U).payload(times);
    EXPECT_THAT(box_->exchange("wan", reply, "lan"), ElementsAre(from_fwd(*box_, "lan", kHostMac)
                                                                     .ipv4(kPeer, kHost)
                                                                     .ttl(63)
                                                                     .icmp(14, 0, 77U << 16U | 1U)
                                                                     .payload(times)
                                                                     .frame()));
    EXPECT_THAT(box_->exchange("lan", box_->to("lan").ipv4(kHost, kPeer).icmp(17, 0, 1), "wan"), SizeIs(0));
    EXPECT_EQ(box_->count(Verdict::drop_icmp_ignored), 1);
}

/// I1: a host's replies to nobody are not taken for its requests, with the identifier 0 either.
TEST_F(Masquerade4, EchoRepliesToNobodyAreDropped) {
    for (const std::uint32_t id : {0U, 77U << 16U}) {
        const auto echo = [&](std::uint8_t type) {
            return box_->exchange("lan", box_->to("lan").from(kHostMac).ipv4(kHost, kPeer).icmp(type, 0, id),
                                  "wan");
        };
        EXPECT_THAT(echo(8), SizeIs(1));
        EXPECT_THAT(echo(0), SizeIs(0)) << id;
        EXPECT_THAT(echo(8), SizeIs(1));
    }
    EXPECT_EQ(box_->count(Verdict::drop_icmp_ignored), 2);
}

}  // namespace
}  // namespace fwd::test
