// SPDX-License-Identifier: BSD-3-Clause
#include "control/settings_check.h"

#include <fmt/format.h>

#include <map>

#include "control/rule_check.h"
#include "control/text.h"
#include "control/topology.h"
#include "dataplane/net/ipv6.h"
#include "dataplane/net/prefix_mapping.h"

namespace fwd::control {
namespace {

/// "links[2] (fwd.conf:12)", for a message about something else.
std::string reference(const Value& list, std::size_t index) {
    const Value element = list.element(index);
    return fmt::format("{} ({})", element.key(), element.place());
}

/// PCI addresses are often written without their domain; "01:00.0" is "0000:01:00.0".
std::string full_device_name(const std::string& device) {
    constexpr std::size_t kShortPciAddress = 7;
    const bool is_short = device.size() == kShortPciAddress && device[2] == ':' && device[5] == '.';
    return is_short ? "0000:" + device : device;
}

Result<void> check_link_pair(const Value& list, const std::vector<LinkSettings>& links, std::size_t index,
                             std::size_t earlier) {
    const LinkSettings& link = links[index];
    const LinkSettings& other = links[earlier];
    const Value here = list.element(index);
    if (link.name == other.name) {
        return here.member("name").bad(fmt::format("got {}, the name of {} too; want a name of its own",
                                                   in_quotes(link.name), reference(list, earlier)));
    }
    if (full_device_name(link.device) != full_device_name(other.device)) return {};
    if (link.vlan == other.vlan) {
        const std::string vlan = link.vlan ? fmt::format("VLAN {}", *link.vlan) : "no VLAN";
        return here.member(link.vlan ? "vlan" : "device")
            .bad(fmt::format("got {} on {}, as {} has; want another VLAN or another device", vlan,
                             in_quotes(link.device), reference(list, earlier)));
    }
    if (link.queues != 0 && other.queues != 0 && link.queues != other.queues) {
        return here.member("queues").bad(
            fmt::format("got {}, but {} on the same device has {}; want one number", link.queues,
                        reference(list, earlier), other.queues));
    }
    return {};
}

Result<void> check_addresses(const Value& list, const std::vector<LinkSettings>& links) {
    struct Place {
        std::string key;
        std::size_t link;
    };
    std::map<net::IpAddress, std::string> addresses;
    std::map<net::IpPrefix, Place> networks;
    for (std::size_t i = 0; i < links.size(); ++i) {
        const Value list_of_link = list.element(i).member("addresses");
        for (std::size_t j = 0; j < links[i].addresses.size(); ++j) {
            const net::IpInterfaceAddress& own = links[i].addresses[j];
            const Value here = list_of_link.element(j);
            const std::string place = reference(list_of_link, j);
            if (const std::string why = not_a_host(own.address, own.prefix()); !why.empty()) {
                return here.bad(fmt::format("got {}, {}; want an address for fwd itself", to_text(own), why));
            }
            if (const auto [taken, is_new] = addresses.emplace(own.address, place); !is_new) {
                return here.bad(
                    fmt::format("got {}, as {} has; want each address once", to_text(own), taken->second));
            }
            if (!own.address.is_v4() && links[i].mtu < net::kIpv6LeastMtu) {
                return here.bad(
                    fmt::format("got {} on a link with mtu {}; want an mtu of at least {} for IPv6",
                                to_text(own), links[i].mtu, net::kIpv6LeastMtu));
            }
            const auto [taken, is_new] = networks.emplace(own.prefix(), Place{place, i});
            if (!is_new && taken->second.link != i) {
                return here.bad(fmt::format("got {}, in the network of {}; want each network on one link",
                                            to_text(own), taken->second.key));
            }
        }
    }
    return {};
}

/// What the kernel has of a link.
Result<void> check_host(const Value& here, LinkSettings& link) {
    if (link.addresses.empty() && !link.waits_for_address) {
        return here.member("addresses")
            .bad("got an empty list, want at least one address, or \"dhcp-client\" in `host`");
    }
    if (link.host.empty()) {
        for (const char* key : {"host_interface", "floating"}) {
            if (here.has(key)) return here.member(key).bad("got one without `host`; want `host` as well");
        }
        return {};
    }
    constexpr std::size_t kLongest = 15;
    if (link.host_interface.empty()) link.host_interface = "fwd-" + link.name;
    if (link.host_interface.size() > kLongest) {
        return here.member("name").bad(
            fmt::format("got {}, too long for an interface {}; want `host_interface`, of at most {} letters",
                        in_quotes(link.name), in_quotes(link.host_interface), kLongest));
    }
    for (std::size_t i = 0; i < link.floating.size(); ++i) {
        const net::IpAddress& address = link.floating[i];
        const auto has = [&](const auto& own) { return own.prefix().contains(address); };
        const auto is = [&](const auto& own) { return own.address == address; };
        const Value element = here.member("floating").element(i);
        if (std::ranges::any_of(link.addresses, is))
            return element.bad(
                fmt::format("got {}, an address that fwd always has; want another", to_text(address)));
        if (!link.addresses.empty() && std::ranges::none_of(link.addresses, has)) {
            return element.bad(fmt::format(
                "got {}, which is in none of the link's networks; want one that is", to_text(address)));
        }
    }
    return {};
}

Result<void> check_hosts(const Value& list, std::vector<LinkSettings>& links) {
    std::map<std::string, std::size_t> names;
    for (std::size_t i = 0; i < links.size(); ++i) {
        if (auto ok = check_host(list.element(i), links[i]); !ok) return ok;
        if (links[i].host_interface.empty()) continue;
        if (const auto [taken, is_new] = names.emplace(links[i].host_interface, i); !is_new) {
            return list.element(i)
                .member("host_interface")
                .bad(fmt::format("got {}, as {} has; want each interface once",
                                 in_quotes(links[i].host_interface), reference(list, taken->second)));
        }
    }
    return {};
}

Result<void> check_links(const Value& list, std::vector<LinkSettings>& links) {
    if (links.empty()) return list.bad("got an empty list, want at least one link");
    if (auto ok = check_hosts(list, links); !ok) return ok;
    for (std::size_t i = 0; i < links.size(); ++i) {
        for (std::size_t j = 0; j < i; ++j) {
            if (Result<void> checked = check_link_pair(list, links, i, j); !checked) return checked;
        }
    }
    return check_addresses(list, links);
}

/// IPv6 routers mostly go by such addresses, which every link has its own of.
Result<void> check_link_local_route(const Value& here, const RouteSettings& route, const Topology& topology) {
    if (!route.link) {
        return here.member("via").bad(fmt::format(
            "got {}, a link-local address; want `link` as well, to say on which", to_text(route.via)));
    }
    if (const Result<void> known = topology.check_link(*route.link); !known)
        return here.member("link").error(known.error().kind, known.error().message);
    for (const auto& own : topology.find_link(*route.link)->addresses) {
        if (!own.address.is_v4()) return {};
    }
    return here.member("link").bad(
        fmt::format("got '{}', which has no IPv6 address; want a link that has one", *route.link));
}

Result<void> check_route(const Value& here, const RouteSettings& route, const Topology& topology) {
    // The default route's prefix is 0.0.0.0 and still a good one.
    if (const std::string why = not_a_host(route.prefix.address); !why.empty() && route.prefix.length != 0) {
        return here.member("prefix").bad(
            fmt::format("got {}, {}; want a network of hosts", to_text(route.prefix), why));
    }
    for (const LinkSettings& link : topology.links()) {
        for (const net::IpInterfaceAddress& own : link.addresses) {
            if (own.prefix() == route.prefix) {
                return here.member("prefix").bad(fmt::format("got {}, which link {} reaches without a route",
                                                             to_text(route.prefix), link.name));
            }
        }
    }
    const Value via = here.member("via");
    if (route.via.is_v4() != route.prefix.address.is_v4()) {
        return via.bad(fmt::format("got {}, of another family than {}; want a router's address of the same",
                                   to_text(route.via), to_text(route.prefix)));
    }
    if (route.via.v6().is_link_local()) return check_link_local_route(here, route, topology);
    if (const std::string why = topology.not_a_host(route.via); !why.empty()) {
        return via.bad(fmt::format("got {}, {}; want a router's address", to_text(route.via), why));
    }
    if (const LinkSettings* own = topology.owner(route.via)) {
        return via.bad(fmt::format("got {}, fwd's own address on link {}; want another router's",
                                   to_text(route.via), own->name));
    }
    if (const Result<void> known = route.link ? topology.check_link(*route.link) : Result<void>{}; !known) {
        return here.member("link").error(known.error().kind, known.error().message);
    }
    const LinkSettings* link = topology.connected(route.via);
    if (link == nullptr) {
        return via.bad(fmt::format("got {}, which is in no link's network; want a router next to fwd",
                                   to_text(route.via)));
    }
    if (route.link && *route.link != link->name) {
        return via.bad(
            fmt::format("got {}, which is reached by link {}; want an address in a network of link {}",
                        to_text(route.via), link->name, *route.link));
    }
    return {};
}

Result<void> check_routes(const Value& list, std::vector<RouteSettings>& routes, const Topology& topology) {
    std::map<net::IpPrefix, std::size_t> prefixes;
    for (std::size_t i = 0; i < routes.size(); ++i) {
        const Value here = list.element(i);
        if (Result<void> checked = check_route(here, routes[i], topology); !checked) return checked;
        if (!routes[i].link) routes[i].link = topology.connected(routes[i].via)->name;
        if (const auto [taken, is_new] = prefixes.emplace(routes[i].prefix, i); !is_new) {
            return here.member("prefix").bad(fmt::format("got {}, as {} has; want one route to a network",
                                                         to_text(routes[i].prefix),
                                                         reference(list, taken->second)));
        }
    }
    return {};
}

Result<void> check_prefix_pair(const Value& here, const PrefixSettings& pair, const Topology& topology) {
    const auto text = [](const net::IpPrefix& prefix) { return to_text(prefix); };
    for (const auto& [field, prefix] : {std::pair{"inside", &pair.inside}, {"external", &pair.external}}) {
        if (prefix->address.is_v4() || prefix->length == 0 || prefix->length > net::PrefixMapping::kLongest ||
            !not_a_host(prefix->address).empty()) {
            return here.member(field).bad(
                fmt::format("got {}, want a network of IPv6 hosts of at most {} bits, such as {}",
                            text(*prefix), net::PrefixMapping::kLongest, "2001:db8:1::/48"));
        }
    }
    if (pair.inside.length != pair.external.length) {
        return here.member("external")
            .bad(fmt::format("got {} for {}; want two prefixes of the same length", text(pair.external),
                             text(pair.inside)));
    }
    if (topology.links_to(pair.inside).empty()) {
        return here.member("inside").bad(
            fmt::format("got {}, to which there is no route; want a link's network, or a route to it",
                        text(pair.inside)));
    }
    for (const LinkSettings& link : topology.links()) {
        for (const auto& own : link.addresses) {
            if (own.address.is_v4() ||
                !(own.prefix().contains(pair.external.address) || pair.external.contains(own.address))) {
                continue;
            }
            return here.member("external")
                .bad(fmt::format(
                    "got {}, in which link {} has {}: nobody asks fwd for the others there; want a "
                    "network that routers lead to fwd",
                    text(pair.external), link.name, to_text(own)));
        }
    }
    return {};
}

Result<void> check_prefix_pairs(const Value& list, const std::vector<PrefixSettings>& pairs,
                                const Topology& topology) {
    const auto overlap = [](const net::IpPrefix& a, const net::IpPrefix& b) {
        return a.contains(b.address) || b.contains(a.address);
    };
    for (std::size_t i = 0; i < pairs.size(); ++i) {
        const Value here = list.element(i);
        if (Result<void> checked = check_prefix_pair(here, pairs[i], topology); !checked) return checked;
        for (std::size_t j = 0; j <= i; ++j) {
            const auto clash = [&](const char* field, const net::IpPrefix& mine) {
                return here.member(field).bad(
                    fmt::format("got {}, which overlaps with {}; want networks of "
                                "their own",
                                to_text(mine), reference(list, j)));
            };
            if (overlap(pairs[i].external, pairs[j].inside)) return clash("external", pairs[i].external);
            if (overlap(pairs[i].inside, pairs[j].external)) return clash("inside", pairs[i].inside);
            if (j == i) continue;
            if (overlap(pairs[i].inside, pairs[j].inside)) return clash("inside", pairs[i].inside);
            if (overlap(pairs[i].external, pairs[j].external)) return clash("external", pairs[i].external);
        }
    }
    return {};
}

Result<void> check_neighbour(const Value& here, const NeighbourSettings& neighbour,
                             const Topology& topology) {
    if (const Result<void> known = topology.check_link(neighbour.link); !known) {
        return here.member("link").error(known.error().kind, known.error().message);
    }
    const Value address = here.member("address");
    if (const std::string why = topology.not_a_host(neighbour.address); !why.empty()) {
        return address.bad(fmt::format("got {}, {}; want a host's address", to_text(neighbour.address), why));
    }
    if (const LinkSettings* own = topology.owner(neighbour.address)) {
        return address.bad(fmt::format("got {}, fwd's own address on link {}; want another host's",
                                       to_text(neighbour.address), own->name));
    }
    const LinkSettings* link = topology.connected(neighbour.address);
    if (link == nullptr || link->name != neighbour.link) {
        return address.bad(fmt::format("got {}, want an address in a network of link {}",
                                       to_text(neighbour.address), neighbour.link));
    }
    if (neighbour.mac.is_multicast() || neighbour.mac == net::MacAddress{}) {
        return here.member("mac").bad(
            fmt::format("got {}, want the MAC address of a single host", to_text(neighbour.mac)));
    }
    return {};
}

Result<void> check_neighbours(const Value& list, const std::vector<NeighbourSettings>& neighbours,
                              const Topology& topology) {
    std::map<net::IpAddress, std::size_t> addresses;
    for (std::size_t i = 0; i < neighbours.size(); ++i) {
        const Value here = list.element(i);
        if (Result<void> checked = check_neighbour(here, neighbours[i], topology); !checked) return checked;
        if (const auto [taken, is_new] = addresses.emplace(neighbours[i].address, i); !is_new) {
            return here.member("address").bad(fmt::format("got {}, as {} has; want each neighbour once",
                                                          to_text(neighbours[i].address),
                                                          reference(list, taken->second)));
        }
    }
    return {};
}

Result<void> check_rules(const Value& list, const std::vector<Rule>& rules, const Topology& topology) {
    RuleClaims claims;
    for (std::size_t i = 0; i < rules.size(); ++i) {
        const Result<void> checked =
            check_rule(rules[i], topology).and_then([&] { return claims.add(rules[i], topology); });
        if (!checked) {
            const Error& error = checked.error();
            return list.element(i).member(error.field).error(error.kind, error.message);
        }
    }
    return {};
}

Result<void> check_masquerades(const Value& list, const std::vector<Masquerade>& masquerades,
                               const std::vector<Rule>& rules, const Topology& topology) {
    for (std::size_t i = 0; i < masquerades.size(); ++i) {
        Result<void> checked = check_masquerade(masquerades[i], topology);
        for (std::size_t j = 0; checked && j < i; ++j) checked = check_pair(masquerades[i], masquerades[j]);
        const PoolCheck pool{masquerades[i]};
        for (auto rule = rules.begin(); checked && rule != rules.end(); ++rule) {
            checked = pool.beside(*rule);
            if (rule->name == masquerades[i].name) {
                checked = refused("name", fmt::format("got {}, the name of a rule; want a name of its own",
                                                      in_quotes(rule->name)));
            }
        }
        if (!checked) {
            const Error& error = checked.error();
            return list.element(i).member(error.field).error(error.kind, error.message);
        }
    }
    return {};
}

Result<void> check_ports(const Value& root, const Settings& settings) {
    // Where they overlap, the narrower one has the ports.
    if (settings.masquerade_port_first != settings.outbound_port_first ||
        settings.masquerade_port_last != settings.outbound_port_last) {
        return {};
    }
    return root.member("outbound_ports")
        .bad(fmt::format("got {}-{}, all of masquerade_ports; want other ports than rules use for full NAT",
                         settings.outbound_port_first, settings.outbound_port_last));
}

}  // namespace

Result<void> check_settings(const Value& root, Settings& settings) {
    const auto as_directory = [](const std::filesystem::path& path) {
        return (path / "").lexically_normal();
    };
    if (as_directory(settings.socket.parent_path()) == as_directory(settings.state_directory)) {
        return root.member("socket").bad(fmt::format(
            "got {}, in the state directory, which is fwdd's alone; want another directory, such as /run/fwd",
            in_quotes(settings.socket.string())));
    }
    if (Result<void> checked = check_links(root.member("links"), settings.links); !checked) return checked;
    const Topology links{settings.links, {}};
    return check_routes(root.member("routes"), settings.routes, links)
        .and_then([&] { return check_neighbours(root.member("neighbours"), settings.neighbours, links); })
        .and_then([&] {
            return check_prefix_pairs(root.member("prefixes"), settings.prefixes,
                                      Topology{settings.links, settings.routes, settings.neighbours});
        })
        .and_then([&] {
            return check_rules(root.member("rules"), settings.rules,
                               Topology{settings.links, settings.routes, settings.neighbours});
        })
        .and_then([&] {
            return check_masquerades(root.member("masquerades"), settings.masquerades, settings.rules,
                                     Topology{settings.links, settings.routes, settings.neighbours});
        })
        .and_then([&] { return check_ports(root, settings); });
}

}  // namespace fwd::control
