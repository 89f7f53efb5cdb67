// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <functional>
#include <utility>

namespace fwd::control {

/// Long work calls step() again and again, and lets what can't wait for its end have its turn meanwhile.
class Pause {
 public:
    Pause() = default;
    explicit Pause(std::function<void()> turn) : turn_{std::move(turn)} {}

    void step() {
        if (turn_ && ++steps_ % kSteps == 0) turn_();
    }

 private:
    static constexpr unsigned kSteps = 1024;
    std::function<void()> turn_;
    unsigned steps_ = 0;
};

}  // namespace fwd::control
