// SPDX-License-Identifier: BSD-3-Clause
// Each stage of a packet's way alone, so that a regression shows where it is.
#include <rte_ethdev.h>

#include <array>
#include <string>
#include <vector>

#include "bench/benchmarks.h"
#include "dataplane/packet.h"

namespace fwd::bench {
namespace {

using namespace dataplane;

constexpr Scenario kFew{.protocol = net::Protocol::tcp, .capacity = 1000};

void checksum_update(benchmark::State& state) {
    net::ChecksumDelta delta;
    delta.replace32(0x01020304, 0x05060708).replace16(80, 8080);
    std::array<std::uint16_t, kBurst> sums{};
    Cycles cycles{state};
    for (auto _ : state) {
        cycles.time(kBurst, [&] {
            for (std::uint16_t& sum : sums) sum = delta.apply(sum);
            benchmark::DoNotOptimize(sums);
        });
    }
    cycles.report();
}

void parse_stage(benchmark::State& state) {
    Network& network = established(kFew);
    Burst burst{network.dataplane()};
    Reader frames{network.requests()};
    const PortAddressing& addressing = network.dataplane().shared().ports[Network::kWan.value]->addressing;
    const dataplane::UsualBeginning usual{addressing.mac};
    Cycles cycles{state};
    for (auto _ : state) {
        burst.fill(frames.next());
        cycles.time(kBurst, [&] {
            for (std::size_t i = 0; i < kBurst; ++i)
                benchmark::DoNotOptimize(parse(burst.frame(i), kFrameBytes, addressing, usual, 0, false));
        });
    }
    cycles.report();
}

void key_and_hash(benchmark::State& state) {
    Network& network = established(kFew);
    Burst burst{network.dataplane()};
    Reader frames{network.requests()};
    Cycles cycles{state};
    std::array<FlowKey, kBurst> keys;
    std::array<std::uint32_t, kBurst> hashes;
    for (auto _ : state) {
        burst.fill(frames.next());
        cycles.time(kBurst, [&] {
            for (std::size_t i = 0; i < kBurst; ++i) {
                keys[i] = FlowKey::from_packet(LinkId{0}, burst.frame(i) + kEthernetBytes);
                hashes[i] = network.dataplane().hash()(keys[i]);
            }
            benchmark::DoNotOptimize(keys);
            benchmark::DoNotOptimize(hashes);
        });
    }
    cycles.report();
}

void count_packet(FlowTable& flows, FlowPosition position) {
    Flow& flow = flows.flow(position);
    if (flow.count(46)) [[unlikely]]
        flows.spill_counts(flow);
}

/// Bulk lookup of flows in random order; with `touch` also the write into each flow's line that a packet
/// costs.
void lookup(benchmark::State& state, std::uint32_t sessions, bool touch) {
    Network& network = established({.capacity = sessions});
    FlowTable& flows = network.dataplane().flows();
    Reader frames{network.requests()};
    std::array<FlowKey, kBurst> keys;
    std::array<std::uint32_t, kBurst> hashes;
    std::array<const void*, kBurst> pointers;
    std::array<std::int32_t, kBurst> positions;
    for (std::size_t i = 0; i < kBurst; ++i) pointers[i] = &keys[i];
    Cycles cycles{state};
    for (auto _ : state) {
        const auto burst = frames.next();
        for (std::size_t i = 0; i < kBurst; ++i) {
            keys[i] = FlowKey::from_packet(LinkId{0}, burst[i].data() + kEthernetBytes);
            hashes[i] = flows.hash()(keys[i]);
        }
        cycles.time(kBurst, [&] {
            flows.lookup_bulk(pointers.data(), hashes.data(), kBurst, positions.data());
            if (!touch) return;
            for (const std::int32_t position : positions)
                __builtin_prefetch(&flows.flow({static_cast<std::uint32_t>(position)}), 1);
            for (const std::int32_t position : positions)
                count_packet(flows, {static_cast<std::uint32_t>(position)});
        });
        for (const std::int32_t position : positions) {
            if (position < 0) return state.SkipWithError("a flow was not found");
        }
    }
    cycles.report();
}

/// What the memory allows: the flows' lines in random order, fetched a burst ahead and written, nothing else.
void flow_lines(benchmark::State& state, std::uint32_t sessions) {
    Network& network = established({.capacity = sessions});
    FlowTable& flows = network.dataplane().flows();
    std::vector<FlowPosition> order;
    for (const Frame& frame : network.requests()) {
        const FlowKey key = FlowKey::from_packet(LinkId{0}, frame.data() + kEthernetBytes);
        order.push_back({static_cast<std::uint32_t>(flows.lookup(key, flows.hash()(key)))});
    }
    std::size_t at = 0;
    Cycles cycles{state};
    for (auto _ : state) {
        if (at + std::size_t{2} * kBurst > order.size()) at = 0;
        cycles.time(kBurst, [&] {
            for (std::size_t i = 0; i < kBurst; ++i) {
                __builtin_prefetch(&flows.flow(order[at + kBurst + i]), 1);
                count_packet(flows, order[at + i]);
            }
        });
        at += kBurst;
    }
    cycles.report();
}

void rewrite_stage(benchmark::State& state) {
    Network& network = established(kFew);
    Burst burst{network.dataplane()};
    Reader frames{network.requests()};
    const FlowKey arrives = FlowKey::from_packet(LinkId{0}, network.requests()[0].data() + kEthernetBytes);
    const Translation translation =
        Translation::between(arrives, arrives.source_endpoint(), arrives.source_endpoint());
    Cycles cycles{state};
    for (auto _ : state) {
        burst.fill(frames.next());
        cycles.time(kBurst, [&] {
            for (rte_mbuf* packet : burst.packets())
                rewrite(rte_pktmbuf_mtod_offset(packet, std::uint8_t*, kEthernetBytes), translation);
        });
    }
    cycles.report();
}

void ethernet_header(benchmark::State& state) {
    Network& network = established(kFew);
    Burst burst{network.dataplane()};
    Reader frames{network.requests()};
    const Link& egress = network.dataplane().links()[Network::kLan.value];
    Cycles cycles{state};
    for (auto _ : state) {
        burst.fill(frames.next());
        cycles.time(kBurst, [&] {
            for (rte_mbuf* packet : burst.packets()) {
                write_l2(*packet, rte_pktmbuf_mtod_offset(packet, std::uint8_t*, kEthernetBytes),
                         kFrameBytes - kEthernetBytes, egress, net::MacAddress{}, RTE_ETHER_TYPE_IPV4);
            }
        });
    }
    cycles.report();
}

/// Gathering and the device: net_null, which only drops its reference.
void transmit_stage(benchmark::State& state) {
    Network& network = established(kFew);
    Burst burst{network.dataplane()};
    Reader frames{network.requests()};
    ThreadCounters counters;
    TxBuffer buffer{*network.dataplane().shared().ports[Network::kLan.value], 0};
    Cycles cycles{state};
    for (auto _ : state) {
        burst.fill(frames.next());
        cycles.time(kBurst, [&] {
            for (rte_mbuf* packet : burst.packets()) buffer.push(packet, kFrameBytes);
            buffer.flush(counters);
        });
    }
    if (counters.sent.get() != cycles.packets()) return state.SkipWithError("packets were lost");
    cycles.report();
}

}  // namespace

void register_stages() {
    const auto add = [](const std::string& name, auto&&... arguments) {
        benchmark::RegisterBenchmark(("stage/" + name).c_str(), arguments...)->UseManualTime();
    };
    add("checksum-update", checksum_update);
    add("parse", parse_stage);
    add("key-and-hash", key_and_hash);
    add("rewrite", rewrite_stage);
    add("ethernet-header", ethernet_header);
    add("transmit", transmit_stage);
    for (const std::uint32_t sessions : {1000U, 65536U, 1000000U}) {
        add("flow-lines/" + std::to_string(sessions), flow_lines, sessions);
        add("lookup/" + std::to_string(sessions), lookup, sessions, false);
        add("lookup-and-count/" + std::to_string(sessions), lookup, sessions, true);
    }
}

}  // namespace fwd::bench
