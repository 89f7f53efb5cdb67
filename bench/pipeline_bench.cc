// SPDX-License-Identifier: BSD-3-Clause
// The whole way of a packet of an established session: from a received frame to the rewritten one in the
// transmit buffer. Headers are hot, flows come in random order.
#include <rte_launch.h>

#include <algorithm>
#include <array>
#include <string>

#include "bench/benchmarks.h"

namespace fwd::bench {
namespace {

using dataplane::SourceTranslation;
using dataplane::Tsc;

enum class Way { requests, answers };

std::span<const Frame> frames_of(const Network& network, Way way) {
    return way == Way::requests ? network.requests() : network.answers();
}
dataplane::PortIndex port_of(Way way) {
    return way == Way::requests ? Network::kWan : Network::kLan;
}

void pipeline(benchmark::State& state, const Scenario& scenario, Way way) {
    Network& network = established(scenario);
    Burst burst{network.dataplane()};
    Reader frames{frames_of(network, way)};
    Cycles cycles{state};
    std::uint64_t rest = 0;
    const std::uint64_t sent_before = network.sent_packets();
    for (auto _ : state) {
        burst.fill(frames.next());
        const Tsc now = Tsc::read();
        cycles.time(dataplane::kBurst, [&] { network.worker().process(burst.packets(), port_of(way), now); });
        const std::uint64_t start = rte_rdtsc_precise();
        network.housekeep(Tsc{start});
        rest += rte_rdtsc_precise() - start;
    }
    if (network.sent_packets() - sent_before != cycles.packets()) state.SkipWithError("packets were lost");
    cycles.report();
    // Outside of the timed part: empty receive, transmit into net_null, sweep, reclaim.
    state.counters["rest_of_round"] = static_cast<double>(rest) / static_cast<double>(cycles.packets());
}

/// One worker's share of a benchmark with two.
struct Share {
    Network* network;
    Burst* burst;
    Reader* frames;
    Way way;
    unsigned worker;
    std::uint64_t cycles = 0;

    static constexpr unsigned kBursts = 1024;

    static int run(void* self_) {
        auto& self = *static_cast<Share*>(self_);
        self.cycles = 0;
        for (unsigned i = 0; i < kBursts; ++i) {
            self.burst->fill(self.frames->next());
            const Tsc now = Tsc::read();
            const std::uint64_t start = rte_rdtsc_precise();
            self.network->worker(self.worker).process(self.burst->packets(), port_of(self.way), now);
            self.cycles += rte_rdtsc_precise() - start;
            self.network->housekeep(now, self.worker);
        }
        return 0;
    }
};

/// Two workers, the same sessions: requests on both, or answers on the other worker than requests.
void two_workers(benchmark::State& state, const Scenario& scenario, Way second) {
    Network& network = established(scenario);
    Burst bursts[]{Burst{network.dataplane()}, Burst{network.dataplane()}};
    Reader readers[]{Reader{network.requests()},
                     Reader{frames_of(network, second), frames_of(network, second).size() / 2}};
    Share shares[]{{&network, &bursts[0], &readers[0], Way::requests, 0},
                   {&network, &bursts[1], &readers[1], second, 1}};
    std::uint64_t cycles[]{0, 0};
    std::uint64_t packets = 0;
    const std::uint64_t sent_before = network.sent_packets();
    for (auto _ : state) {
        rte_eal_remote_launch(Share::run, &shares[1], 1);
        Share::run(&shares[0]);
        rte_eal_wait_lcore(1);
        for (unsigned w = 0; w < 2; ++w) cycles[w] += shares[w].cycles;
        packets += std::uint64_t{Share::kBursts} * dataplane::kBurst;
        state.SetIterationTime(static_cast<double>(std::max(shares[0].cycles, shares[1].cycles)) /
                               static_cast<double>(rte_get_tsc_hz()));
    }
    if (network.sent_packets() - sent_before != 2 * packets) state.SkipWithError("packets were lost");
    const double each = static_cast<double>(cycles[0] + cycles[1]) / static_cast<double>(2 * packets);
    state.counters["cycles_per_packet"] = each;
    state.counters["Mpps"] = 2 * static_cast<double>(rte_get_tsc_hz()) / each / 1e6;
}

}  // namespace

void register_pipeline() {
    for (const std::uint32_t sessions : {1000U, 65536U, 1000000U}) {
        for (const auto source : {SourceTranslation::preserve, SourceTranslation::masquerade}) {
            for (const auto protocol : {net::Protocol::udp, net::Protocol::tcp}) {
                const Scenario scenario{.protocol = protocol, .source = source, .capacity = sessions};
                for (const Way way : {Way::requests, Way::answers}) {
                    const std::string name = std::string{"pipeline/"} +
                                             (source == SourceTranslation::preserve ? "dnat/" : "full-nat/") +
                                             (way == Way::requests ? "requests/" : "answers/") +
                                             (protocol == net::Protocol::udp ? "udp/" : "tcp/") +
                                             std::to_string(sessions);
                    benchmark::RegisterBenchmark(name.c_str(), pipeline, scenario, way)->UseManualTime();
                }
            }
        }
        const Scenario shared{.capacity = sessions, .workers = 2};
        const auto two = [&](const char* what, Way second) {
            benchmark::RegisterBenchmark(
                ("two-workers/" + std::string{what} + "/udp/" + std::to_string(sessions)).c_str(),
                two_workers, shared, second)
                ->UseManualTime();
        };
        two("requests-on-both", Way::requests);
        two("answers-on-the-other", Way::answers);
    }
}

}  // namespace fwd::bench
