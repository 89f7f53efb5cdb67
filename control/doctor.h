// SPDX-License-Identifier: BSD-3-Clause
// fwdd --check: whether the machine is as a configuration needs it, and what to do if not.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "control/machine.h"
#include "control/settings.h"

namespace fwd::control {

enum class Health {
    ok,
    warning,  ///< it works, less well
    error,    ///< fwdd would not start, or not forward
};

struct Finding {
    std::string_view check;  ///< "hugepages"
    std::string subject;     ///< which of several: a device, a core; may be empty
    Health health = Health::ok;
    std::string found;
    std::string remedy;  ///< empty when all is well
};

/// What a configuration takes from the machine.
struct Needs {
    std::vector<unsigned> worker_cores;
    std::size_t memory_bytes = 0;    ///< what the data plane fills
    std::size_t hugepage_bytes = 0;  ///< with room for EAL's allocator
};

std::vector<Finding> examine(const Settings& settings, const Needs& needs, const Machine& machine);

bool has_error(const std::vector<Finding>& findings);
/// For people: a line for each, and one more for its remedy.
std::string to_text(const std::vector<Finding>& findings);
nlohmann::json to_json(const std::vector<Finding>& findings);

}  // namespace fwd::control
