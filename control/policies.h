// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "control/error.h"
#include "control/masquerade.h"
#include "control/pause.h"
#include "control/rule.h"
#include "control/rule_book.h"
#include "control/settings.h"
#include "control/topology.h"
#include "dataplane/dataplane.h"

namespace fwd::control {

/// Makes policies for the data plane out of rules and settings, and keeps each rule's id the same for as long
/// as the rule stays the same.
class Policies {
 public:
    using Rules = std::map<RuleId, Rule>;
    using Masquerades = std::map<RuleId, Masquerade>;

    Policies(const Settings& settings, std::uint32_t rule_slots);

    /// The policy to start with: no rules yet.
    Result<std::unique_ptr<const dataplane::Policy>> initial(const dataplane::FlowHash& hash);

    /// Makes ready what publish_rules() puts in force: all that can fail.
    Result<void> prepare_rules(dataplane::Dataplane& dataplane, const Rules& rules,
                               const Masquerades& masquerades = {}, Pause pause = {});
    void publish_rules(dataplane::Dataplane& dataplane);
    void publish_timeouts(dataplane::Dataplane& dataplane, const TimeoutSettings& timeouts);
    void publish_window_check(dataplane::Dataplane& dataplane, bool on);
    /// What the kernel has on the links: all of their addresses, and routes beside the configuration's, which
    /// come first.
    Result<void> publish_network(dataplane::Dataplane& dataplane,
                                 std::vector<std::vector<net::IpInterfaceAddress>> addresses,
                                 std::vector<dataplane::Route> learnt);
    /// Lets every flow look up its next hop again.
    void renew_next_hops(dataplane::Dataplane& dataplane);

    /// Where clients connect to now: nullopt of a rule that waits for a link's address.
    std::optional<net::IpAddress> external_address(const Rule& rule) const;
    /// What the data plane calls a rule that is in force.
    std::optional<dataplane::RuleId> dataplane_id(RuleId id) const;
    /// The inverse; nullopt when the rule is gone.
    std::optional<RuleId> book_id(dataplane::RuleId id) const;
    /// For which addresses fwd answers ARP, by link.
    std::set<std::pair<dataplane::LinkId, net::IpAddress>> external_addresses(
        const Rules& rules, const Masquerades& masquerades = {}) const;

 private:
    /// A rule set that waits to be published, and the ids in it.
    struct Prepared {
        std::map<RuleId, dataplane::RuleId> ids;
        std::vector<std::uint32_t> free_slots;
        std::vector<std::uint32_t> busy_slots;  ///< of rules that are gone and whose sessions are not
        std::shared_ptr<const dataplane::RuleSet> set;
        std::shared_ptr<const dataplane::MasqueradeSet> masquerades;
    };
    static std::optional<std::uint32_t> take_free_slot(dataplane::Dataplane& dataplane, Prepared& prepared);
    Result<std::shared_ptr<const dataplane::Routes>> make_routes() const;
    void append(std::vector<dataplane::ForwardingRule>& to, const Rule& rule, dataplane::RuleId id) const;
    dataplane::Masquerade to_dataplane(const Masquerade& masquerade, dataplane::RuleId id) const;
    std::optional<dataplane::LinkId> link_id(const std::string& name) const;
    void publish(dataplane::Dataplane& dataplane);
    void renew_routes();

    std::vector<LinkSettings> links_;
    std::vector<RouteSettings> routes_;
    std::vector<dataplane::Route> learnt_routes_;
    std::uint32_t rule_slots_;
    std::vector<std::uint32_t> free_slots_;
    std::map<RuleId, dataplane::RuleId> ids_;
    std::vector<RuleId> book_id_of_slot_;
    std::optional<Prepared> prepared_;
    dataplane::Policy current_;
};

}  // namespace fwd::control
