// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <rte_hash.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "dataplane/flow_key.h"
#include "dataplane/net/address.h"
#include "dataplane/net/address_range.h"
#include "dataplane/rule_id.h"
#include "dataplane/setup_error.h"

namespace fwd::dataplane {

/// Whose address the target sees as source.
enum class SourceTranslation : std::uint8_t {
    automatic,  ///< masquerade when the packet leaves by the link that it came in by
    masquerade,
    preserve,
};

/// How a rule with several targets picks one for a new session.
enum class Balance : std::uint8_t {
    round_robin,  ///< in turn, as often as their weights say
    source_hash,  ///< by the client's address: while the targets are the same, always the same one
};

struct WeightedTarget {
    net::EndpointRange endpoint;  ///< as many ports as the rule's external ones: the first for the first
    std::uint16_t weight = 1;     ///< at least 1
};

/// A rule for one protocol, as a worker uses it.
struct ForwardingRule {
    RuleId id;
    LinkId ingress{kAnyLink};  ///< kAnyLink: whatever link a packet comes in by
    net::Protocol protocol = net::Protocol::tcp;
    net::EndpointRange external;          ///< with Protocol::all a whole address
    std::vector<WeightedTarget> targets;  ///< at least one
    Balance balance = Balance::round_robin;
    /// The order of turns with several targets, spread as evenly as weights allow: indices of `targets`.
    std::vector<std::uint8_t> turns;
    struct Limits {
        std::uint32_t sessions = ~0U;
        std::uint32_t sessions_per_source = 0;  ///< 0: none; at most SourceCounts::kMostSessions
        std::uint32_t rate = 0;                 ///< new sessions a second; 0: any
    };
    Limits limits;
    SourceTranslation source = SourceTranslation::automatic;
    bool crosses = false;   ///< sessions arrive as one family and leave as the other
    bool outbound = false;  ///< of a whole address: its target opens sessions under it, too
    std::vector<net::AddressRange> allowed_sources;  ///< sorted, disjoint; everybody when empty

    static constexpr std::uint8_t kAnyLink = 0xff;
    bool allows(net::IpAddress source_address) const noexcept;
    /// Where a new session of a client goes that asks for this port of the external address.
    /// @param turn counts the sessions of a rule that takes_turns()
    net::IpEndpoint pick_target(const FlowHash& hash, net::IpAddress client, net::be16 external_port,
                                std::uint32_t turn) const noexcept {
        const net::EndpointRange& picked =
            targets[targets.size() == 1 ? 0 : pick_index(hash, client, turn)].endpoint;
        const auto behind = external_port.host() - external.first.host();
        return {picked.address,
                net::be16::from_host(static_cast<std::uint16_t>(picked.first.host() + behind))};
    }
    bool takes_turns() const noexcept { return targets.size() > 1 && balance == Balance::round_robin; }

 private:
    std::size_t pick_index(const FlowHash& hash, net::IpAddress client, std::uint32_t turn) const noexcept;
};

/// All rules that are in force at a moment. Immutable, so any thread may read it; control publishes the next
/// one.
class RuleSet {
 public:
    static Setup<std::unique_ptr<const RuleSet>> create(std::vector<ForwardingRule> rules,
                                                        const FlowHash& hash);
    ~RuleSet();
    RuleSet(const RuleSet&) = delete;
    RuleSet& operator=(const RuleSet&) = delete;

    /// The rule for a packet: one for its port alone wins over one for a range, and that over one for the
    /// whole address, then one that names the link over one that does not. nullptr when there is none.
    const ForwardingRule* find(LinkId ingress, net::Protocol protocol,
                               net::Endpoint external) const noexcept {
        const ForwardingRule* rule = find_by_port(ingress, protocol, external);
        return rule != nullptr ? rule : find_by_address(ingress, external.address);
    }
    /// The same without rules for whole addresses.
    const ForwardingRule* find_by_port(LinkId ingress, net::Protocol protocol,
                                       net::Endpoint external) const noexcept;
    /// The same for an address of either family.
    const ForwardingRule* find(LinkId ingress, net::Protocol protocol,
                               const net::IpEndpoint& external) const noexcept;
    const ForwardingRule* find_by_port(LinkId ingress, net::Protocol protocol,
                                       const net::IpEndpoint& external) const noexcept;
    bool has_outbound() const noexcept { return !outbound_.empty(); }
    /// The rule under whose external address a host opens sessions that leave by a link: one that names the
    /// link wins over one that does not. nullptr when there is none.
    const ForwardingRule* find_outbound(const net::IpAddress& host, LinkId egress) const noexcept;
    std::span<const ForwardingRule> rules() const noexcept { return rules_; }

 private:
    RuleSet(std::vector<ForwardingRule> rules, const FlowHash& hash) noexcept
        : rules_{std::move(rules)}, hash_{hash} {}
    const ForwardingRule* find_by_address(LinkId ingress, net::Ipv4Address address) const noexcept;
    /// Port 0, which no rule has, stands for all ranges of an address, and with Protocol::all for the whole.
    static FlowKey key_for(LinkId ingress, net::Protocol protocol, net::Endpoint external) noexcept;
    /// What an external address is called in the table: an IPv6 one by its place among them, as an address of
    /// 0.0.0.0/8, which nobody has. nullopt when no rule has it.
    std::optional<net::Ipv4Address> name_of(const net::IpAddress& external) const noexcept;
    /// What `outbound_` is sorted by.
    static std::pair<net::IpAddress, LinkId> host_of(const ForwardingRule& rule) noexcept {
        return {rule.targets.front().endpoint.address, rule.ingress};
    }
    Setup<std::int32_t> add_key(const FlowKey& key) noexcept;
    Setup<void> add_rule(std::uint32_t index);
    /// Of a key's position, negative when it is not there.
    std::int32_t position_of(LinkId ingress, net::Protocol protocol, net::Endpoint external) const noexcept;

    struct PortRange {
        std::uint16_t first;
        std::uint16_t last;
        std::uint32_t rule;  ///< index of rules_
    };
    using Ranges = std::vector<PortRange>;  ///< disjoint, sorted

    std::vector<ForwardingRule> rules_;
    std::vector<std::uint32_t> at_position_;  ///< index of rules_, or of ranges_ for port 0
    std::vector<Ranges> ranges_;
    bool has_whole_addresses_ = false;
    std::vector<net::Ipv6Address> ipv6_externals_;  ///< sorted
    std::vector<std::uint32_t> outbound_;           ///< indices of rules_, sorted by host and link
    FlowHash hash_;
    rte_hash* table_ = nullptr;  // nullptr when there are no rules
};

/// Turns of targets with these weights (smooth weighted round robin): as many as the weights' sum, divided by
/// what they have in common.
std::vector<std::uint8_t> turns_of(std::span<const WeightedTarget> targets);

}  // namespace fwd::dataplane
