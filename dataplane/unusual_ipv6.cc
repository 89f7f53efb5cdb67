// SPDX-License-Identifier: BSD-3-Clause
// Fragments of IPv6 (requirement U14): unusual.cc has what is the same for both families.
#include <cstring>

#include "dataplane/icmpv6_error.h"
#include "dataplane/packet.h"
#include "dataplane/worker_burst.h"

namespace fwd::dataplane {
namespace {

constexpr std::size_t kTcpFlags = 13;
constexpr std::size_t kUdpChecksum = 6;

bool has_l4_header(net::Protocol protocol) noexcept {
    return protocol == net::Protocol::tcp || protocol == net::Protocol::udp ||
           protocol == net::Protocol::icmpv6;
}

/// What becomes of a datagram for what its first fragment says at its beginning: Verdict::forward if nothing
/// is wrong.
Verdict check_first_fragment(const std::uint8_t* ip, const Ipv6Packet& packet) noexcept {
    const std::uint8_t* l4 = ip + packet.l4_offset;
    const bool udp = packet.protocol == net::Protocol::udp;
    if (!has_l4_header(packet.protocol)) {
        return is_passed_by_ipv6_address(packet.protocol) ? Verdict::forward
                                                          : Verdict::drop_unsupported_protocol;
    }
    const std::size_t bytes = std::size_t{packet.ip_bytes} - packet.l4_offset;
    if (!first_fragment_has_its_headers(packet.protocol, l4, bytes)) return Verdict::drop_bad_fragment;
    return udp && net::load16(l4 + kUdpChecksum) == 0 ? Verdict::drop_bad_l4_header : Verdict::forward;
}

}  // namespace

void Worker::forward_ipv6_fragment(const WideParsed& parsed, bool multicast, Tsc now) noexcept {
    if (multicast) return drop(parsed.packet, Verdict::drop_multicast, parsed.ingress);
    const std::optional<FragmentPlace> place = FragmentPlace::of(parsed.ip, parsed.ipv6);
    if (!place) return drop(parsed.packet, Verdict::drop_bad_fragment, parsed.ingress);
    forward_fragment({parsed.packet, parsed.ip, parsed.ip_bytes, parsed.ingress, parsed.ipv6.fragment_offset},
                     *place, now);
}

void Worker::forward_first_ipv6_fragment(Datagram& datagram, const Fragment& fragment, Tsc now) noexcept {
    const WideParsed parsed{{fragment.packet, fragment.ip, fragment.ip_bytes, fragment.ingress},
                            parse_ipv6(fragment.ip, fragment.ip_bytes)};
    Verdict verdict = check_first_fragment(parsed.ip, parsed.ipv6);
    const bool is_icmp = parsed.ipv6.protocol == net::Protocol::icmpv6;
    // Errors are no longer than any link allows, and neighbour discovery is never in fragments (RFC 6980).
    if (verdict == Verdict::forward && is_icmp && !is_icmpv6_echo(parsed.ip[parsed.ipv6.l4_offset]))
        verdict = Verdict::drop_icmp_ignored;
    if (verdict == Verdict::forward) {
        datagram.wide_flow = wide_key_of(parsed.ingress, parsed.ip, parsed.ipv6);
        verdict = is_icmp ? forward_ipv6_echo(parsed, *datagram.wide_flow, now, &datagram)
                          : forward_ipv6_by_key(parsed, *datagram.wide_flow, now, &datagram);
        if (verdict == Verdict::forward) return;
        if (verdict == Verdict::drop_no_rule && !has_l4_header(parsed.ipv6.protocol))
            verdict = Verdict::drop_unsupported_protocol;
    }
    datagram.verdict = verdict == Verdict::punt_ttl_expired ? Verdict::drop_ttl_expired : verdict;
    if (is_drop(verdict)) return drop(parsed.packet, verdict, parsed.ingress);
    punt(parsed.packet, note_about(parsed, verdict, parsed.ingress), now);
}

void Worker::forward_later_ipv6_fragment(Datagram& datagram, const Fragment& fragment, Tsc now) noexcept {
    WideParsed parsed{{fragment.packet, fragment.ip, fragment.ip_bytes, fragment.ingress},
                      parse_ipv6(fragment.ip, fragment.ip_bytes)};
    Verdict verdict = datagram.verdict;
    if (verdict == Verdict::forward) {
        parsed.ipv6.protocol = datagram.wide_flow->protocol;
        verdict = forward_ipv6_by_key(parsed, *datagram.wide_flow, now, &datagram);
        if (verdict == Verdict::forward) return;
        // As for IPv4: the first one has been answered.
        if (verdict == Verdict::punt_ttl_expired) verdict = Verdict::drop_ttl_expired;
    }
    if (is_drop(verdict)) return drop(parsed.packet, verdict, parsed.ingress);
    punt(parsed.packet, note_about(parsed, verdict, parsed.ingress), now);
}

Verdict Worker::forward_ipv6_by_key(const WideParsed& parsed, const WideKey& key, Tsc now,
                                    Datagram* datagram) noexcept {
    FlowTable& flows = shared_.flows;
    const std::uint32_t hash = flows.hash_of(key);
    SessionOpener::Result found;
    for (int tries = 0; tries < 2; ++tries) {
        const std::int32_t position = flows.lookup(key, hash);
        if (position < 0 && parsed.ipv6.is_later_fragment) return Verdict::drop_fragment_expired;
        found = find_or_open(parsed, key, hash, position, now);
        // Another worker may just be opening or ending it.
        if (found.verdict != Verdict::drop_session_opening && found.verdict != Verdict::drop_session_ending)
            break;
    }
    if (found.flow == nullptr) return found.verdict;
    Flow& flow = *found.flow;
    const Link& ingress = shared_.links[parsed.ingress.value];
    if (ingress.ends_hops(parsed.ip[net::kHopLimitOffset])) return Verdict::punt_ttl_expired;
    const WideTranslation& translation = flows.wide(flows.position_of(flow)).translation;
    const Tick tick = Tick::of(now);
    if (!parsed.ipv6.is_later_fragment) {
        const std::uint8_t* l4 = parsed.ip + parsed.ipv6.l4_offset;
        const bool tcp = key.protocol == net::Protocol::tcp;
        if (!update_session(flow, tcp ? l4 : nullptr, tick)) return Verdict::drop_outside_window;
        if (tcp && clamps_mss_ && TcpFlags{l4[kTcpFlags]}.has(TcpFlags::kSyn))
            clamp_ipv6_mss(parsed, translation.destination);
    }
    flow.touch(tick);
    if (flow.count(parsed.ip_bytes)) flows.spill_counts(flow);
    // What the translation takes off again.
    if (ingress.hides_hop) ++parsed.ip[net::kHopLimitOffset];
    if (datagram != nullptr && translation.source != key.source) {
        if (!datagram->identification) datagram->identification = next_identification();
        const std::uint32_t wire = net::be32::from_host(*datagram->identification).wire();
        std::memcpy(parsed.ip + parsed.ipv6.fragment_offset + net::kFragmentIdOffset, &wire, sizeof wire);
    }
    LinkTally sent{counters_, &LinkCounters::tx_packets, &LinkCounters::tx_bytes};
    send_ipv6(parsed, flow, translation, now, sent);
    return Verdict::forward;
}

}  // namespace fwd::dataplane
