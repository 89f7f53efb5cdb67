// SPDX-License-Identifier: BSD-3-Clause
// SessionOpener for packets of IPv6: the same steps with addresses of 128 bits.
#include <algorithm>
#include <array>

#include "dataplane/address_check.h"
#include "dataplane/session_opener.h"

namespace fwd::dataplane {
namespace {

/// fwd's own addresses that a packet to a next hop may come from: those of the next hop's network if there
/// are any. Returns how many.
std::uint32_t own_addresses(const Link& egress, const net::IpAddress& next_hop, bool is_v4,
                            std::array<net::IpAddress, kMaxOwnAddresses>& candidates) noexcept {
    const auto collect = [&](const auto& addresses) {
        std::uint32_t count = 0;
        for (const net::IpInterfaceAddress own : addresses) {
            if (own.prefix().contains(next_hop)) candidates[count++] = own.address;
        }
        if (count != 0) return count;
        for (const net::IpInterfaceAddress own : addresses) candidates[count++] = own.address;
        return count;
    };
    return is_v4 ? collect(egress.addresses) : collect(egress.ipv6_addresses);
}

Verdict check_source(const std::vector<Link>& links, const WideKey& key) noexcept {
    if (!key.source.is_v4()) return check_addresses(links, key.ingress, key.source, key.destination);
    return check_addresses(links, key.ingress, key.source.v4(), key.destination.v4());
}

}  // namespace

void SessionOpener::set_translation(const WideKey& key, const net::IpEndpoint& source,
                                    WidePlan& plan) noexcept {
    plan.forward = WideTranslation::between(key, source, plan.target);
    plan.reverse = plan.forward.reverse_key(plan.next_hop.egress, key.protocol);
}

bool SessionOpener::draw_source(const Policy& policy, const WideKey& key, WidePlan& plan) noexcept {
    std::array<net::IpAddress, kMaxOwnAddresses> candidates;
    const std::uint32_t count = own_addresses(shared_.links[plan.next_hop.egress.value],
                                              plan.next_hop.address, plan.target.address.is_v4(), candidates);
    const std::uint64_t random = shared_.flows.hash().random(random_counter_++);
    const std::uint64_t low = random & 0xffffffffU;
    const PortRange& range = shared_.masquerade_ports;
    net::IpEndpoint source{
        candidates[((random >> 32U) * count) >> 32U],
        net::be16::from_host(static_cast<std::uint16_t>(range.first + ((low * range.size()) >> 32U)))};
    if (!has_ports(key.protocol)) source.port = {};
    set_translation(key, source, plan);
    // As in the IPv4 draw_source().
    if (source.address.is_v4() && policy.masquerades->uses_own_addresses() &&
        shared_.is_outbound(source.port))
        return false;
    return policy.rules->find_by_port(plan.next_hop.egress, key.protocol, source) == nullptr;
}

SessionOpener::WidePlan SessionOpener::plan(const Policy& policy, const WideKey& key, TcpFlags flags,
                                            std::uint8_t hop_limit) noexcept {
    if (const Verdict refused = check_source(shared_.links, key); refused != Verdict::forward)
        return {.verdict = refused};
    const PrefixTranslations& prefixes = *policy.prefixes;
    // From the wrong side: whoever sends this hopes to be taken for a host inside (requirement P5), or for
    // its counterpart.
    if (const PrefixTranslation* client = prefixes.find_inside(key.source)) {
        const auto back = policy.routes->find(key.source);
        if (!client->is_inside(key.ingress) || !back || back->egress != key.ingress)
            return {.verdict = Verdict::drop_martian};
    }
    if (prefixes.find_external(key.source) != nullptr) return {.verdict = Verdict::drop_spoofed_own_address};
    const ForwardingRule* rule = policy.rules->find(key.ingress, key.protocol, key.destination_endpoint());
    if (rule == nullptr) return plan_by_prefix(policy, key, flags, hop_limit);
    if (!rule->allows(key.source)) return {.verdict = Verdict::drop_source_denied};
    if (key.protocol == net::Protocol::tcp && !flags.opens()) return {.verdict = Verdict::drop_not_syn};
    const net::IpEndpoint target =
        rule->pick_target(shared_.flows.hash(), key.source, key.destination_port,
                          rule->takes_turns() ? shared_.rule_counters.next_turn(rule->id) : 0);
    const std::optional<NextHop> next_hop = policy.routes->find(target.address);
    if (!next_hop) return {.verdict = Verdict::drop_no_route};
    if (shared_.links[key.ingress.value].ends_hops(hop_limit)) return {.verdict = Verdict::punt_ttl_expired};
    // A client's address means nothing in the other family.
    const bool masquerade = rule->crosses || rule->source == SourceTranslation::masquerade ||
                            (rule->source == SourceTranslation::automatic && next_hop->egress == key.ingress);
    WidePlan plan{.masquerade = masquerade,
                  .next_hop = *next_hop,
                  .rule = rule->id,
                  .limits = rule->limits,
                  .target = target};
    if (!masquerade) {
        set_translation(key, key.source_endpoint(), plan);
        return plan;
    }
    const Link& egress = shared_.links[next_hop->egress.value];
    if (target.address.is_v4() ? egress.addresses.empty() : !egress.has_ipv6())
        return {.verdict = Verdict::drop_no_own_address};
    for (int draw = 0; draw < kPortProbes; ++draw) {
        if (draw_source(policy, key, plan)) return plan;
    }
    return {.verdict = Verdict::drop_ports_used_up};
}

SessionOpener::WidePlan SessionOpener::plan_by_prefix(const Policy& policy, const WideKey& key,
                                                      TcpFlags flags, std::uint8_t hop_limit) noexcept {
    const PrefixTranslations& prefixes = *policy.prefixes;
    const PrefixTranslation* client = prefixes.find_inside(key.source);
    const PrefixTranslation* target = prefixes.find_external(key.destination);
    if (target != nullptr ? !target->inbound : client == nullptr) return {.verdict = Verdict::drop_no_rule};
    const auto source = client != nullptr ? client->mapping.to_external(key.source) : key.source;
    const auto destination = target != nullptr ? target->mapping.to_inside(key.destination) : key.destination;
    if (!source || !destination) return {.verdict = Verdict::drop_no_route};
    const auto next_hop = policy.routes->find(*destination);
    if (!next_hop) return {.verdict = Verdict::drop_no_route};
    // Inside is what is reached by such a link; the world what is neither inside nor beside the client. And
    // neither of them is fwd's own.
    const bool known = target != nullptr ? target->is_inside(next_hop->egress)
                                         : next_hop->egress != key.ingress &&
                                               prefixes.find_inside(key.destination) == nullptr;
    const auto is_own = [&](const Link& link) { return link.owns(*destination); };
    if (!known || std::ranges::any_of(shared_.links, is_own)) return {.verdict = Verdict::drop_no_rule};
    if (key.protocol == net::Protocol::tcp && !flags.opens()) return {.verdict = Verdict::drop_not_syn};
    if (shared_.links[key.ingress.value].ends_hops(hop_limit)) return {.verdict = Verdict::punt_ttl_expired};
    WidePlan plan{.next_hop = *next_hop,
                  .rule = PrefixTranslations::kRule,
                  .hidden = client == nullptr   ? Directions::reverse
                            : target == nullptr ? Directions::forward
                                                : Directions::both,
                  .target = {*destination, key.destination_port}};
    set_translation(key, {*source, key.source_port}, plan);
    return plan;
}

SessionOpener::Result SessionOpener::open_crossing(const Policy& policy, const FlowKey& key,
                                                   std::uint32_t hash, std::uint8_t ttl, Tick now) noexcept {
    // That it is a SYN has been seen.
    const WideKey wide{key};
    WidePlan planned = plan(policy, wide, {TcpFlags::kSyn}, ttl);
    return open(policy, wide, hash, planned, now);
}

Verdict SessionOpener::take_limits(const WidePlan& plan, net::Ipv4Address client, Tick now,
                                   bool& counted) noexcept {
    RuleCounters& counters = shared_.rule_counters;
    const auto& limits = plan.limits;
    if (limits.rate != 0 && !counters.in_time(plan.rule, now, limits.rate)) return Verdict::drop_rate_limited;
    if (!counters.reserve_session(plan.rule, limits.sessions)) return Verdict::drop_rule_full;
    if (limits.sessions_per_source == 0) return Verdict::forward;
    const auto taken = counters.sources().take(plan.rule.slot, client, limits.sessions_per_source);
    counted = taken == SourceCounts::Taken::counted;
    if (taken != SourceCounts::Taken::refused) return Verdict::forward;
    counters.release_session(plan.rule);
    return Verdict::drop_source_full;
}

void SessionOpener::give_limits_back(const WidePlan& plan, net::Ipv4Address client, bool counted) noexcept {
    if (counted) shared_.rule_counters.sources().give_back(plan.rule.slot, client);
    shared_.rule_counters.release_session(plan.rule);
}

FlowTable::Claim SessionOpener::claim_reverse(const Policy& policy, const WideKey& key,
                                              WidePlan& plan) noexcept {
    FlowTable& flows = shared_.flows;
    FlowTable::Claim claim = flows.claim(plan.reverse, flows.hash_of(plan.reverse));
    if (!plan.masquerade) return claim;
    for (int probe = 1; probe < probes_of(key.protocol) && claim.outcome == FlowTable::Claim::Outcome::taken;
         ++probe) {
        if (draw_source(policy, key, plan)) claim = flows.claim(plan.reverse, flows.hash_of(plan.reverse));
    }
    return claim;
}

SessionOpener::Result SessionOpener::open(const Policy& policy, const WideKey& key, std::uint32_t hash,
                                          WidePlan& plan, Tick now) noexcept {
    if (plan.verdict != Verdict::forward) return {plan.verdict};
    FlowTable& flows = shared_.flows;
    const net::Ipv4Address client = flows.hash().counted_as(key.source);
    SessionTraits traits;
    bool counted = false;
    if (const Verdict limited = take_limits(plan, client, now, counted); limited != Verdict::forward)
        return {limited};
    traits.counted = counted;
    traits.hidden = plan.hidden;
    traits.window_checked = policy.checks_tcp_windows && key.protocol == net::Protocol::tcp;
    if (!make_room()) {
        give_limits_back(plan, client, counted);
        return {Verdict::drop_sessions_full};
    }
    const auto give_back = [&] {
        give_limits_back(plan, client, counted);
        flows.release_session();
    };

    const FlowTable::Claim forward = flows.claim(key, hash);
    if (forward.outcome != FlowTable::Claim::Outcome::won) {
        give_back();
        if (forward.outcome == FlowTable::Claim::Outcome::full) return {Verdict::drop_sessions_full};
        Flow& winner = flows.flow(forward.position);
        switch (winner.load_state().state()) {
            case RecordState::live:
                return {Verdict::forward, &winner};
            case RecordState::free:
            case RecordState::opening:
                return {Verdict::drop_session_opening};
            default:
                return {Verdict::drop_session_ending};
        }
    }
    const FlowTable::Claim reverse = claim_reverse(policy, key, plan);
    if (reverse.outcome != FlowTable::Claim::Outcome::won) {
        flows.abandon(forward.position, reclaimer_);
        give_back();
        if (reverse.outcome == FlowTable::Claim::Outcome::full) return {Verdict::drop_sessions_full};
        return {plan.masquerade ? Verdict::drop_ports_used_up : Verdict::drop_tuple_in_use};
    }

    NextHopRef ref{};
    if (const auto adjacency = shared_.neighbours.find(plan.next_hop))
        ref = {adjacency->value, policy.route_generation};
    const WideTranslation back =
        WideTranslation::between(plan.reverse, key.destination_endpoint(), key.source_endpoint());
    flows.publish({
        .forward = forward.position,
        .reverse = reverse.position,
        .forward_translation = {},
        .reverse_translation = {},
        .wide_forward_translation = &plan.forward,
        .wide_reverse_translation = &back,
        .forward_next_hop = ref,
        .protocol = key.protocol,
        .rule = plan.rule,
        .traits = traits,
        .peers = {},
        .now = now,
        .timeout = policy.timeout(first_state(key.protocol)),
    });
    Flow& flow = flows.flow(forward.position);
    queue(Evictable::unanswered).push({forward.position, flow.load_state()});
    counters_.sessions_opened.add(1);
    return {Verdict::forward, &flow};
}

}  // namespace fwd::dataplane
