// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/session_opener.h"

#include <algorithm>
#include <array>
#include <optional>

#include "dataplane/address_check.h"
#include "dataplane/packet.h"
#include "dataplane/session_opening.h"

namespace fwd::dataplane {
namespace {

constexpr int kEvictionTries = 256;
constexpr int kTidiedEntries = 8;
constexpr unsigned kEntryPrefetch = 8;
constexpr std::uint32_t kMostForOthers = 64;  // in a round

// Requirement R18: above this share of the capacity new sessions make room for themselves ...
constexpr std::uint32_t kPressurePercent = 80;
// ... as long as so many sessions are unanswered, or half open, that a real client among them still has time
// for its handshake. Fewer are such clients themselves: closing sessions go before them, once the table is
// full.
constexpr std::uint32_t kUnansweredPercent = 10;

}  // namespace

SessionOpener::SessionOpener(const SharedTables& shared, Reclaimer& reclaimer,
                             MappingReclaimer& mapping_reclaimer, ThreadCounters& counters, unsigned worker)
    : shared_{shared},
      reclaimer_{reclaimer},
      counters_{counters},
      masquerader_{shared, mapping_reclaimer, worker},
      queues_{EvictionQueue{shared.flows.capacity()}, EvictionQueue{shared.flows.capacity()},
              EvictionQueue{shared.flows.capacity()}},
      worker_{worker},
      // Workers count in ranges of their own.
      random_counter_{std::uint64_t{worker} << 56U} {}

bool SessionOpener::is_still(Evictable kind, const EvictionQueue::Entry& entry) const noexcept {
    return shared_.flows.flow(entry.session).load_state() == entry.word &&
           evictable_as(shared_.flows.session(entry.session).state.load(std::memory_order_relaxed)) == kind;
}

bool SessionOpener::evict_one(Evictable kind) noexcept {
    EvictionQueue& sessions = queue(kind);
    for (int tries = 0; tries < kEvictionTries && !sessions.empty(); ++tries) {
        if (const auto* later = sessions.peek(kEntryPrefetch)) {
            __builtin_prefetch(&shared_.flows.flow(later->session));
            __builtin_prefetch(&shared_.flows.session(later->session));
        }
        const EvictionQueue::Entry entry = sessions.pop();
        if (is_still(kind, entry) && shared_.flows.retire(entry.session, entry.word, reclaimer_)) {
            counters_.sessions_closed.add(1);
            counters_.sessions_evicted.add(1);
            return true;
        }
    }
    return false;
}

bool SessionOpener::evict(Evictable first) noexcept {
    if (evict_one(first)) return true;
    for (const Evictable kind : {Evictable::closing, Evictable::unanswered, Evictable::half_open}) {
        if (kind != first && evict_one(kind)) return true;
    }
    return false;
}

Evictable SessionOpener::too_many() const noexcept {
    const std::uint64_t limit = std::uint64_t{shared_.flows.capacity()} * kUnansweredPercent;
    for (const Evictable kind : {Evictable::unanswered, Evictable::half_open}) {
        if (std::uint64_t{shared_.flows.evictable_count(kind)} * 100 > limit) return kind;
    }
    return Evictable::closing;
}

std::optional<Tick> SessionOpener::oldest(Evictable kind) noexcept {
    const auto* entry = queue(kind).peek(0);
    if (entry == nullptr || !is_still(kind, *entry)) return std::nullopt;
    return shared_.flows.session(entry->session).opened;
}

void SessionOpener::tidy() noexcept {
    for (const Evictable kind : {Evictable::unanswered, Evictable::half_open, Evictable::closing}) {
        for (int entries = 0; entries < kTidiedEntries; ++entries) {
            const auto* oldest = queue(kind).peek(0);
            if (oldest == nullptr || is_still(kind, *oldest)) break;
            queue(kind).pop();
        }
    }
    if (shared_.worker_count == 1) return;
    elsewhere_.reset();
    for (const Evictable kind : {Evictable::unanswered, Evictable::half_open})
        shared_.evictions.show(worker_, kind, oldest(kind));
    for (std::uint32_t wanted = std::min(shared_.evictions.take_wanted(worker_), kMostForOthers);
         wanted > 0 && reclaimer_.has_room() && evict(too_many()); --wanted) {
    }
}

bool SessionOpener::make_room() noexcept {
    const std::uint64_t capacity = shared_.flows.capacity();
    const std::uint64_t live = shared_.flows.session_count();
    const bool full = live >= capacity;
    if (live * 100 >= capacity * kPressurePercent && reclaimer_.has_room()) {
        const Evictable kind = too_many();
        if (kind != Evictable::closing && !(elsewhere_ && elsewhere_->kind == kind))
            elsewhere_ = {kind, shared_.evictions.find_older(worker_, kind, oldest(kind))};
        if (kind != Evictable::closing && !full && elsewhere_->worker) {
            shared_.evictions.ask(*elsewhere_->worker);
        } else if ((kind != Evictable::closing || full) && !evict(kind)) {
            shared_.evictions.ask_all_but(worker_);
        }
    }
    return reclaimer_.has_room() && shared_.flows.reserve_session();
}

void SessionOpener::set_translation(const FlowKey& key, net::Endpoint source, Plan& plan) noexcept {
    plan.forward = Translation::between(key, source, plan.target);
    plan.reverse = plan.forward.reverse_key(plan.next_hop.egress, key.protocol);
    plan.reverse_hash = shared_.flows.hash()(plan.reverse);
}

bool SessionOpener::draw_source(const Policy& policy, const FlowKey& key, Plan& plan) noexcept {
    const auto& own = shared_.links[plan.next_hop.egress.value].sources;
    std::array<net::Ipv4Address, kMaxOwnAddresses> candidates;
    std::uint32_t count = 0;
    for (const auto& address : own) {
        if (address.prefix().contains(plan.next_hop.address.v4())) candidates[count++] = address.address;
    }
    if (count == 0) {
        for (const auto& address : own) candidates[count++] = address.address;
    }
    if (count == 0) return false;  // just taken away
    const std::uint64_t random = shared_.flows.hash().random(random_counter_++);
    const std::uint64_t low = random & 0xffffffffU;
    const PortRange& range = shared_.masquerade_ports;
    net::Endpoint source{
        candidates[((random >> 32U) * count) >> 32U],
        net::be16::from_host(static_cast<std::uint16_t>(range.first + ((low * range.size()) >> 32U)))};
    if (!has_ports(key.protocol)) source.port = {};
    set_translation(key, source, plan);
    return is_nobody_elses(policy, key.protocol, source, plan);
}

SessionOpener::Plan SessionOpener::plan(const Policy& policy, const FlowKey& key,
                                        const std::uint8_t* ip) noexcept {
    if (const Verdict refused =
            check_addresses(shared_.links.now(), key.ingress, key.source, key.destination);
        refused != Verdict::forward) {
        return {refused};
    }
    Client client;
    if (!policy.masquerades->empty()) client = find_client(policy, key.ingress, key.source);
    if (client.verdict != Verdict::forward) return {client.verdict};
    const ForwardingRule* rule = policy.rules->find(key.ingress, key.protocol, key.destination_endpoint());
    if (rule != nullptr) return plan_by_rule(policy, key, ip, *rule, client.host);
    const TcpFlags flags{key.protocol == net::Protocol::tcp ? ip[net::kTcpFlagsOffset] : std::uint8_t{0}};
    if (const auto outbound = plan_outbound<Plan>(policy, key, flags, ip[net::kTtlOffset])) return *outbound;
    if (policy.masquerades->empty() || !has_ports(key.protocol)) return {Verdict::drop_no_rule};
    return plan_masquerade<Plan>(policy, key, flags, ip[net::kTtlOffset], client.host);
}

SessionOpener::Client SessionOpener::find_client(const Policy& policy, LinkId ingress,
                                                 const net::IpAddress& source) noexcept {
    const MasqueradeSet::Host host = policy.masquerades->find_host(*policy.routes, source);
    // From the wrong side: whoever sends this hopes to be taken for a host inside (requirement P5).
    if (host && host.link != ingress) return {.verdict = Verdict::drop_martian};
    if (policy.masquerades->has_external(source)) return {.verdict = Verdict::drop_spoofed_own_address};
    return {.host = host};
}

bool SessionOpener::is_world(const Policy& policy, const net::IpAddress& destination) const noexcept {
    return policy.prefixes->find_inside(destination) == nullptr &&
           policy.prefixes->find_external(destination) == nullptr &&
           !policy.masquerades->has_external(destination) &&
           !policy.masquerades->find_host(*policy.routes, destination) &&
           std::ranges::none_of(shared_.links.now(),
                                [&](const Link& link) { return link.owns(destination); });
}

bool SessionOpener::is_from_elsewhere(const Policy& policy, LinkId ingress, const net::IpAddress& source,
                                      const NextHop& target) noexcept {
    return target.egress != ingress && policy.routes->side_of(source) == target.egress;
}

SessionOpener::Plan SessionOpener::plan_by_rule(const Policy& policy, const FlowKey& key,
                                                const std::uint8_t* ip, const ForwardingRule& rule,
                                                const MasqueradeSet::Host& client) noexcept {
    if (!rule.allows(key.source)) return {Verdict::drop_source_denied};
    if (key.protocol == net::Protocol::tcp && !TcpFlags{ip[net::kTcpFlagsOffset]}.opens())
        return {Verdict::drop_not_syn};
    if (rule.crosses) [[unlikely]]
        return {.crosses = true, .ttl = ip[net::kTtlOffset]};
    const net::Endpoint target =
        rule.pick_target(shared_.flows.hash(), key.source, key.destination_port,
                         rule.takes_turns() ? shared_.rule_counters.next_turn(rule.id) : 0)
            .v4();
    const std::optional<NextHop> next_hop = policy.routes->find(target.address);
    if (!next_hop) return {Verdict::drop_no_route};
    if (is_from_elsewhere(policy, key.ingress, key.source, *next_hop)) return {Verdict::drop_martian};
    if (shared_.links[key.ingress.value].ends_ttl(ip)) return {Verdict::punt_ttl_expired};
    Plan plan{.next_hop = *next_hop, .rule = rule.id, .limits = &rule.limits, .target = target};
    const bool automatic = rule.source == SourceTranslation::automatic;
    if (automatic && plan_outbound_hairpin(policy, key, plan)) return plan;
    if (automatic && client && has_ports(key.protocol))
        plan.mapped = masquerader_.plan_hairpin(policy, WideKey{key}, client);
    if (plan.mapped.client != nullptr) {
        set_translation(key, plan.mapped.source.v4(), plan);
        return plan;
    }
    plan.full_nat =
        rule.source == SourceTranslation::masquerade || (automatic && next_hop->egress == key.ingress);
    if (!plan.full_nat) {
        set_translation(key, key.source_endpoint(), plan);
        return plan;
    }
    if (shared_.links[next_hop->egress.value].sources.empty()) return {Verdict::drop_no_own_address};
    for (int draw = 0; draw < kPortProbes; ++draw) {
        if (draw_source(policy, key, plan)) return plan;
    }
    return {Verdict::drop_ports_used_up};
}

SessionOpener::Result SessionOpener::open(const Policy& policy, const FlowKey& key, std::uint32_t hash,
                                          Plan& plan, Tick now) noexcept {
    if (plan.verdict == Verdict::forward && plan.crosses) [[unlikely]]
        return open_crossing(policy, key, hash, plan.ttl, now);
    return open_planned(policy, key, hash, plan, now);
}

}  // namespace fwd::dataplane
