// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/worker.h"

#include <rte_ethdev.h>
#include <rte_icmp.h>
#include <rte_pause.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <ctime>

#include "dataplane/address_check.h"
#include "dataplane/icmp_error.h"
#include "dataplane/icmp_query.h"
#include "dataplane/neighbour_discovery.h"
#include "dataplane/packet.h"
#include "dataplane/tcp_options.h"
#include "dataplane/tcp_window.h"
#include "dataplane/worker_burst.h"

namespace fwd::dataplane {
namespace {

constexpr std::uint32_t kBuriedPositions = 1U << 17U;
constexpr std::uint32_t kBuriedMappings = 1U << 14U;
constexpr unsigned kParsePrefetch = 4;
// Lines are asked for in groups with nothing in between: a core waits at a request whose page it has to look
// up, and does that only for the requests close behind it at the same time. It has about two dozen buffers
// for lines on their way.
constexpr unsigned kGroup = 32;

// What control can take without falling behind, per worker and link.
constexpr std::uint64_t kArpPerSecond = 2000, kIcmpPerSecond = 1000, kHeldPerSecond = 5000,
                        kRefusalsPerSecond = 100, kHostPerSecond = 10000;

// An idle worker first polls on for a while (25 to 50 us on virtual devices).
constexpr unsigned kRoundsBeforeSleep = 1000;

// In a round, beside one for each packet, which may have evicted one: more than the sweep ends on average,
// and so few that no burst waits for long.
constexpr unsigned kReclaimedSessions = 40;

// Which no counter of random numbers ever reaches.
constexpr std::uint64_t kIdentificationSeed = ~std::uint64_t{0};

/// The device says that the TCP or UDP checksum covers the pseudo-header alone (requirement P8).
bool is_marked_partial(const rte_mbuf& packet) noexcept {
    return (packet.ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) == RTE_MBUF_F_RX_L4_CKSUM_NONE;
}

/// A packet that routers may cut into fragments (RFC 791). Options would have to be sorted into those that
/// each fragment carries and those that the first one does.
bool may_be_cut(const std::uint8_t* ip) noexcept {
    return (net::load_host16(ip + net::kFragmentOffset) & net::kDontFragment) == 0 &&
           net::header_bytes(ip) == net::kIpv4Bytes;
}

}  // namespace

struct Worker::Burst {
    unsigned count = 0;
    std::array<Parsed, kBurst> parsed;
    std::array<FlowKey, kBurst> keys;
    std::array<std::uint32_t, kBurst> hashes;
    std::array<FlowPosition, kBurst> hints;
    // Packets whose hint was no good, in the order of their arrival.
    unsigned missed_count;
    std::array<std::uint8_t, kBurst> missed;
    // What those of them that have no flow either would open.
    std::array<SessionOpener::Plan, kBurst> plans;
};

Worker::Worker(const SharedTables& shared, const Config& config)
    : shared_{shared},
      config_{config},
      clamps_mss_{
          std::ranges::any_of(shared.links.now(), [](const Link& link) { return link.mss_clamp != 0; })},
      has_host_{std::ranges::any_of(shared.links.now(), [](const Link& link) { return link.has_host(); })},
      burst_{std::make_unique<Burst>()},
      wide_burst_{shared.flows.has_ipv6() ? std::make_unique<WideBurst>() : nullptr},
      reclaimer_{shared.flows, kBuriedPositions},
      mapping_reclaimer_{shared.mappings, kBuriedMappings},
      opener_{shared, reclaimer_, mapping_reclaimer_, counters_, config.index},
      sweeper_{shared, reclaimer_, counters_, config.index},
      mapping_sweeper_{shared, mapping_reclaimer_, config.index},
      fragments_{shared.flows.hash(), counters_},
      identification_step_{static_cast<std::uint32_t>(shared.flows.hash().random(kIdentificationSeed)) | 1U},
      identification_start_{
          static_cast<std::uint32_t>(shared.flows.hash().random(kIdentificationSeed) >> 32U)} {
    const auto limiter = [](std::uint64_t per_second) { return PuntLimiter{per_second, per_second / 4}; };
    // One thread hands them over, however many workers there are.
    const PuntLimiter host = limiter(std::max<std::uint64_t>(kHostPerSecond / shared.worker_count, 100));
    for (std::size_t link = 0; link < shared.links.now().size(); ++link)
        limiters_.push_back({limiter(kArpPerSecond), limiter(kArpPerSecond), limiter(kArpPerSecond),
                             limiter(kArpPerSecond), limiter(kIcmpPerSecond), limiter(kHeldPerSecond),
                             limiter(kRefusalsPerSecond), host, host, host});
    for (std::size_t port = 0; port < shared.ports.size(); ++port) {
        tx_.emplace_back(*shared.ports[port], config.tx_queues[port]);
    }
}

Worker::~Worker() = default;

void Worker::run(const std::atomic<bool>& stop) noexcept {
    rte_rcu_qsbr* qsbr = shared_.flows.qsbr();
    rte_rcu_qsbr_thread_register(qsbr, config_.index);
    rte_rcu_qsbr_thread_online(qsbr, config_.index);
    IdleSleep idle{shared_.ports, config_.rx_queues, bell_};
    unsigned empty_rounds = 0;
    Tsc start = Tsc::read();
    while (!stop.load(std::memory_order_relaxed)) {
        const bool sleepy = config_.idle == IdleMode::adaptive && empty_rounds > kRoundsBeforeSleep;
        const Slept round =
            sleepy ? sleep(idle, empty_rounds - kRoundsBeforeSleep, start) : Slept{.packets = poll(start)};
        rte_rcu_qsbr_quiescent(qsbr, config_.index);
        const Tsc end = Tsc::read();
        // A driver may say that a packet has come before it hands it over.
        empty_rounds = round.packets == 0 && !round.woken ? empty_rounds + 1 : 0;
        if (round.packets != 0) counters_.busy_cycles.add(end.cycles - start.cycles);
        counters_.all_cycles.add(end.cycles - start.cycles);
        start = end;
    }
    rte_rcu_qsbr_thread_offline(qsbr, config_.index);
    rte_rcu_qsbr_thread_unregister(qsbr, config_.index);
}

Worker::Slept Worker::sleep(IdleSleep& idle, unsigned empty_rounds, Tsc now) noexcept {
    idle.prepare();
    Slept slept{.packets = poll(now)};
    if (slept.packets == 0 && !sweeper_.is_behind(now)) {
        // Nobody must wait for a sleeping worker's grace period.
        rte_rcu_qsbr_thread_offline(shared_.flows.qsbr(), config_.index);
        slept.woken = idle.sleep(empty_rounds);
        rte_rcu_qsbr_thread_online(shared_.flows.qsbr(), config_.index);
    }
    idle.finish();
    return slept;
}

void Worker::stop_receiving(PortIndex port) noexcept {
    std::erase_if(config_.rx_queues, [port](const RxQueue& rx) { return rx.port == port; });
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
    mapping_sweeper_.step(*policy_, now);
    opener_.tidy();
    fragments_.expire(now);
    reclaimer_.drain(2 * (met + kReclaimedSessions));
    mapping_reclaimer_.drain(4 * (met + kReclaimedSessions));
    return met;
}

void Worker::process(std::span<rte_mbuf*> packets, PortIndex port, Tsc now) noexcept {
    policy_ = shared_.policy.load(std::memory_order_acquire);
    now_ = now;
    parse_burst(packets, *shared_.ports[port.value], now);
    if (burst_->count != 0) forward_burst(now);
    if (wide_burst_ != nullptr && wide_burst_->count != 0) forward_ipv6_burst(now);
}

void Worker::parse_burst(std::span<rte_mbuf*> packets, const Port& port, Tsc now) noexcept {
    const auto prefetch = [&](std::size_t i) {
        if (i < packets.size()) rte_prefetch0(rte_pktmbuf_mtod(packets[i], void*));
    };
    for (unsigned i = 0; i < kParsePrefetch; ++i) prefetch(i);
    Burst& burst = *burst_;
    const FlowHash hash = shared_.flows.hash();
    const FlowHints hints = shared_.flows.hints();
    const UsualBeginning usual{port.addressing.mac};
    LinkTally tally{counters_, &LinkCounters::rx_packets, &LinkCounters::rx_bytes};
    std::uint64_t bytes = 0;
    unsigned n = 0;
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
        const ParsedPacket result = parse(frame, frame_bytes, port.addressing, usual, vlan, checksum_good);
        if (result.link.value != kNoLink) [[likely]]
            tally.add(result.link, frame_bytes);
        // Field by field: a copy of the whole would have to wait for its parts.
        Parsed& parsed = burst.parsed[n];
        parsed.packet = packet;
        parsed.ip = frame + result.l3_offset;
        parsed.ip_bytes = result.ip_bytes;
        parsed.ingress = result.link;
        if (result.kind == PacketKind::tcp_or_udp) [[likely]] {
            burst.keys[n] = FlowKey::from_packet(result.link, parsed.ip);
            burst.hashes[n] = hash(burst.keys[n]);
            ++n;
        } else if (result.kind == PacketKind::icmp) {
            forward_icmp(parsed, now);
        } else if (result.kind == PacketKind::unusual) {
            forward_unusual(parsed, now);
        } else if (result.kind == PacketKind::portless) {
            forward_portless(parsed, now);
        } else if (result.kind == PacketKind::arp) {
            PuntNote note = note_about(parsed, Verdict::punt_arp, {});
            note.l3_bytes = static_cast<std::uint16_t>(frame_bytes - result.l3_offset);
            punt(packet, note, now);
        } else if (result.kind == PacketKind::ipv6) {
            take_ipv6(parsed, frame_bytes - result.l3_offset, now);
        } else {
            drop(packet, result.verdict, result.link);
        }
    }
    for (unsigned i = 0; i < n; ++i) hints.prefetch(burst.hashes[i]);
    burst.count = n;
    counters_.received.add(packets.size());
    counters_.received_bytes.add(bytes);
}

