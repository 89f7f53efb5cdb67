// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/masquerade.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace fwd::dataplane {
namespace {

constexpr int kPortProbes = 128;
constexpr PortRange kPoolPorts{1024, 65535};

}  // namespace

/// External endpoints for one inside endpoint, in random order (RFC 6056): always of the same address (paired
/// pooling, RFC 4787 REQ-2), first of the inside port's parity (REQ-4), and none that is a rule's.
class Masquerader::Draws {
 public:
    Draws(Masquerader& owner, const Policy& policy, const WideKey& key, const Mapped& mapped) noexcept
        : owner_{owner},
          rules_{*policy.rules},
          protocol_{key.protocol},
          inside_port_{key.source_port.host()},
          egress_{mapped.outside},
          own_{!mapped.client->has_pool()},
          range_{own_ ? owner.shared_.outbound_ports : kPoolPorts} {
        WideKey host;
        host.source = key.source;
        const std::uint32_t hash = owner.shared_.flows.hash()(host);
        const bool is_v4 = key.source.is_v4();
        const auto pick = [hash](std::size_t count) { return (std::uint64_t{hash} * count) >> 32U; };
        if (const auto& pool = mapped.client->pool_for(key.source); !pool.empty()) {
            address_ = pool[pick(pool.size())];
            return;
        }
        const Link& link = owner.shared_.links[egress_.value];
        if (is_v4 && !link.sources.empty()) {
            address_ = link.sources[pick(link.sources.size())].address;
        } else if (!is_v4 && !link.ipv6_sources.empty()) {
            address_ = link.ipv6_sources[pick(link.ipv6_sources.size())].address;
        }
    }
    bool has_address() const noexcept { return address_ != net::IpAddress{}; }

    /// @param first to be tried before all others; a port of 0: there is none
    void begin_with(const net::IpEndpoint& first) noexcept { first_ = first; }

    std::optional<net::IpEndpoint> operator()() noexcept {
        if (first_.port != net::be16{}) return std::exchange(first_, {});
        while (probes_ < kPortProbes) {
            const std::uint64_t random = owner_.shared_.flows.hash().random(owner_.random_counter_++);
            auto port =
                static_cast<std::uint16_t>(range_.first + (((random & 0xffffffffU) * range_.size()) >> 32U));
            if (probes_++ < kPortProbes / 2 && port % 2 != inside_port_ % 2) port ^= 1U;
            const net::IpEndpoint endpoint{address_, net::be16::from_host(port)};
            if (range_.has(endpoint.port) &&
                (!own_ || (owner_.shared_.is_outbound(endpoint.port) &&
                           !owner_.shared_.links[egress_.value].serves(protocol_, endpoint.port))) &&
                rules_.find_by_port(egress_, protocol_, endpoint) == nullptr) {
                return endpoint;
            }
        }
        return std::nullopt;
    }

 private:
    Masquerader& owner_;
    const RuleSet& rules_;
    net::Protocol protocol_;
    std::uint16_t inside_port_;
    LinkId egress_;
    bool own_;  ///< the address is the link's
    PortRange range_;
    net::IpAddress address_;
    net::IpEndpoint first_;
    int probes_ = 0;
};

MappingTable::Inside Masquerader::inside_of(const WideKey& key, const Mapped& mapped) const noexcept {
    MappingTable::Inside inside{.protocol = key.protocol,
                                .endpoint = key.source_endpoint(),
                                .rule = mapped.client->id,
                                .egress = LinkId{MappingTable::Inside::kAnyLink}};
    if (mapped.client->has_pool()) return inside;
    const Link& link = shared_.links[mapped.outside.value];
    inside.egress = mapped.outside;
    inside.address_generation = key.source.is_v4() ? link.address_generation : link.ipv6_address_generation;
    return inside;
}

bool Masquerader::is_own(const net::IpAddress& address) const noexcept {
    return std::ranges::any_of(shared_.links.now(), [&](const Link& link) { return link.owns(address); });
}

