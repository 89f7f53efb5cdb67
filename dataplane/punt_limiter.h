// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <rte_cycles.h>
#include <rte_meter.h>

#include <cstdint>

#include "dataplane/tsc.h"

namespace fwd::dataplane {

/// Lets so many packets a second through, and a burst: a flood must not keep control from its work.
class PuntLimiter {
 public:
    PuntLimiter(std::uint64_t packets_a_second, std::uint64_t burst) noexcept {
        // rte_meter counts bytes; here every packet is one.
        rte_meter_srtcm_params params{.cir = packets_a_second, .cbs = burst, .ebs = 0};
        rte_meter_srtcm_profile_config(&profile_, &params);
        rte_meter_srtcm_config(&meter_, &profile_);
    }
    bool allow(Tsc now) noexcept {
        return rte_meter_srtcm_color_blind_check(&meter_, &profile_, now.cycles, 1) == RTE_COLOR_GREEN;
    }

 private:
    rte_meter_srtcm_profile profile_{};
    rte_meter_srtcm meter_{};
};

}  // namespace fwd::dataplane
