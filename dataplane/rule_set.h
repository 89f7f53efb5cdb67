// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <rte_hash.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "dataplane/flow_key.h"
#include "dataplane/net/address.h"
#include "dataplane/rule_id.h"
#include "dataplane/setup_error.h"

namespace fwd::dataplane {

/// Whose address the target sees as source.
enum class SourceTranslation : std::uint8_t {
    automatic,  ///< masquerade when the packet leaves by the link that it came in by
    masquerade,
    preserve,
};

/// The first and the last address of a block.
struct AddressRange {
    net::Ipv4Address first;
    net::Ipv4Address last;
    friend constexpr auto operator<=>(const AddressRange&, const AddressRange&) noexcept = default;
};

/// A rule for one protocol, as a worker uses it.
struct ForwardingRule {
    RuleId id;
    LinkId ingress{kAnyLink};  ///< kAnyLink: whatever link a packet comes in by
    net::Protocol protocol = net::Protocol::tcp;
    net::Endpoint external;
    net::Endpoint target;
    SourceTranslation source = SourceTranslation::automatic;
    std::vector<AddressRange> allowed_sources;  ///< sorted, disjoint; everybody when empty

    static constexpr std::uint8_t kAnyLink = 0xff;
    bool allows(net::Ipv4Address source_address) const noexcept;
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

    /// The rule for a packet; one that names the link wins over one that does not. nullptr when there is
    /// none.
    const ForwardingRule* find(LinkId ingress, net::Protocol protocol, net::Endpoint external) const noexcept;
    std::span<const ForwardingRule> rules() const noexcept { return rules_; }

 private:
    RuleSet(std::vector<ForwardingRule> rules, const FlowHash& hash) noexcept
        : rules_{std::move(rules)}, hash_{hash} {}
    static FlowKey key_for(LinkId ingress, net::Protocol protocol, net::Endpoint external) noexcept;

    std::vector<ForwardingRule> rules_;
    std::vector<std::uint32_t> rule_at_position_;
    FlowHash hash_;
    rte_hash* table_ = nullptr;  // nullptr when there are no rules
};

/// Prefixes as sorted, disjoint ranges.
std::vector<AddressRange> to_ranges(std::span<const net::Ipv4Prefix> prefixes);

}  // namespace fwd::dataplane
