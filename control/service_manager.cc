// SPDX-License-Identifier: BSD-3-Clause
#include "control/service_manager.h"

#include <systemd/sd-daemon.h>

#include <algorithm>
#include <functional>
#include <utility>

namespace fwd::control {

ServiceManager::ServiceManager() {
    std::uint64_t wait_us = 0;
    if (sd_watchdog_enabled(0, &wait_us) > 0) period_ = std::chrono::microseconds{wait_us / 2};
}

void ServiceManager::tell_ready(const std::string& status) const {
    sd_notify(0, ("READY=1\nSTATUS=" + status).c_str());
}

void ServiceManager::tell_stopping() const {
    sd_notify(0, "STOPPING=1\nSTATUS=");
}

void ServiceManager::tell_alive(Clock::time_point now, std::vector<std::uint64_t> progress,
                                const std::string& status) {
    next_ = now + period_;
    const std::vector<std::uint64_t> before = std::exchange(progress_, std::move(progress));
    if (before.size() == progress_.size() &&
        !std::equal(before.begin(), before.end(), progress_.begin(), std::not_equal_to<>{})) {
        return;
    }
    sd_notify(0, ("WATCHDOG=1\nSTATUS=" + status).c_str());
}

}  // namespace fwd::control
