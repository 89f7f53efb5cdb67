// SPDX-License-Identifier: BSD-3-Clause
// What makes a well-formed rule impossible: by itself on these links, or beside the other rules. Shared by
// the configuration file and the rule book. An error's `field` is a key of the rule ("external"), to be
// completed by the caller.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "control/error.h"
#include "control/rule.h"
#include "control/topology.h"

namespace fwd::control {

/// The link on whose segment others ask by ARP for the rule's external address, and fwd answers; nullptr when
/// there is none. A host that has the address is cut off there. (fwd's own addresses are no other host's.)
const LinkSettings* taken_over_on(const Rule& rule, const Topology& topology);

/// All clients that there are for the rule's external address.
const net::IpPrefix& everybody(const Rule& rule);

/// Whether fwd could carry out the rule if it were the only one: the link exists, clients can ask for the
/// external address, which no host has that the configuration names; the target is a host that fwd reaches
/// and not fwd itself.
Result<void> check_rule(const Rule& rule, const Topology& topology);

/// What a set of rules has taken: names, and, unless a rule is disabled, (link or any, protocol, external
/// address and ports). A rule for one port does not clash with one for a range, nor either with one for the
/// whole address, nor a rule for one link with one for any link: the more specific one wins (requirement L4).
/// A host reaches the world by a link under one external address. Beyond that a target of one rule can't be
/// the external address of another on the target's own segment, where fwd would answer ARP for it.
class RuleClaims {
 public:
    /// Refused, with both names and nothing changed, when another rule has the name or the endpoint, or the
    /// target in the way that is said above.
    Result<void> add(const Rule& rule, const Topology& topology);
    /// Gives back what add() took for this rule in the same topology.
    void remove(const Rule& rule, const Topology& topology);

 private:
    /// Ranges and single ports may lie over each other, so they are kept apart.
    struct Key {
        net::IpAddress address;
        net::Protocol protocol;
        bool range;
        std::optional<std::string> link;
        friend auto operator<=>(const Key&, const Key&) = default;
    };
    struct Claim {
        std::uint16_t first;
        std::uint16_t last;
        std::string name;
    };
    using RulesOfAddress = std::map<net::IpAddress, std::set<std::string>>;  ///< names

    static std::vector<Key> keys_of(const Rule& rule);
    const Claim* find_overlap(const Key& key, const net::EndpointRange& external) const;
    Result<void> check_hosts(const Rule& rule, const Topology& topology) const;
    /// "rule 'web' (fwd.conf:12)".
    std::string reference(const std::string& name) const;

    std::map<std::string, std::string, std::less<>>
        names_;  ///< name to where the rule came from, for messages
    std::map<Key, std::map<std::uint16_t, Claim>> claims_;  ///< by first port; disjoint
    RulesOfAddress targets_;                                ///< next to fwd: those it asks for by ARP
    /// By host and link: rules under whose external addresses hosts reach the world.
    std::map<std::pair<net::IpAddress, std::optional<std::string>>, std::string> outbound_;
    RulesOfAddress taken_over_;  ///< external addresses on a segment where fwd answers ARP for them
};

}  // namespace fwd::control
