// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/rule_set.h"

#include <rte_errno.h>
#include <rte_memory.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <numeric>

namespace fwd::dataplane {

namespace {

/// Weighted rendezvous hashing (Thaler and Ravishankar, 1998; weights by Schindelhauer and Schomaker, 2005):
/// a target that comes or goes moves no client between the others.
std::size_t rendezvous(const std::vector<WeightedTarget>& targets, const FlowHash& hash,
                       net::IpAddress client) noexcept {
    std::size_t best = 0;
    double best_score = 0;
    for (std::size_t i = 0; i < targets.size(); ++i) {
        WideKey key;
        key.source = client;
        key.destination = targets[i].endpoint.address;
        key.destination_port = targets[i].endpoint.first;
        const double drawn = (hash(key) + 0.5) / 4294967296.0;  // above 0, below 1
        const double score = targets[i].weight / -std::log(drawn);
        if (score > best_score) {
            best = i;
            best_score = score;
        }
    }
    return best;
}

}  // namespace

std::size_t ForwardingRule::pick_index(const FlowHash& hash, net::IpAddress client,
                                       std::uint32_t turn) const noexcept {
    return balance == Balance::source_hash ? rendezvous(targets, hash, client) : turns[turn % turns.size()];
}

std::vector<std::uint8_t> turns_of(std::span<const WeightedTarget> targets) {
    int common = 0;
    int sum = 0;
    for (const WeightedTarget& target : targets) {
        common = std::gcd(common, int{target.weight});
        sum += target.weight;
    }
    std::vector<std::uint8_t> turns;
    std::vector<int> credit(targets.size());
    for (int turn = 0; turn < sum / common; ++turn) {
        for (std::size_t i = 0; i < targets.size(); ++i) credit[i] += targets[i].weight;
        const auto next = std::ranges::max_element(credit);
        *next -= sum;
        turns.push_back(static_cast<std::uint8_t>(next - credit.begin()));
    }
    return turns;
}

bool ForwardingRule::allows(net::IpAddress source_address) const noexcept {
    return net::is_in(allowed_sources, source_address);
}

FlowKey RuleSet::key_for(LinkId ingress, net::Protocol protocol, net::Endpoint external) noexcept {
    FlowKey key;
    key.ingress = ingress;
    key.protocol = protocol;
    key.destination = external.address;
    key.destination_port = external.port;
    return key;
}

Setup<std::unique_ptr<const RuleSet>> RuleSet::create(std::vector<ForwardingRule> rules,
                                                      const FlowHash& hash) {
    std::unique_ptr<RuleSet> set{new RuleSet{std::move(rules), hash}};
    if (set->rules_.empty()) return set;

    for (const ForwardingRule& rule : set->rules_) {
        if (!rule.external.address.is_v4()) set->ipv6_externals_.push_back(rule.external.address.v6());
    }
    std::ranges::sort(set->ipv6_externals_);
    // Not std::ranges::unique(): clang 14 does not take libstdc++'s.
    set->ipv6_externals_.erase(std::unique(set->ipv6_externals_.begin(), set->ipv6_externals_.end()),
                               set->ipv6_externals_.end());

    static std::atomic<unsigned> sets{0};
    char name[RTE_HASH_NAMESIZE];
    std::snprintf(name, sizeof name, "fwd_rules_%u", sets.fetch_add(1));
    rte_hash_parameters params{};
    params.name = name;
    // Twice as many entries as keys: an add may fail before the table is full.
    params.entries = static_cast<std::uint32_t>(std::max<std::size_t>(set->rules_.size() * 2, 64));
    params.key_len = sizeof(FlowKey);
    params.socket_id = SOCKET_ID_ANY;
    set->table_ = rte_hash_create(&params);
    if (set->table_ == nullptr) return tl::unexpected(SetupError{"no memory for the rules", rte_errno});

    set->at_position_.resize(static_cast<std::size_t>(rte_hash_max_key_id(set->table_)) + 1);
    for (std::uint32_t i = 0; i < set->rules_.size(); ++i) {
        if (auto added = set->add_rule(i); !added) return tl::unexpected(added.error());
    }
    for (Ranges& ranges : set->ranges_) std::ranges::sort(ranges, {}, &PortRange::first);
    std::ranges::sort(set->outbound_, {}, [&](std::uint32_t index) { return host_of(set->rules_[index]); });
    return set;
}

Setup<std::int32_t> RuleSet::add_key(const FlowKey& key) noexcept {
    const std::int32_t position = rte_hash_add_key_with_hash(table_, &key, hash_(key));
    if (position < 0) return tl::unexpected(SetupError{"no room for the rules", -position});
    return position;
}

Setup<void> RuleSet::add_rule(std::uint32_t index) {
    const ForwardingRule& rule = rules_[index];
    const net::EndpointRange& external = rule.external;
    if (rule.outbound) outbound_.push_back(index);
    const net::Endpoint key{name_of(external.address).value_or(net::Ipv4Address{}),
                            external.is_single() ? external.first : net::be16{}};
    const std::int32_t known = position_of(rule.ingress, rule.protocol, key);
    const Setup<std::int32_t> position =
        known >= 0 ? Setup<std::int32_t>{known} : add_key(key_for(rule.ingress, rule.protocol, key));
    if (!position) return tl::unexpected(position.error());
    std::uint32_t& at = at_position_[static_cast<std::size_t>(*position)];
    if (external.is_single()) {
        at = index;
        if (external.is_whole_address()) has_whole_addresses_ = true;
        return {};
    }
    if (known < 0) {
        at = static_cast<std::uint32_t>(ranges_.size());
        ranges_.emplace_back();
    }
    ranges_[at].push_back({external.first.host(), external.last.host(), index});
    return {};
}

RuleSet::~RuleSet() {
    rte_hash_free(table_);
}

std::optional<net::Ipv4Address> RuleSet::name_of(const net::IpAddress& external) const noexcept {
    if (external.is_v4()) return external.v4();
    const auto found = std::ranges::lower_bound(ipv6_externals_, external.v6());
    if (found == ipv6_externals_.end() || *found != external.v6()) return std::nullopt;
    return net::Ipv4Address::from_host(static_cast<std::uint32_t>(found - ipv6_externals_.begin()) + 1);
}

const ForwardingRule* RuleSet::find(LinkId ingress, net::Protocol protocol,
                                    const net::IpEndpoint& external) const noexcept {
    const auto name = name_of(external.address);
    return name ? find(ingress, protocol, net::Endpoint{*name, external.port}) : nullptr;
}

const ForwardingRule* RuleSet::find_by_port(LinkId ingress, net::Protocol protocol,
                                            const net::IpEndpoint& external) const noexcept {
    const auto name = name_of(external.address);
    return name ? find_by_port(ingress, protocol, net::Endpoint{*name, external.port}) : nullptr;
}

std::int32_t RuleSet::position_of(LinkId ingress, net::Protocol protocol,
                                  net::Endpoint external) const noexcept {
    const FlowKey key = key_for(ingress, protocol, external);
    return rte_hash_lookup_with_hash(table_, &key, hash_(key));
}

const ForwardingRule* RuleSet::find_by_address(LinkId ingress, net::Ipv4Address address) const noexcept {
    if (!has_whole_addresses_) return nullptr;
    for (const LinkId link : {ingress, LinkId{ForwardingRule::kAnyLink}}) {
        const std::int32_t position = position_of(link, net::Protocol::all, {address, {}});
        if (position >= 0) return &rules_[at_position_[static_cast<std::size_t>(position)]];
    }
    return nullptr;
}

const ForwardingRule* RuleSet::find_outbound(const net::IpAddress& host, LinkId egress) const noexcept {
    for (const LinkId link : {egress, LinkId{ForwardingRule::kAnyLink}}) {
        const std::pair wanted{host, link};
        const auto key = [this](std::uint32_t index) { return host_of(rules_[index]); };
        const auto found = std::ranges::lower_bound(outbound_, wanted, {}, key);
        if (found != outbound_.end() && key(*found) == wanted) return &rules_[*found];
    }
    return nullptr;
}

const ForwardingRule* RuleSet::find_by_port(LinkId ingress, net::Protocol protocol,
                                            net::Endpoint external) const noexcept {
    // No rule has a port of another protocol.
    if (table_ == nullptr || (protocol != net::Protocol::tcp && protocol != net::Protocol::udp))
        return nullptr;
    constexpr LinkId kAny{ForwardingRule::kAnyLink};
    for (const LinkId link : {ingress, kAny}) {
        const std::int32_t position = position_of(link, protocol, external);
        if (position >= 0) return &rules_[at_position_[static_cast<std::size_t>(position)]];
    }
    if (ranges_.empty()) return nullptr;
    const std::uint16_t port = external.port.host();
    for (const LinkId link : {ingress, kAny}) {
        const std::int32_t position = position_of(link, protocol, {external.address, {}});
        if (position < 0) continue;
        const Ranges& ranges = ranges_[at_position_[static_cast<std::size_t>(position)]];
        const auto behind = std::ranges::upper_bound(ranges, port, {}, &PortRange::first);
        if (behind != ranges.begin() && port <= std::prev(behind)->last)
            return &rules_[std::prev(behind)->rule];
    }
    return nullptr;
}

}  // namespace fwd::dataplane
