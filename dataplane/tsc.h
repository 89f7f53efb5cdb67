// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <rte_cycles.h>

#include <chrono>
#include <cstdint>

namespace fwd::dataplane {

/// Time inside workers: cycles of the time stamp counter.
struct Tsc {
    std::uint64_t cycles = 0;

    static Tsc read() noexcept { return {rte_rdtsc()}; }
};

/// Coarse time, 2^24 cycles each (6 to 8 ms), as records keep it. It wraps after a year: compare with
/// before().
struct Tick {
    static constexpr unsigned kShift = 24;
    std::uint32_t value = 0;

    static constexpr Tick of(Tsc tsc) noexcept { return {static_cast<std::uint32_t>(tsc.cycles >> kShift)}; }
    static Tick from_duration(std::chrono::milliseconds duration) noexcept {
        const double cycles =
            static_cast<double>(duration.count()) * static_cast<double>(rte_get_tsc_hz()) / 1000;
        return {static_cast<std::uint32_t>(cycles / (1U << kShift)) + 1};
    }
    std::chrono::milliseconds to_duration() const noexcept {
        return std::chrono::milliseconds{static_cast<std::int64_t>(
            static_cast<double>(value) * (1U << kShift) * 1000 / static_cast<double>(rte_get_tsc_hz()))};
    }

    friend constexpr Tick operator+(Tick a, Tick b) noexcept { return {a.value + b.value}; }
    friend constexpr Tick operator-(Tick a, Tick b) noexcept { return {a.value - b.value}; }
    friend constexpr bool operator==(Tick, Tick) noexcept = default;
    constexpr bool before(Tick other) const noexcept {
        return static_cast<std::int32_t>(value - other.value) < 0;
    }
};

}  // namespace fwd::dataplane
