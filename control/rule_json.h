// SPDX-License-Identifier: BSD-3-Clause
// Rules as they stand in requests and answers.
#pragma once

#include <vector>

#include "control/methods.h"
#include "control/pause.h"
#include "control/rule.h"

namespace fwd::control {

/// The rule that the parameters of rule.add ask for; they have been checked against the table of methods. Its
/// origin is the database, or runtime if that is asked for; its name is empty when none was given.
Result<Rule> rule_from_json(const Json& params);

/// The rule as the parameters of rule.change want it: what is absent stays as it is.
Result<Rule> changed_rule(const Rule& rule, const Json& params);

/// The rules that the parameters of rules.add ask for. An error's field names the rule: "rules[3].external".
Result<std::vector<Rule>> rules_from_json(const Json& params, Pause pause = {});

/// What a rule says of itself in an answer: the parameters of rule.add (a link that is not named is null, a
/// limit that is not set is absent) and its origin.
Json rule_to_json(const Rule& rule);

}  // namespace fwd::control
