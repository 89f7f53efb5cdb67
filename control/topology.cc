// SPDX-License-Identifier: BSD-3-Clause
#include "control/topology.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "control/text.h"

namespace fwd::control {
namespace {

struct Connected {
    const LinkSettings* link = nullptr;
    int length = -1;
};

Connected longest_connected(const std::vector<LinkSettings>& links, net::IpAddress address) {
    Connected best;
    for (const LinkSettings& link : links) {
        for (const net::IpInterfaceAddress& own : link.addresses) {
            if (own.length > best.length && own.prefix().contains(address)) best = {&link, own.length};
        }
    }
    return best;
}

std::string not_an_ipv6_host(const net::Ipv6Address& address) {
    if (address.is_unspecified()) return "the unspecified address";
    if (address.is_loopback()) return "the loopback address";
    if (address.is_multicast()) return "a multicast address";
    if (address.is_link_local()) return "a link-local address, which means nothing beyond its link";
    return {};
}

}  // namespace

std::string not_a_host(net::IpAddress address) {
    if (!address.is_v4()) return not_an_ipv6_host(address.v6());
    const std::uint32_t host = address.v4().value.host();
    if (host == 0) return "the unspecified address";
    if (host >> 24 == 0) return "an address of 0.0.0.0/8";
    if (host >> 24 == 127) return "a loopback address";
    if (address.v4().is_multicast()) return "a multicast address";
    if (host == 0xffffffff) return "the broadcast address";
    if (host >> 28 == 0xf) return "a reserved address (240.0.0.0/4)";
    return {};
}

std::string not_a_host(net::IpAddress address, net::IpPrefix segment) {
    if (std::string why = not_a_host(address); !why.empty()) return why;
    // RFC 3021 and RFC 6164: a network of two addresses has two hosts.
    const int two_hosts = address.is_v4() ? 31 : 127;
    if (segment.length >= two_hosts || !segment.contains(address)) return {};
    if (address == segment.address) {
        return (address.is_v4() ? "the network address of " : "the subnet-router anycast address of ") +
               to_text(segment);
    }
    if (address.is_v4() && address == segment.last()) return "the broadcast address of " + to_text(segment);
    return {};
}

Topology::Topology(std::vector<LinkSettings> links, std::vector<RouteSettings> routes,
                   const std::vector<NeighbourSettings>& neighbours)
    : links_{std::move(links)}, routes_{std::move(routes)} {
    for (const RouteSettings& route : routes_)
        named_hosts_.emplace(route.via, "the gateway of " + to_text(route.prefix));
    for (const NeighbourSettings& neighbour : neighbours)
        named_hosts_.emplace(neighbour.address, "a neighbour of the configuration");
}

const LinkSettings* Topology::find_link(std::string_view name) const {
    for (const LinkSettings& link : links_) {
        if (link.name == name) return &link;
    }
    return nullptr;
}

Result<void> Topology::check_link(std::string_view name) const {
    if (find_link(name) != nullptr) return {};
    std::vector<std::string_view> names;
    for (const LinkSettings& link : links_) names.push_back(link.name);
    return not_found(
        {}, fmt::format("got {}, which is no link; there is {}", in_quotes(name), fmt::join(names, ", ")));
}

const LinkSettings* Topology::egress(net::IpAddress address) const {
    auto [best, best_length] = longest_connected(links_, address);
    for (const RouteSettings& route : routes_) {
        if (route.prefix.length > best_length && route.prefix.contains(address)) {
            best = route.link ? find_link(*route.link) : connected(route.via);
            best_length = route.prefix.length;
        }
    }
    return best;
}

std::vector<const LinkSettings*> Topology::links_to(net::IpPrefix prefix) const {
    std::vector<const LinkSettings*> links;
    const auto add_if_overlaps = [&](const net::IpPrefix& network, const LinkSettings* link) {
        const bool overlaps = prefix.contains(network.address) || network.contains(prefix.address);
        if (overlaps && network.length != 0 && link != nullptr &&
            std::ranges::find(links, link) == links.end())
            links.push_back(link);
    };
    for (const LinkSettings& link : links_) {
        for (const auto& own : link.addresses) add_if_overlaps(own.prefix(), &link);
    }
    for (const RouteSettings& route : routes_)
        add_if_overlaps(route.prefix, route.link ? find_link(*route.link) : connected(route.via));
    return links;
}

const LinkSettings* Topology::connected(net::IpAddress address) const {
    return longest_connected(links_, address).link;
}

const LinkSettings* Topology::owner(net::IpAddress address) const {
    for (const LinkSettings& link : links_) {
        for (const net::IpInterfaceAddress& own : link.addresses) {
            if (own.address == address) return &link;
        }
    }
    return nullptr;
}

bool Topology::has_ipv6() const {
    return std::ranges::any_of(links_, [](const LinkSettings& link) {
        return std::ranges::any_of(link.addresses, [](const auto& own) { return !own.address.is_v4(); });
    });
}

bool Topology::follows_kernel() const {
    return std::ranges::any_of(links_, [](const LinkSettings& link) { return !link.host.empty(); });
}

bool Topology::has_default_route(std::string_view link) const {
    return std::ranges::any_of(routes_, [&](const RouteSettings& route) {
        if (route.prefix.length != 0) return false;
        const LinkSettings* egress = route.link ? find_link(*route.link) : connected(route.via);
        return egress != nullptr && egress->name == link;
    });
}

std::string Topology::named_host(net::IpAddress address) const {
    const auto found = named_hosts_.find(address);
    return found == named_hosts_.end() ? std::string{} : found->second;
}

std::string Topology::not_a_host(net::IpAddress address) const {
    for (const LinkSettings& link : links_) {
        for (const net::IpInterfaceAddress& own : link.addresses) {
            if (std::string why = control::not_a_host(address, own.prefix()); !why.empty()) return why;
        }
    }
    return control::not_a_host(address);
}

std::string Topology::effective_source(const Rule& rule) const {
    if (rule.source != SourceMode::automatic) return to_text(rule.source);
    if (rule.targets.front().endpoint.address.is_v4() != rule.external.address.is_v4())
        return to_text(SourceMode::masquerade);
    std::set<std::string> target_links;
    for (const Target& target : rule.targets) {
        const LinkSettings* link = egress(target.endpoint.address);
        target_links.insert(link == nullptr ? "" : link->name);
    }
    const LinkSettings* ingress = rule.link ? find_link(*rule.link) : connected(rule.external.address);
    if (ingress == nullptr && links_.size() == 1) ingress = &links_.front();
    const bool masquerades = ingress != nullptr && target_links.contains(ingress->name);
    if (ingress != nullptr && target_links.size() == 1)
        return to_text(masquerades ? SourceMode::masquerade : SourceMode::preserve);
    if (ingress != nullptr && !masquerades) return to_text(SourceMode::preserve);
    // It depends on the link that the packet comes in by, or on the target.
    const std::string links =
        ingress != nullptr ? ingress->name : fmt::format("{}", fmt::join(target_links, ", "));
    return fmt::format("{}, {} from link {}", to_text(SourceMode::preserve), to_text(SourceMode::masquerade),
                       links);
}

}  // namespace fwd::control
