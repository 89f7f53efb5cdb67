// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <compare>
#include <cstdint>

namespace fwd::dataplane {

/// Index of a key in the flow table and of the record that belongs to it.
struct FlowPosition {
    std::uint32_t value = 0;
    friend constexpr auto operator<=>(FlowPosition, FlowPosition) noexcept = default;
};
inline constexpr FlowPosition kNoPosition{0xffffffff};

}  // namespace fwd::dataplane
