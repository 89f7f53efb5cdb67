// SPDX-License-Identifier: BSD-3-Clause
#include "bench/network.h"

#include <rte_dev.h>
#include <rte_ethdev.h>
#include <rte_ip.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>

namespace fwd::bench {
namespace {

using namespace dataplane;
using net::Ipv4Address;

constexpr std::uint8_t kSyn = TcpFlags::kSyn, kAck = TcpFlags::kAck;
constexpr std::size_t kIp = 14, kL4 = 34;
constexpr std::uint8_t kTtl = 64;

constexpr std::uint32_t kClients = 0x80000000;  // 128.0.0.0/2: from everywhere
constexpr std::uint32_t kClientMask = 0x3fffffff;
constexpr std::uint32_t kPublic = 0xcb007100;          // 203.0.113.0/24
constexpr std::uint32_t kServers = 0x0a000000;         // 10.0.0.0/24
constexpr std::uint32_t kOtherExternals = 0xc6120000;  // 198.18.0.0/15
constexpr std::uint32_t kRouter = 0xcb0071fe;
// Full NAT of a million sessions wants more pairs of own address and target than one has ports.
constexpr std::uint32_t kOwnAddresses = 8, kServerCount = 16, kRules = 64;
constexpr net::MacAddress kRouterMac{{0x02, 0, 0, 0, 1, 0}};
constexpr std::uint16_t kFirstPublicPort = 80, kFirstTargetPort = 8080;

[[noreturn]] void fail(const char* what) {
    std::fprintf(stderr, "fwd_bench: %s\n", what);
    std::abort();
}

Ipv4Address address(std::uint32_t host) {
    return Ipv4Address::from_host(host);
}
net::MacAddress server_mac(std::uint32_t server) {
    return {{0x02, 0, 0, 0, 0, static_cast<std::uint8_t>(server)}};
}
net::Endpoint external_of(std::uint32_t rule) {
    return {address(kPublic + 100 + rule / 4),
            net::be16::from_host(static_cast<std::uint16_t>(kFirstPublicPort + rule % 4))};
}
net::Endpoint target_of(std::uint32_t rule) {
    return {address(kServers + 100 + rule % kServerCount),
            net::be16::from_host(static_cast<std::uint16_t>(kFirstTargetPort + rule / kServerCount))};
}

template <typename T>
void put(Frame& frame, std::size_t offset, const T& value) {
    std::memcpy(frame.data() + offset, &value, sizeof value);
}
template <typename T>
T get(const std::uint8_t* frame, std::size_t offset) {
    T value;
    std::memcpy(&value, frame + offset, sizeof value);
    return value;
}
std::uint64_t number_in(const std::uint8_t* frame) {
    return get<std::uint32_t>(frame, kFrameBytes - 4);
}

/// Computed by DPDK rather than by the code that is measured.
void set_checksums(Frame& frame) {
    const bool tcp = frame[kIp + 9] == static_cast<std::uint8_t>(net::Protocol::tcp);
    const std::size_t l4_checksum = kL4 + (tcp ? 16 : 6);
    put(frame, kIp + 10, std::uint16_t{0});
    put(frame, l4_checksum, std::uint16_t{0});
    const auto* ip = reinterpret_cast<const rte_ipv4_hdr*>(frame.data() + kIp);
    put(frame, l4_checksum, rte_ipv4_udptcp_cksum(ip, frame.data() + kL4));
    put(frame, kIp + 10, rte_ipv4_cksum(ip));
}

/// An IP packet with as much payload as fits, which ends with its session's number.
Frame make_frame(net::MacAddress to, net::Protocol protocol, net::Endpoint source, net::Endpoint destination,
                 std::uint8_t tcp_flags, std::uint32_t number) {
    Frame frame{};
    put(frame, 0, to);
    put(frame, 6, net::MacAddress{{0x02, 0, 0, 0, 2, 0}});
    put(frame, 12, net::be16::from_host(RTE_ETHER_TYPE_IPV4));
    frame[kIp] = 0x45;
    put(frame, kIp + 2, net::be16::from_host(kFrameBytes - kIp));
    frame[kIp + 8] = kTtl;
    frame[kIp + 9] = static_cast<std::uint8_t>(protocol);
    put(frame, kIp + 12, source.address);
    put(frame, kIp + 16, destination.address);
    put(frame, kL4, source.port);
    put(frame, kL4 + 2, destination.port);
    put(frame, kFrameBytes - 4, number);
    if (protocol == net::Protocol::tcp) {
        frame[kL4 + 12] = 5U << 4U;
        frame[kL4 + 13] = tcp_flags;
    } else {
        put(frame, kL4 + 4, net::be16::from_host(kFrameBytes - kL4));
    }
    set_checksums(frame);
    return frame;
}

/// Everybody, in so many pieces.
std::vector<net::AddressRange> pieces(std::uint32_t count) {
    std::vector<net::AddressRange> ranges;
    for (std::uint64_t i = 0; i < count; ++i) {
        const auto first = static_cast<std::uint32_t>((i << 32U) / count);
        const auto last = static_cast<std::uint32_t>(((i + 1) << 32U) / count - 1);
        ranges.push_back({address(first), address(last)});
    }
    return ranges;
}

std::unique_ptr<const Policy> make_policy(const Scenario& scenario, const FlowHash& hash) {
    std::vector<ForwardingRule> rules;
    for (std::uint32_t i = 0; i < kRules; ++i) {
        ForwardingRule rule;
        rule.protocol = scenario.protocol;
        rule.external = external_of(i);
        rule.targets = {{target_of(i)}};
        rule.source = scenario.source;
        rule.allowed_sources = pieces(scenario.source_ranges);
        rules.push_back(std::move(rule));
    }
    for (std::uint32_t i = 0; i < scenario.other_rules; ++i) {
        ForwardingRule rule;
        rule.protocol = scenario.protocol;
        rule.external = net::Endpoint{address(kOtherExternals + i / 0x8000),
                                      net::be16::from_host(static_cast<std::uint16_t>(1 + i % 0x8000))};
        rule.targets = {{target_of(0)}};
        rules.push_back(std::move(rule));
    }
    auto set = RuleSet::create(std::move(rules), hash);
    const std::array<Route, 3> table{{
        {{address(kPublic), 24}, LinkId{Network::kWan.value}, {}},
        {{address(kServers), 24}, LinkId{Network::kLan.value}, {}},
        {{address(0), 0}, LinkId{Network::kWan.value}, address(kRouter)},
    }};
    auto routes = Routes::create(table);
    if (!set || !routes) fail("no memory for rules or routes");
    auto policy = std::make_unique<Policy>();
    policy->rules = std::move(*set);
    policy->routes = std::move(*routes);
    policy->timeouts.fill(Tick::from_duration(scenario.timeout));
    return policy;
}

void add_neighbour(NeighbourTable& neighbours, NextHop next_hop, net::MacAddress mac) {
    const auto id = neighbours.add(next_hop);
    if (!id) fail("no room for a neighbour");
    neighbours.set(*id, {.mac = mac, .state = AdjacencyState::reachable, .egress = next_hop.egress});
}

std::unique_ptr<Network> current;

}  // namespace

Burst::Burst(Dataplane& dataplane) {
    for (rte_mbuf*& packet : owned_) {
        packet = dataplane.allocate();
        if (packet == nullptr) fail("no packet buffers");
    }
}

Burst::~Burst() {
    for (rte_mbuf* packet : owned_) rte_pktmbuf_free(packet);
}

void Burst::fill(std::span<const Frame> frames) noexcept {
    count_ = frames.size();
    for (std::size_t i = 0; i < count_; ++i) {
        rte_mbuf* packet = owned_[i];
        handed_[i] = packet;
        packet->data_off = RTE_PKTMBUF_HEADROOM;
        packet->data_len = kFrameBytes;
        packet->pkt_len = kFrameBytes;
        packet->ol_flags = 0;
        rte_mbuf_refcnt_set(packet, 2);
        std::memcpy(rte_pktmbuf_mtod(packet, void*), frames[i].data(), sizeof(Frame));
    }
}

Network::Network(const Scenario& scenario) : scenario_{scenario} {
    DataplaneConfig config;
    static unsigned device_count = 0;
    for (std::string& device : devices_) {
        device = "net_null" + std::to_string(device_count++);
        std::uint16_t ethdev = 0;
        if (rte_eal_hotplug_add("vdev", device.c_str(), "no-rx=1") != 0 ||
            rte_eth_dev_get_port_by_name(device.c_str(), &ethdev) != 0) {
            fail("no net_null device");
        }
        config.links.emplace_back().ethdev = ethdev;
    }
    for (std::uint32_t i = 1; i <= kOwnAddresses; ++i) {
        config.links[kWan.value].addresses.push_back({address(kPublic + i), 24});
        config.links[kLan.value].addresses.push_back({address(kServers + i), 24});
    }
    config.sessions = scenario.capacity;
    config.rule_slots = kRules;
    for (unsigned w = 0; w < scenario.workers; ++w) config.worker_lcores.push_back(w);
    config.idle = IdleMode::poll;
    std::ranges::fill(config.secret.bytes, std::uint8_t{0x5a});

    auto made = Dataplane::create(config, make_policy(scenario, FlowHash{config.secret}));
    if (!made) fail(made.error().what);
    dataplane_ = std::move(*made);
    for (unsigned w = 0; w < scenario.workers; ++w) {
        rte_rcu_qsbr_thread_register(dataplane_->flows().qsbr(), w);
        rte_rcu_qsbr_thread_online(dataplane_->flows().qsbr(), w);
    }
    add_neighbour(dataplane_->neighbours(), {LinkId{kWan.value}, address(kRouter)}, kRouterMac);
    for (std::uint32_t server = 0; server < kServerCount; ++server) {
        add_neighbour(dataplane_->neighbours(), {LinkId{kLan.value}, address(kServers + 100 + server)},
                      server_mac(server));
    }
}

Network::~Network() {
    dataplane_.reset();
    for (const std::string& device : devices_) rte_eal_hotplug_remove("vdev", device.c_str());
}

void Network::housekeep(Tsc now, unsigned index) noexcept {
    worker(index).poll(now);
    rte_rcu_qsbr_quiescent(dataplane_->flows().qsbr(), index);
}

Frame Network::request(std::uint64_t number, std::uint8_t tcp_flags) const noexcept {
    // Multiplying by an odd number gives every client another address.
    const auto client = static_cast<std::uint32_t>(number * 0x9e3779b1U) & kClientMask;
    const auto port = static_cast<std::uint16_t>(1024 + (number * 0x85ebca6bU >> 8U) % 60000);
    return make_frame(dataplane_->links()[kWan.value].mac, scenario_.protocol,
                      {address(kClients + client), net::be16::from_host(port)},
                      external_of(static_cast<std::uint32_t>(number % kRules)), tcp_flags,
                      static_cast<std::uint32_t>(number));
}

Frame Network::answer_to(const std::uint8_t* sent, std::uint8_t tcp_flags) const noexcept {
    return make_frame(dataplane_->links()[kLan.value].mac, scenario_.protocol,
                      {get<Ipv4Address>(sent, kIp + 16), get<net::be16>(sent, kL4 + 2)},
                      {get<Ipv4Address>(sent, kIp + 12), get<net::be16>(sent, kL4)}, tcp_flags,
                      get<std::uint32_t>(sent, kFrameBytes - 4));
}

void Network::process(Burst& burst, std::span<const Frame> frames, PortIndex port) {
    burst.fill(frames);
    const Tsc now = Tsc::read();
    worker().process(burst.packets(), port, now);
    housekeep(now);
}

void Network::establish(std::uint32_t sessions) {
    Burst burst{*dataplane_};
    std::vector<Frame> first;
    std::vector<Frame> answers;
    for (std::uint32_t begin = 0; begin < sessions; begin += kBurst) {
        const std::uint32_t count = std::min<std::uint32_t>(kBurst, sessions - begin);
        first.clear();
        answers.clear();
        for (std::uint32_t i = 0; i < count; ++i) first.push_back(request(begin + i, kSyn));
        process(burst, first, kWan);
        for (std::uint32_t i = 0; i < count; ++i) {
            requests_.push_back(request(begin + i, kAck));
            answers.push_back(answer_to(burst.frame(i), kSyn | kAck));
            answers_.push_back(answer_to(burst.frame(i), kAck));
        }
        process(burst, answers, kLan);
        process(burst, std::span{requests_}.last(count), kWan);  // the client goes on
    }
    if (dataplane_->flows().session_count() != sessions) {
        for (std::size_t v = 0; v < kVerdictCount; ++v) {
            const std::uint64_t count = worker().counters().verdicts[v].get();
            if (count != 0) std::fprintf(stderr, "%s %lu\n", kVerdictNames[v].name.data(), count);
        }
        fail("not every session was opened");
    }
    // Records lie in the order in which their sessions were opened; packets come in another.
    std::ranges::shuffle(requests_, std::mt19937{1});
    std::ranges::shuffle(answers_, std::mt19937{2});
    verify();
}

std::uint64_t Network::sent_packets() const noexcept {
    std::uint64_t sent = 0;
    for (const auto& worker : dataplane_->workers()) sent += worker->counters().sent.get();
    return sent;
}

void Network::verify() {
    Burst burst{*dataplane_};
    const auto sample = [&](std::span<const Frame> frames, PortIndex port, PortIndex out) {
        rte_eth_stats before{}, after{};
        const std::uint16_t ethdev = dataplane_->shared().ports[out.value]->ethdev();
        rte_eth_stats_get(ethdev, &before);
        const std::uint64_t sent_before = sent_packets();
        std::size_t count = 0;
        for (; count + kBurst <= std::min<std::size_t>(frames.size(), std::size_t{64} * kBurst);
             count += kBurst) {
            process(burst, frames.subspan(count, kBurst), port);
            for (std::size_t i = 0; i < kBurst; ++i)
                check_translated(frames[count + i], burst.frame(i), port == kWan);
        }
        rte_eth_stats_get(ethdev, &after);
        if (after.opackets - before.opackets != count || sent_packets() - sent_before != count)
            fail("not every packet has left");
    };
    sample(requests_, kWan, kLan);
    sample(answers_, kLan, kWan);
}

void Network::check_translated(const Frame& in, const std::uint8_t* out, bool request) const {
    const auto number = number_in(in.data());
    const auto rule = static_cast<std::uint32_t>(number % kRules);
    const Frame original = this->request(number, kAck);
    const net::Endpoint client{get<Ipv4Address>(original.data(), kIp + 12),
                               get<net::be16>(original.data(), kL4)};
    const net::Endpoint source{get<Ipv4Address>(out, kIp + 12), get<net::be16>(out, kL4)};
    const net::Endpoint destination{get<Ipv4Address>(out, kIp + 16), get<net::be16>(out, kL4 + 2)};
    const auto& links = dataplane_->links();
    if (request) {
        if (destination != target_of(rule)) fail("a request went to the wrong target");
        const std::uint32_t own = source.address.value.host();
        const bool right = scenario_.source == SourceTranslation::preserve
                               ? source == client
                               : own > kServers && own <= kServers + kOwnAddresses;
        if (!right) fail("a request has the wrong source");
        if (get<net::MacAddress>(out, 0) != server_mac(rule % kServerCount) ||
            get<net::MacAddress>(out, 6) != links[kLan.value].mac)
            fail("a request has wrong MAC addresses");
    } else {
        if (source != external_of(rule) || destination != client)
            fail("an answer has the wrong source or destination");
        if (get<net::MacAddress>(out, 0) != kRouterMac ||
            get<net::MacAddress>(out, 6) != links[kWan.value].mac)
            fail("an answer has wrong MAC addresses");
    }
    if (out[kIp + 8] != kTtl - 1) fail("a TTL has not gone down by one");
    Frame correct{};
    std::memcpy(correct.data(), out, kFrameBytes);
    set_checksums(correct);
    if (std::memcmp(correct.data(), out, kFrameBytes) != 0) fail("a checksum is wrong");
    const std::size_t payload = kL4 + (scenario_.protocol == net::Protocol::tcp ? 20 : 8);
    if (std::memcmp(out + payload, in.data() + payload, kFrameBytes - payload) != 0)
        fail("a payload has changed");
}

Network& empty(const Scenario& scenario) {
    current.reset();
    current = std::make_unique<Network>(scenario);
    return *current;
}

Network& established(const Scenario& scenario) {
    if (!current || current->scenario() != scenario || current->requests().empty())
        empty(scenario).establish(scenario.capacity);
    return *current;
}

void forget_network() {
    current.reset();
}

}  // namespace fwd::bench
