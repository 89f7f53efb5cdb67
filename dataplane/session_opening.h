// SPDX-License-Identifier: BSD-3-Clause
// What SessionOpener does alike for both families: included by the two files that have the rest.
#pragma once

#include <type_traits>

#include "dataplane/session_opener.h"

namespace fwd::dataplane {
namespace detail {

/// An endpoint as the keys of a family say it.
template <typename Key>
auto endpoint_for(const net::IpEndpoint& endpoint) noexcept {
    if constexpr (std::is_same_v<Key, FlowKey>) {
        return endpoint.v4();
    } else {
        return endpoint;
    }
}

}  // namespace detail

template <typename Endpoint, typename PlanOf>
bool SessionOpener::is_nobody_elses(const Policy& policy, net::Protocol protocol, const Endpoint& source,
                                    const PlanOf& plan) const noexcept {
    const LinkId egress = plan.next_hop.egress;
    const Link& link = shared_.links[egress.value];
    // Where masquerades use own addresses as well, they have ports of their own.
    if (policy.masquerades->uses_own_addresses() && shared_.is_outbound(source.port)) return false;
    // Rules come first in the port plan: an answer to such a port would look like a request. What a rule for
    // the whole address gets is what is left.
    if (link.serves(protocol, source.port) || policy.rules->find_by_port(egress, protocol, source) != nullptr)
        return false;
    // The kernel may speak to the same target.
    return !link.has_host() || !shared_.host_flows.knows(shared_.flows.hash().tag(WideKey{plan.reverse}));
}

template <typename Key>
const ForwardingRule* SessionOpener::find_outbound(const Policy& policy, const Key& key,
                                                   LinkId egress) noexcept {
    const ForwardingRule* rule = policy.rules->find_outbound(key.source, egress);
    if (rule == nullptr || egress == key.ingress) return nullptr;
    if (rule->ingress == egress) return rule;
    const auto home = policy.routes->find(rule->external.address);
    return home && home->egress == egress ? rule : nullptr;
}

template <typename Key>
bool SessionOpener::is_its_own(const Policy& policy, const Key& key, LinkId egress,
                               const ForwardingRule& rule) noexcept {
    return policy.rules->find(egress, key.protocol,
                              net::IpEndpoint{rule.external.address, key.source_port}) == &rule;
}

template <typename PlanOf, typename Key>
std::optional<PlanOf> SessionOpener::plan_outbound(const Policy& policy, const Key& key, TcpFlags flags,
                                                   std::uint8_t hops) noexcept {
    if (!policy.rules->has_outbound()) return std::nullopt;
    const auto next_hop = policy.routes->find(key.destination);
    if (!next_hop) return std::nullopt;
    const ForwardingRule* rule = find_outbound(policy, key, next_hop->egress);
    if (rule == nullptr || !is_world(policy, key.destination)) return std::nullopt;
    // From the wrong side: whoever sends this hopes to be taken for that host (requirement P5).
    const auto back = policy.routes->find(key.source);
    if (!back || back->egress != key.ingress) return PlanOf{.verdict = Verdict::drop_martian};
    if (!rule->allows(key.destination)) return PlanOf{.verdict = Verdict::drop_destination_denied};
    if (key.protocol == net::Protocol::tcp && !flags.opens()) return PlanOf{.verdict = Verdict::drop_not_syn};
    if (shared_.links[key.ingress.value].ends_hops(hops)) return PlanOf{.verdict = Verdict::punt_ttl_expired};
    if (!is_its_own(policy, key, next_hop->egress, *rule))
        return PlanOf{.verdict = Verdict::drop_tuple_in_use};
    PlanOf plan{.next_hop = *next_hop,
                .rule = rule->id,
                .limits = &rule->limits,
                .hidden = Directions::forward,
                .target = key.destination_endpoint()};
    plan.counted_alone = true;
    set_translation(key, detail::endpoint_for<Key>(net::IpEndpoint{rule->external.address, key.source_port}),
                    plan);
    return plan;
}

template <typename PlanOf, typename Key>
bool SessionOpener::plan_outbound_hairpin(const Policy& policy, const Key& key, PlanOf& plan) noexcept {
    if (!policy.rules->has_outbound()) return false;
    const auto outside = policy.routes->find(key.destination);
    if (!outside) return false;
    const ForwardingRule* rule = find_outbound(policy, key, outside->egress);
    if (rule == nullptr || !is_its_own(policy, key, outside->egress, *rule)) return false;
    const auto back = policy.routes->find(key.source);
    if (!back || back->egress != key.ingress) return false;
    plan.hidden = Directions::both;
    set_translation(key, detail::endpoint_for<Key>(net::IpEndpoint{rule->external.address, key.source_port}),
                    plan);
    return true;
}

template <typename PlanOf, typename Key>
PlanOf SessionOpener::plan_masquerade(const Policy& policy, const Key& key, TcpFlags flags, std::uint8_t hops,
                                      const MasqueradeSet::Host& client) noexcept {
    const Masquerader::Plan masquerade = masquerader_.plan(policy, WideKey{key}, client);
    if (masquerade.verdict != Verdict::forward) return {.verdict = masquerade.verdict};
    if (key.protocol == net::Protocol::tcp && !flags.opens()) return {.verdict = Verdict::drop_not_syn};
    if (shared_.links[key.ingress.value].ends_hops(hops)) return {.verdict = Verdict::punt_ttl_expired};
    const Mapped& mapped = masquerade.mapped;
    const Masquerade& owner = mapped.client != nullptr ? *mapped.client : *mapped.target;
    PlanOf plan{.next_hop = masquerade.next_hop,
                .rule = owner.id,
                .limits = &owner.limits,
                .mapped = mapped,
                .target = detail::endpoint_for<Key>(masquerade.target)};
    plan.counted_alone = true;
    set_translation(
        key, mapped.client != nullptr ? detail::endpoint_for<Key>(mapped.source) : key.source_endpoint(),
        plan);
    return plan;
}

template <typename PlanOf>
[[gnu::always_inline]] inline Verdict SessionOpener::take_limits(const PlanOf& plan, net::Ipv4Address client,
                                                                 Tick now, bool& counted) noexcept {
    RuleCounters& counters = shared_.rule_counters;
    // A masquerade's limits are for what its hosts open, not for what others open to them.
    constexpr ForwardingRule::Limits kNone{};
    const auto& limits =
        plan.mapped.client == nullptr && plan.mapped.target != nullptr ? kNone : *plan.limits;
    if (limits.rate != 0 && !counters.in_time(plan.rule, now, limits.rate)) return Verdict::drop_rate_limited;
    if (!counters.reserve_session(plan.rule, limits.sessions)) return Verdict::drop_rule_full;
    if (limits.sessions_per_source == 0) return Verdict::forward;
    const auto taken = counters.sources().take(plan.rule.slot, client, limits.sessions_per_source);
    counted = taken == SourceCounts::Taken::counted;
    if (taken != SourceCounts::Taken::refused) return Verdict::forward;
    counters.release_session(plan.rule);
    return Verdict::drop_source_full;
}

template <typename PlanOf>
void SessionOpener::give_limits_back(const PlanOf& plan, net::Ipv4Address client, bool counted) noexcept {
    if (counted) shared_.rule_counters.sources().give_back(plan.rule.slot, client);
    shared_.rule_counters.release_session(plan.rule);
}

template <typename PlanOf, typename Key>
FlowTable::Claim SessionOpener::claim_reverse(const Policy& policy, const Key& key, PlanOf& plan) noexcept {
    FlowTable::Claim claim = shared_.flows.claim(plan.reverse, plan.reverse_hash);
    if (!plan.full_nat) return claim;
    for (int probe = 1; probe < probes_of(key.protocol) && claim.outcome == FlowTable::Claim::Outcome::taken;
         ++probe) {
        if (draw_source(policy, key, plan)) claim = shared_.flows.claim(plan.reverse, plan.reverse_hash);
    }
    return claim;
}

template <typename PlanOf, typename Key>
SessionOpener::Result SessionOpener::open_planned(const Policy& policy, const Key& key, std::uint32_t hash,
                                                  PlanOf& plan, Tick now) noexcept {
    if (plan.verdict != Verdict::forward) return {plan.verdict};
    const net::Ipv4Address client = client_of(key, plan);
    bool counted = false;
    if (const Verdict limited = take_limits(plan, client, now, counted); limited != Verdict::forward)
        return {limited};
    const auto give_back = [&] {
        give_limits_back(plan, client, counted);
        shared_.flows.release_session();
    };
    if (!make_room()) {
        give_limits_back(plan, client, counted);
        return {Verdict::drop_sessions_full};
    }

    const FlowTable::Claim forward = shared_.flows.claim(key, hash);
    if (forward.outcome != FlowTable::Claim::Outcome::won) {
        give_back();
        if (forward.outcome == FlowTable::Claim::Outcome::full) return {Verdict::drop_sessions_full};
        Flow& winner = shared_.flows.flow(forward.position);
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

    MappingPeers peers;
    if (plan.mapped.takes_part()) {
        const Verdict held = masquerader_.hold(policy, WideKey{key}, plan.mapped, now, peers);
        if (held != Verdict::forward) {
            shared_.flows.abandon(forward.position, reclaimer_);
            give_back();
            return {held};
        }
        const auto source = detail::endpoint_for<Key>(plan.mapped.source);
        if (plan.mapped.client != nullptr && source != plan.reverse.destination_endpoint())
            set_translation(key, source, plan);
    }
    const FlowTable::Claim reverse = claim_reverse(policy, key, plan);
    if (reverse.outcome != FlowTable::Claim::Outcome::won) {
        shared_.flows.abandon(forward.position, reclaimer_);
        masquerader_.release(peers, now);
        give_back();
        if (reverse.outcome == FlowTable::Claim::Outcome::full) return {Verdict::drop_sessions_full};
        if (plan.full_nat) return {Verdict::drop_ports_used_up};
        // The other side may just be opening the same session, or have given way as this one does.
        const bool owned = shared_.flows.flow(reverse.position).load_state().state() == RecordState::live;
        return {plan.mapped.takes_part() || !owned ? Verdict::drop_session_opening
                                                   : Verdict::drop_tuple_in_use};
    }

    NextHopRef ref{};
    if (const auto adjacency = shared_.neighbours.find(plan.next_hop))
        ref = {adjacency->value, policy.route_generation};
    SessionTraits traits;
    traits.counted = counted;
    traits.counted_alone = plan.counted_alone;
    traits.kept_alive_by = plan.mapped.kept_alive_by();
    traits.hidden = plan.hidden.value_or(plan.mapped.hidden());
    traits.window_checked = policy.checks_tcp_windows && key.protocol == net::Protocol::tcp;
    FlowTable::NewSession session{
        .forward = forward.position,
        .reverse = reverse.position,
        .forward_next_hop = ref,
        .protocol = key.protocol,
        .rule = plan.rule,
        .traits = traits,
        .peers = peers,
        .now = now,
        .timeout = policy.timeout(first_state(key.protocol)),
    };
    const auto back =
        decltype(plan.forward)::between(plan.reverse, key.destination_endpoint(), key.source_endpoint());
    if constexpr (std::is_same_v<Key, FlowKey>) {
        session.forward_translation = plan.forward;
        session.reverse_translation = back;
    } else {
        session.wide_forward_translation = &plan.forward;
        session.wide_reverse_translation = &back;
    }
    shared_.flows.publish(session);
    Flow& flow = shared_.flows.flow(forward.position);
    queue(Evictable::unanswered).push({forward.position, flow.load_state()});
    counters_.sessions_opened.add(1);
    return {Verdict::forward, &flow};
}

}  // namespace fwd::dataplane
