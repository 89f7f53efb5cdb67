// SPDX-License-Identifier: BSD-3-Clause
// SessionOpener for packets of IPv6: the same steps with addresses of 128 bits.
#include <algorithm>
#include <array>

#include "dataplane/address_check.h"
#include "dataplane/session_opening.h"

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
    return is_v4 ? collect(egress.sources) : collect(egress.ipv6_sources);
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
    plan.reverse_hash = shared_.flows.hash_of(plan.reverse);
}

bool SessionOpener::draw_source(const Policy& policy, const WideKey& key, WidePlan& plan) noexcept {
    std::array<net::IpAddress, kMaxOwnAddresses> candidates;
    const std::uint32_t count = own_addresses(shared_.links[plan.next_hop.egress.value],
                                              plan.next_hop.address, plan.target.address.is_v4(), candidates);
    if (count == 0) return false;  // just taken away
    const std::uint64_t random = shared_.flows.hash().random(random_counter_++);
    const std::uint64_t low = random & 0xffffffffU;
    const PortRange& range = shared_.masquerade_ports;
    net::IpEndpoint source{
        candidates[((random >> 32U) * count) >> 32U],
        net::be16::from_host(static_cast<std::uint16_t>(range.first + ((low * range.size()) >> 32U)))};
    if (!has_ports(key.protocol)) source.port = {};
    set_translation(key, source, plan);
    return is_nobody_elses(policy, key.protocol, source, plan);
}

SessionOpener::WidePlan SessionOpener::plan(const Policy& policy, const WideKey& key, TcpFlags flags,
                                            std::uint8_t hop_limit) noexcept {
    if (const Verdict refused = check_source(shared_.links.now(), key); refused != Verdict::forward)
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
    Client client;
    if (!policy.masquerades->empty()) client = find_client(policy, key.ingress, key.source);
    if (client.verdict != Verdict::forward) return {.verdict = client.verdict};
    const ForwardingRule* rule = policy.rules->find(key.ingress, key.protocol, key.destination_endpoint());
    if (rule != nullptr) return plan_by_rule(policy, key, flags, hop_limit, *rule, client.host);
    if (const auto outbound = plan_outbound<WidePlan>(policy, key, flags, hop_limit)) return *outbound;
    // A prefix is more specific than a masquerade, which may be for all that is behind a link.
    if (prefixes.find_inside(key.source) != nullptr || prefixes.find_external(key.destination) != nullptr)
        return plan_by_prefix(policy, key, flags, hop_limit);
    if (policy.masquerades->empty() || !has_ports(key.protocol)) return {.verdict = Verdict::drop_no_rule};
    return plan_masquerade<WidePlan>(policy, key, flags, hop_limit, client.host);
}

SessionOpener::WidePlan SessionOpener::plan_by_rule(const Policy& policy, const WideKey& key, TcpFlags flags,
                                                    std::uint8_t hop_limit, const ForwardingRule& rule,
                                                    const MasqueradeSet::Host& client) noexcept {
    if (!rule.allows(key.source)) return {.verdict = Verdict::drop_source_denied};
    if (key.protocol == net::Protocol::tcp && !flags.opens()) return {.verdict = Verdict::drop_not_syn};
    const net::IpEndpoint target =
        rule.pick_target(shared_.flows.hash(), key.source, key.destination_port,
                         rule.takes_turns() ? shared_.rule_counters.next_turn(rule.id) : 0);
    const std::optional<NextHop> next_hop = policy.routes->find(target.address);
    if (!next_hop) return {.verdict = Verdict::drop_no_route};
    if (is_from_elsewhere(policy, key.ingress, key.source, *next_hop))
        return {.verdict = Verdict::drop_martian};
    if (shared_.links[key.ingress.value].ends_hops(hop_limit)) return {.verdict = Verdict::punt_ttl_expired};
    WidePlan plan{.next_hop = *next_hop, .rule = rule.id, .limits = &rule.limits, .target = target};
    const bool automatic = rule.source == SourceTranslation::automatic;
    if (automatic && !rule.crosses && plan_outbound_hairpin(policy, key, plan)) return plan;
    if (automatic && !rule.crosses && client && has_ports(key.protocol))
        plan.mapped = masquerader_.plan_hairpin(policy, key, client);
    if (plan.mapped.client != nullptr) {
        set_translation(key, plan.mapped.source, plan);
        return plan;
    }
    // A client's address means nothing in the other family.
    plan.full_nat = rule.crosses || rule.source == SourceTranslation::masquerade ||
                    (automatic && next_hop->egress == key.ingress);
    if (!plan.full_nat) {
        set_translation(key, key.source_endpoint(), plan);
        return plan;
    }
    const Link& egress = shared_.links[next_hop->egress.value];
    if (target.address.is_v4() ? egress.sources.empty() : egress.ipv6_sources.empty())
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
    if (target != nullptr && !target->inbound) return {.verdict = Verdict::drop_no_rule};
    const auto source = client != nullptr ? client->mapping.to_external(key.source) : key.source;
    const auto destination = target != nullptr ? target->mapping.to_inside(key.destination) : key.destination;
    if (!source || !destination) return {.verdict = Verdict::drop_no_route};
    const auto next_hop = policy.routes->find(*destination);
    if (!next_hop) return {.verdict = Verdict::drop_no_route};
    // Inside is what is reached by such a link. And neither that nor the world is fwd's own.
    const auto is_own = [&](const Link& link) { return link.owns(*destination); };
    const bool known = target != nullptr ? target->is_inside(next_hop->egress) &&
                                               std::ranges::none_of(shared_.links.now(), is_own)
                                         : next_hop->egress != key.ingress && is_world(policy, *destination);
    if (!known) return {.verdict = Verdict::drop_no_rule};
    if (key.protocol == net::Protocol::tcp && !flags.opens()) return {.verdict = Verdict::drop_not_syn};
    if (shared_.links[key.ingress.value].ends_hops(hop_limit)) return {.verdict = Verdict::punt_ttl_expired};
    static constexpr ForwardingRule::Limits kNone{};
    WidePlan plan{.next_hop = *next_hop,
                  .rule = PrefixTranslations::kRule,
                  .limits = &kNone,
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

SessionOpener::Result SessionOpener::open(const Policy& policy, const WideKey& key, std::uint32_t hash,
                                          WidePlan& plan, Tick now) noexcept {
    return open_planned(policy, key, hash, plan, now);
}

}  // namespace fwd::dataplane
