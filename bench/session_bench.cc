// SPDX-License-Identifier: BSD-3-Clause
// Sessions a second: each packet is the first of a new session. A clock of the benchmark's own ages them.
#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "bench/benchmarks.h"

namespace fwd::bench {
namespace {

using dataplane::kBurst;
using dataplane::SourceTranslation;
using dataplane::TcpFlags;
using dataplane::Tsc;

class FirstPackets {
 public:
    explicit FirstPackets(const Network& network) : network_{network} {}
    std::span<const Frame> next() noexcept {
        for (Frame& frame : frames_) frame = network_.request(number_++, TcpFlags::kSyn);
        return frames_;
    }

 private:
    const Network& network_;
    std::uint64_t number_ = 0;
    std::array<Frame, kBurst> frames_;
};

std::uint64_t opened(Network& network) {
    return network.worker().counters().sessions_opened.get();
}

/// Opens sessions in a table that is nearly empty, then ends them all: they have been idle for too long.
void open_and_age(benchmark::State& state, SourceTranslation source, std::uint32_t batch) {
    using namespace std::chrono_literals;
    Network& network = empty({.source = source, .capacity = 1000000, .timeout = 10s});
    Burst burst{network.dataplane()};
    FirstPackets packets{network};
    Cycles cycles{state};
    Tsc now = Tsc::read();
    std::uint64_t ageing = 0;
    const std::uint64_t before = opened(network);
    std::uint32_t live = 0;
    for (auto _ : state) {
        burst.fill(packets.next());
        cycles.time(kBurst, [&] { network.worker().process(burst.packets(), Network::kWan, now); });
        network.housekeep(now);
        live += kBurst;
        if (live < batch) continue;
        now.cycles += 20 * rte_get_tsc_hz();
        while (network.dataplane().flows().key_count_in_use() != 0) {
            const std::uint64_t start = rte_rdtsc_precise();
            network.housekeep(now);
            ageing += rte_rdtsc_precise() - start;
            now.cycles += rte_get_tsc_hz() / 10000;
        }
        live = 0;
    }
    if (opened(network) - before != cycles.packets()) state.SkipWithError("a session was not opened");
    cycles.report();
    // A sweep costs by the position, live or not, so this holds for this share of the table alone.
    state.counters["ageing_cycles"] = static_cast<double>(ageing) / static_cast<double>(cycles.packets());
}

/// A steady state: nearly a million live sessions, and as many end as are opened. The time that a burst of 64
/// takes is one that a million a second would need.
void churn(benchmark::State& state, SourceTranslation source, std::uint32_t capacity) {
    using namespace std::chrono_literals;
    // A session lives for its timeout and half a sweep; at 80 % of the capacity sessions would make room.
    Network& network = empty({.source = source, .capacity = capacity, .timeout = 400ms});
    Burst burst{network.dataplane()};
    FirstPackets packets{network};
    Tsc now = Tsc::read();
    const std::uint64_t burst_cycles = rte_get_tsc_hz() * kBurst / (std::uint64_t{capacity} * 4 / 5);
    const auto round = [&] {
        network.worker().process(burst.packets(), Network::kWan, now);
        // A worker that keeps up has rounds without packets too; one alone ends fewer sessions than a burst
        // opens.
        network.housekeep(now);
        network.housekeep(now);
        now.cycles += burst_cycles;
    };
    for (std::uint32_t sessions = 0; sessions < 3 * capacity; sessions += kBurst) {
        burst.fill(packets.next());
        round();
    }
    Cycles cycles{state};
    const std::uint64_t before = opened(network);
    const auto& counters = network.worker().counters();
    const std::uint64_t closed_before = counters.sessions_closed.get();
    const std::uint64_t evicted_before = counters.sessions_evicted.get();
    for (auto _ : state) {
        burst.fill(packets.next());
        cycles.time(kBurst, round);
    }
    if (opened(network) - before != cycles.packets()) state.SkipWithError("a session was not opened");
    cycles.report();
    state.counters["live"] = network.dataplane().flows().session_count();
    state.counters["closed_each"] = static_cast<double>(counters.sessions_closed.get() - closed_before) /
                                    static_cast<double>(cycles.packets());
    state.counters["evicted_each"] = static_cast<double>(counters.sessions_evicted.get() - evicted_before) /
                                     static_cast<double>(cycles.packets());
}

/// What a round without packets costs while a million sessions are swept: that is what a burst may have to
/// wait for. Of each round, since the longest one counts; in microseconds.
/// @param due every session has been idle for too long and is ended
void sweep(benchmark::State& state, bool due) {
    using namespace std::chrono_literals;
    constexpr std::uint32_t kSessions = 999'936;  // whole bursts, and below 80 % of the capacity
    constexpr std::uint64_t kRoundsPerSecond = 50'000;
    Network& network = empty({.capacity = 1'250'000, .timeout = due ? 10'000ms : 36'000'000ms});
    Burst burst{network.dataplane()};
    FirstPackets packets{network};
    Tsc now = Tsc::read();
    for (std::uint32_t sessions = 0; sessions < kSessions; sessions += kBurst) {
        burst.fill(packets.next());
        network.worker().process(burst.packets(), Network::kWan, now);
        network.housekeep(now);
    }
    if (network.dataplane().flows().session_count() != kSessions)
        state.SkipWithError("a session was not opened");
    now.cycles += 20 * rte_get_tsc_hz();
    std::vector<double> rounds;
    for (auto _ : state) {
        const std::uint64_t start = rte_rdtsc_precise();
        network.housekeep(now);
        const std::uint64_t cycles = rte_rdtsc_precise() - start;
        state.SetIterationTime(static_cast<double>(cycles) / static_cast<double>(rte_get_tsc_hz()));
        rounds.push_back(1e6 * static_cast<double>(cycles) / static_cast<double>(rte_get_tsc_hz()));
        now.cycles += rte_get_tsc_hz() / kRoundsPerSecond;
    }
    std::ranges::sort(rounds);
    const auto share = [&](double of) {
        return rounds[static_cast<std::size_t>(of * static_cast<double>(rounds.size() - 1))];
    };
    state.counters["p50_us"] = share(0.5);
    state.counters["p99_us"] = share(0.99);
    // Where a round takes microseconds, the kernel's timer is in one of a thousand.
    state.counters["p99.9_us"] = share(0.999);
    state.counters["max_us"] = rounds.back();  // with whatever else this core was taken for
    state.counters["ended"] = kSessions - network.dataplane().flows().session_count();
}

}  // namespace

void register_sessions() {
    for (const bool due : {false, true}) {
        benchmark::RegisterBenchmark(due ? "sessions/sweep/ending" : "sessions/sweep/living", sweep, due)
            ->UseManualTime()
            ->Iterations(100'000);
    }
    for (const auto source : {SourceTranslation::preserve, SourceTranslation::masquerade}) {
        const std::string kind = source == SourceTranslation::preserve ? "dnat/" : "full-nat/";
        benchmark::RegisterBenchmark(("sessions/open/" + kind + "1000").c_str(), open_and_age, source, 1024U)
            ->UseManualTime();
        benchmark::RegisterBenchmark(("sessions/open/" + kind + "100000").c_str(), open_and_age, source,
                                     100032U)
            ->UseManualTime();
        benchmark::RegisterBenchmark(("sessions/churn/" + kind + "1000000").c_str(), churn, source, 1250000U)
            ->UseManualTime();
    }
}

}  // namespace fwd::bench
