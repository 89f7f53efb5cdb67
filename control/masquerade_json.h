// SPDX-License-Identifier: BSD-3-Clause
// Masquerades as they stand in requests and answers.
#pragma once

#include <vector>

#include "control/masquerade.h"
#include "control/methods.h"

namespace fwd::control {

/// What the parameters of masquerade.add ask for; they have been checked against the table of methods. Its
/// origin is the database, or runtime if that is asked for; its name is empty when none was given.
Result<Masquerade> masquerade_from_json(const Json& params);
/// Those that the parameters of rules.add have beside rules; none when there is no such list.
Result<std::vector<Masquerade>> masquerades_from_json(const Json& params);
/// What one says of itself in an answer.
Json masquerade_to_json(const Masquerade& masquerade);
/// The same as parameters of masquerade.add.
Json masquerade_params(const Masquerade& masquerade);

}  // namespace fwd::control
