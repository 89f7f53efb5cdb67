// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace fwd::dataplane {

/// What became of a packet. A row here and one in kVerdictNames is all that a new drop reason needs:
/// counters, RPC and fwdctl follow.
enum class Verdict : std::uint8_t {
    forward,
    punt_arp,
    punt_nd,           ///< neighbour discovery, ARP's counterpart for IPv6
    punt_echo,         ///< ICMP echo request to an own address
    punt_ttl_expired,  ///< control answers with ICMP time exceeded
    punt_too_big,      ///< control answers with ICMP fragmentation needed
    punt_refused,      ///< copy of a refused packet; control answers with ICMP administratively prohibited
    punt_syn_refused,  ///< copy of a SYN that is nobody's; 6 s later control answers with ICMP port
                       ///< unreachable
    punt_host,         ///< for a service of the kernel's: see host_path.h
    hold_neighbour,    ///< waits in control until its next hop's MAC address is known

    drop_truncated,
    drop_multi_segment,
    drop_not_ip,
    drop_wrong_mac,
    drop_multicast,
    drop_unknown_vlan,
    drop_bad_ip_header,
    drop_bad_ip_checksum,
    drop_bad_ip_options,
    drop_source_route,
    drop_bad_fragment,
    drop_fragment_overlap,
    drop_fragment_expired,
    drop_fragments_full,
    drop_ipv6_header,
    drop_ipv6_fragment,
    drop_bad_l4_header,
    drop_unsupported_protocol,
    drop_bad_icmp,
    drop_icmp_no_session,
    drop_icmp_ignored,
    drop_martian,
    drop_spoofed_own_address,
    drop_no_rule,
    drop_source_denied,
    drop_rate_limited,
    drop_rule_full,
    drop_source_full,
    drop_destination_denied,
    drop_filtered,
    drop_mappings_full,
    drop_host_ports_full,
    drop_not_syn,
    drop_outside_window,
    drop_sessions_full,
    drop_ports_used_up,
    drop_tuple_in_use,
    drop_session_opening,
    drop_session_ending,
    drop_no_route,
    drop_no_own_address,
    drop_ttl_expired,
    drop_too_big,
    drop_neighbour_failed,
    drop_no_headroom,
    drop_punt_limited,
    drop_tx_full,
    drop_link_removed,
    drop_hold_limited,
    drop_hold_expired,
    drop_bad_arp,
    drop_bad_nd,
    drop_control_full,

    count_
};

inline constexpr std::size_t kVerdictCount = static_cast<std::size_t>(Verdict::count_);
inline constexpr Verdict kFirstDrop = Verdict::drop_truncated;

struct VerdictName {
    Verdict verdict;
    std::string_view name;
    std::string_view help;
};

