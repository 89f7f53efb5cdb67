// SPDX-License-Identifier: BSD-3-Clause
// The way of an IPv6 packet: the stages of worker.cc for packets that a burst's IPv4 leaves over.
#include <rte_ether.h>

#include <algorithm>
#include <array>

#include "dataplane/address_check.h"
#include "dataplane/icmpv6_error.h"
#include "dataplane/ip_options.h"
#include "dataplane/neighbour_discovery.h"
#include "dataplane/tcp_options.h"
#include "dataplane/worker_burst.h"

namespace fwd::dataplane {
namespace {

constexpr std::size_t kTcpFlags = 13;
constexpr std::size_t kIcmpBytes = 8;
constexpr std::size_t kTcpAcknowledgement = 8;

TcpFlags flags_of(const std::uint8_t* ip, const Ipv6Packet& packet) noexcept {
    return {packet.protocol == net::Protocol::tcp ? ip[packet.l4_offset + kTcpFlags] : std::uint8_t{0}};
}

}  // namespace

void Worker::take_ipv6(const Parsed& frame, std::size_t bytes_there, Tsc now) noexcept {
    const Ipv6Packet packet = parse_ipv6(frame.ip, bytes_there);
    if (packet.verdict != Verdict::forward) return drop(frame.packet, packet.verdict, frame.ingress);
    WideParsed parsed{frame, packet};
    parsed.ip_bytes = packet.ip_bytes;
    const bool multicast = (*rte_pktmbuf_mtod(frame.packet, const std::uint8_t*) & 1U) != 0;
    if (packet.is_fragment()) return forward_ipv6_fragment(parsed, multicast, now);
    if (packet.protocol == net::Protocol::icmpv6) return forward_icmpv6(parsed, multicast, now);
    if (multicast) return drop(frame.packet, Verdict::drop_multicast, frame.ingress);
    if (packet.protocol != net::Protocol::tcp && packet.protocol != net::Protocol::udp) [[unlikely]]
        return forward_ipv6_portless(parsed, now);
    WideBurst& burst = *wide_burst_;
    const unsigned i = burst.count++;
    burst.parsed[i] = parsed;
    burst.keys[i] = wide_key_of(frame.ingress, frame.ip, packet);
    burst.hashes[i] = shared_.flows.hash()(burst.keys[i]);
}

PuntNote Worker::note_about(const WideParsed& parsed, Verdict why, LinkId egress) const noexcept {
    PuntNote note = note_about(static_cast<const Parsed&>(parsed), why, egress);
    note.l4_offset = parsed.ipv6.l4_offset;
    return note;
}

void Worker::forward_ipv6_burst(Tsc now) noexcept {
    WideBurst& burst = *wide_burst_;
    FlowTable& flows = shared_.flows;
    std::array<const void*, kBurst> keys;
    std::array<std::int32_t, kBurst> positions;
    for (unsigned i = 0; i < burst.count; ++i) keys[i] = &burst.keys[i];
    flows.lookup_bulk_wide(keys.data(), burst.hashes.data(), burst.count, positions.data());
    for (unsigned i = 0; i < burst.count; ++i) {
        if (positions[i] < 0) continue;
        const FlowPosition position{static_cast<std::uint32_t>(positions[i])};
        __builtin_prefetch(&flows.flow(position), 1);
        __builtin_prefetch(&flows.wide(position).translation);
    }
    LinkTally sent{counters_, &LinkCounters::tx_packets, &LinkCounters::tx_bytes};
    for (unsigned i = 0; i < burst.count; ++i) {
        const WideParsed& parsed = burst.parsed[i];
        SessionOpener::Result result =
            find_or_open(parsed, burst.keys[i], burst.hashes[i], positions[i], now);
        // A packet that met a session while another worker was opening or ending it is put through once more.
        if (result.verdict == Verdict::drop_session_opening || result.verdict == Verdict::drop_session_ending)
            result = find_or_open(parsed, burst.keys[i], burst.hashes[i],
                                  flows.lookup(burst.keys[i], burst.hashes[i]), now);
        if (result.flow != nullptr) {
            forward_ipv6(parsed, *result.flow, now, sent);
        } else {
            refuse_or_punt(parsed, result.verdict, now);
        }
    }
    burst.count = 0;
}

void Worker::refuse(const WideParsed& parsed, Verdict verdict, Tsc now) noexcept {
    if (has_host_ && hand_to_host(parsed.packet, verdict, parsed.ingress)) return;
    if (tells_about(parsed, verdict)) {
        PuntNote note = note_about(parsed, Verdict::punt_refused, parsed.ingress);
        // As much of it as an error may have that fits everywhere (RFC 4443, section 2.4).
        constexpr std::uint16_t kMostQuoted = net::kIpv6LeastMtu - net::kIpv6Bytes - kIcmpBytes;
        note.l3_bytes = std::min(note.l3_bytes, kMostQuoted);
        const bool tcp = parsed.ipv6.protocol == net::Protocol::tcp;
        tell(parsed, verdict, tcp, flags_of(parsed.ip, parsed.ipv6).opens(), note, now);
    }
    discard(parsed.packet, verdict, parsed.ingress);
}

SessionOpener::Result Worker::find_or_open(const WideParsed& parsed, const WideKey& key, std::uint32_t hash,
                                           std::int32_t position, Tsc now) noexcept {
    if (position >= 0) return find(FlowPosition{static_cast<std::uint32_t>(position)});
    SessionOpener::WidePlan plan =
        opener_.plan(*policy_, key, flags_of(parsed.ip, parsed.ipv6), parsed.ip[net::kHopLimitOffset]);
    return opener_.open(*policy_, key, hash, plan, Tick::of(now));
}

void Worker::forward_ipv6(const WideParsed& parsed, Flow& flow, Tsc now, LinkTally& sent) noexcept {
    const Link& ingress = shared_.links[parsed.ingress.value];
    if (ingress.ends_hops(parsed.ip[net::kHopLimitOffset])) {
        punt(parsed.packet, note_about(parsed, Verdict::punt_ttl_expired, parsed.ingress), now);
        return;
    }
    const WideTranslation& translation = shared_.flows.wide(shared_.flows.position_of(flow)).translation;
    const Tick tick = Tick::of(now);
    const bool tcp = parsed.ipv6.protocol == net::Protocol::tcp;
    std::uint8_t* l4 = parsed.ip + parsed.ipv6.l4_offset;
    const TcpFlags flags = flags_of(parsed.ip, parsed.ipv6);
    if (!flow.settled.load(std::memory_order_relaxed) || flags.changes_state()) {
        if (!update_session(flow, tcp ? l4 : nullptr, tick))
            return drop(parsed.packet, Verdict::drop_outside_window, parsed.ingress);
        if (clamps_mss_ && flags.has(TcpFlags::kSyn)) clamp_ipv6_mss(parsed, translation.destination);
    } else if (tcp) {
        flow.acknowledged.store(net::load32(l4 + kTcpAcknowledgement), std::memory_order_relaxed);
    }
    flow.touch(tick);
    if (flow.count(parsed.ip_bytes)) shared_.flows.spill_counts(flow);
    // What the translation takes off again.
    if (ingress.hides_hop) ++parsed.ip[net::kHopLimitOffset];
    send_ipv6(parsed, flow, translation, now, sent);
}

void Worker::clamp_ipv6_mss(const WideParsed& parsed, const net::IpAddress& destination) noexcept {
    std::uint16_t greatest = shared_.links[parsed.ingress.value].mss_clamp;
    if (const auto next_hop = policy_->routes->find(destination)) {
        const std::uint16_t other = shared_.links[next_hop->egress.value].mss_clamp;
        if (greatest == 0 || (other != 0 && other < greatest)) greatest = other;
    }
    if (greatest == 0) return;
    // A partial checksum would not be known for one afterwards.
    if (const L4Checksum checksum = checksum_of(parsed);
        checksum != L4Checksum::complete && !parsed.ipv6.is_fragment()) {
        complete_ipv6_checksum(parsed.ip, parsed.ipv6, checksum == L4Checksum::partial);
    }
    // What a link allows is said for IPv4's shorter header.
    clamp_tcp_mss(parsed.ip + parsed.ipv6.l4_offset, static_cast<std::uint16_t>(greatest - kFamilyGrowth));
}

std::optional<Worker::Way> Worker::find_way(std::atomic<NextHopRef>& known,
                                            const net::IpAddress& destination) noexcept {
    NextHopRef ref = known.load(std::memory_order_relaxed);
    Way way;
    if (ref.route_generation != policy_->route_generation) {
        const auto next_hop = find_next_hop(known, destination, ref);
        if (!next_hop) return std::nullopt;
        way.adjacency.egress = next_hop->egress;
        way.next_hop = next_hop->address;
    }
    if (ref.route_generation == policy_->route_generation) {
        way.id = AdjacencyId{ref.adjacency};
        way.adjacency = shared_.neighbours.view().get(way.id);
    }
    return way;
}

void Worker::deliver(const Parsed& parsed, const Way& way, const net::IpAddress& destination, Tsc now,
                     LinkTally& sent) noexcept {
    const Link& egress = shared_.links[way.adjacency.egress.value];
    if (way.adjacency.state == AdjacencyState::failed)
        return drop(parsed.packet, Verdict::drop_neighbour_failed, parsed.ingress);
    if (way.adjacency.state != AdjacencyState::reachable) {
        // The frame that it waits in begins with it, when a longer header reaches beyond the old one.
        const auto* frame = rte_pktmbuf_mtod(parsed.packet, const std::uint8_t*);
        if (parsed.ip < frame)
            rte_pktmbuf_prepend(parsed.packet, static_cast<std::uint16_t>(frame - parsed.ip));
        PuntNote note = note_about(parsed, Verdict::hold_neighbour, way.adjacency.egress);
        note.next_hop = way.next_hop;
        if (note.next_hop == net::IpAddress{}) {
            if (const auto next_hop = policy_->routes->find(destination)) note.next_hop = next_hop->address;
        }
        return punt(parsed.packet, note, now);
    }
    shared_.neighbours.view().use(way.id, Tick::of(now).value >> kNeighbourUseShift);
    const std::uint16_t ether_type = *parsed.ip >> 4U == 4 ? RTE_ETHER_TYPE_IPV4 : RTE_ETHER_TYPE_IPV6;
    if (!write_l2(*parsed.packet, parsed.ip, parsed.ip_bytes, egress, way.adjacency.mac, ether_type))
        return drop(parsed.packet, Verdict::drop_no_headroom, parsed.ingress);
    const auto frame_bytes = static_cast<std::uint32_t>(egress.l2_bytes + parsed.ip_bytes);
    sent.add(way.adjacency.egress, frame_bytes);
    TxBuffer& buffer = tx_[egress.port.value];
    if (buffer.full()) flush();
    buffer.push(parsed.packet, frame_bytes);
}

L4Checksum Worker::checksum_of(const Parsed& parsed) const noexcept {
    if (!shared_.links[parsed.ingress.value].rx_checksum_partial) return L4Checksum::complete;
    const bool marked =
        (parsed.packet->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) == RTE_MBUF_F_RX_L4_CKSUM_NONE;
    return marked ? L4Checksum::partial : L4Checksum::unsure;
}

void Worker::send_ipv6(const WideParsed& parsed, Flow& flow, const WideTranslation& translation, Tsc now,
                       LinkTally& sent) noexcept {
    if (translation.destination.is_v4()) return send_as_ipv4(parsed, flow, translation, now, sent);
    const auto way = find_way(flow.next_hop, translation.destination);
    if (!way) return drop(parsed.packet, Verdict::drop_no_route, parsed.ingress);
    if (parsed.ip_bytes > shared_.links[way->adjacency.egress.value].mtu) {
        // The first one has been answered.
        if (parsed.ipv6.is_later_fragment) return drop(parsed.packet, Verdict::drop_too_big, parsed.ingress);
        return punt(parsed.packet, note_about(parsed, Verdict::punt_too_big, way->adjacency.egress), now);
    }
    // Whoever makes fragments has completed their checksum before.
    if (const L4Checksum checksum = checksum_of(parsed);
        checksum != L4Checksum::complete && !parsed.ipv6.is_fragment()) {
        complete_ipv6_checksum(parsed.ip, parsed.ipv6, checksum == L4Checksum::partial);
    }
    rewrite_ipv6(parsed.ip, parsed.ipv6, translation);
    deliver(parsed, *way, translation.destination, now, sent);
}

void Worker::send_as_ipv4(const WideParsed& parsed, Flow& flow, const WideTranslation& translation, Tsc now,
                          LinkTally& sent) noexcept {
    // Extension headers among what the fragments carry would be counted by their offsets.
    if (parsed.ipv6.is_fragment() &&
        (parsed.ipv6.l4_offset != parsed.ipv6.fragment_offset + net::kFragmentHeaderBytes ||
         parsed.ip[parsed.ipv6.fragment_offset] != static_cast<std::uint8_t>(parsed.ipv6.protocol))) {
        return drop(parsed.packet, Verdict::drop_ipv6_fragment, parsed.ingress);
    }
    const auto way = find_way(flow.next_hop, translation.destination);
    if (!way) return drop(parsed.packet, Verdict::drop_no_route, parsed.ingress);
    const unsigned bytes = parsed.ip_bytes - parsed.ipv6.l4_offset + net::kIpv4Bytes;
    if (parsed.ipv6.is_fragment()) {
        // IPv6's largest datagram is longer than IPv4's by the fixed header.
        const std::uint16_t word =
            net::load_host16(parsed.ip + parsed.ipv6.fragment_offset + net::kFragmentWordOffset);
        if (bytes + (word & net::kIpv6FragmentOffsetMask) > 0xffff)
            return drop(parsed.packet, Verdict::drop_bad_fragment, parsed.ingress);
    }
    const Link& egress = shared_.links[way->adjacency.egress.value];
    if (bytes > egress.mtu) {
        if (parsed.ipv6.is_later_fragment) return drop(parsed.packet, Verdict::drop_too_big, parsed.ingress);
        PuntNote note = note_about(parsed, Verdict::punt_too_big, way->adjacency.egress);
        note.mtu = static_cast<std::uint16_t>(
            std::max<std::size_t>(egress.mtu + std::size_t{kFamilyGrowth}, net::kIpv6LeastMtu));
        return punt(parsed.packet, note, now);
    }
    // Of a packet that may yet be cut (RFC 7915, section 5.1).
    const net::be16 identification = net::be16::from_host(static_cast<std::uint16_t>(next_identification()));
    const Translated made = parsed.ipv6.is_fragment() ? to_ipv4_fragment(parsed.ip, parsed.ipv6, translation)
                                                      : to_ipv4(parsed.ip, parsed.ipv6, translation,
                                                                checksum_of(parsed), identification.wire());
    deliver({parsed.packet, made.ip, made.ip_bytes, parsed.ingress}, *way, translation.destination, now,
            sent);
}

WideFlow& Worker::crossing_of(const Flow& flow) noexcept {
    FlowTable& flows = shared_.flows;
    return flows.wide(flow.direction == Direction::forward ? flows.session(flow.session).reverse
                                                           : flow.session);
}

void Worker::send_as_ipv6(Parsed parsed, const Flow& flow, Tsc now) noexcept {
    // IPv4's options have no meaning to IPv6 (RFC 7915, section 4.1).
    if (net::header_bytes(parsed.ip) != net::kIpv4Bytes) {
        std::uint8_t* plain = remove_ip_options(parsed.ip);
        parsed.ip_bytes = static_cast<std::uint16_t>(parsed.ip_bytes - (plain - parsed.ip));
        parsed.ip = plain;
    }
    const bool fragment = net::is_fragment(parsed.ip);
    // The sum of all of a datagram can't be computed from its first fragment (RFC 7915, section 4.5).
    if (fragment && !net::is_later_fragment(parsed.ip) &&
        parsed.ip[net::kProtocolOffset] == static_cast<std::uint8_t>(net::Protocol::udp) &&
        net::load16(parsed.ip + net::kUdpChecksumOffset) == 0) {
        return drop(parsed.packet, Verdict::drop_ipv6_fragment, parsed.ingress);
    }
    if (shared_.links[parsed.ingress.value].hides_hop) take_back_hop(parsed.ip);
    WideFlow& wide = crossing_of(flow);
    const WideTranslation& translation = wide.crossing;
    const auto way = find_way(wide.crossing_next_hop, translation.destination);
    if (!way) return drop(parsed.packet, Verdict::drop_no_route, parsed.ingress);
    const Link& egress = shared_.links[way->adjacency.egress.value];
    const unsigned growth = fragment ? kFragmentGrowth : kFamilyGrowth;
    const bool may_be_cut = (net::load_host16(parsed.ip + net::kFragmentOffset) & net::kDontFragment) == 0;
    if (parsed.ip_bytes + growth > (may_be_cut ? egress.uncut_ipv6_bytes() : egress.mtu)) {
        if (may_be_cut) return send_in_ipv6_pieces(parsed, translation, *way, now);
        if (net::is_later_fragment(parsed.ip))
            return drop(parsed.packet, Verdict::drop_too_big, parsed.ingress);
        PuntNote note = note_about(parsed, Verdict::punt_too_big, way->adjacency.egress);
        note.mtu = static_cast<std::uint16_t>(egress.mtu - growth);
        return punt(parsed.packet, note, now);
    }
    if (static_cast<std::size_t>(parsed.ip - static_cast<std::uint8_t*>(parsed.packet->buf_addr)) < growth)
        return drop(parsed.packet, Verdict::drop_no_headroom, parsed.ingress);
    const Translated made = fragment ? to_ipv6_fragment(parsed.ip, parsed.ip_bytes, translation)
                                     : to_ipv6(parsed.ip, parsed.ip_bytes, translation, checksum_of(parsed));
    LinkTally sent{counters_, &LinkCounters::tx_packets, &LinkCounters::tx_bytes};
    deliver({parsed.packet, made.ip, made.ip_bytes, parsed.ingress}, *way, translation.destination, now,
            sent);
}

void Worker::send_in_ipv6_pieces(const Parsed& parsed, const WideTranslation& translation, const Way& way,
                                 Tsc now) noexcept {
    if (!net::is_fragment(parsed.ip)) {
        finish_checksum(parsed.ip, parsed.ip_bytes, checksum_of(parsed));
        set_identification(parsed.ip, static_cast<std::uint16_t>(next_identification()));
    }
    const Link& egress = shared_.links[way.adjacency.egress.value];
    const auto mtu = static_cast<std::uint16_t>(egress.uncut_ipv6_bytes() - kFragmentGrowth);
    LinkTally sent{counters_, &LinkCounters::tx_packets, &LinkCounters::tx_bytes};
    for (std::size_t at = net::kIpv4Bytes; at < parsed.ip_bytes;) {
        const std::optional<Parsed> piece = cut(parsed, mtu, at);
        if (!piece) return drop(parsed.packet, Verdict::drop_too_big, parsed.ingress);
        const Translated made = to_ipv6_fragment(piece->ip, piece->ip_bytes, translation);
        deliver({piece->packet, made.ip, made.ip_bytes, parsed.ingress}, way, translation.destination, now,
                sent);
    }
    // The pieces have come in its place.
    counters_.originated.take_back(1);
    rte_pktmbuf_free(parsed.packet);
}

void Worker::send_error_as_ipv6(const Parsed& parsed, const FlowKey& key, const Flow& flow,
                                Tsc now) noexcept {
    WideFlow& wide = crossing_of(flow);
    const auto way = find_way(wide.crossing_next_hop, wide.crossing.destination);
    if (!way) return drop(parsed.packet, Verdict::drop_no_route, parsed.ingress);
    if (parsed.ip - static_cast<std::uint8_t*>(parsed.packet->buf_addr) < 2 * kFamilyGrowth)
        return drop(parsed.packet, Verdict::drop_no_headroom, parsed.ingress);
    const auto made = to_icmpv6_error(parsed.ip, parsed.ip_bytes, WideKey{key}, wide.crossing);
    if (!made) return drop(parsed.packet, Verdict::drop_icmp_ignored, parsed.ingress);
    LinkTally sent{counters_, &LinkCounters::tx_packets, &LinkCounters::tx_bytes};
    deliver({parsed.packet, made->ip, made->ip_bytes, parsed.ingress}, *way, wide.crossing.destination, now,
            sent);
}

void Worker::forward_ipv6_portless(const WideParsed& parsed, Tsc now) noexcept {
    const WideKey key = wide_key_of(parsed.ingress, parsed.ip, parsed.ipv6);
    const Verdict verdict = forward_ipv6_by_key(parsed, key, now);
    refuse_or_punt(parsed, verdict == Verdict::drop_no_rule ? Verdict::drop_unsupported_protocol : verdict,
                   now);
}

Verdict Worker::forward_ipv6_echo(const WideParsed& parsed, const WideKey& key, Tsc now,
                                  Datagram* datagram) noexcept {
    const bool is_request = parsed.ip[parsed.ipv6.l4_offset] == kIcmpv6EchoRequest;
    const Link& link = shared_.links[parsed.ingress.value];
    if (is_request && link.ping && link.owns(key.destination.v6())) {
        // Neighbours may ask from their link-local addresses.
        const net::Ipv6Address asks = key.source.v6();
        const Verdict refused = asks.is_link_local() ? Verdict::forward
                                                     : check_addresses(shared_.links.now(), parsed.ingress,
                                                                       key.source, key.source);
        return refused != Verdict::forward || link.owns(asks) ? Verdict::drop_martian : Verdict::punt_echo;
    }
    if (!shared_.flows.explains_query(shared_.flows.lookup(key, shared_.flows.hash_of(key)), is_request))
        return Verdict::drop_icmp_ignored;
    const Verdict verdict = forward_ipv6_by_key(parsed, key, now, datagram);
    return verdict == Verdict::drop_no_rule ? Verdict::drop_icmp_ignored : verdict;
}

void Worker::forward_icmpv6(const WideParsed& parsed, bool multicast, Tsc now) noexcept {
    const auto refuse = [&](Verdict verdict) { drop(parsed.packet, verdict, parsed.ingress); };
    std::uint8_t* ip = parsed.ip;
    const std::uint8_t type = ip[parsed.ipv6.l4_offset];
    const Link& link = shared_.links[parsed.ingress.value];
    if (!icmpv6_checksum_good(ip, parsed.ipv6)) return refuse(Verdict::drop_bad_icmp);
    if (type == kNeighbourSolicitation || type == kNeighbourAdvertisement) {
        if (!parse_nd(ip, parsed.ipv6)) return refuse(Verdict::drop_bad_nd);
        punt(parsed.packet, note_about(parsed, Verdict::punt_nd, parsed.ingress), now);
        return;
    }
    if (is_listener_query(ip, parsed.ipv6)) {
        punt(parsed.packet, note_about(parsed, Verdict::punt_nd, parsed.ingress), now);
        return;
    }
    if (multicast) return refuse(Verdict::drop_multicast);

    const net::IpAddress source = net::load_ipv6(ip + net::kIpv6SourceOffset);
    const net::IpAddress destination = net::load_ipv6(ip + net::kIpv6DestinationOffset);
    if (is_icmpv6_echo(type)) {
        const WideKey key = wide_key_of(parsed.ingress, ip, parsed.ipv6);
        return refuse_or_punt(parsed, forward_ipv6_echo(parsed, key, now), now);
    }
    if (!is_icmpv6_error(type)) return refuse(Verdict::drop_icmp_ignored);
    if (const Verdict refused = check_addresses(shared_.links.now(), parsed.ingress, source, destination);
        refused != Verdict::forward) {
        return refuse(refused);
    }
    const std::optional<Icmpv6Subject> subject = parse_icmpv6_error(ip, parsed.ipv6, parsed.ingress);
    if (!subject) return refuse(Verdict::drop_bad_icmp);
    FlowTable& flows = shared_.flows;
    const std::int32_t found = flows.lookup(subject->key, flows.hash_of(subject->key));
    if (found < 0) return refuse(Verdict::drop_icmp_no_session);
    const FlowPosition position{static_cast<std::uint32_t>(found)};
    Flow& flow = flows.flow(position);
    // The error has to come to the address that the packet inside was sent from.
    if (flow.load_state().state() != RecordState::live || destination != subject->key.destination)
        return refuse(Verdict::drop_icmp_no_session);
    if (link.ends_hops(ip[net::kHopLimitOffset])) return refuse(Verdict::drop_ttl_expired);
    if (link.hides_hop) ++ip[net::kHopLimitOffset];
    const WideTranslation& answers = flows.wide(position).translation;
    const auto way = find_way(flow.next_hop, answers.destination);
    if (!way) return refuse(Verdict::drop_no_route);
    Parsed made = parsed;
    if (answers.destination.is_v4()) {
        const auto translated = to_icmpv4_error(ip, parsed.ipv6, *subject, answers);
        if (!translated) return refuse(Verdict::drop_icmp_ignored);
        made.ip = translated->ip;
        made.ip_bytes = translated->ip_bytes;
    } else {
        // No error answers an error (RFC 4443, section 2.4).
        if (parsed.ip_bytes > shared_.links[way->adjacency.egress.value].mtu)
            return refuse(Verdict::drop_too_big);
        rewrite_icmpv6_error(ip, parsed.ipv6, *subject, answers,
                             has(flows.session(flow.session).traits.hidden, flow.direction));
    }
    LinkTally sent{counters_, &LinkCounters::tx_packets, &LinkCounters::tx_bytes};
    deliver(made, *way, answers.destination, now, sent);
}

}  // namespace fwd::dataplane
