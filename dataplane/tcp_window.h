// SPDX-License-Identifier: BSD-3-Clause
// Which segments can be of a TCP connection at all, told by their numbers (the setting `tcp_window_check`).
//
//      acknowledged - 2 windows             acknowledged                  acknowledged + window
//   -------------|------- sent again ------------|-------- what may come next -------|-------------
//      dropped          passed on                          passed on                     dropped
//
// `acknowledged` is the highest number that the receiver has acknowledged, `window` the greatest that it has
// ever announced, rounded up to a power of two: so the end lies where the receiver's window has ended at any
// time, or behind. The same holds for what a segment acknowledges, measured by what its sender has
// acknowledged before. What is not known yet is not measured.
#pragma once

#include <bit>
#include <cstdint>

#include "dataplane/flow_table.h"

namespace fwd::dataplane {

/// Binary logarithm of a window, rounded up; at most 30 (RFC 7323, section 2.3).
constexpr std::uint8_t window_bits(std::uint16_t announced, unsigned shift) noexcept {
    const std::uint32_t window = std::uint32_t{announced} << shift;
    return static_cast<std::uint8_t>(window == 0 ? 0 : std::bit_width(window - 1));
}

/// Whether a number can be of a connection; see above.
/// @param bits of the window, at most 30
constexpr bool is_in_window(std::uint32_t number, std::uint32_t acknowledged, unsigned bits) noexcept {
    const std::uint32_t window = std::uint32_t{1} << bits;
    return number - acknowledged + 2 * window <= 3 * window;
}

/// Whether a segment can be of its session's connection; if so, what it tells is kept for the next ones. Of
/// sessions with SessionTraits::window_checked, whose packets all come here. A SYN that is no FIN or RST as
/// well always passes.
/// @param tcp its header
bool passes_window_check(FlowTable& flows, Flow& flow, const std::uint8_t* tcp) noexcept;

}  // namespace fwd::dataplane
