// SPDX-License-Identifier: BSD-3-Clause
// The slow way of IPv4 packets whose ports do not lie where everybody's do: fragments, and packets with IP
// options (requirements U14 and P3). And how packets become fragments.
#include <algorithm>
#include <array>
#include <cstring>

#include "dataplane/address_check.h"
#include "dataplane/icmp_query.h"
#include "dataplane/ip_options.h"
#include "dataplane/packet.h"
#include "dataplane/portless.h"
#include "dataplane/worker.h"

namespace fwd::dataplane {
namespace {

net::Protocol protocol_of(const std::uint8_t* ip) noexcept {
    return static_cast<net::Protocol>(ip[net::kProtocolOffset]);
}

/// A packet's headers as if it had no IP options: what the rest of fwd looks at.
using PlainHeaders = std::array<std::uint8_t, net::kIpv4Bytes + sizeof(rte_tcp_hdr)>;
PlainHeaders plain_headers(const std::uint8_t* ip, std::uint16_t ip_bytes) noexcept {
    PlainHeaders plain{};
    const std::size_t header_bytes = net::header_bytes(ip);
    std::memcpy(plain.data(), ip, net::kIpv4Bytes);
    std::memcpy(plain.data() + net::kIpv4Bytes, ip + header_bytes,
                std::min(sizeof(rte_tcp_hdr), ip_bytes - header_bytes));
    return plain;
}

}  // namespace

std::optional<Worker::Parsed> Worker::cut(const Parsed& whole, std::uint16_t mtu, std::size_t& at) noexcept {
    rte_mbuf* packet = rte_pktmbuf_alloc(whole.packet->pool);
    if (packet == nullptr) return std::nullopt;
    counters_.originated.add(1);
    // One that is a fragment itself is cut on.
    const std::uint16_t word = net::load_host16(whole.ip + net::kFragmentOffset);
    const std::size_t room = (mtu - net::kIpv4Bytes) / 8 * 8;
    const std::size_t left = whole.ip_bytes - at;
    const std::size_t bytes = std::min(room, left);
    const bool more = left > room || (word & net::kMoreFragments) != 0;
    const std::size_t offset = (word & net::kFragmentOffsetMask) + (at - net::kIpv4Bytes) / 8;
    const auto ip_bytes = static_cast<std::uint16_t>(net::kIpv4Bytes + bytes);
    auto* ip = reinterpret_cast<std::uint8_t*>(rte_pktmbuf_append(packet, ip_bytes));
    std::memcpy(ip, whole.ip, net::kIpv4Bytes);
    std::memcpy(ip + net::kIpv4Bytes, whole.ip + at, bytes);
    const auto put = [ip](std::size_t field, std::size_t value) {
        net::store16(ip + field, net::be16::from_host(static_cast<std::uint16_t>(value)).wire());
    };
    put(net::kTotalLengthOffset, ip_bytes);
    put(net::kFragmentOffset, offset | (more ? net::kMoreFragments : 0U));
    put(net::kIpChecksumOffset, 0);
    net::store16(ip + net::kIpChecksumOffset, net::checksum(ip, net::kIpv4Bytes));
    at += bytes;
    return Parsed{packet, ip, ip_bytes, whole.ingress};
}

std::uint32_t Worker::next_identification() noexcept {
    // Odd steps leave out none; workers take turns.
    const auto turn =
        static_cast<std::uint32_t>(identification_counter_++ * shared_.worker_count + config_.index);
    return identification_start_ + turn * identification_step_;
}

void Worker::forward_unusual(Parsed parsed, Tsc now) noexcept {
    if (const Verdict bad = check_unusual(parsed.ip, parsed.ip_bytes); bad != Verdict::forward)
        return drop(parsed.packet, bad, parsed.ingress);
    if (!detail::has_l4_header(protocol_of(parsed.ip))) return forward_portless(parsed, now);
    const bool icmp = protocol_of(parsed.ip) == net::Protocol::icmp;
    if (icmp && net::header_bytes(parsed.ip) != net::kIpv4Bytes) {
        // Nothing of ICMP needs them on its way back.
        std::uint8_t* ip = remove_ip_options(parsed.ip);
        parsed.ip_bytes = static_cast<std::uint16_t>(parsed.ip_bytes - (ip - parsed.ip));
        parsed.ip = ip;
    }
    if (net::is_fragment(parsed.ip)) return forward_fragment(parsed, now);
    if (icmp) return forward_icmp(parsed, now);
    const PlainHeaders plain = plain_headers(parsed.ip, parsed.ip_bytes);
    const FlowKey key = FlowKey::from_packet(parsed.ingress, plain.data());
    refuse_or_punt(parsed, forward_by_key(parsed, key, plain.data(), now), now);
}

Verdict Worker::forward_by_key(const Parsed& parsed, const FlowKey& key, const std::uint8_t* plain, Tsc now,
                               Datagram* datagram) noexcept {
    const Tick tick = Tick::of(now);
    const std::uint32_t hash = shared_.flows.hash()(key);
    SessionOpener::Result found;
    for (int tries = 0; tries < 2; ++tries) {
        const std::int32_t position = shared_.flows.lookup(key, hash);
        SessionOpener::Plan plan{};
        if (position < 0) {
            if (plain == nullptr) return Verdict::drop_fragment_expired;
            plan = opener_.plan(*policy_, key, plain);
        }
        found = find_or_open(key, hash, position, plan, tick);
        // Another worker may just be opening or ending it.
        if (found.verdict != Verdict::drop_session_opening && found.verdict != Verdict::drop_session_ending)
            break;
    }
    if (found.flow == nullptr) return found.verdict;
    Flow& flow = *found.flow;
    if (shared_.links[parsed.ingress.value].ends_ttl(parsed.ip)) return Verdict::punt_ttl_expired;
    if (plain != nullptr) {
        const bool tcp = key.protocol == net::Protocol::tcp;
        if (!update_session(flow, tcp ? parsed.ip + net::header_bytes(parsed.ip) : nullptr, tick))
            return Verdict::drop_outside_window;
        if (tcp && clamps_mss_ && TcpFlags{plain[net::kTcpFlagsOffset]}.has(TcpFlags::kSyn))
            clamp_mss(parsed, flow);
    }
    flow.touch(tick);
    if (flow.count(parsed.ip_bytes)) shared_.flows.spill_counts(flow);
    if (datagram != nullptr && (flow.crosses() || flow.translation.source != key.source)) {
        if (!datagram->identification) datagram->identification = next_identification();
        set_identification(parsed.ip, static_cast<std::uint16_t>(*datagram->identification));
    }
    emit(parsed, flow, flow.translation.destination, now);
    return Verdict::forward;
}

void Worker::forward_fragment(const Parsed& parsed, Tsc now) noexcept {
    const std::optional<FragmentPlace> place = FragmentPlace::of(parsed.ip, parsed.ip_bytes);
    if (!place) return drop(parsed.packet, Verdict::drop_bad_fragment, parsed.ingress);
    forward_fragment({parsed.packet, parsed.ip, parsed.ip_bytes, parsed.ingress}, *place, now);
}

void Worker::forward_fragment(const Fragment& fragment, const FragmentPlace& place, Tsc now) noexcept {
    Datagram& datagram = fragments_.find_or_add(fragment, now);
    // Of one that is dropped as well: when it is complete, the same may come once more, and fare better.
    const Verdict known = datagram.verdict;
    Verdict noted = datagram.note(place);
    if (is_drop(known)) noted = datagram.verdict = known;
    if (is_drop(noted)) {
        if (is_drop(datagram.verdict)) fragments_.drop_waiting(datagram, datagram.verdict);
        if (datagram.verdict != Verdict::drop_fragment_overlap && datagram.is_complete())
            fragments_.remove(datagram);
        return drop(fragment.packet, noted, fragment.ingress);
    }
    if (place.is_first()) {
        if (fragment.is_ipv6()) {
            forward_first_ipv6_fragment(datagram, fragment, now);
        } else {
            forward_first_fragment(datagram,
                                   {fragment.packet, fragment.ip, fragment.ip_bytes, fragment.ingress}, now);
        }
        while (const auto waiting = fragments_.release(datagram))
            forward_later_fragment(datagram, *waiting, now);
    } else if (datagram.has_flow()) {
        forward_later_fragment(datagram, fragment, now);
    } else if (const Verdict held = fragments_.hold(datagram, fragment); is_drop(held)) {
        return drop(fragment.packet, held, fragment.ingress);
    }
    if (datagram.is_complete()) fragments_.remove(datagram);
}

void Worker::forward_first_fragment(Datagram& datagram, const Parsed& parsed, Tsc now) noexcept {
    const net::Protocol protocol = protocol_of(parsed.ip);
    const std::size_t header_bytes = net::header_bytes(parsed.ip);
    const std::uint8_t* l4 = parsed.ip + header_bytes;
    Verdict verdict = Verdict::drop_bad_fragment;
    if (!first_fragment_has_its_headers(protocol, l4, parsed.ip_bytes - header_bytes)) {
        // dropped
    } else if (protocol == net::Protocol::icmp) {
        // Its checksum is for whoever puts it together. What errors quote is shorter than any fragment.
        verdict = Verdict::drop_icmp_ignored;
        if (is_icmp_query(*l4)) {
            datagram.flow = query_key(parsed.ingress, parsed.ip);
            verdict = forward_icmp_query(parsed, *datagram.flow, now, &datagram);
        }
    } else {
        const PlainHeaders plain = plain_headers(parsed.ip, parsed.ip_bytes);
        datagram.flow = FlowKey::from_packet(parsed.ingress, plain.data());
        verdict = forward_by_key(parsed, *datagram.flow, plain.data(), now, &datagram);
    }
    if (verdict == Verdict::forward) return;
    datagram.verdict = verdict == Verdict::punt_ttl_expired ? Verdict::drop_ttl_expired : verdict;
    if (is_drop(verdict)) return drop(parsed.packet, verdict, parsed.ingress);
    punt(parsed.packet, note_about(parsed, verdict, parsed.ingress), now);
}

void Worker::forward_later_fragment(Datagram& datagram, const Fragment& fragment, Tsc now) noexcept {
    if (fragment.is_ipv6()) return forward_later_ipv6_fragment(datagram, fragment, now);
    const Parsed parsed{fragment.packet, fragment.ip, fragment.ip_bytes, fragment.ingress};
    Verdict verdict = datagram.verdict;
    if (verdict == Verdict::forward) {
        verdict = forward_by_key(parsed, *datagram.flow, nullptr, now, &datagram);
        if (verdict == Verdict::forward) return;
        // No error answers a later fragment (RFC 1122, section 3.2.2).
        if (verdict == Verdict::punt_ttl_expired) verdict = Verdict::drop_ttl_expired;
    }
    if (is_drop(verdict)) return drop(parsed.packet, verdict, parsed.ingress);
    punt(parsed.packet, note_about(parsed, verdict, parsed.ingress), now);
}

}  // namespace fwd::dataplane
