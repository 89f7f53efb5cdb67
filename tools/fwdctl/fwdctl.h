// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <ostream>

namespace fwd::fwdctl {

// What scripts see.
inline constexpr int kDone = 0;
inline constexpr int kRefused = 1;
inline constexpr int kUsage = 2;
inline constexpr int kUnreachable = 3;

/// One command, from its arguments to its exit status.
int run(int argc, const char* const* argv, std::ostream& out, std::ostream& err);

}  // namespace fwd::fwdctl