Verdict Masquerader::map_client(const Policy& policy, const WideKey& key, const MasqueradeSet::Host& client,
                                Mapped& mapped) noexcept {
    const auto outside = policy.routes->find(key.destination);
    if (!outside) return Verdict::drop_no_route;
    // A masquerade for all that is behind a link is not for what comes back to it.
    if (client.masquerades.front().whole_link && outside->egress == key.ingress) return Verdict::drop_no_rule;
    mapped.client = client.find(key.destination);
    if (mapped.client == nullptr) return Verdict::drop_destination_denied;
    mapped.outside = outside->egress;
    if (const auto known = shared_.mappings.find_external(inside_of(key, mapped))) {
        mapped.source = *known;
        return Verdict::forward;
    }
    Draws draws{*this, policy, key, mapped};
    if (!draws.has_address()) return Verdict::drop_no_own_address;
    const auto drawn = draws();
    if (!drawn) return Verdict::drop_ports_used_up;
    mapped.source = *drawn;
    return Verdict::forward;
}

Masquerader::Plan Masquerader::plan(const Policy& policy, const WideKey& key,
                                    const MasqueradeSet::Host& client) noexcept {
    const MasqueradeSet& masquerades = *policy.masquerades;
    Plan plan;
    const auto mapping = shared_.mappings.find(key.protocol, key.destination_endpoint());
    plan.mapped.target = mapping ? masquerades.find(mapping->rule) : nullptr;
    const bool to_inside = plan.mapped.target != nullptr;
    plan.mapped.target_is_inside = to_inside;
    // Only what is neither inside nor fwd's own is the world.
    if (!to_inside && (!client || masquerades.has_external(key.destination) || is_own(key.destination) ||
                       masquerades.find_host(*policy.routes, key.destination) ||
                       policy.prefixes->find_inside(key.destination) != nullptr)) {
        return {.verdict = Verdict::drop_no_rule};
    }
    if (client) {
        if (const Verdict refused = map_client(policy, key, client, plan.mapped); refused != Verdict::forward)
            return {.verdict = refused};
    }
    plan.target = to_inside ? mapping->inside : key.destination_endpoint();
    if (to_inside && plan.mapped.target->filtering == Filtering::address_dependent) {
        plan.mapped.filtered = !shared_.mappings.has_peer(key.protocol, key.destination_endpoint(),
                                                          client ? plan.mapped.source.address : key.source);
        if (plan.mapped.filtered && !client) return {.verdict = Verdict::drop_filtered};
    }
    const auto next_hop = policy.routes->find(plan.target.address);
    if (!next_hop) return {.verdict = Verdict::drop_no_route};
    plan.next_hop = *next_hop;
    return plan;
}

Mapped Masquerader::plan_hairpin(const Policy& policy, const WideKey& key,
                                 const MasqueradeSet::Host& client) noexcept {
    const auto outside = policy.routes->find(key.destination);
    Mapped mapped{.target_is_inside = true};
    if (!client || !outside || outside->egress == key.ingress) return {};
    return map_client(policy, key, client, mapped) == Verdict::forward ? mapped : Mapped{};
}

Verdict Masquerader::hold(const Policy& policy, const WideKey& key, Mapped& mapped, Tick now,
                          MappingPeers& held) noexcept {
    MappingTable& mappings = shared_.mappings;
    if (mapped.client != nullptr) {
        Draws draws{*this, policy, key, mapped};
        draws.begin_with(mapped.source);
        const auto client = mappings.hold(inside_of(key, mapped), key.destination,
                                          mapped.client->ports_per_host, now, draws, reclaimer_);
        if (client.verdict != Verdict::forward) return client.verdict;
        held.client = client.peer;
        mapped.source = client.external;
    }
    Verdict refused = mapped.filtered ? Verdict::drop_filtered : Verdict::forward;
    if (refused == Verdict::forward && mapped.target != nullptr) {
        const auto target =
            mappings.hold_found(key.protocol, key.destination_endpoint(),
                                mapped.client != nullptr ? mapped.source.address : key.source, now);
        refused = target.verdict;
        if (refused == Verdict::forward) held.target = target.peer;
    }
    // What the client has sent counts, even where it has not come through: two that call each other at once
    // let each other in.
    if (refused != Verdict::forward) release(std::exchange(held, {}), now);
    return refused;
}

void Masquerader::release(const MappingPeers& held, Tick now) noexcept {
    for (const FlowPosition peer : {held.client, held.target}) {
        if (peer != kNoPosition) shared_.mappings.release(peer, now, false);
    }
}

}  // namespace fwd::dataplane
