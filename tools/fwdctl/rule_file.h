// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <string>
#include <vector>

#include "control/methods.h"

namespace fwd::fwdctl {

/// Rules as the parameter `rules` of rules.add, and where each one stood ("rules.txt:12").
struct RuleFile {
    control::Json rules = control::Json::array();
    control::Json masquerades = control::Json::array();
    std::vector<std::string> places;  ///< of rules
    std::vector<std::string> masquerade_places;
};

/// Reads rules and masquerades in libconfig syntax (`rules = ( ... ); masquerades = ( ... );`, as `fwdctl
/// export` writes it), or one on each line with the arguments of add-rule. `name` stands for the text in
/// messages. An error's field is FILE:LINE.
control::Result<RuleFile> parse_rule_file(const std::string& text, const std::string& name);

/// The same from a file, or from standard input if its name is "-".
control::Result<RuleFile> read_rule_file(const std::string& name);

/// An answer about "rules[3].external" as one about "rules.txt:12: external".
control::Error at_place(control::Error error, const RuleFile& file);

}  // namespace fwd::fwdctl
