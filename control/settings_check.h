// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "control/settings.h"
#include "control/settings_reader.h"

namespace fwd::control {

/// Checks the parts of a configuration against each other: names, addresses, networks, routes, rules. Gives
/// each route without a link the one that `via` lies on. `root` is what `settings` was read from, for
/// messages.
Result<void> check_settings(const Value& root, Settings& settings);

}  // namespace fwd::control
