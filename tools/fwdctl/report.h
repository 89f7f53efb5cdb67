// SPDX-License-Identifier: BSD-3-Clause
// Results of methods as people want to see them.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "control/methods.h"
#include "tools/fwdctl/table.h"

namespace fwd::fwdctl {

/// The result of a method other than session.list, which comes in pages.
std::string report(std::string_view method, const control::Json& result);

/// The sessions of one page after the other.
class SessionReport {
 public:
    SessionReport();
    std::string page(const control::Json& result);

 private:
    Table table_;
};

/// Counters now and, when an earlier result is given, how much they grew each second since then.
struct EarlierStats {
    control::Json result;
    std::chrono::duration<double> age{};
};
std::string report_stats(const control::Json& result, const std::optional<EarlierStats>& earlier);

}  // namespace fwd::fwdctl