void Worker::forward_burst(Tsc now) noexcept {
    Burst& burst = *burst_;
    const FlowHints hints = shared_.flows.hints();
    burst.missed_count = 0;
    for (unsigned begin = 0; begin < burst.count + kGroup; begin += kGroup) {
        const unsigned end = std::min(begin + kGroup, burst.count);
        for (unsigned i = begin; i < end; ++i) burst.hints[i] = hints.find(burst.hashes[i]);
        for (unsigned i = begin; i < end; ++i) __builtin_prefetch(&shared_.flows.flow(burst.hints[i]), 1);
        if (begin != 0) forward_group(begin - kGroup, std::min(begin, burst.count), now);
    }
    if (burst.missed_count != 0) [[unlikely]]
        forward_missed(now);
}

void Worker::forward_group(unsigned begin, unsigned end, Tsc now) noexcept {
    Burst& burst = *burst_;
    LinkTally sent{counters_, &LinkCounters::tx_packets, &LinkCounters::tx_bytes};
    const ForwardContext context = forward_context(now);
    for (unsigned i = begin; i < end; ++i) {
        Flow* flow = shared_.flows.live_flow(burst.hints[i], burst.keys[i]);
        if (flow != nullptr) [[likely]] {
            forward(burst.parsed[i], burst.keys[i].protocol, *flow, now, context, sent);
        } else {
            burst.missed[burst.missed_count++] = static_cast<std::uint8_t>(i);
        }
    }
}

