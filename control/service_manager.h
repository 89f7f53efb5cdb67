// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace fwd::control {

/// Tells systemd how fwdd is, if it was started by it (sd_notify(3)); does nothing otherwise.
class ServiceManager {
 public:
    using Clock = std::chrono::steady_clock;

    /// Reads from the environment whom to tell, and how long systemd waits for a sign of life.
    ServiceManager();

    void tell_ready(const std::string& status) const;
    void tell_stopping() const;

    /// Whether a sign of life is due: twice in the time that systemd waits.
    bool is_sign_of_life_due(Clock::time_point now) const {
        return period_ != period_.zero() && now >= next_;
    }
    /// Tells it when each worker has got on since the last time. One that stands still forwards nothing, and
    /// systemd has to start fwdd again. `progress`: a number for each worker, which grows while it runs.
    void tell_alive(Clock::time_point now, std::vector<std::uint64_t> progress, const std::string& status);

 private:
    std::chrono::microseconds period_{};
    Clock::time_point next_{};
    std::vector<std::uint64_t> progress_;
};

}  // namespace fwd::control
