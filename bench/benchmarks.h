// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <benchmark/benchmark.h>
#include <rte_cycles.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "bench/network.h"

namespace fwd::bench {

/// What the biggest network takes from EAL: 1 250 000 sessions, packet buffers, room to align.
inline constexpr std::size_t kMemoryBytes = std::size_t{1} << 30U;

void register_stages();
void register_pipeline();
void register_sessions();

/// Walks through frames again and again, a burst at a time.
class Reader {
 public:
    explicit Reader(std::span<const Frame> frames, std::size_t start = 0) : frames_{frames}, at_{start} {}
    std::span<const Frame> next(std::size_t count = dataplane::kBurst) noexcept {
        if (at_ + count > frames_.size()) at_ = 0;
        const auto burst = frames_.subspan(at_, count);
        at_ += count;
        return burst;
    }

 private:
    std::span<const Frame> frames_;
    std::size_t at_;
};

/// Cycles of the timed parts, and how a benchmark reports them.
class Cycles {
 public:
    explicit Cycles(benchmark::State& state) : state_{state} {}
    /// Times one burst; what happens between calls is not counted.
    template <typename Work>
    void time(std::size_t packets, Work&& work) {
        const std::uint64_t start = rte_rdtsc_precise();
        work();
        const std::uint64_t cycles = rte_rdtsc_precise() - start;
        state_.SetIterationTime(static_cast<double>(cycles) / static_cast<double>(rte_get_tsc_hz()));
        cycles_ += cycles;
        packets_ += packets;
        if (each_.size() < kMostSamples)
            each_.push_back(static_cast<double>(cycles) / static_cast<double>(packets));
    }
    std::uint64_t packets() const noexcept { return packets_; }
    void report() {
        const double each = static_cast<double>(cycles_) / static_cast<double>(packets_);
        state_.counters["cycles_per_packet"] = each;
        // Of bursts: what another program on the same core takes is not in it.
        const auto middle = each_.begin() + static_cast<std::ptrdiff_t>(each_.size() / 2);
        std::nth_element(each_.begin(), middle, each_.end());
        state_.counters["median"] = *middle;
        state_.counters["Mpps"] = static_cast<double>(rte_get_tsc_hz()) / each / 1e6;
    }

 private:
    static constexpr std::size_t kMostSamples = 1U << 20U;
    benchmark::State& state_;
    std::vector<double> each_;
    std::uint64_t cycles_ = 0;
    std::uint64_t packets_ = 0;
};

}  // namespace fwd::bench