void Worker::forward_missed(Tsc now) noexcept {
    Burst& burst = *burst_;
    std::array<const void*, kBurst> keys;
    std::array<std::uint32_t, kBurst> hashes;
    std::array<std::int32_t, kBurst> positions;
    for (unsigned m = 0; m < burst.missed_count; ++m) {
        keys[m] = &burst.keys[burst.missed[m]];
        hashes[m] = burst.hashes[burst.missed[m]];
    }
    shared_.flows.lookup_bulk(keys.data(), hashes.data(), burst.missed_count, positions.data());
    plan_sessions(positions);
    const auto prefetch = [&](unsigned m) {
        if (m < burst.missed_count && positions[m] >= 0)
            __builtin_prefetch(&shared_.flows.flow(FlowPosition{static_cast<std::uint32_t>(positions[m])}),
                               1);
    };
    for (unsigned m = 0; m < kGroup; ++m) prefetch(m);
    unsigned again_count = 0;
    std::array<Verdict, kBurst> verdicts;
    for (unsigned m = 0; m < burst.missed_count; ++m) {
        prefetch(m + kGroup);
        const unsigned i = burst.missed[m];
        const Verdict verdict = forward_looked_up(i, positions[m], now);
        if (verdict == Verdict::forward) continue;
        burst.missed[again_count] = static_cast<std::uint8_t>(i);
        verdicts[again_count++] = verdict;
    }
    for (unsigned m = 0; m < again_count; ++m) {
        const unsigned i = burst.missed[m];
        const Parsed& parsed = burst.parsed[i];
        Verdict verdict = verdicts[m];
        // A packet that met a session while another worker was opening or ending it is put through once more.
        if (verdict == Verdict::drop_session_opening || verdict == Verdict::drop_session_ending) {
            burst.plans[i] = opener_.plan(*policy_, burst.keys[i], parsed.ip);
            verdict = forward_looked_up(i, shared_.flows.lookup(burst.keys[i], burst.hashes[i]), now);
        }
        refuse_or_punt(parsed, verdict, now);
    }
}

