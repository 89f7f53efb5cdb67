// SPDX-License-Identifier: BSD-3-Clause
#include "control/service_manager.h"

#include <systemd/sd-daemon.h>

#include <algorithm>
#include <functional>
#include <utility>

namespace fwd::control {

ServiceManager::ServiceManager() {
    std::uint64_t wait_us = 0;
    if (sd_watchdog_enabled(0, &wait_us) > 0) period_ = std::chrono::microseconds{wait_us / 4};
}

void ServiceManager::tell_ready(const std::string& status) const {
    sd_notify(0, ("READY=1\nSTATUS=" + status).c_str());
}

void ServiceManager::tell_stopping() const {
    sd_notify(0, "STOPPING=1\nSTATUS=");
}

void ServiceManager::tell_alive(Clock::time_point now, std::vector<std::uint64_t> progress,
                                const std::string& status) {
    const bool stands_still =
        progress_.size() == progress.size() &&
        !std::equal(progress_.begin(), progress_.end(), progress.begin(), std::not_equal_to<>{});
    // One that has only been slow goes on soon.
    next_ = now + (stands_still ? period_ / 10 : period_);
    if (stands_still) return;
    progress_ = std::move(progress);
    sd_notify(0, ("WATCHDOG=1\nSTATUS=" + status).c_str());
}

}  // namespace fwd::control
