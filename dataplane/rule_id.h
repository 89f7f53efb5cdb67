// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <compare>
#include <cstdint>

namespace fwd::dataplane {

/// Names a rule for as long as anybody remembers it: a slot is given to another rule only with a new
/// generation.
struct RuleId {
    std::uint32_t slot = 0;
    std::uint32_t generation = 0;
    friend constexpr auto operator<=>(const RuleId&, const RuleId&) noexcept = default;
};

}  // namespace fwd::dataplane
