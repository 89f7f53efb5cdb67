// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/worker.h"

#include <rte_ethdev.h>
#include <rte_icmp.h>
#include <rte_pause.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <ctime>

#include "dataplane/icmp_error.h"
#include "dataplane/packet.h"

namespace fwd::dataplane {
namespace {

constexpr std::uint32_t kBuriedPositions = 1U << 17U;
constexpr unsigned kFreedPerRound = 128;
constexpr unsigned kParsePrefetch = 4;
// A core has about a dozen buffers for lines on their way: what is asked for beyond them is dropped.
constexpr unsigned kFlowPrefetch = 12;

// What control can take without falling behind, per worker.
constexpr std::uint64_t kArpPerSecond = 2000, kIcmpPerSecond = 1000, kHeldPerSecond = 5000;

// An idle worker first polls on for a while (about 50 us on virtual devices), then sleeps, longer and longer.
constexpr unsigned kRoundsBeforeSleep = 1000;
constexpr long kFirstSleepNs = 20'000, kLongestSleepNs = 250'000;

constexpr std::size_t kTtlOffset = 8;
constexpr std::size_t kProtocolOffset = 9;
constexpr std::size_t kFlagsOffset = 6;
constexpr std::uint8_t kDontFragment = 0x40;

constexpr unsigned kNeighbourUseShift = 8;  // ticks to about 2 seconds

}  // namespace

struct Worker::Burst {
    unsigned count = 0;
    std::array<Parsed, kBurst> parsed;
    std::array<FlowKey, kBurst> keys;
    std::array<std::uint32_t, kBurst> hashes;
    std::array<const void*, kBurst> key_pointers;
    std::array<std::int32_t, kBurst> positions;
};

Worker::Worker(const SharedTables& shared, const Config& config)
    : shared_{shared},
      config_{config},
      reclaimer_{shared.flows, kBuriedPositions},
      opener_{shared, reclaimer_, counters_, config.index},
      sweeper_{shared, reclaimer_, counters_, config.index},
      arp_limiter_{kArpPerSecond, kArpPerSecond / 4},
      icmp_limiter_{kIcmpPerSecond, kIcmpPerSecond / 4},
      hold_limiter_{kHeldPerSecond, kHeldPerSecond / 4} {
    for (std::size_t port = 0; port < shared.ports.size(); ++port) {
        tx_.emplace_back(*shared.ports[port], config.tx_queues[port]);
    }
}

void Worker::run(const std::atomic<bool>& stop) noexcept {
    rte_rcu_qsbr* qsbr = shared_.flows.qsbr();
    rte_rcu_qsbr_thread_register(qsbr, config_.index);
    rte_rcu_qsbr_thread_online(qsbr, config_.index);
    unsigned empty_rounds = 0;
    Tsc start = Tsc::read();
    while (!stop.load(std::memory_order_relaxed)) {
        const unsigned packets = poll(start);
        rte_rcu_qsbr_quiescent(qsbr, config_.index);
        const Tsc worked = Tsc::read();
        if (packets != 0) {
            empty_rounds = 0;
            counters_.busy_cycles.add(worked.cycles - start.cycles);
        } else if (config_.idle == IdleMode::adaptive && ++empty_rounds > kRoundsBeforeSleep) {
            sleep(empty_rounds - kRoundsBeforeSleep);
        }
        const Tsc end = Tsc::read();
        counters_.all_cycles.add(end.cycles - start.cycles);
        start = end;
    }
    rte_rcu_qsbr_thread_offline(qsbr, config_.index);
    rte_rcu_qsbr_thread_unregister(qsbr, config_.index);
}

void Worker::sleep(unsigned empty_rounds) noexcept {
    const timespec pause{
        0, std::min(kFirstSleepNs * static_cast<long>(std::min(empty_rounds, 100U)), kLongestSleepNs)};
    // Nobody must wait for a sleeping worker's grace period.
    rte_rcu_qsbr_thread_offline(shared_.flows.qsbr(), config_.index);
    nanosleep(&pause, nullptr);
    rte_rcu_qsbr_thread_online(shared_.flows.qsbr(), config_.index);
}

unsigned Worker::poll(Tsc now) noexcept {
    policy_ = shared_.policy.load(std::memory_order_acquire);
    unsigned met = 0;
    std::array<rte_mbuf*, kBurst> packets;
    for (const RxQueue& rx : config_.rx_queues) {
        const std::uint16_t ethdev = shared_.ports[rx.port.value]->ethdev();
        const unsigned count = rte_eth_rx_burst(ethdev, rx.queue, packets.data(), kBurst);
        if (count == 0) continue;
        process(std::span{packets}.first(count), rx.port, now);
        met += count;
    }
    for (std::size_t port = 0; port < tx_.size(); ++port) {
        if (config_.tx_queues[port] == 0 && rte_ring_empty(shared_.ports[port]->outbox()) == 0) {
            tx_[port].take_from_outbox();
            ++met;
        }
    }
    flush();
    sweeper_.step(*policy_, now);
    reclaimer_.drain(kFreedPerRound);
    return met;
}

void Worker::process(std::span<rte_mbuf*> packets, PortIndex port, Tsc now) noexcept {
    policy_ = shared_.policy.load(std::memory_order_acquire);
    Burst burst;
    parse_burst(packets, *shared_.ports[port.value], burst, now);
    if (burst.count != 0) forward_burst(burst, now);
}

void Worker::parse_burst(std::span<rte_mbuf*> packets, const Port& port, Burst& burst, Tsc now) noexcept {
    const auto prefetch = [&](std::size_t i) {
        if (i < packets.size()) rte_prefetch0(rte_pktmbuf_mtod(packets[i], void*));
    };
    for (unsigned i = 0; i < kParsePrefetch; ++i) prefetch(i);
    std::uint64_t bytes = 0;
    for (std::size_t i = 0; i < packets.size(); ++i) {
        prefetch(i + kParsePrefetch);
        rte_mbuf* packet = packets[i];
        const std::uint32_t frame_bytes = packet->pkt_len;
        bytes += frame_bytes;
        if (packet->nb_segs != 1) [[unlikely]] {
            drop(packet, Verdict::drop_multi_segment, LinkId{kNoLink});
            continue;
        }
        auto* frame = rte_pktmbuf_mtod(packet, std::uint8_t*);
        const std::uint16_t vlan =
            (packet->ol_flags & RTE_MBUF_F_RX_VLAN_STRIPPED) != 0 ? packet->vlan_tci : 0;
        const bool checksum_good =
            (packet->ol_flags & RTE_MBUF_F_RX_IP_CKSUM_MASK) == RTE_MBUF_F_RX_IP_CKSUM_GOOD;
        const ParsedPacket result = parse(frame, frame_bytes, port.addressing, vlan, checksum_good);
        if (result.link.value != kNoLink) {
            LinkCounters& link = counters_.links[result.link.value];
            link.rx_packets.add(1);
            link.rx_bytes.add(frame_bytes);
        }
        const Parsed parsed{packet, frame + result.l3_offset, result.ip_bytes, result.link};
        switch (result.kind) {
            case PacketKind::tcp_or_udp: {
                const unsigned n = burst.count++;
                burst.parsed[n] = parsed;
                burst.keys[n] = FlowKey::from_packet(result.link, parsed.ip);
                burst.hashes[n] = shared_.flows.hash()(burst.keys[n]);
                burst.key_pointers[n] = &burst.keys[n];
                break;
            }
            case PacketKind::icmp:
                forward_icmp(parsed, now);
                break;
            case PacketKind::arp:
                punt(packet,
                     {.why = Verdict::punt_arp,
                      .ingress = result.link,
                      .l3_offset = result.l3_offset,
                      .l3_bytes = static_cast<std::uint16_t>(frame_bytes - result.l3_offset)},
                     now);
                break;
            case PacketKind::dropped:
                drop(packet, result.verdict, result.link);
                break;
        }
    }
    counters_.received.add(packets.size());
    counters_.received_bytes.add(bytes);
}

void Worker::forward_burst(Burst& burst, Tsc now) noexcept {
    shared_.flows.lookup_bulk(burst.key_pointers.data(), burst.hashes.data(), burst.count,
                              burst.positions.data());
    const auto prefetch = [&](unsigned i) {
        if (i < burst.count && burst.positions[i] >= 0) {
            __builtin_prefetch(
                &shared_.flows.flow(FlowPosition{static_cast<std::uint32_t>(burst.positions[i])}), 1);
        }
    };
    for (unsigned i = 0; i < kFlowPrefetch; ++i) prefetch(i);
    const Tick tick = Tick::of(now);
    std::array<std::uint8_t, kBurst> again;
    unsigned again_count = 0;
    for (unsigned i = 0; i < burst.count; ++i) {
        prefetch(i + kFlowPrefetch);
        const auto [verdict, flow] =
            find_or_open(burst.keys[i], burst.hashes[i], burst.positions[i], burst.parsed[i].ip, tick);
        if (flow != nullptr) [[likely]] {
            forward(burst.parsed[i], burst.keys[i], *flow, now);
        } else {
            again[again_count++] = static_cast<std::uint8_t>(i);
            burst.positions[i] = static_cast<std::int32_t>(verdict);
        }
    }
    // A packet that met a session while another worker was opening or ending it is put through once more.
    for (unsigned n = 0; n < again_count; ++n) {
        const unsigned i = again[n];
        auto verdict = static_cast<Verdict>(burst.positions[i]);
        const Parsed& parsed = burst.parsed[i];
        if (verdict == Verdict::drop_session_opening || verdict == Verdict::drop_session_ending) {
            const std::int32_t position = shared_.flows.lookup(burst.keys[i], burst.hashes[i]);
            const auto retried = find_or_open(burst.keys[i], burst.hashes[i], position, parsed.ip, tick);
            if (retried.flow != nullptr) {
                forward(parsed, burst.keys[i], *retried.flow, now);
                continue;
            }
            verdict = retried.verdict;
        }
        if (is_drop(verdict)) {
            drop(parsed.packet, verdict, parsed.ingress);
            continue;
        }
        punt(parsed.packet,
             {.why = verdict,
              .ingress = parsed.ingress,
              .egress = parsed.ingress,
              .l3_offset =
                  static_cast<std::uint16_t>(parsed.ip - rte_pktmbuf_mtod(parsed.packet, std::uint8_t*)),
              .l3_bytes = parsed.ip_bytes},
             now);
    }
}

SessionOpener::Result Worker::find_or_open(const FlowKey& key, std::uint32_t hash, std::int32_t position,
                                           const std::uint8_t* ip, Tick now) noexcept {
    if (position < 0) [[unlikely]]
        return opener_.open(*policy_, key, hash, ip, now);
    Flow& flow = shared_.flows.flow(FlowPosition{static_cast<std::uint32_t>(position)});
    switch (flow.load_state().state()) {
        [[likely]] case RecordState::live : return {Verdict::forward, &flow};
        case RecordState::free:
        case RecordState::opening:
            return {Verdict::drop_session_opening};
        case RecordState::condemned:
            // Its key is free by the time that this packet is put through once more.
            if (const StateWord word = shared_.flows.flow(flow.session).load_state();
                word.state() == RecordState::condemned && reclaimer_.has_room() &&
                shared_.flows.retire(flow.session, word, reclaimer_)) {
                counters_.sessions_closed.add(1);
            }
            return {Verdict::drop_session_ending};
        default:
            return {Verdict::drop_session_ending};
    }
}

void Worker::forward(const Parsed& parsed, const FlowKey& key, Flow& flow, Tsc now) noexcept {
    const Tick tick = Tick::of(now);
    std::uint8_t* ip = parsed.ip;
    if (ip[kTtlOffset] <= 1) [[unlikely]] {
        punt(parsed.packet,
             {.why = Verdict::punt_ttl_expired,
              .ingress = parsed.ingress,
              .egress = parsed.ingress,
              .l3_offset = static_cast<std::uint16_t>(ip - rte_pktmbuf_mtod(parsed.packet, std::uint8_t*)),
              .l3_bytes = parsed.ip_bytes},
             now);
        return;
    }
    const TcpFlags flags{key.protocol == net::Protocol::tcp ? ip[kTcpFlagsOffset] : std::uint8_t{0}};
    if (!flow.settled.load(std::memory_order_relaxed) || flags.changes_state()) [[unlikely]] {
        update_session(flow, flags, tick);
    }
    flow.touch(tick);
    flow.count(parsed.ip_bytes);
    emit(parsed, flow, flow.translation.destination, now);
}

void Worker::update_session(Flow& flow, TcpFlags flags, Tick now) noexcept {
    FlowTable& flows = shared_.flows;
    if (flows.advance(flow.session, flow.direction, flags, now, policy_->timeouts)) {
        if (flows.session(flow.session).state.load(std::memory_order_relaxed) == SessionState::tcp_closing) {
            opener_.note_closing(flow.session, flows.flow(flow.session).load_state());
        }
    }
    const SessionState state = flows.session(flow.session).state.load(std::memory_order_relaxed);
    if (is_settled(state)) flow.settled.store(true, std::memory_order_relaxed);
}

std::optional<NextHop> Worker::find_next_hop(Flow& flow, net::Ipv4Address destination,
                                             NextHopRef& ref) noexcept {
    const std::optional<NextHop> next_hop = policy_->routes->find(destination);
    if (!next_hop) return std::nullopt;
    const auto adjacency = shared_.neighbours.find(*next_hop);
    // Control's new entry is found before it is written.
    if (adjacency && shared_.neighbours.get(*adjacency).state != AdjacencyState::unused) {
        ref = {adjacency->value, policy_->route_generation};
        flow.next_hop.store(ref, std::memory_order_relaxed);
    }
    return next_hop;
}

void Worker::emit(const Parsed& parsed, Flow& flow, net::Ipv4Address destination, Tsc now) noexcept {
    rte_mbuf* packet = parsed.packet;
    const auto l3_offset = static_cast<std::uint16_t>(parsed.ip - rte_pktmbuf_mtod(packet, std::uint8_t*));
    PuntNote note{.why = Verdict::hold_neighbour,
                  .ingress = parsed.ingress,
                  .l3_offset = l3_offset,
                  .l3_bytes = parsed.ip_bytes};

    NextHopRef ref = flow.next_hop.load(std::memory_order_relaxed);
    Adjacency adjacency;
    if (ref.route_generation != policy_->route_generation) [[unlikely]] {
        const auto next_hop = find_next_hop(flow, destination, ref);
        if (!next_hop) {
            drop(packet, Verdict::drop_no_route, parsed.ingress);
            return;
        }
        adjacency.egress = next_hop->egress;
        note.next_hop = next_hop->address;
    }
    if (ref.route_generation == policy_->route_generation) [[likely]] {
        adjacency = shared_.neighbours.get(AdjacencyId{ref.adjacency});
    }
    const bool icmp = parsed.ip[kProtocolOffset] == static_cast<std::uint8_t>(net::Protocol::icmp);
    const Link& egress = shared_.links[adjacency.egress.value];
    note.egress = adjacency.egress;
    if (parsed.ip_bytes > egress.mtu) [[unlikely]] {
        // No error answers an ICMP error (RFC 1812, section 4.3.2.7).
        if (icmp || (parsed.ip[kFlagsOffset] & kDontFragment) == 0) {
            drop(packet, Verdict::drop_too_big, parsed.ingress);
        } else {
            note.why = Verdict::punt_too_big;
            punt(packet, note, now);
        }
        return;
    }
    if (!icmp) {
        if (shared_.links[parsed.ingress.value].rx_checksum_partial) [[unlikely]] {
            const bool marked =
                (packet->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) == RTE_MBUF_F_RX_L4_CKSUM_NONE;
            rewrite_partial(parsed.ip, parsed.ip_bytes, flow.translation, marked);
        } else {
            rewrite(parsed.ip, flow.translation);
        }
    }
    if (adjacency.state != AdjacencyState::reachable) [[unlikely]] {
        if (adjacency.state == AdjacencyState::failed) {
            drop(packet, Verdict::drop_neighbour_failed, parsed.ingress);
            return;
        }
        if (note.next_hop == net::Ipv4Address{}) {
            if (const auto next_hop = policy_->routes->find(destination)) note.next_hop = next_hop->address;
        }
        punt(packet, note, now);
        return;
    }
    shared_.neighbours.use(AdjacencyId{ref.adjacency}, Tick::of(now).value >> kNeighbourUseShift);
    if (!write_l2(*packet, parsed.ip, parsed.ip_bytes, egress, adjacency.mac, RTE_ETHER_TYPE_IPV4)) {
        drop(packet, Verdict::drop_no_headroom, parsed.ingress);
        return;
    }
    transmit(packet, adjacency.egress);
}

void Worker::forward_icmp(const Parsed& parsed, Tsc now) noexcept {
    const auto refuse = [&](Verdict verdict) { drop(parsed.packet, verdict, parsed.ingress); };
    std::uint8_t* ip = parsed.ip;
    const std::uint8_t type = ip[kIpv4Bytes];
    const Link& link = shared_.links[parsed.ingress.value];
    if (!icmp_checksum_good(ip, parsed.ip_bytes)) return refuse(Verdict::drop_bad_icmp);

    net::Ipv4Address destination;
    std::memcpy(&destination, ip + 16, sizeof destination);
    if (type == kIcmpEchoRequest) {
        const bool own =
            std::ranges::any_of(link.addresses, [&](const auto& a) { return a.address == destination; });
        if (!link.ping || !own) return refuse(Verdict::drop_icmp_ignored);
        punt(parsed.packet,
             {.why = Verdict::punt_echo,
              .ingress = parsed.ingress,
              .egress = parsed.ingress,
              .l3_offset = static_cast<std::uint16_t>(ip - rte_pktmbuf_mtod(parsed.packet, std::uint8_t*)),
              .l3_bytes = parsed.ip_bytes},
             now);
        return;
    }
    if (!is_icmp_error(type)) return refuse(Verdict::drop_icmp_ignored);
    const std::optional<FlowKey> key = parse_icmp_error(ip, parsed.ip_bytes, parsed.ingress);
    if (!key) return refuse(Verdict::drop_bad_icmp);
    const std::int32_t position = shared_.flows.lookup(*key, shared_.flows.hash()(*key));
    if (position < 0) return refuse(Verdict::drop_icmp_no_session);
    Flow& flow = shared_.flows.flow(FlowPosition{static_cast<std::uint32_t>(position)});
    // The error has to come to the address that the packet inside was sent from.
    if (flow.load_state().state() != RecordState::live || destination != key->destination) {
        return refuse(Verdict::drop_icmp_no_session);
    }
    if (ip[kTtlOffset] <= 1) return refuse(Verdict::drop_ttl_expired);
    rewrite_icmp_error(ip, parsed.ip_bytes, *key, flow.translation, flow.direction == Direction::reverse);
    emit(parsed, flow, flow.translation.destination, now);
}

void Worker::transmit(rte_mbuf* packet, LinkId egress) noexcept {
    LinkCounters& link = counters_.links[egress.value];
    link.tx_packets.add(1);
    link.tx_bytes.add(packet->data_len);
    TxBuffer& buffer = tx_[shared_.links[egress.value].port.value];
    if (buffer.full()) [[unlikely]]
        flush();
    buffer.push(packet);
    counters_.count(Verdict::forward);
}

void Worker::flush() noexcept {
    for (TxBuffer& buffer : tx_) {
        if (buffer.empty()) continue;
        const TxBuffer::Flushed flushed = buffer.flush();
        counters_.sent.add(flushed.sent);
        counters_.sent_bytes.add(flushed.sent_bytes);
        if (flushed.dropped != 0) counters_.count(Verdict::drop_tx_full, flushed.dropped);
    }
}

void Worker::drop(rte_mbuf* packet, Verdict verdict, LinkId link) noexcept {
    counters_.count(verdict);
    if (link.value != kNoLink) counters_.links[link.value].dropped.add(1);
    rte_pktmbuf_free(packet);
}

void Worker::punt(rte_mbuf* packet, const PuntNote& note, Tsc now) noexcept {
    PuntLimiter* limiter = &icmp_limiter_;
    Verdict refused = Verdict::drop_punt_limited;
    switch (note.why) {
        case Verdict::punt_arp:
            limiter = &arp_limiter_;
            break;
        case Verdict::hold_neighbour:
            limiter = &hold_limiter_;
            refused = Verdict::drop_hold_limited;
            break;
        case Verdict::punt_ttl_expired:
            refused = Verdict::drop_ttl_expired;
            break;
        case Verdict::punt_too_big:
            refused = Verdict::drop_too_big;
            break;
        default:
            break;
    }
    if (!limiter->allow(now)) return drop(packet, refused, note.ingress);
    punt_note(*packet) = note;
    if (rte_ring_enqueue(shared_.punts, packet) != 0)
        return drop(packet, Verdict::drop_control_full, note.ingress);
    counters_.count(note.why);
    if (note.why == Verdict::hold_neighbour) counters_.held.add(1);
}

}  // namespace fwd::dataplane
