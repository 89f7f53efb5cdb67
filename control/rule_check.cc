// SPDX-License-Identifier: BSD-3-Clause
#include "control/rule_check.h"

#include <fmt/format.h>

#include "control/text.h"

namespace fwd::control {

const LinkSettings* taken_over_on(const Rule& rule, const Topology& topology) {
    const LinkSettings* segment = topology.connected(rule.external.address);
    if (segment == nullptr || (rule.link && *rule.link != segment->name)) return nullptr;
    return topology.owner(rule.external.address) == nullptr ? segment : nullptr;
}

Result<void> check_rule(const Rule& rule, const Topology& topology) {
    if (const Result<void> known = rule.link ? topology.check_link(*rule.link) : Result<void>{}; !known) {
        return not_found("link", known.error().message);
    }
    const std::string external = to_text(rule.external);
    if (const std::string why = topology.not_a_host(rule.external.address); !why.empty()) {
        return refused("external",
                       fmt::format("got {}, {}; want an address that clients can connect to", external, why));
    }
    const std::string target = to_text(rule.target);
    if (const std::string why = topology.not_a_host(rule.target.address); !why.empty()) {
        return refused("target", fmt::format("got {}, {}; want the address of a host", target, why));
    }
    if (const LinkSettings* own = topology.owner(rule.target.address)) {
        return refused("target", fmt::format("got {}, fwd's own address on link {}; want the address of "
                                             "another host",
                                             target, own->name));
    }
    const LinkSettings* egress = topology.egress(rule.target.address);
    if (egress == nullptr) {
        return refused("target", fmt::format("got {}, to which there is no route; want an address in a "
                                             "link's network, or a route to it in the configuration",
                                             target));
    }
    // fwd answers ARP for the external address: on the target's own link it would cut itself off from the
    // target.
    if (rule.external.address == rule.target.address && (!rule.link || *rule.link == egress->name)) {
        return refused("target",
                       fmt::format("got {}, the external address itself, reached through link {}; want "
                                   "another host, or a rule for another link",
                                   target, egress->name));
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
                            to_text(rule.external), reference(*target->second.begin()), segment->name));
        }
    }
    if (const auto taken = taken_over_.find(rule.target.address); taken != taken_over_.end()) {
        return refused(
            "target",
            fmt::format("got {}, the external address of {}, for which fwd answers ARP itself; want "
                        "another host's address",
                        to_text(rule.target), reference(*taken->second.begin())));
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
    const std::vector<Key> keys = keys_of(rule);
    for (const Key& key : keys) {
        const auto taken = endpoints_.find(key);
        if (taken == endpoints_.end()) continue;
        const auto& [link, protocol, external] = key;
        return refused(
            "external",
            fmt::format("got {} {} on {} for rule {}, but {} has it; want another address, port, "
                        "protocol or link",
                        protocol == net::Protocol::tcp ? "tcp" : "udp", to_text(external),
                        link ? "link " + *link : "any link", in_quotes(rule.name), reference(taken->second)));
    }
    if (auto ok = check_hosts(rule, topology); !ok) return ok;
    names_.emplace(rule.name, rule.origin_text);
    for (const Key& key : keys) endpoints_.emplace(key, rule.name);
    if (topology.connected(rule.target.address) != nullptr) targets_[rule.target.address].insert(rule.name);
    if (taken_over_on(rule, topology) != nullptr) taken_over_[rule.external.address].insert(rule.name);
    return {};
}

void RuleClaims::remove(const Rule& rule, const Topology& topology) {
    const auto give_back = [&](RulesOfAddress& rules, net::Ipv4Address address) {
        const auto found = rules.find(address);
        if (found != rules.end() && found->second.erase(rule.name) != 0 && found->second.empty())
            rules.erase(found);
    };
    if (topology.connected(rule.target.address) != nullptr) give_back(targets_, rule.target.address);
    if (taken_over_on(rule, topology) != nullptr) give_back(taken_over_, rule.external.address);
    names_.erase(rule.name);
    for (const Key& key : keys_of(rule)) endpoints_.erase(key);
}

std::vector<RuleClaims::Key> RuleClaims::keys_of(const Rule& rule) {
    std::vector<Key> keys;
    if (rule.tcp) keys.emplace_back(rule.link, net::Protocol::tcp, rule.external);
    if (rule.udp) keys.emplace_back(rule.link, net::Protocol::udp, rule.external);
    return keys;
}

}  // namespace fwd::control
