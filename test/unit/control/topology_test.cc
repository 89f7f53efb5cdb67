// SPDX-License-Identifier: BSD-3-Clause
#include "control/topology.h"

#include <gtest/gtest.h>

#include "control/text.h"

namespace fwd::control {
namespace {

LinkSettings link(const std::string& name, const std::vector<std::string>& addresses) {
    LinkSettings settings;
    settings.name = name;
    for (const std::string& address : addresses)
        settings.addresses.push_back(*parse_interface_address(address));
    return settings;
}

RouteSettings route(const std::string& prefix, const std::string& via) {
    return {*parse_prefix(prefix), *parse_address(via), std::nullopt};
}

class TopologyTest : public testing::Test {
 protected:
    static std::string name(const LinkSettings* link) { return link == nullptr ? "none" : link->name; }
    std::string egress(const std::string& address) const {
        return name(topology_.egress(*parse_address(address)));
    }
    std::string connected(const std::string& address) const {
        return name(topology_.connected(*parse_address(address)));
    }
    std::string owner(const std::string& address) const {
        return name(topology_.owner(*parse_address(address)));
    }
    std::string not_a_host(const std::string& address) const {
        return topology_.not_a_host(*parse_address(address));
    }

    // A narrower network before the wide one and another behind it: neither the first nor the last must win.
    const Topology topology_{{link("wan", {"203.0.113.2/24", "203.0.113.3/24"}), link("dmz", {"10.1.0.2/31"}),
                              link("lan", {"10.0.0.2/8"}), link("lab", {"10.3.0.2/16"})},
                             {route("0.0.0.0/0", "203.0.113.1"), route("172.16.0.0/12", "10.0.0.9"),
                              route("172.16.1.0/24", "10.1.0.3"), route("10.2.0.0/16", "203.0.113.1")}};
};

TEST_F(TopologyTest, LongestPrefixDecidesTheEgress) {
    EXPECT_EQ(egress("203.0.113.77"), "wan");
    EXPECT_EQ(egress("10.0.0.77"), "lan");
    EXPECT_EQ(egress("10.1.0.3"), "dmz");
    EXPECT_EQ(egress("10.1.0.4"), "lan");
    EXPECT_EQ(egress("10.3.0.4"), "lab");
    EXPECT_EQ(egress("172.16.0.1"), "lan");
    EXPECT_EQ(egress("172.16.1.1"), "dmz");
    EXPECT_EQ(egress("10.2.0.1"), "wan");
    EXPECT_EQ(egress("8.8.8.8"), "wan");
}

TEST_F(TopologyTest, RouteWithALinkUsesThatLink) {
    RouteSettings by_link = route("192.168.0.0/16", "10.0.0.9");
    by_link.link = "wan";
    const Topology topology{topology_.links(), {by_link}};
    EXPECT_EQ(name(topology.egress(*parse_address("192.168.0.1"))), "wan");
}

TEST_F(TopologyTest, WithoutARouteThereIsNoEgress) {
    const Topology no_routes{topology_.links(), {}};
    EXPECT_EQ(no_routes.egress(*parse_address("8.8.8.8")), nullptr);
}

TEST_F(TopologyTest, RoutesDoNotMakeAnAddressConnected) {
    EXPECT_EQ(connected("203.0.113.77"), "wan");
    EXPECT_EQ(connected("10.1.0.3"), "dmz");
    EXPECT_EQ(connected("10.2.0.1"), "lan");
    EXPECT_EQ(connected("172.16.0.1"), "none");
    EXPECT_EQ(connected("8.8.8.8"), "none");
}

TEST_F(TopologyTest, OwnerHasTheVeryAddress) {
    EXPECT_EQ(owner("203.0.113.3"), "wan");
    EXPECT_EQ(owner("10.0.0.2"), "lan");
    EXPECT_EQ(owner("10.0.0.3"), "none");
}

TEST_F(TopologyTest, LinksAreFoundByName) {
    EXPECT_EQ(name(topology_.find_link("lan")), "lan");
    EXPECT_EQ(name(topology_.find_link("lan2")), "none");
    EXPECT_TRUE(topology_.check_link("dmz"));
    const Result<void> checked = topology_.check_link("LAN");
    ASSERT_FALSE(checked);
    EXPECT_EQ(checked.error().kind, ErrorKind::not_found);
    EXPECT_EQ(checked.error().text(), "got 'LAN', which is no link; there is wan, dmz, lan, lab");
}

TEST_F(TopologyTest, AddressesThatAreNoHostsAreTold) {
    EXPECT_EQ(not_a_host("10.0.0.4"), "");
    EXPECT_EQ(not_a_host("8.8.8.8"), "");
    EXPECT_EQ(not_a_host("0.0.0.0"), "the unspecified address");
    EXPECT_EQ(not_a_host("0.1.2.3"), "an address of 0.0.0.0/8");
    EXPECT_EQ(not_a_host("127.0.0.1"), "a loopback address");
    EXPECT_EQ(not_a_host("224.0.0.1"), "a multicast address");
    EXPECT_EQ(not_a_host("239.255.255.255"), "a multicast address");
    EXPECT_EQ(not_a_host("240.0.0.1"), "a reserved address (240.0.0.0/4)");
    EXPECT_EQ(not_a_host("255.255.255.255"), "the broadcast address");
    EXPECT_EQ(not_a_host("203.0.113.0"), "the network address of 203.0.113.0/24");
    EXPECT_EQ(not_a_host("203.0.113.255"), "the broadcast address of 203.0.113.0/24");
    EXPECT_EQ(not_a_host("10.255.255.255"), "the broadcast address of 10.0.0.0/8");
    EXPECT_EQ(not_a_host("10.1.0.3"), "") << "both addresses of a /31 are hosts (RFC 3021)";
}

TEST_F(TopologyTest, AutoIsMasqueradeOnlyWhereThePacketLeavesByTheLinkItCameInBy) {
    const auto effective = [&](const std::string& external, const std::string& target,
                               std::optional<std::string> link = {}) {
        Rule rule;
        rule.source = SourceMode::automatic;
        rule.link = std::move(link);
        rule.external = *parse_endpoint(external);
        rule.targets = *parse_targets(target);
        return topology_.effective_source(rule);
    };
    EXPECT_EQ(effective("203.0.113.9:80", "10.0.0.4:80"), "preserve");
    EXPECT_EQ(effective("10.0.0.9:80", "10.0.0.4:80"), "masquerade");
    EXPECT_EQ(effective("10.0.0.9:80", "172.16.0.4:80"), "masquerade") << "through a gateway on that link";
    EXPECT_EQ(effective("198.51.100.9:80", "10.0.0.4:80", "wan"), "preserve");
    EXPECT_EQ(effective("198.51.100.9:80", "10.0.0.4:80", "lan"), "masquerade");
    // On no link's network: it depends on the packet.
    EXPECT_EQ(effective("198.51.100.9:80", "10.0.0.4:80"), "preserve, masquerade from link lan");
    // So it does with targets on several links.
    EXPECT_EQ(effective("203.0.113.9:80", "10.0.0.4:80,10.1.0.3:80"), "preserve");
    EXPECT_EQ(effective("10.0.0.9:80", "10.0.0.4:80,10.1.0.3:80"), "preserve, masquerade from link lan");

    const Topology one_arm{{link("lan", {"10.0.0.2/24"})}, {}};
    Rule rule;
    rule.external = *parse_endpoint("198.51.100.9:80");
    rule.targets = *parse_targets("10.0.0.4:80");
    rule.source = SourceMode::automatic;
    EXPECT_EQ(one_arm.effective_source(rule), "masquerade");
    rule.source = SourceMode::preserve;
    EXPECT_EQ(one_arm.effective_source(rule), "preserve");
}

}  // namespace
}  // namespace fwd::control
