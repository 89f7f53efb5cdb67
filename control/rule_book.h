// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "control/error.h"
#include "control/masquerade.h"
#include "control/pause.h"
#include "control/rule.h"
#include "control/rule_check.h"
#include "control/rule_store.h"
#include "control/topology.h"

namespace fwd::control {

/// Names a rule as long as it lives: in order of adding, never used twice.
using RuleId = std::uint64_t;

/// All rules that are in force: of the configuration file, the database and those that live in memory only.
/// Each has been checked against the topology and against all others.
///
/// Changes hold at once, but they are not safe before commit(): when that fails, all since the last one are
/// undone.
class RuleBook {
 public:
    struct Reloaded {
        std::size_t added = 0;
        std::size_t removed = 0;
        std::size_t switched = 0;  ///< enabled or disabled, and the same otherwise
        std::size_t unchanged = 0;
        std::vector<std::pair<RuleId, Rule>> ended;  ///< removed or disabled
        std::vector<RuleId> ended_masquerades;       ///< removed
    };

    /// The rules of the configuration file, then those of the database. Refused when they don't fit together.
    static Result<RuleBook> open(Topology topology, std::unique_ptr<RuleStore> store,
                                 std::vector<Rule> config_rules,
                                 std::vector<Masquerade> config_masquerades = {});

    /// Adds a rule; one without a name gets one. An error's field is a key of the rule.
    Result<RuleId> add(Rule rule);
    /// All or nothing. An error's field names the rule: "rules[3].external", "masquerades[0].inside".
    Result<std::vector<RuleId>> add(std::vector<Rule> rules, Pause pause = {}) {
        return add(std::move(rules), {}, std::move(pause));
    }
    Result<std::vector<RuleId>> add(std::vector<Rule> rules, std::vector<Masquerade> masquerades,
                                    Pause pause = {});
    /// Puts a rule in the place of the one of its name, all or nothing, and returns that one. Sessions know
    /// it by an id of its own. One of the configuration file is refused.
    Result<Rule> change(Rule rule);
    /// Returns the rule. One of the configuration file is refused.
    Result<Rule> remove(std::string_view name);
    /// Enables or disables a rule, which keeps its id. One of the configuration file is refused, as is
    /// enabling one that does not fit beside the others. The rule as it is now.
    Result<RuleId> enable(std::string_view name) { return set_disabled(name, false); }
    Result<RuleId> disable(std::string_view name) { return set_disabled(name, true); }
    /// Puts these in the place of the rules of the configuration file, all or nothing. A rule that is only
    /// enabled, disabled or commented otherwise keeps its id.
    Result<Reloaded> reload(std::vector<Rule> config_rules, std::vector<Masquerade> config_masquerades = {},
                            Pause pause = {});

    using Masquerades = std::map<RuleId, Masquerade>;
    /// The same for masquerades. They share their names and ids with rules.
    Result<RuleId> add(Masquerade masquerade);
    Result<Masquerade> remove_masquerade(std::string_view name);
    const Masquerades& masquerades() const { return masquerades_; }
    std::optional<RuleId> find_masquerade(std::string_view name) const;
    /// Of a rule or a masquerade; empty when it is gone.
    std::string name_of(RuleId id) const;

    /// Makes what has changed since the last call durable, as far as it is to be, in one transaction. On
    /// failure all of it is undone.
    Result<void> commit();

    /// Undoes what has changed since the last commit().
    void roll_back();

    /// In order of adding.
    const std::map<RuleId, Rule>& rules() const { return rules_; }
    std::optional<RuleId> find(std::string_view name) const;
    /// Another one after each change, undone ones included.
    std::uint64_t revision() const { return revision_; }

 private:
    /// What was there before. Undone from last to first.
    struct Change {
        RuleId id = 0;
        std::optional<Rule> before;  ///< none: the rule was added
    };

    RuleBook(Topology topology, std::unique_ptr<RuleStore> store)
        : topology_{std::move(topology)}, store_{std::move(store)} {}

    Result<void> put_new(Rule rule);
    Result<void> put(RuleId id, Rule rule);
    /// On failure the rule is gone, and the change that undo_to() needs is there.
    Result<void> replace(RuleId id, Rule rule);
    Result<RuleId> set_disabled(std::string_view name, bool disabled);
    /// The rule that an operator may change by this name.
    Result<RuleId> find_own(std::string_view name, std::string_view how) const;
    Rule take(RuleId id);
    void undo_to(std::size_t count);
    template <typename T>
    std::string free_name(const T& named) const;
    Result<void> put_new(Masquerade masquerade);
    void restore_masquerades(Masquerades before);
    /// Whether a host that a rule forwards to has an address of a pool, for which fwd answers ARP.
    Result<void> check_beside_pools(const Rule& rule) const;
    Result<void> check_beside_targets(const Masquerade& masquerade) const;
    Result<void> reload_masquerades(std::vector<Masquerade> wanted, Reloaded& result);

    Topology topology_;
    std::unique_ptr<RuleStore> store_;
    RuleClaims claims_;
    std::map<RuleId, Rule> rules_;
    std::map<std::string, RuleId, std::less<>> names_;
    std::vector<Change> changes_;  ///< since the last commit
    Masquerades masquerades_;
    Masquerades committed_masquerades_;  ///< as of the last commit
    RuleId last_id_ = 0;
    std::uint64_t revision_ = 0;
};

}  // namespace fwd::control
