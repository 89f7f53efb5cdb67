// SPDX-License-Identifier: BSD-3-Clause
#include "control/rule_check.h"

#include <gtest/gtest.h>

#include "control/text.h"

namespace fwd::control {
namespace {

LinkSettings link(const std::string& name, const std::string& address) {
    LinkSettings settings;
    settings.name = name;
    settings.addresses.push_back(*parse_interface_address(address));
    return settings;
}

Rule rule(const std::string& protocols, const std::string& external, const std::string& target) {
    Rule result;
    result.external = *parse_endpoint(external);
    result.targets = *parse_targets(target);
    EXPECT_TRUE(parse_protocols(protocols, result));
    result.name = default_name(result);
    return result;
}

std::string outcome(const Result<void>& result) {
    return result ? "good" : result.error().text();
}

Topology two_links() {
    RouteSettings route;
    route.prefix = *parse_prefix("172.16.0.0/12");
    route.via = *parse_address("10.0.0.9");
    route.link = "lan";
    NeighbourSettings neighbour;
    neighbour.link = "lan";
    neighbour.address = *parse_address("10.0.0.8");
    return Topology{{link("wan", "203.0.113.2/24"), link("lan", "10.0.0.2/24")}, {route}, {neighbour}};
}

class RuleCheck : public testing::Test {
 protected:
    const Topology topology_ = two_links();

