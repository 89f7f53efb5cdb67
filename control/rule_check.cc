// SPDX-License-Identifier: BSD-3-Clause
#include "control/rule_check.h"

#include <fmt/format.h>

#include "control/text.h"

namespace fwd::control {

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
    return {};
}

Result<void> RuleClaims::add(const Rule& rule) {
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
        const std::string other_origin = names_.find(taken->second)->second;
        return refused(
            "external",
            fmt::format("got {} {} on {} for rule {}, but rule {}{} has it; want another address, "
                        "port, protocol or link",
                        protocol == net::Protocol::tcp ? "tcp" : "udp", to_text(external),
                        link ? "link " + *link : "any link", in_quotes(rule.name), in_quotes(taken->second),
                        other_origin.empty() ? "" : fmt::format(" ({})", other_origin)));
    }
    names_.emplace(rule.name, rule.origin_text);
    for (const Key& key : keys) endpoints_.emplace(key, rule.name);
    return {};
}

void RuleClaims::remove(const Rule& rule) {
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
