// SPDX-License-Identifier: BSD-3-Clause
#include "control/rule_check.h"

#include <fmt/format.h>

#include <algorithm>

#include "control/text.h"
#include "dataplane/net/address_range.h"

namespace fwd::control {

const LinkSettings* taken_over_on(const Rule& rule, const Topology& topology) {
    const LinkSettings* segment = topology.connected(rule.external.address);
    if (segment == nullptr || (rule.link && *rule.link != segment->name)) return nullptr;
    return topology.owner(rule.external.address) == nullptr ? segment : nullptr;
}

const net::IpPrefix& everybody(const Rule& rule) {
    return rule.external.address.is_v4() ? net::kAnyIpv4 : net::kAnyIpv6;
}

namespace {

std::string_view family(const net::IpAddress& address) {
    return address.is_v4() ? "IPv4" : "IPv6";
}

/// Clients are of the external address's family, targets of one, which may be the other.
Result<void> check_families(const Rule& rule) {
    const bool v4 = rule.external.address.is_v4();
    if (rule.all && rule.targets.front().endpoint.address.is_v4() != v4) {
        const net::EndpointRange& target = rule.targets.front().endpoint;
        return refused("target",
                       fmt::format("got {}, {}, for the whole of {}; want {}, or tcp, udp or tcp+udp "
                                   "with ports: nothing else goes from one family to the other",
                                   to_text(target), family(target.address), external_text(rule),
                                   family(rule.external.address)));
    }
    const auto wanted = [&](std::string got, const net::IpAddress& address) {
        return fmt::format("got {}, {}, for the external {}; want {}", got, family(address),
                           external_text(rule), family(rule.external.address));
    };
    const net::EndpointRange& first = rule.targets.front().endpoint;
    for (const Target& target : rule.targets) {
        const net::EndpointRange& other = target.endpoint;
        if (other.address.is_v4() != first.address.is_v4()) {
            return refused("target", fmt::format("got {} and {}; want targets of one family, IPv4 or IPv6",
                                                 to_text(first), to_text(other)));
        }
    }
    if (first.address.is_v4() != v4 && rule.source == SourceMode::preserve) {
        return refused("source",
                       fmt::format("got 'preserve' from {} to {}; want 'masquerade' or 'auto': an {} "
                                   "client's address means nothing to an {} target",
                                   external_text(rule), to_text(first), family(rule.external.address),
                                   family(first.address)));
    }
    for (const auto& [field, list] : {std::pair{"from", &rule.from}, {"not_from", &rule.not_from}}) {
        for (const net::IpPrefix& prefix : *list) {
            if (prefix.address.is_v4() != v4) return refused(field, wanted(to_text(prefix), prefix.address));
        }
    }
    return {};
}

/// An IPv6 address can be asked for only where fwd has IPv6.
Result<void> check_external_family(const Rule& rule, const Topology& topology) {
    if (rule.external.address.is_v4()) return {};
    for (const LinkSettings& link : topology.links()) {
        if (rule.link && *rule.link != link.name) continue;
        for (const auto& own : link.addresses) {
            if (!own.address.is_v4()) return {};
        }
    }
    return refused("external", fmt::format("got {}, but {} has {}IPv6 address; want an IPv4 address, or give "
                                           "the link an IPv6 one",
                                           external_text(rule), rule.link ? "link " + *rule.link : "no link",
                                           rule.link ? "no " : "an "));
}

Result<void> check_target(const Rule& rule, const net::EndpointRange& endpoint, const Topology& topology) {
    const std::string target = to_text(endpoint);
    if (const std::string why = topology.not_a_host(endpoint.address); !why.empty()) {
        return refused("target", fmt::format("got {}, {}; want the address of a host", target, why));
    }
    if (const LinkSettings* own = topology.owner(endpoint.address)) {
        return refused("target", fmt::format("got {}, fwd's own address on link {}; want the address of "
                                             "another host",
                                             target, own->name));
    }
    if (!endpoint.address.is_v4() && !topology.has_ipv6()) {
        return refused("target",
                       fmt::format("got {}, but no link has an IPv6 address; want an IPv4 address, or give a "
                                   "link an IPv6 one",
                                   target));
    }
    const LinkSettings* egress = topology.egress(endpoint.address);
    // Routes that the kernel learns come and go.
    if (egress == nullptr && !topology.follows_kernel()) {
        return refused("target", fmt::format("got {}, to which there is no route; want an address in a "
                                             "link's network, or a route to it in the configuration",
                                             target));
    }
    // fwd answers ARP for the external address: on the target's own link it would cut itself off from the
    // target.
    if (egress != nullptr && rule.external.address == endpoint.address &&
        (!rule.link || *rule.link == egress->name)) {
        return refused("target",
                       fmt::format("got {}, the external address itself, reached through link {}; want "
                                   "another host, or a rule for another link",
                                   target, egress->name));
    }
    const bool crosses = endpoint.address.is_v4() != rule.external.address.is_v4();
    const auto is_source = [&](const auto& own) { return own.address.is_v4() == endpoint.address.is_v4(); };
    if (crosses && egress != nullptr && std::ranges::none_of(egress->addresses, is_source)) {
        return refused("target",
                       fmt::format("got {}, reached by link {}, which has no {} address to masquerade "
                                   "with; want another target, or an address for the link",
                                   target, egress->name, family(endpoint.address)));
    }
    if (endpoint.size() != rule.external.size()) {
        const std::uint32_t last = endpoint.first.host() + rule.external.size() - 1;
        std::string right;
        if (last <= 65535) {
            right = ", such as " +
                    to_text(net::EndpointRange{endpoint.address, endpoint.first,
                                               net::be16::from_host(static_cast<std::uint16_t>(last))});
        }
        return refused("target",
                       fmt::format("got {}, {} port(s) for the {} of {}; want as many{}", target,
                                   endpoint.size(), rule.external.size(), external_text(rule), right));
    }
    return {};
}

}  // namespace

Result<void> check_rule(const Rule& rule, const Topology& topology) {
    if (const Result<void> known = rule.link ? topology.check_link(*rule.link) : Result<void>{}; !known) {
        return not_found("link", known.error().message);
    }
    const std::string external = external_text(rule);
    if (rule.external_link) {
        if (const Result<void> known = topology.check_link(*rule.external_link); !known)
            return not_found("external", known.error().message);
        if (rule.link != rule.external_link) {
            return refused(
                "link", fmt::format("got {} for the external {}; want {}, or no link", in_quotes(*rule.link),
                                    external, in_quotes(*rule.external_link)));
        }
    } else if (const std::string why = topology.not_a_host(rule.external.address); !why.empty()) {
        return refused("external",
                       fmt::format("got {}, {}; want an address that clients can connect to", external, why));
    }
    if (auto ok = check_external_family(rule, topology); !ok) return ok;
    if (auto ok = check_families(rule); !ok) return ok;
    for (const Target& target : rule.targets) {
        if (auto ok = check_target(rule, target.endpoint, topology); !ok) return ok;
    }
    if (!rule.not_from.empty() && net::allowed_sources(rule.from, rule.not_from, everybody(rule)).empty()) {
        return refused("not_from", fmt::format("got {}, which leaves nobody; want some clients left",
                                               to_text(rule.not_from.front())));
    }
    if (rule.outbound && (rule.external_link || topology.owner(rule.external.address) != nullptr)) {
        return refused(
            "outbound",
            fmt::format("got true for {}, fwd's own address; want an address of the host's alone, or "
                        "a masquerade for it",
                        external));
    }
    if (rule.outbound) {
        const net::IpAddress& target = rule.targets.front().endpoint.address;
        const LinkSettings* inside = topology.egress(target);
        const LinkSettings* outside =
            rule.link ? topology.find_link(*rule.link) : topology.egress(rule.external.address);
        if (inside != nullptr && inside == outside) {
            return refused(
                "outbound",
                fmt::format("got true for {}, whose target {} is reached by link {} as well; want a "
                            "target behind another link",
                            external, to_text(target), inside->name));
        }
    }
    if (const LinkSettings* segment = taken_over_on(rule, topology)) {
        if (const std::string host = topology.named_host(rule.external.address); !host.empty()) {
            return refused("external",
                           fmt::format("got {}, {}, for which fwd would answer ARP on link {}; want an "
                                       "address that no other host has",
                                       external, host, segment->name));
        }
    }
    return {};
}

/// fwd may neither answer ARP for a host that it has to reach nor need a host that it answers for.
Result<void> RuleClaims::check_hosts(const Rule& rule, const Topology& topology) const {
    if (const LinkSettings* segment = taken_over_on(rule, topology)) {
        if (const auto target = targets_.find(rule.external.address); target != targets_.end()) {
            return refused(
                "external",
                fmt::format("got {}, the host that {} forwards to, for which fwd would answer ARP "
                            "on link {}; want an address that no other host has",
                            external_text(rule), reference(*target->second.begin()), segment->name));
        }
    }
    for (const Target& target : rule.targets) {
        const auto taken = taken_over_.find(target.endpoint.address);
        if (taken == taken_over_.end()) continue;
        return refused(
            "target",
            fmt::format("got {}, the external address of {}, for which fwd answers ARP itself; want "
                        "another host's address",
                        to_text(target.endpoint), reference(*taken->second.begin())));
    }
    return {};
}

std::string RuleClaims::reference(const std::string& name) const {
    const std::string& origin = names_.find(name)->second;
    return fmt::format("rule {}{}", in_quotes(name), origin.empty() ? "" : fmt::format(" ({})", origin));
}

Result<void> RuleClaims::add(const Rule& rule, const Topology& topology) {
    if (const auto taken = names_.find(rule.name); taken != names_.end()) {
        const std::string origin = taken->second.empty() ? "" : fmt::format(" ({})", taken->second);
        return refused("name", fmt::format("got {}, the name of another rule{}; want a name of its own",
                                           in_quotes(rule.name), origin));
    }
    if (rule.disabled) {
        names_.emplace(rule.name, rule.origin_text);
        return {};
    }
    const std::vector<Key> keys = keys_of(rule);
    for (const Key& key : keys) {
        const Claim* taken = find_overlap(key, rule.external);
        if (taken == nullptr) continue;
        const net::EndpointRange theirs{rule.external.address, net::be16::from_host(taken->first),
                                        net::be16::from_host(taken->last)};
        return refused("external",
                       fmt::format("got {} {} on {} for rule {}, but {} has {}; want another address, port, "
                                   "protocol or link",
                                   to_text(key.protocol), external_text(rule),
                                   key.link ? "link " + *key.link : "any link", in_quotes(rule.name),
                                   reference(taken->name), theirs == rule.external ? "it" : to_text(theirs)));
    }
    const std::pair host{rule.targets.front().endpoint.address, rule.link};
    if (const auto taken = outbound_.find(host); rule.outbound && taken != outbound_.end()) {
        return refused("outbound",
                       fmt::format("got true for {}, which reaches the world by {} under the address of {} "
                                   "already; want it for one of them, or another link",
                                   to_text(host.first), rule.link ? "link " + *rule.link : "any link",
                                   reference(taken->second)));
    }
    if (auto ok = check_hosts(rule, topology); !ok) return ok;
    if (rule.outbound) outbound_.emplace(host, rule.name);
    names_.emplace(rule.name, rule.origin_text);
    for (const Key& key : keys)
        claims_[key].emplace(rule.external.first.host(),
                             Claim{rule.external.first.host(), rule.external.last.host(), rule.name});
    for (const Target& target : rule.targets) {
        const net::IpAddress address = target.endpoint.address;
        if (topology.connected(address) != nullptr) targets_[address].insert(rule.name);
    }
    if (taken_over_on(rule, topology) != nullptr) taken_over_[rule.external.address].insert(rule.name);
    return {};
}

void RuleClaims::remove(const Rule& rule, const Topology& topology) {
    names_.erase(rule.name);
    if (rule.disabled) return;
    if (rule.outbound) outbound_.erase({rule.targets.front().endpoint.address, rule.link});
    const auto give_back = [&](RulesOfAddress& rules, net::IpAddress address) {
        const auto found = rules.find(address);
        if (found != rules.end() && found->second.erase(rule.name) != 0 && found->second.empty())
            rules.erase(found);
    };
    for (const Target& target : rule.targets) {
        if (topology.connected(target.endpoint.address) != nullptr)
            give_back(targets_, target.endpoint.address);
    }
    if (taken_over_on(rule, topology) != nullptr) give_back(taken_over_, rule.external.address);
    for (const Key& key : keys_of(rule)) {
        const auto found = claims_.find(key);
        if (found == claims_.end()) continue;
        found->second.erase(rule.external.first.host());
        if (found->second.empty()) claims_.erase(found);
    }
}

std::vector<RuleClaims::Key> RuleClaims::keys_of(const Rule& rule) {
    std::vector<Key> keys;
    const bool range = !rule.external.is_single();
    if (rule.all) keys.push_back({rule.external.address, net::Protocol::all, range, rule.link});
    if (rule.tcp) keys.push_back({rule.external.address, net::Protocol::tcp, range, rule.link});
    if (rule.udp) keys.push_back({rule.external.address, net::Protocol::udp, range, rule.link});
    return keys;
}

const RuleClaims::Claim* RuleClaims::find_overlap(const Key& key, const net::EndpointRange& external) const {
    const auto found = claims_.find(key);
    if (found == claims_.end()) return nullptr;
    const auto behind = found->second.upper_bound(external.last.host());
    if (behind == found->second.begin()) return nullptr;
    const Claim& last_before = std::prev(behind)->second;
    return last_before.last >= external.first.host() ? &last_before : nullptr;
}

}  // namespace fwd::control
