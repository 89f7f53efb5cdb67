// SPDX-License-Identifier: BSD-3-Clause
// Runs under callgrind, which counts the instructions of what stands between on() and off(): see
// instructions_test.py. Other than cycles they don't depend on the machine or on what else it does.
#include <rte_eal.h>
#include <unistd.h>
#include <valgrind/callgrind.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "bench/network.h"

namespace fwd::bench {
namespace {

using dataplane::SourceTranslation;
using dataplane::Tsc;

constexpr std::uint32_t kSessions = 1024;
constexpr std::uint8_t kSyn = dataplane::TcpFlags::kSyn;

/// Processes frames, a burst at a time, and counts only the worker's part.
void process(Network& network, std::span<const Frame> frames, dataplane::PortIndex port) {
    Burst burst{network.dataplane()};
    for (std::size_t at = 0; at + dataplane::kBurst <= frames.size(); at += dataplane::kBurst) {
        burst.fill(frames.subspan(at, dataplane::kBurst));
        const Tsc now = Tsc::read();
        CALLGRIND_TOGGLE_COLLECT;
        network.worker().process(burst.packets(), port, now);
        CALLGRIND_TOGGLE_COLLECT;
        network.housekeep(now);
    }
}

void report(const char* name, std::size_t packets) {
    std::printf("%s %zu\n", name, packets);
    CALLGRIND_DUMP_STATS_AT(name);
}

void established_packets(const char* name, const Scenario& scenario, bool answers) {
    Network& network = established(scenario);
    const auto frames = answers ? network.answers() : network.requests();
    const auto port = answers ? Network::kLan : Network::kWan;
    process(network, frames, port);
    CALLGRIND_ZERO_STATS;
    process(network, frames, port);
    report(name, frames.size());
}

void new_sessions(const char* name, const Scenario& scenario) {
    Network& network = empty(scenario);
    std::vector<Frame> first;
    for (std::uint32_t number = 0; number < scenario.capacity; ++number)
        first.push_back(network.request(number, kSyn));
    CALLGRIND_ZERO_STATS;
    process(network, first, Network::kWan);
    if (network.sent_packets() != first.size()) std::abort();
    report(name, first.size());
}

void run() {
    const Scenario udp{.protocol = net::Protocol::udp, .capacity = kSessions};
    const Scenario tcp{.protocol = net::Protocol::tcp, .capacity = kSessions};
    Scenario full_nat = udp;
    full_nat.source = SourceTranslation::masquerade;
    established_packets("dnat-udp", udp, false);
    established_packets("answers-udp", udp, true);
    Scenario many_prefixes = udp;
    many_prefixes.source_ranges = 10'000;
    Scenario many_rules = udp;
    many_rules.other_rules = 100'000;
    established_packets("dnat-tcp", tcp, false);
    established_packets("dnat-udp-prefixes", many_prefixes, false);
    established_packets("dnat-udp-rules", many_rules, false);
    established_packets("full-nat-udp", full_nat, false);
    // Capacity beyond what is opened: nobody has to make room.
    new_sessions("open-dnat-udp", udp);
    new_sessions("open-full-nat-udp", full_nat);
    forget_network();
}

}  // namespace
}  // namespace fwd::bench

int main(int, char** argv) {
    const std::string prefix = "fwd-instructions-" + std::to_string(getpid());
    const std::vector<std::string> arguments{
        argv[0],       "--no-huge", "--no-pci", "--no-shconf", "--no-telemetry", "-m",  "256",
        "--log-level", "error",     "--lcores", "(0-1)@(0)",   "--file-prefix",  prefix};
    std::vector<char*> raw;
    raw.reserve(arguments.size());
    for (const std::string& argument : arguments) raw.push_back(const_cast<char*>(argument.c_str()));
    if (rte_eal_init(static_cast<int>(raw.size()), raw.data()) < 0) return EXIT_FAILURE;
    fwd::bench::run();
    rte_eal_cleanup();
    return EXIT_SUCCESS;
}
