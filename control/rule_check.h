// SPDX-License-Identifier: BSD-3-Clause
// What makes a well-formed rule impossible: by itself on these links, or beside the other rules. Shared by
// the configuration file and the rule book. An error's `field` is a key of the rule ("external"), to be
// completed by the caller.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "control/error.h"
#include "control/rule.h"
#include "control/topology.h"

namespace fwd::control {

/// Whether fwd could carry out the rule if it were the only one: the link exists, clients can ask for the
/// external address, the target is a host that fwd reaches and not fwd itself.
Result<void> check_rule(const Rule& rule, const Topology& topology);

/// What a set of rules has taken: names, and (link or any, protocol, external endpoint). A rule for one link
/// and one for any link do not clash: the more specific one wins.
class RuleClaims {
 public:
    /// Refused, with both names and nothing changed, when another rule has the name or the endpoint.
    Result<void> add(const Rule& rule);
    /// Gives back what add() took for this rule.
    void remove(const Rule& rule);

 private:
    using Key = std::tuple<std::optional<std::string>, net::Protocol, net::Endpoint>;

    static std::vector<Key> keys_of(const Rule& rule);

    std::map<std::string, std::string, std::less<>>
        names_;                             ///< name to where the rule came from, for messages
    std::map<Key, std::string> endpoints_;  ///< to the name of the rule that has it
};

}  // namespace fwd::control
