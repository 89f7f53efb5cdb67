// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <string>
#include <string_view>

namespace fwd::control {

/// Lets spdlog write to standard error: with the time, or, where that is the journal, with each line's
/// priority as sd-daemon(3) wants it, so that `journalctl -p` works.
void set_up_log(const std::string& level);

/// Says why fwdd ends, in the same way but whether or not there is a log.
void print_failure(std::string_view message);

}  // namespace fwd::control
