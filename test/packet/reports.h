// SPDX-License-Identifier: BSD-3-Clause
// Control's view of a box, and how it ends the sessions of rules.
#pragma once

#include <array>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "control/live_sessions.h"
#include "control/reports.h"
#include "control/rule_book.h"
#include "test/packet/box.h"
#include "test/unit/control/temporary_directory.h"

namespace fwd::test {

class BoxReports {
 public:
    explicit BoxReports(Box& box) : box_{box} {}

    /// Of a rule that is in force; std::out_of_range when none has that name.
    dataplane::RuleId id_of(const std::string& rule) const {
        for (const auto& [id, one] : box_.rules()) {
            if (one.name == rule) return box_.policies().dataplane_id(id).value();
        }
        throw std::out_of_range{rule};
    }
    std::size_t sessions_of(dataplane::RuleId rule) const {
        std::size_t count = 0;
        live_.visit(0, live_.flows().position_count(), [&](dataplane::FlowPosition id, dataplane::StateWord) {
            count += live_.flows().session(id).rule == rule ? 1 : 0;
            return true;
        });
        return count;
    }
    /// As `--existing kill` does once the rules without it are in force.
    std::uint64_t kill(dataplane::RuleId rule) { return reports_.clear_sessions_of(std::array{rule}); }

 private:
    Box& box_;
    TemporaryDirectory directory_;
    control::RuleBook book_ = *control::RuleBook::open({box_.settings().links, box_.settings().routes},
                                                       *control::RuleStore::open(directory_.path()), {});
    std::vector<unsigned> cores_ = {};
    control::LiveSessions live_{box_.dataplane(), [] {}};
    control::Reports reports_{box_.dataplane(), box_.policies(), box_.settings().links, cores_, book_, live_};
};

}  // namespace fwd::test
