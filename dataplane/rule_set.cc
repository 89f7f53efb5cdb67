// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/rule_set.h"

#include <rte_errno.h>
#include <rte_memory.h>

#include <algorithm>
#include <atomic>
#include <cstdio>

namespace fwd::dataplane {

bool ForwardingRule::allows(net::Ipv4Address source_address) const noexcept {
    if (allowed_sources.empty()) return true;
    const auto behind = std::ranges::upper_bound(allowed_sources, source_address, {}, &AddressRange::first);
    return behind != allowed_sources.begin() && source_address <= std::prev(behind)->last;
}

std::vector<AddressRange> to_ranges(std::span<const net::Ipv4Prefix> prefixes) {
    std::vector<AddressRange> ranges;
    ranges.reserve(prefixes.size());
    for (const net::Ipv4Prefix& prefix : prefixes) {
        const std::uint32_t first = prefix.address.value.host();
        ranges.push_back({prefix.address, net::Ipv4Address::from_host(first | ~prefix.mask())});
    }
    std::ranges::sort(ranges);
    std::vector<AddressRange> disjoint;
    for (const AddressRange& range : ranges) {
        if (!disjoint.empty() && range.first <= disjoint.back().last) {
            disjoint.back().last = std::max(disjoint.back().last, range.last);
        } else {
            disjoint.push_back(range);
        }
    }
    return disjoint;
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

    set->rule_at_position_.resize(static_cast<std::size_t>(rte_hash_max_key_id(set->table_)) + 1);
    for (std::uint32_t i = 0; i < set->rules_.size(); ++i) {
        const ForwardingRule& rule = set->rules_[i];
        const FlowKey key = key_for(rule.ingress, rule.protocol, rule.external);
        const std::int32_t position = rte_hash_add_key_with_hash(set->table_, &key, hash(key));
        if (position < 0) return tl::unexpected(SetupError{"no room for the rules", -position});
        set->rule_at_position_[static_cast<std::size_t>(position)] = i;
    }
    return set;
}

RuleSet::~RuleSet() {
    rte_hash_free(table_);
}

const ForwardingRule* RuleSet::find(LinkId ingress, net::Protocol protocol,
                                    net::Endpoint external) const noexcept {
    if (table_ == nullptr) return nullptr;
    for (const LinkId link : {ingress, LinkId{ForwardingRule::kAnyLink}}) {
        const FlowKey key = key_for(link, protocol, external);
        const std::int32_t position = rte_hash_lookup_with_hash(table_, &key, hash_(key));
        if (position >= 0) return &rules_[rule_at_position_[static_cast<std::size_t>(position)]];
    }
    return nullptr;
}

}  // namespace fwd::dataplane
