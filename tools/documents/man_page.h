// SPDX-License-Identifier: BSD-3-Clause
// The parts of manual pages that the tables know, in roff's man macros. What people have written stands in
// the templates beside this file.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "control/settings.h"
#include "tools/documents/description.h"

namespace fwd::documents {

/// As it is to be read, with nothing that roff would take for its own.
std::string roff(std::string_view text);

/// A list of options.
std::string man_options(const Description& program);
/// A section of its own for each command.
std::string man_commands(const Description& program);
/// A section of its own for each group of keys.
std::string man_settings(const std::vector<control::SettingGroup>& groups);

/// The template with its lines "@options@" and the like replaced; an error is thrown when one of them is none
/// that is known. A page is of version `version`.
std::string man_page(std::string_view page_template, std::string_view version);

}  // namespace fwd::documents