void Worker::plan_sessions(const std::array<std::int32_t, kBurst>& positions) noexcept {
    Burst& burst = *burst_;
    std::array<const void*, kBurst> keys;
    std::array<std::uint32_t, kBurst> hashes;
    unsigned planned = 0;
    for (unsigned m = 0; m < burst.missed_count; ++m) {
        if (positions[m] >= 0) continue;
        const unsigned i = burst.missed[m];
        SessionOpener::Plan& plan = burst.plans[i];
        plan = opener_.plan(*policy_, burst.keys[i], burst.parsed[i].ip);
        if (plan.verdict != Verdict::forward || plan.crosses) continue;
        keys[planned] = &plan.reverse;
        hashes[planned++] = plan.reverse_hash;
    }
    if (planned < 2) return;
    // Nobody is to be found: this is the way to have rte_hash's buckets on their way from memory all at once.
    std::array<std::int32_t, kBurst> ignored;
    shared_.flows.lookup_bulk(keys.data(), hashes.data(), planned, ignored.data());
}

Verdict Worker::forward_looked_up(unsigned i, std::int32_t position, Tsc now) noexcept {
    Burst& burst = *burst_;
    const auto [verdict, flow] =
        find_or_open(burst.keys[i], burst.hashes[i], position, burst.plans[i], Tick::of(now));
    if (flow == nullptr) return verdict;
    shared_.flows.hints().note(burst.hashes[i], shared_.flows.position_of(*flow));
    LinkTally sent{counters_, &LinkCounters::tx_packets, &LinkCounters::tx_bytes};
    forward(burst.parsed[i], burst.keys[i].protocol, *flow, now, forward_context(now), sent);
    return Verdict::forward;
}

SessionOpener::Result Worker::find_or_open(const FlowKey& key, std::uint32_t hash, std::int32_t position,
                                           SessionOpener::Plan& plan, Tick now) noexcept {
    if (position < 0) [[unlikely]]
        return opener_.open(*policy_, key, hash, plan, now);
    return find(FlowPosition{static_cast<std::uint32_t>(position)});
}