    std::string check(const std::string& external, const std::string& target,
                      std::optional<std::string> on_link = {}) const {
        Rule checked = rule("tcp", external, target);
        checked.link = std::move(on_link);
        return outcome(check_rule(checked, topology_));
    }
};

TEST_F(RuleCheck, ExternalOfALinkIsOfThatLink) {
    const auto on = [&](const std::string& external, std::optional<std::string> link) {
        Rule checked = rule("tcp", "10.0.0.3:80", "10.0.0.4:8080");
        checked.link = std::move(link);
        EXPECT_TRUE(parse_external(external, checked));
        return outcome(check_rule(checked, topology_));
    };
    EXPECT_EQ(on("link:wan:80", {}), "good");
    EXPECT_EQ(on("link:wan:80", "wan"), "good");
    EXPECT_EQ(on("link:wan:80", "lan"),
              "link: got 'lan' for the external link:wan:80; want 'wan', or no link");
    EXPECT_EQ(on("link:dmz:80", {}), "link: got 'dmz', which is no link; there is wan, lan");
    Rule first = rule("tcp", "10.0.0.3:80", "10.0.0.4:8080");
    EXPECT_TRUE(parse_external("link:wan:80", first));
    first.name = default_name(first);
    EXPECT_EQ(first.name, "tcp-80-wan");
    Rule second = first;
    second.name = "other";
    RuleClaims claims;
    EXPECT_EQ(outcome(claims.add(first, topology_)), "good");
    EXPECT_EQ(outcome(claims.add(second, topology_)),
              "external: got tcp link:wan:80 on link wan for rule 'other', but rule 'tcp-80-wan' has it; "
              "want another "
              "address, port, protocol or link");
}

TEST_F(RuleCheck, UsualRulesAreGood) {
    EXPECT_EQ(check("10.0.0.3:80", "10.0.0.4:8080"), "good");
    EXPECT_EQ(check("10.0.0.3:80", "10.0.0.4:80", "lan"), "good");
    EXPECT_EQ(check("203.0.113.9:80", "172.16.5.5:80", "wan"), "good");
    EXPECT_EQ(check("10.0.0.2:80", "10.0.0.4:8080"), "good") << "fwd's own address may be forwarded";
    EXPECT_EQ(check("192.0.2.1:80", "10.0.0.4:8080"), "good") << "an address that routers send to fwd";
}

/// L1, L3: addresses of two families in one rule.
TEST(RuleCheckIpv6, FamiliesHaveToFit) {
    LinkSettings wan = link("wan", "203.0.113.2/24");
    LinkSettings lan = link("lan", "10.0.0.2/24");
    const Topology no_ipv6{{wan, lan}, {}};
    lan.addresses.push_back(*parse_interface_address("fd00::2/64"));
    const Topology topology{{wan, lan}, {}};
    Rule to_ipv6 = rule("tcp", "203.0.113.9:80", "[fd00::4]:80");
    EXPECT_EQ(outcome(check_rule(to_ipv6, topology)), "good");
    EXPECT_EQ(topology.effective_source(to_ipv6), "masquerade");
    EXPECT_EQ(
        outcome(check_rule(to_ipv6, no_ipv6)),
        "target: got [fd00::4]:80, but no link has an IPv6 address; want an IPv4 address, or give a link an "
        "IPv6 one");
    to_ipv6.source = SourceMode::preserve;
    EXPECT_EQ(
        outcome(check_rule(to_ipv6, topology)),
        "source: got 'preserve' from 203.0.113.9:80 to [fd00::4]:80; want 'masquerade' or 'auto': an IPv4 "
        "client's address means nothing to an IPv6 target");

    Rule ipv6 = rule("tcp", "[2001:db8::3]:80", "[fd00::4]:80");
    EXPECT_EQ(outcome(check_rule(ipv6, topology)), "good");
    EXPECT_EQ(
        outcome(check_rule(ipv6, no_ipv6)),
        "external: got [2001:db8::3]:80, but no link has an IPv6 address; want an IPv4 address, or give the "
        "link an IPv6 one");
    ipv6.link = "wan";
    EXPECT_EQ(
        outcome(check_rule(ipv6, topology)),
        "external: got [2001:db8::3]:80, but link wan has no IPv6 address; want an IPv4 address, or give the "
        "link an IPv6 one");
    ipv6.link.reset();
    ipv6.from = {*parse_prefix("10.0.0.0/8")};
    EXPECT_EQ(outcome(check_rule(ipv6, topology)),
              "from: got 10.0.0.0/8, IPv4, for the external [2001:db8::3]:80; want IPv6");
    ipv6.from.clear();
    ipv6.not_from = {*parse_prefix("::/0")};
    EXPECT_EQ(outcome(check_rule(ipv6, topology)),
              "not_from: got ::/0, which leaves nobody; want some clients left");
    ipv6.not_from.clear();
    ipv6.targets = *parse_targets("[fd00::4]:80,10.0.0.4:80");
    EXPECT_EQ(outcome(check_rule(ipv6, topology)),
              "target: got [fd00::4]:80 and 10.0.0.4:80; want targets of one family, IPv4 or IPv6");
    EXPECT_EQ(rule("tcp", "[2001:db8::3]:80", "[fd00::4]:80").name, "tcp-2001.db8..3-80");
}

/// L1: a whole address has protocols that only its own family has.
TEST(RuleCheckIpv6, WholeAddressesStayInTheirFamily) {
    LinkSettings lan = link("lan", "10.0.0.2/24");
    lan.addresses.push_back(*parse_interface_address("fd00::2/64"));
    const Topology topology{{lan}, {}};
    const auto check = [&](std::string_view external, std::string_view target) {
        Rule whole;
        whole.name = "host";
        whole.all = true;
        whole.external = *parse_rule_endpoint(external);
        whole.targets = *parse_targets(target);
        return outcome(check_rule(whole, topology));
    };
    EXPECT_EQ(check("10.0.0.3", "10.0.0.4"), "good");
    EXPECT_EQ(check("fd00::3", "fd00::4"), "good");
    const std::string rest =
        ", or tcp, udp or tcp+udp with ports: nothing else goes from one family to the other";
    EXPECT_EQ(check("10.0.0.3", "fd00::4"),
              "target: got fd00::4, IPv6, for the whole of 10.0.0.3; want IPv4" + rest);
    EXPECT_EQ(check("fd00::3", "10.0.0.4"),
              "target: got 10.0.0.4, IPv4, for the whole of fd00::3; want IPv6" + rest);
}

TEST_F(RuleCheck, UnknownLinkIsRefusedWithTheNamesThereAre) {
    EXPECT_EQ(check("10.0.0.3:80", "10.0.0.4:8080", "lna"),
              "link: got 'lna', which is no link; there is wan, lan");
}

TEST_F(RuleCheck, ExternalAddressMustBeOneToConnectTo) {
    const std::string wanted = "; want an address that clients can connect to";
    EXPECT_EQ(check("0.0.0.0:80", "10.0.0.4:80"),
              "external: got 0.0.0.0:80, the unspecified address" + wanted);
    EXPECT_EQ(check("127.0.0.1:80", "10.0.0.4:80"),
              "external: got 127.0.0.1:80, a loopback address" + wanted);
    EXPECT_EQ(check("224.0.0.1:80", "10.0.0.4:80"),
              "external: got 224.0.0.1:80, a multicast address" + wanted);
    EXPECT_EQ(check("255.255.255.255:80", "10.0.0.4:80"),
              "external: got 255.255.255.255:80, the broadcast address" + wanted);
    EXPECT_EQ(check("10.0.0.255:80", "10.0.0.4:80"),
              "external: got 10.0.0.255:80, the broadcast address of 10.0.0.0/24" + wanted);
    EXPECT_EQ(check("10.0.0.0:80", "10.0.0.4:80"),
              "external: got 10.0.0.0:80, the network address of 10.0.0.0/24" + wanted);
}

TEST_F(RuleCheck, TargetMustBeAHostThatFwdReaches) {
    EXPECT_EQ(check("10.0.0.3:80", "224.0.0.1:80"),
              "target: got 224.0.0.1:80, a multicast address; want the address of a host");
    EXPECT_EQ(check("10.0.0.3:80", "10.0.0.255:80"),
              "target: got 10.0.0.255:80, the broadcast address of 10.0.0.0/24; want the address of a host");
    EXPECT_EQ(
        check("10.0.0.3:80", "8.8.8.8:80"),
        "target: got 8.8.8.8:80, to which there is no route; want an address in a link's network, or a route "
        "to it in the configuration");
}

TEST(RuleCheckBesideTheKernel, TargetMayWaitForARoute) {
    LinkSettings wan = link("wan", "203.0.113.2/24");
    wan.host.push_back({.protocol = net::Protocol::tcp, .first_port = 179, .last_port = 179, .from = {}});
    const Topology topology{{wan, link("lan", "10.0.0.2/24")}, {}};
    EXPECT_EQ(outcome(check_rule(rule("tcp", "10.0.0.3:80", "8.8.8.8:80"), topology)), "good");
    EXPECT_EQ(
        outcome(check_rule(rule("tcp", "10.0.0.3:80", "8.8.8.8:80-81"), topology)),
        "target: got 8.8.8.8:80-81, 2 port(s) for the 1 of 10.0.0.3:80; want as many, such as 8.8.8.8:80");
}

TEST_F(RuleCheck, TargetMayNotBeFwdItself) {
    EXPECT_EQ(check("10.0.0.3:80", "203.0.113.2:80"),
              "target: got 203.0.113.2:80, fwd's own address on link wan; want the address of another host");
}

TEST_F(RuleCheck, TargetMayHaveTheExternalAddressOnAnotherLinkOnly) {
    EXPECT_EQ(check("10.0.0.4:80", "10.0.0.4:8080", "wan"), "good");
    const std::string refused =
        "target: got 10.0.0.4:8080, the external address itself, reached through link lan; want another "
        "host, or a "
        "rule for another link";
    EXPECT_EQ(check("10.0.0.4:80", "10.0.0.4:8080", "lan"), refused);
    EXPECT_EQ(check("10.0.0.4:80", "10.0.0.4:8080"), refused);
}

TEST_F(RuleCheck, ExternalAddressMayNotBeAHostThatTheConfigurationNames) {
    const std::string wanted =
        ", for which fwd would answer ARP on link lan; want an address that no other host has";
    EXPECT_EQ(check("10.0.0.9:80", "10.0.0.4:80"),
              "external: got 10.0.0.9:80, the gateway of 172.16.0.0/12" + wanted);
    EXPECT_EQ(check("10.0.0.9:80", "10.0.0.4:80", "lan"),
              "external: got 10.0.0.9:80, the gateway of 172.16.0.0/12" + wanted);
    EXPECT_EQ(check("10.0.0.8:80", "10.0.0.4:80"),
              "external: got 10.0.0.8:80, a neighbour of the configuration" + wanted);
    EXPECT_EQ(check("10.0.0.9:80", "10.0.0.4:80", "wan"), "good") << "nobody asks for it there";
}

TEST_F(RuleCheck, ErrorsHaveTheirKind) {
    Rule unknown_link = rule("tcp", "10.0.0.3:80", "10.0.0.4:8080");
    unknown_link.link = "dmz";
    EXPECT_EQ(check_rule(unknown_link, topology_).error().kind, ErrorKind::not_found);
    EXPECT_EQ(check_rule(rule("tcp", "10.0.0.3:80", "8.8.8.8:80"), topology_).error().kind,
              ErrorKind::refused);
}

/// L4
TEST(RuleClaims, SameExternalEndpointIsRefusedWithBothNames) {
    Rule first = rule("tcp", "10.0.0.3:80", "10.0.0.4:8080");
    first.name = "web";
    first.origin_text = "fwd.conf:12";
    Rule second = rule("tcp", "10.0.0.3:80", "10.0.0.5:8080");
    second.name = "shop";
    RuleClaims claims;
    EXPECT_EQ(outcome(claims.add(first, two_links())), "good");
    EXPECT_EQ(outcome(claims.add(second, two_links())),
              "external: got tcp 10.0.0.3:80 on any link for rule 'shop', but rule 'web' (fwd.conf:12) has "
              "it; want "
              "another address, port, protocol or link");
    EXPECT_EQ(claims.add(second, two_links()).error().kind, ErrorKind::refused);
}

/// L1
TEST_F(RuleCheck, RangeWantsAsManyTargetPorts) {
    const auto outcome_of = [&](const std::string& external, const std::string& target) {
        Rule checked = rule("tcp", "10.0.0.3:80", "10.0.0.4:8080");
        checked.external = *parse_endpoint_range(external);
        checked.targets = *parse_targets(target);
        return outcome(check_rule(checked, topology_));
    };
    EXPECT_EQ(outcome_of("10.0.0.3:8000-8100", "10.0.0.4:9000-9100"), "good");
    EXPECT_EQ(outcome_of("10.0.0.3:8000-8100", "10.0.0.4:9000"),
              "target: got 10.0.0.4:9000, 1 port(s) for the 101 of 10.0.0.3:8000-8100; want as many, such as "
              "10.0.0.4:9000-9100");
    EXPECT_EQ(
        outcome_of("10.0.0.3:80", "10.0.0.4:1-2"),
        "target: got 10.0.0.4:1-2, 2 port(s) for the 1 of 10.0.0.3:80; want as many, such as 10.0.0.4:1");
    EXPECT_EQ(outcome_of("10.0.0.3:1-65535", "10.0.0.4:2-65535"),
              "target: got 10.0.0.4:2-65535, 65534 port(s) for the 65535 of 10.0.0.3:1-65535; want as many");
}

/// L4
TEST(RuleClaims, RangesMustNotOverlapButAPortAloneIsMoreSpecific) {
    const auto range = [](const std::string& external, const std::string& name) {
        Rule result = rule("tcp", "10.0.0.3:80", "10.0.0.4:80");
        result.external = *parse_endpoint_range(external);
        result.targets = {{result.external}};
        result.targets[0].endpoint.address = *parse_address("10.0.0.4");
        result.name = name;
        return result;
    };
    RuleClaims claims;
    const Rule games = range("10.0.0.3:27000-27100", "games");
    EXPECT_EQ(outcome(claims.add(games, two_links())), "good");
    for (const char* external : {"26000-27000", "27100-28000", "27010-27020", "20000-30000"}) {
        EXPECT_EQ(outcome(claims.add(range(std::string{"10.0.0.3:"} + external, "more"), two_links())),
                  std::string{"external: got tcp 10.0.0.3:"} + external +
                      " on any link for rule 'more', but rule 'games' has 10.0.0.3:27000-27100; want another "
                      "address, port, protocol or link");
    }
    EXPECT_EQ(outcome(claims.add(range("10.0.0.3:26000-26999", "below"), two_links())), "good");
    EXPECT_EQ(outcome(claims.add(range("10.0.0.3:27101-27102", "above"), two_links())), "good");
    EXPECT_EQ(outcome(claims.add(range("10.0.0.5:27000-27100", "other"), two_links())), "good");
    EXPECT_EQ(outcome(claims.add(range("10.0.0.3:27015", "one"), two_links())), "good");
    claims.remove(games, two_links());
    EXPECT_EQ(outcome(claims.add(range("10.0.0.3:27010-27020", "more"), two_links())), "good");
}

/// L4: whatever names a port is more specific than a whole address.
TEST(RuleClaims, WholeAddressesTieWithEachOtherAlone) {
    RuleClaims claims;
    const auto whole = [](std::string name, std::string_view external = "10.0.0.3") {
        Rule result;
        result.name = std::move(name);
        result.all = true;
        result.external = *parse_rule_endpoint(external);
        result.targets = *parse_targets("10.0.0.4");
        return result;
    };
    EXPECT_EQ(outcome(claims.add(whole("host"), two_links())), "good");
    EXPECT_EQ(outcome(claims.add(rule("tcp+udp", "10.0.0.3:80", "10.0.0.4:80"), two_links())), "good");
    Rule range = rule("tcp", "10.0.0.3:1", "10.0.0.4:1");
    range.external = *parse_endpoint_range("10.0.0.3:1-65535");
    EXPECT_EQ(outcome(claims.add(range, two_links())), "good");
    EXPECT_EQ(outcome(claims.add(whole("other"), two_links())),
              "external: got all 10.0.0.3 on any link for rule 'other', but rule 'host' has it; want another "
              "address, port, protocol or link");
    EXPECT_EQ(outcome(claims.add(whole("neighbour", "10.0.0.5"), two_links())), "good");
    claims.remove(whole("host"), two_links());
    EXPECT_EQ(outcome(claims.add(whole("other"), two_links())), "good");
}

/// L4: by a link a host reaches the world under one address.
TEST_F(RuleCheck, HostReachesTheWorldUnderOneAddressThatIsNotFwds) {
    const auto whole = [](const char* name, const char* external, const char* target) {
        Rule made = rule("tcp", "10.0.0.3:80", "172.16.5.5:80");
        made.name = name;
        made.tcp = false;
        made.all = made.outbound = true;
        made.external = *parse_rule_endpoint(external);
        made.targets = *parse_targets(target);
        return made;
    };
    EXPECT_EQ(outcome(check_rule(whole("a", "203.0.113.3", "172.16.5.5"), two_links())), "good");
    EXPECT_EQ(
        outcome(check_rule(whole("a", "203.0.113.2", "172.16.5.5"), two_links())),
        "outbound: got true for 203.0.113.2, fwd's own address; want an address of the host's alone, or a "
        "masquerade for it");
    EXPECT_EQ(outcome(check_rule(whole("a", "10.0.0.3", "10.0.0.5"), two_links())),
              "outbound: got true for 10.0.0.3, whose target 10.0.0.5 is reached by link lan as well; want a "
              "target behind another link");
    Rule by_lan = whole("a", "203.0.113.5", "10.0.0.5");
    EXPECT_EQ(outcome(check_rule(by_lan, two_links())), "good");
    by_lan.link = "lan";
    EXPECT_NE(outcome(check_rule(by_lan, two_links())), "good");
    RuleClaims claims;
    const Rule first = whole("a", "203.0.113.3", "172.16.5.5");
    Rule second = whole("b", "203.0.113.4", "172.16.5.5");
    EXPECT_EQ(outcome(claims.add(first, two_links())), "good");
    EXPECT_EQ(
        outcome(claims.add(second, two_links())),
        "outbound: got true for 172.16.5.5, which reaches the world by any link under the address of rule "
        "'a' already; want it for one of them, or another link");
    second.outbound = false;
    EXPECT_EQ(outcome(claims.add(second, two_links())), "good");
    claims.remove(second, two_links());
    second.outbound = true;
    second.link = "wan";
    EXPECT_EQ(outcome(claims.add(second, two_links())), "good");
    claims.remove(second, two_links());
    second.link.reset();
    claims.remove(first, two_links());
    EXPECT_EQ(outcome(claims.add(second, two_links())), "good");
}

TEST(RuleClaims, EachProtocolIsTakenByItself) {
    RuleClaims claims;
    EXPECT_EQ(outcome(claims.add(rule("tcp", "10.0.0.3:53", "10.0.0.4:53"), two_links())), "good");
    EXPECT_EQ(outcome(claims.add(rule("tcp+udp", "10.0.0.3:53", "10.0.0.4:53"), two_links())),
              "external: got tcp 10.0.0.3:53 on any link for rule 'tcp-udp-10.0.0.3-53', but rule "
              "'tcp-10.0.0.3-53' "
              "has it; want another address, port, protocol or link");
    EXPECT_EQ(outcome(claims.add(rule("udp", "10.0.0.3:53", "10.0.0.4:53"), two_links())), "good")
        << "a refused rule must not keep anything";

    RuleClaims udp_first;
    EXPECT_EQ(outcome(udp_first.add(rule("udp", "10.0.0.3:53", "10.0.0.4:53"), two_links())), "good");
    EXPECT_EQ(outcome(udp_first.add(rule("tcp+udp", "10.0.0.3:53", "10.0.0.4:53"), two_links())),
              "external: got udp 10.0.0.3:53 on any link for rule 'tcp-udp-10.0.0.3-53', but rule "
              "'udp-10.0.0.3-53' has it; want another address, port, protocol or link");
}

TEST(RuleClaims, RulesOfDifferentLinksStandBesideEachOther) {
    Rule any = rule("udp", "10.0.0.3:53", "10.0.0.4:53");
    Rule lan = any;
    lan.link = "lan";
    lan.name = default_name(lan);
    Rule lan_again = lan;
    lan_again.name = "again";
    RuleClaims claims;
    EXPECT_EQ(outcome(claims.add(any, two_links())), "good");
    EXPECT_EQ(outcome(claims.add(lan, two_links())), "good");
    EXPECT_EQ(
        outcome(claims.add(lan_again, two_links())),
        "external: got udp 10.0.0.3:53 on link lan for rule 'again', but rule 'udp-10.0.0.3-53-lan' has it; "
        "want another address, port, protocol or link");
}

TEST(RuleClaims, TargetOfOneRuleIsNoExternalAddressOfAnotherOnItsSegment) {
    Rule web = rule("tcp", "10.0.0.3:80", "10.0.0.4:8080");
    web.name = "web";
    web.origin_text = "fwd.conf:12";
    Rule takes_target = rule("udp", "10.0.0.4:53", "10.0.0.5:53");
    const std::string refused_external =
        "external: got 10.0.0.4:53, the host that rule 'web' (fwd.conf:12) forwards to, for which fwd would "
        "answer ARP on link lan; want an address that no other host has";
    Rule to_external = rule("udp", "10.0.0.6:53", "10.0.0.3:53");
    const std::string refused_target =
        "target: got 10.0.0.3:53, the external address of rule 'web' (fwd.conf:12), for which fwd answers "
        "ARP "
        "itself; want another host's address";

    RuleClaims claims;
    EXPECT_EQ(outcome(claims.add(web, two_links())), "good");
    EXPECT_EQ(outcome(claims.add(takes_target, two_links())), refused_external);
    EXPECT_EQ(outcome(claims.add(to_external, two_links())), refused_target);
    EXPECT_EQ(claims.add(to_external, two_links()).error().kind, ErrorKind::refused);

    takes_target.link = "wan";
    EXPECT_EQ(outcome(claims.add(takes_target, two_links())), "good") << "nobody asks for it on link wan";
    claims.remove(takes_target, two_links());
    takes_target.link = "lan";
    EXPECT_EQ(outcome(claims.add(takes_target, two_links())), refused_external);

    claims.remove(web, two_links());
    EXPECT_EQ(outcome(claims.add(takes_target, two_links())), "good");
    EXPECT_EQ(outcome(claims.add(to_external, two_links())), "good");
}

TEST(RuleClaims, OwnAddressesAndRoutedOnesMayBeExternal) {
    RuleClaims claims;
    EXPECT_EQ(outcome(claims.add(rule("tcp", "10.0.0.2:80", "172.16.5.5:80"), two_links())), "good");
    EXPECT_EQ(outcome(claims.add(rule("udp", "172.16.5.5:53", "10.0.0.5:53"), two_links())), "good")
        << "nobody asks for it by ARP";
}

TEST(RuleClaims, NamesAreUnique) {
    Rule first = rule("tcp", "10.0.0.3:80", "10.0.0.4:8080");
    first.name = "web";
    first.origin_text = "fwd.conf:12";
    Rule second = rule("tcp", "10.0.0.3:81", "10.0.0.4:8080");
    second.name = "web";
    RuleClaims claims;
    EXPECT_EQ(outcome(claims.add(first, two_links())), "good");
    EXPECT_EQ(outcome(claims.add(second, two_links())),
              "name: got 'web', the name of another rule (fwd.conf:12); want a name of its own");
    second.name = "web2";
    EXPECT_EQ(outcome(claims.add(second, two_links())), "good");
}

TEST(RuleClaims, RemovedRuleGivesEverythingBack) {
    const Rule both = rule("tcp+udp", "10.0.0.3:53", "10.0.0.4:53");
    RuleClaims claims;
    EXPECT_EQ(outcome(claims.add(both, two_links())), "good");
    claims.remove(both, two_links());
    EXPECT_EQ(outcome(claims.add(both, two_links())), "good");
}

}  // namespace
}  // namespace fwd::control