inline constexpr std::array<VerdictName, kVerdictCount> kVerdictNames{{
    {Verdict::forward, "forward", "translated and handed to a link"},
    {Verdict::punt_arp, "punt-arp", "ARP, handled by control"},
    {Verdict::punt_nd, "punt-nd", "IPv6 neighbour discovery, handled by control"},
    {Verdict::punt_echo, "punt-echo", "ping of an own address, answered by control"},
    {Verdict::punt_ttl_expired, "punt-ttl-expired", "answered with ICMP time exceeded"},
    {Verdict::punt_too_big, "punt-too-big", "answered with ICMP fragmentation needed, or packet too big"},
    {Verdict::punt_refused, "punt-refused",
     "copy of a packet that was dropped, for ICMP administratively prohibited"},
    {Verdict::punt_syn_refused, "punt-syn-refused",
     "copy of a SYN that was dropped, for ICMP port unreachable after 6 s"},
    {Verdict::punt_host, "punt-host", "for a service of the kernel's that the link's `host` lists"},
    {Verdict::hold_neighbour, "hold-neighbour", "held until the next hop's MAC address is known"},
    {Verdict::drop_truncated, "truncated", "shorter than its own headers say"},
    {Verdict::drop_multi_segment, "multi-segment", "longer than a packet buffer: raise the link's mtu"},
    {Verdict::drop_not_ip, "not-ip", "neither IPv4 nor ARP, nor IPv6 on a link that has an IPv6 address"},
    {Verdict::drop_wrong_mac, "wrong-mac", "not addressed to the link's MAC address"},
    {Verdict::drop_multicast, "multicast", "broadcast or multicast"},
    {Verdict::drop_unknown_vlan, "unknown-vlan", "tagged (or untagged) as no link of the device is"},
    {Verdict::drop_bad_ip_header, "bad-ip-header", "IP version, header length or total length is wrong"},
    {Verdict::drop_bad_ip_checksum, "bad-ip-checksum", "IP header checksum is wrong"},
    {Verdict::drop_bad_ip_options, "bad-ip-options", "an IP option that is cut short"},
    {Verdict::drop_source_route, "source-route", "the sender wants to choose the route (an IP option)"},
    {Verdict::drop_bad_fragment, "bad-fragment",
     "a fragment that is empty, cut at an odd place, beyond 64 KiB, or the first one without its headers"},
    {Verdict::drop_fragment_overlap, "fragment-overlap",
     "a fragment that has come already, or of a datagram whose fragments overlap"},
    {Verdict::drop_fragment_expired, "fragment-expired",
     "a fragment whose first one did not come in time, or whose session has ended"},
    {Verdict::drop_fragments_full, "fragments-full",
     "too many fragments of one source wait for their first one"},
    {Verdict::drop_ipv6_header, "ipv6-header", "an IPv6 extension header that is not passed on"},
    {Verdict::drop_ipv6_fragment, "ipv6-fragment",
     "a fragment that can't cross between IPv4 and IPv6: without a UDP checksum, or with IPv6 headers "
     "inside"},
    {Verdict::drop_bad_l4_header, "bad-l4-header",
     "TCP or UDP header or length is wrong, a port is 0, or UDP over IPv6 has no checksum"},
    {Verdict::drop_unsupported_protocol, "unsupported-protocol",
     "neither TCP, UDP nor ICMP, and no rule for all protocols of the address"},
    {Verdict::drop_bad_icmp, "bad-icmp",
     "ICMP checksum is wrong, or the packet inside is cut short or malformed"},
    {Verdict::drop_icmp_no_session, "icmp-no-session", "ICMP error about no live session"},
    {Verdict::drop_icmp_ignored, "icmp-ignored",
     "ICMP that is no error about a session and that nobody answers"},
    {Verdict::drop_martian, "martian", "source or destination that can't be on a network"},
    {Verdict::drop_spoofed_own_address, "spoofed-own-address", "source is an address of fwd itself"},
    {Verdict::drop_no_rule, "no-rule", "no rule and no session explains it"},
    {Verdict::drop_source_denied, "source-denied", "the rule does not allow this source"},
    {Verdict::drop_rate_limited, "rate-limited", "more new sessions a second than the rule's `rate`"},
    {Verdict::drop_rule_full, "rule-full", "the rule has its `max_sessions` already"},
    {Verdict::drop_source_full, "source-full", "the client has its `max_sessions_per_source` already"},
    {Verdict::drop_destination_denied, "destination-denied",
     "the masquerade's `to` does not allow this destination"},
    {Verdict::drop_filtered, "filtered", "from outside to a mapping, which has not sent to that address"},
    {Verdict::drop_mappings_full, "mappings-full", "mapping table full: raise `mappings`"},
    {Verdict::drop_host_ports_full, "host-ports-full",
     "the inside host has its `max_ports_per_host` already"},
    {Verdict::drop_not_syn, "not-syn", "TCP of no live session, and no SYN"},
    {Verdict::drop_outside_window, "outside-window",
     "TCP outside its receiver's window: see `tcp_window_check`"},
    {Verdict::drop_sessions_full, "sessions-full", "session table full: raise `sessions`"},
    {Verdict::drop_ports_used_up, "ports-used-up",
     "no free source port found: add own addresses, or some to the pool"},
    {Verdict::drop_tuple_in_use, "tuple-in-use",
     "another session's answers, or another rule, have these very addresses and ports"},
    {Verdict::drop_session_opening, "session-opening", "another worker is just opening its session"},
    {Verdict::drop_session_ending, "session-ending", "its session is just being removed"},
    {Verdict::drop_no_route, "no-route", "no route to the destination"},
    {Verdict::drop_no_own_address, "no-own-address", "the egress link has no address to masquerade with"},
    {Verdict::drop_ttl_expired, "ttl-expired",
     "TTL ran out, and the answer was not allowed by the rate limit"},
    {Verdict::drop_too_big, "too-big", "bigger than the egress link's mtu"},
    {Verdict::drop_neighbour_failed, "neighbour-failed",
     "the next hop does not answer ARP or neighbour discovery"},
    {Verdict::drop_no_headroom, "no-headroom", "no room in the buffer for a VLAN tag"},
    {Verdict::drop_punt_limited, "punt-limited", "for control, beyond the rate limit"},
    {Verdict::drop_tx_full, "tx-full", "the link's transmit queue is full"},
    {Verdict::drop_link_removed, "link-removed", "for a link whose device has been removed"},
    {Verdict::drop_hold_limited, "hold-limited", "too many packets wait for this next hop already"},
    {Verdict::drop_hold_expired, "hold-expired", "waited for a next hop that did not answer"},
    {Verdict::drop_bad_arp, "bad-arp", "malformed ARP"},
    {Verdict::drop_bad_nd, "bad-nd", "malformed IPv6 neighbour discovery, or from beyond the link"},
    {Verdict::drop_control_full, "control-full", "control's ring was full"},
}};

consteval bool names_in_order() {
    for (std::size_t i = 0; i < kVerdictCount; ++i) {
        if (static_cast<std::size_t>(kVerdictNames[i].verdict) != i) return false;
    }
    return true;
}
static_assert(names_in_order(), "a row of kVerdictNames is missing or out of place");

/// Refused by a rule, for want of one, or for want of room: nothing is wrong with the packet itself.
constexpr bool is_refusal(Verdict verdict) noexcept {
    switch (verdict) {
        case Verdict::drop_no_rule:
        case Verdict::drop_source_denied:
        case Verdict::drop_rate_limited:
        case Verdict::drop_rule_full:
        case Verdict::drop_source_full:
        case Verdict::drop_destination_denied:
        case Verdict::drop_mappings_full:
        case Verdict::drop_host_ports_full:
        case Verdict::drop_sessions_full:
        case Verdict::drop_ports_used_up:
        case Verdict::drop_tuple_in_use:
            return true;
        default:
            return false;
    }
}

/// A packet that nothing of fwd's own explains, but the kernel may: see host_path.h.
constexpr bool may_be_for_host(Verdict verdict) noexcept {
    switch (verdict) {
        case Verdict::drop_multicast:
        case Verdict::drop_unsupported_protocol:
        case Verdict::drop_icmp_no_session:
        case Verdict::drop_icmp_ignored:
        case Verdict::drop_martian:
        case Verdict::drop_no_rule:
        case Verdict::drop_filtered:  // the kernel may have the port of a mapping as well, with other peers
            return true;
        default:
            return false;
    }
}

constexpr bool is_drop(Verdict verdict) noexcept {
    return verdict >= kFirstDrop;
}

}  // namespace fwd::dataplane