SessionOpener::Result Worker::find(FlowPosition position) noexcept {
    Flow& flow = shared_.flows.flow(position);
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

inline Worker::ForwardContext Worker::forward_context(Tsc now) noexcept {
    return {.links = shared_.links.now().data(),
            .neighbours = shared_.neighbours.view(),
            .tx = tx_.data(),
            .route_generation = policy_->route_generation,
            .second = Tick::of(now).value >> kNeighbourUseShift};
}

[[gnu::always_inline]] inline void Worker::forward(const Parsed& parsed, net::Protocol protocol, Flow& flow,
                                                   Tsc now, const ForwardContext& context,
                                                   LinkTally& sent) noexcept {
    std::uint8_t* const ip = parsed.ip;
    const Link& ingress = context.links[parsed.ingress.value];
    const std::uint16_t ip_bytes = parsed.ip_bytes;
    if (ip[net::kTtlOffset] <= 1) [[unlikely]] {
        if (ingress.ends_ttl(ip))
            return punt(parsed.packet, note_about(parsed, Verdict::punt_ttl_expired, parsed.ingress), now);
    }
    const Tick tick = Tick::of(now);
    const bool tcp = protocol == net::Protocol::tcp;
    const TcpFlags flags{tcp ? ip[net::kTcpFlagsOffset] : std::uint8_t{0}};
    if (!flow.settled.load(std::memory_order_relaxed) || flags.changes_state()) [[unlikely]] {
        if (!update_session(flow, tcp ? ip + net::kIpv4Bytes : nullptr, tick))
            return drop(parsed.packet, Verdict::drop_outside_window, parsed.ingress);
        if (clamps_mss_ && flags.has(TcpFlags::kSyn)) clamp_mss(parsed, flow);
    } else if (tcp) {
        flow.acknowledged.store(net::load32(ip + net::kTcpAcknowledgementOffset), std::memory_order_relaxed);
    }
    flow.touch(tick);
    if (flow.count(ip_bytes)) [[unlikely]]
        shared_.flows.spill_counts(flow);
    const NextHopRef ref = flow.next_hop.load(std::memory_order_relaxed);
    const AdjacencyId id{ref.adjacency};
    const Adjacency adjacency = shared_.neighbours.view().get(id);
    if (ref.route_generation != context.route_generation || adjacency.state != AdjacencyState::reachable ||
        ip_bytes > context.links[adjacency.egress.value].mtu) [[unlikely]] {
        return emit(parsed, flow, flow.translation.destination, now);
    }
    if (ingress.translates_with_care) [[unlikely]]
        prepare_translation(parsed);
    rewrite(ip, flow.translation);
    send(parsed, id, adjacency, context, sent);
}

bool Worker::update_session(Flow& flow, const std::uint8_t* tcp, Tick now) noexcept {
    FlowTable& flows = shared_.flows;
    Session& session = flows.session(flow.session);
    TcpFlags flags{};
    if (tcp != nullptr) {
        flags.bits = tcp[net::kTcpFlagsOffset - net::kIpv4Bytes];
        // The windows are followed as long as the session lives, whatever a reload says in between.
        if (session.traits.window_checked && !passes_window_check(flows, flow, tcp) &&
            policy_->checks_tcp_windows) {
            return false;
        }
        if (flags.has(TcpFlags::kRst)) {
            // It is forwarded all the same: its receiver knows best.
            if (!flows.believes_rst(flow, net::load_host32(tcp + 4))) return true;
        } else {
            note_tcp(flow, tcp, flags);
        }
    }
    const std::atomic<SessionState>& state = session.state;
    if (flows.advance(flow.session, flow.direction, flags, now, policy_->timeouts))
        opener_.note_moved(flow.session, flows.flow(flow.session).load_state(),
                           state.load(std::memory_order_relaxed));
    if (session.traits.window_checked || !is_settled(state.load(std::memory_order_relaxed), flow.direction))
        return true;
    flow.settled.store(true, std::memory_order_relaxed);
    // Another worker may just have opened the session anew, and cleared the mark before this one set it.
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (!is_settled(state.load(std::memory_order_relaxed), flow.direction))
        flow.settled.store(false, std::memory_order_relaxed);
    return true;
}

void Worker::clamp_mss(const Parsed& parsed, const Flow& flow) noexcept {
    const Link& ingress = shared_.links[parsed.ingress.value];
    std::uint16_t greatest = ingress.mss_clamp;
    const auto next_hop = flow.crosses() ? policy_->routes->find(crossing_of(flow).crossing.destination)
                                         : policy_->routes->find(flow.translation.destination);
    if (next_hop) {
        const std::uint16_t other = shared_.links[next_hop->egress.value].mss_clamp;
        if (greatest == 0 || (other != 0 && other < greatest)) greatest = other;
    }
    if (greatest == 0) return;
    // A partial checksum would not be known for one afterwards.
    if (ingress.rx_checksum_partial && !net::is_fragment(parsed.ip))
        complete_checksum(parsed.ip, parsed.ip_bytes, is_marked_partial(*parsed.packet));
    if (flow.crosses()) greatest = static_cast<std::uint16_t>(greatest - kFamilyGrowth);
    clamp_tcp_mss(parsed.ip + net::header_bytes(parsed.ip), greatest);
}

void Worker::note_tcp(Flow& flow, const std::uint8_t* tcp, TcpFlags flags) noexcept {
    Session& session = shared_.flows.session(flow.session);
    const SessionState state = session.state.load(std::memory_order_relaxed);
    const bool from_client = flow.direction == Direction::forward;
    const bool handshake = state == SessionState::tcp_unanswered || state == SessionState::tcp_opening;
    if (flags.has(TcpFlags::kSyn) && !has_connection(state)) {
        std::uint8_t shifts = session.window_shifts.load(std::memory_order_relaxed);
        if (flags.opens()) {
            // What a connection before may have left.
            shared_.flows.flow(flow.session).forget_numbers();
            shared_.flows.flow(session.reverse).forget_numbers();
            if (!handshake) shifts = 0;
        } else if (handshake && flags.has(TcpFlags::kAck)) {
            // Whom this answers can't have acknowledged anything yet: that was a late packet of a connection
            // before.
            shared_.flows.flow(from_client ? session.reverse : flow.session).forget_numbers();
        }
        // Of a SYN that is sent again, perhaps with fewer options, either may have been answered.
        const auto shift = static_cast<std::uint8_t>(tcp_window_shift(tcp));
        shifts = from_client
                     ? static_cast<std::uint8_t>((shifts & 0xf0U) | std::max<unsigned>(shifts & 0xfU, shift))
                     : static_cast<std::uint8_t>((shifts & 0xfU) | std::max(shifts >> 4U, int{shift}) << 4U);
        session.window_shifts.store(shifts, std::memory_order_relaxed);
    }
    // Where windows are checked, only numbers that are plausible have been kept already.
    const bool noted = session.traits.window_checked && state != SessionState::tcp_unanswered &&
                       !(flags.has(TcpFlags::kSyn) && handshake);
    if (flags.has(TcpFlags::kAck) && !noted)
        flow.acknowledged.store(net::load32(tcp + 8), std::memory_order_relaxed);
}

std::optional<NextHop> Worker::find_next_hop(std::atomic<NextHopRef>& known,
                                             const net::IpAddress& destination, NextHopRef& ref) noexcept {
    const std::optional<NextHop> next_hop = policy_->routes->find(destination);
    if (!next_hop) return std::nullopt;
    if (const auto adjacency = shared_.neighbours.find(*next_hop)) {
        ref = {adjacency->value, policy_->route_generation};
        known.store(ref, std::memory_order_relaxed);
    }
    return next_hop;
}

void Worker::prepare_translation(const Parsed& parsed) noexcept {
    const Link& ingress = shared_.links[parsed.ingress.value];
    // Whoever makes fragments has completed their checksum before.
    if (ingress.rx_checksum_partial && !net::is_fragment(parsed.ip))
        complete_checksum(parsed.ip, parsed.ip_bytes, is_marked_partial(*parsed.packet));
    if (ingress.hides_hop) take_back_hop(parsed.ip);
}

void Worker::translate_any(const Parsed& parsed, const Translation& translation) noexcept {
    const auto protocol = static_cast<net::Protocol>(parsed.ip[net::kProtocolOffset]);
    if (protocol == net::Protocol::tcp || protocol == net::Protocol::udp) {
        prepare_translation(parsed);
        if (net::header_bytes(parsed.ip) == net::kIpv4Bytes && !net::is_fragment(parsed.ip))
            return rewrite(parsed.ip, translation);
        return rewrite_unusual(parsed.ip, translation);
    }
    if (shared_.links[parsed.ingress.value].hides_hop) take_back_hop(parsed.ip);
    if (protocol == net::Protocol::icmp && !net::is_later_fragment(parsed.ip)) {
        rewrite_icmp_query(parsed.ip, translation);
    } else {
        rewrite_addresses(parsed.ip, translation);
    }
}

[[gnu::always_inline]] inline void Worker::send(const Parsed& parsed, AdjacencyId id,
                                                const Adjacency& adjacency, const ForwardContext& context,
                                                LinkTally& sent) noexcept {
    rte_mbuf* const packet = parsed.packet;
    const std::uint16_t ip_bytes = parsed.ip_bytes;
    const Link& egress = context.links[adjacency.egress.value];
    const auto frame_bytes = static_cast<std::uint32_t>(egress.l2_bytes + ip_bytes);
    TxBuffer& buffer = context.tx[egress.port.value];
    context.neighbours.use(id, context.second);
    if (!write_l2(*packet, parsed.ip, ip_bytes, egress, adjacency.mac, RTE_ETHER_TYPE_IPV4)) [[unlikely]] {
        drop(packet, Verdict::drop_no_headroom, parsed.ingress);
        return;
    }
    sent.add(adjacency.egress, frame_bytes);
    if (buffer.full()) [[unlikely]]
        flush();
    buffer.push(packet, frame_bytes);
}

PuntNote Worker::note_about(const Parsed& parsed, Verdict why, LinkId egress) const noexcept {
    return {
        .why = why,
        .ingress = parsed.ingress,
        .egress = egress,
        .l3_offset = static_cast<std::uint16_t>(parsed.ip - rte_pktmbuf_mtod(parsed.packet, std::uint8_t*)),
        .l3_bytes = parsed.ip_bytes};
}

[[gnu::noinline]] void Worker::emit(const Parsed& parsed, Flow& flow, net::Ipv4Address destination,
                                    Tsc now) noexcept {
    if (flow.crosses()) [[unlikely]]
        return send_as_ipv6(parsed, flow, now);
    rte_mbuf* packet = parsed.packet;
    PuntNote note = note_about(parsed, Verdict::hold_neighbour, {});
    NextHopRef ref = flow.next_hop.load(std::memory_order_relaxed);
    Adjacency adjacency;
    if (ref.route_generation != policy_->route_generation) {
        const auto next_hop = find_next_hop(flow.next_hop, destination, ref);
        if (!next_hop) {
            drop(packet, Verdict::drop_no_route, parsed.ingress);
            return;
        }
        adjacency.egress = next_hop->egress;
        note.next_hop = next_hop->address;
    }
    if (ref.route_generation == policy_->route_generation) {
        adjacency = shared_.neighbours.view().get(AdjacencyId{ref.adjacency});
    }
    const bool error = parsed.ip[net::kProtocolOffset] == static_cast<std::uint8_t>(net::Protocol::icmp) &&
                       !net::is_later_fragment(parsed.ip) && is_icmp_error(parsed.ip[net::kIpv4Bytes]);
    const Link& egress = shared_.links[adjacency.egress.value];
    const AdjacencyId id{ref.adjacency};
    note.egress = adjacency.egress;
    const bool too_big = parsed.ip_bytes > egress.mtu;
    if (too_big && !may_be_cut(parsed.ip)) {
        // No error answers an ICMP error or a later fragment (RFC 1812, section 4.3.2.7).
        if (error || net::is_later_fragment(parsed.ip))
            return drop(packet, Verdict::drop_too_big, parsed.ingress);
        note.why = Verdict::punt_too_big;
        return punt(packet, note, now);
    }
    if (!error) translate_any(parsed, flow.translation);
    if (adjacency.state == AdjacencyState::failed)
        return drop(packet, Verdict::drop_neighbour_failed, parsed.ingress);
    if (adjacency.state != AdjacencyState::reachable && note.next_hop == net::IpAddress{}) {
        if (const auto next_hop = policy_->routes->find(destination)) note.next_hop = next_hop->address;
    }
    const auto hand_over = [&](const Parsed& piece) {
        if (adjacency.state != AdjacencyState::reachable) {
            PuntNote about_piece = note_about(piece, note.why, note.egress);
            about_piece.next_hop = note.next_hop;
            return punt(piece.packet, about_piece, now);
        }
        LinkTally sent{counters_, &LinkCounters::tx_packets, &LinkCounters::tx_bytes};
        send(piece, id, adjacency, forward_context(now), sent);
    };
    if (!too_big) return hand_over(parsed);
    if (!net::is_fragment(parsed.ip) && flow.translation.source != flow.key.source)
        set_identification(parsed.ip, static_cast<std::uint16_t>(next_identification()));
    for (std::size_t at = net::kIpv4Bytes; at < parsed.ip_bytes;) {
        const std::optional<Parsed> piece = cut(parsed, egress.mtu, at);
        if (!piece) return drop(packet, Verdict::drop_too_big, parsed.ingress);
        hand_over(*piece);
    }
    // The pieces have come in its place.
    counters_.originated.take_back(1);
    rte_pktmbuf_free(packet);
}

void Worker::forward_icmp(const Parsed& parsed, Tsc now) noexcept {
    const auto refuse = [&](Verdict verdict) { drop(parsed.packet, verdict, parsed.ingress); };
    std::uint8_t* ip = parsed.ip;
    const std::uint8_t type = ip[net::kIpv4Bytes];
    if (!icmp_checksum_good(ip, parsed.ip_bytes)) return refuse(Verdict::drop_bad_icmp);
    if (is_icmp_query(type))
        return refuse_or_punt(parsed, forward_icmp_query(parsed, query_key(parsed.ingress, ip), now), now);
    const net::Ipv4Address source{net::be32::from_wire(net::load32(ip + net::kAddressesOffset))};
    const net::Ipv4Address destination{net::be32::from_wire(net::load32(ip + net::kDestinationOffset))};
    if (const Verdict refused = check_addresses(shared_.links.now(), parsed.ingress, source, destination);
        refused != Verdict::forward) {
        return refuse(refused);
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
    const Link& ingress = shared_.links[parsed.ingress.value];
    if (ingress.ends_ttl(ip)) return refuse(Verdict::drop_ttl_expired);
    if (ingress.hides_hop) take_back_hop(ip);
    if (flow.crosses()) {
        // What fwd makes from IPv6 has no options.
        if (quotes_ip_options(ip)) return refuse(Verdict::drop_bad_icmp);
        return send_error_as_ipv6(parsed, *key, flow, now);
    }
    const bool hide = has(shared_.flows.session(flow.session).traits.hidden, flow.direction);
    rewrite_icmp_error(ip, parsed.ip_bytes, *key, flow.translation, hide);
    emit(parsed, flow, flow.translation.destination, now);
}

void Worker::flush() noexcept {
    for (TxBuffer& buffer : tx_) {
        if (!buffer.empty()) buffer.flush(counters_);
    }
}

void Worker::drop(rte_mbuf* packet, Verdict verdict, LinkId link) noexcept {
    if (has_host_ && hand_to_host(packet, verdict, link)) return;
    discard(packet, verdict, link);
}

void Worker::discard(rte_mbuf* packet, Verdict verdict, LinkId link) noexcept {
    counters_.count(verdict);
    if (link.value != kNoLink) counters_.links[link.value].dropped.add(1);
    rte_pktmbuf_free(packet);
}

bool Worker::hand_to_host(rte_mbuf* packet, Verdict verdict, LinkId ingress) noexcept {
    if (!may_be_for_host(verdict) || ingress.value == kNoLink || !shared_.links[ingress.value].has_host())
        return false;
    const auto found =
        parse_for_host(rte_pktmbuf_mtod(packet, const std::uint8_t*), packet->data_len, ingress);
    // What else is martian may be spoofed.
    if (!found || (verdict == Verdict::drop_martian && !is_of_link(*found))) return false;
    const HostShare share = host_share(*found, shared_.links.now(), shared_.flows.hash(), shared_.host_flows);
    if (share == HostShare::none) return false;
    punt(packet,
         {.why = Verdict::punt_host,
          .ingress = ingress,
          .l3_offset = found->l3_offset,
          .l3_bytes = found->ip_bytes,
          .l4_offset = found->l4_offset,
          .host_share = share,
          .checksum_is_partial = is_marked_partial(*packet)},
         now_);
    return true;
}

void Worker::refuse(const Parsed& parsed, Verdict verdict, Tsc now) noexcept {
    if (has_host_ && hand_to_host(parsed.packet, verdict, parsed.ingress)) return;
    if (tells_about(parsed, verdict)) {
        const bool tcp = parsed.ip[net::kProtocolOffset] == static_cast<std::uint8_t>(net::Protocol::tcp);
        const std::size_t flags = net::header_bytes(parsed.ip) + net::kTcpFlagsOffset - net::kIpv4Bytes;
        PuntNote note = note_about(parsed, Verdict::punt_refused, parsed.ingress);
        constexpr std::uint16_t kMostQuoted = 576;  // of an error, RFC 1812, section 4.3.2.3
        note.l3_bytes = std::min(note.l3_bytes, kMostQuoted);
        tell(parsed, verdict, tcp, tcp && TcpFlags{parsed.ip[flags]}.opens(), note, now);
    }
    discard(parsed.packet, verdict, parsed.ingress);
}

void Worker::tell(const Parsed& refused, Verdict verdict, bool tcp, bool opens, PuntNote note,
                  Tsc now) noexcept {
    const bool is_nobodys = tcp && verdict == Verdict::drop_no_rule;
    if ((is_nobodys && !opens) || !limiters_of(refused.ingress).refusals.allow(now)) return;
    // The packet itself is dropped and counted under its reason, whoever is told.
    note.why = is_nobodys ? Verdict::punt_syn_refused : Verdict::punt_refused;
    rte_mbuf* copy = rte_pktmbuf_copy(refused.packet, refused.packet->pool, 0,
                                      std::uint32_t{note.l3_offset} + note.l3_bytes);
    if (copy == nullptr) return;
    counters_.originated.add(1);
    punt(copy, note, now);
}

void Worker::punt(rte_mbuf* packet, const PuntNote& note, Tsc now) noexcept {
    LinkLimiters& limiters = limiters_of(note.ingress);
    PuntLimiter* limiter = &limiters.icmp;
    Verdict refused = Verdict::drop_punt_limited;
    switch (note.why) {
        case Verdict::punt_arp:
            // Questions from everybody must not drown the answers to fwd's own.
            limiter = is_arp_request(rte_pktmbuf_mtod_offset(packet, const std::uint8_t*, note.l3_offset))
                          ? &limiters.arp_requests
                          : &limiters.arp_replies;
            break;
        case Verdict::punt_nd:
            limiter = *rte_pktmbuf_mtod_offset(packet, const std::uint8_t*,
                                               note.l3_offset + note.l4_offset) == kNeighbourAdvertisement
                          ? &limiters.nd_answers
                          : &limiters.nd_questions;
            break;
        case Verdict::hold_neighbour:
            limiter = &limiters.hold;
            refused = Verdict::drop_hold_limited;
            break;
        case Verdict::punt_host:
            // A flood of SYNs must drown neither those who have come before nor what the kernel waits for.
            limiter = note.host_share == HostShare::answer        ? &limiters.host_answers
                      : note.host_share == HostShare::established ? &limiters.host_established
                                                                  : &limiters.host_openings;
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
    // Counted before: control may release it at once.
    const bool held = note.why == Verdict::hold_neighbour;
    if (held) counters_.held.add(1);
    if (rte_ring_enqueue(shared_.punts, packet) != 0) {
        if (held) counters_.released.add(1);
        return drop(packet, Verdict::drop_control_full, note.ingress);
    }
    counters_.count(note.why);
    shared_.control_bell.ring();
}

}  // namespace fwd::dataplane
