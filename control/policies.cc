// SPDX-License-Identifier: BSD-3-Clause
#include "control/policies.h"

#include <fmt/format.h>
#include <rte_errno.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "control/rule_check.h"
#include "control/text.h"

namespace fwd::control {
namespace {

using dataplane::LinkId;
using dataplane::SessionState;
using dataplane::SourceTranslation;
using dataplane::Tick;

std::array<Tick, dataplane::kSessionStateCount> to_ticks(const TimeoutSettings& timeouts) {
    std::array<Tick, dataplane::kSessionStateCount> ticks{};
    const auto set = [&](SessionState state, std::chrono::seconds timeout) {
        ticks[static_cast<std::size_t>(state)] = Tick::from_duration(timeout);
    };
    set(SessionState::udp_unanswered, timeouts.udp_unanswered);
    set(SessionState::udp_answered, timeouts.udp);
    set(SessionState::udp_assured, timeouts.udp);
    set(SessionState::tcp_unanswered, timeouts.tcp_opening);
    set(SessionState::tcp_opening, timeouts.tcp_opening);
    set(SessionState::tcp_established, timeouts.tcp_established);
    // RFC 5382, REQ-5: only both FINs, or a RST, make a connection transitory.
    set(SessionState::tcp_client_done, timeouts.tcp_established);
    set(SessionState::tcp_target_done, timeouts.tcp_established);
    set(SessionState::tcp_reset, timeouts.tcp_closing);
    set(SessionState::tcp_closing, timeouts.tcp_closing);
    return ticks;
}

dataplane::MappingTable::Times mapping_times(const TimeoutSettings& timeouts) {
    return {.peer = Tick::from_duration(timeouts.mapping),
            .quarantine = timeouts.port_quarantine.count() == 0
                              ? Tick{}
                              : Tick::from_duration(timeouts.port_quarantine)};
}

SourceTranslation to_translation(SourceMode mode) {
    switch (mode) {
        case SourceMode::masquerade:
            return SourceTranslation::masquerade;
        case SourceMode::preserve:
            return SourceTranslation::preserve;
        default:
            return SourceTranslation::automatic;
    }
}

Error to_error(const dataplane::SetupError& error) {
    return {ErrorKind::unavailable,
            {},
            error.code == 0 ? error.what : fmt::format("{}: {}", error.what, rte_strerror(error.code))};
}

}  // namespace

Policies::Policies(const Settings& settings, std::uint32_t rule_slots)
    : links_{settings.links},
      routes_{settings.routes},
      rule_slots_{rule_slots},
      book_id_of_slot_(rule_slots) {
    for (std::uint32_t slot = rule_slots; slot > 0; --slot) free_slots_.push_back(slot - 1);
    current_.timeouts = to_ticks(settings.timeouts);
    current_.checks_tcp_windows = settings.tcp_window_check;
    current_.mapping_times = mapping_times(settings.timeouts);
    std::vector<dataplane::PrefixTranslation> prefixes;
    const Topology topology{links_, routes_};
    for (const PrefixSettings& pair : settings.prefixes) {
        std::uint32_t inside_links = 0;
        for (const LinkSettings* link : topology.links_to(pair.inside))
            inside_links |= 1U << link_id(link->name).value().value;
        prefixes.push_back({net::PrefixMapping{pair.inside, pair.external}, inside_links, pair.inbound});
    }
    current_.prefixes = std::make_shared<const dataplane::PrefixTranslations>(std::move(prefixes));
}

std::optional<LinkId> Policies::link_id(const std::string& name) const {
    const auto found = std::ranges::find(links_, name, &LinkSettings::name);
    if (found == links_.end()) return std::nullopt;
    return LinkId{static_cast<std::uint8_t>(found - links_.begin())};
}

Result<std::shared_ptr<const dataplane::Routes>> Policies::make_routes() const {
    std::vector<dataplane::Route> routes;
    for (std::size_t i = 0; i < links_.size(); ++i) {
        for (const auto& address : links_[i].addresses) {
            routes.push_back({address.prefix(), LinkId{static_cast<std::uint8_t>(i)}, std::nullopt});
        }
    }
    const Topology topology{links_, {}};
    for (const RouteSettings& route : routes_) {
        const LinkSettings* link =
            route.link ? topology.find_link(*route.link) : topology.connected(route.via);
        if (link == nullptr)
            return invalid("routes", fmt::format("the gateway {} is on no link", to_text(route.via)));
        routes.push_back({route.prefix, *link_id(link->name), route.via});
    }
    std::set<net::IpPrefix> taken;
    for (const dataplane::Route& route : routes) taken.insert(route.prefix);
    for (const dataplane::Route& route : learnt_routes_) {
        if (!taken.contains(route.prefix)) routes.push_back(route);
    }
    auto made = dataplane::Routes::create(routes);
    if (!made) return tl::unexpected(to_error(made.error()));
    return std::shared_ptr<const dataplane::Routes>{std::move(*made)};
}

Result<std::unique_ptr<const dataplane::Policy>> Policies::initial(const dataplane::FlowHash& hash) {
    auto routes = make_routes();
    if (!routes) return tl::unexpected(routes.error());
    auto rules = dataplane::RuleSet::create({}, hash);
    if (!rules) return tl::unexpected(to_error(rules.error()));
    current_.routes = *routes;
    current_.rules = std::move(*rules);
    return std::make_unique<const dataplane::Policy>(current_);
}

std::optional<net::IpAddress> Policies::external_address(const Rule& rule) const {
    if (!rule.external_link) return rule.external.address;
    const auto link = std::ranges::find(links_, *rule.external_link, &LinkSettings::name);
    if (link == links_.end()) return std::nullopt;
    for (const net::IpInterfaceAddress& own : link->addresses) {
        if (own.address.is_v4() && std::ranges::find(link->floating, own.address) == link->floating.end())
            return own.address;
    }
    return std::nullopt;
}

void Policies::append(std::vector<dataplane::ForwardingRule>& to, const Rule& rule,
                      dataplane::RuleId id) const {
    dataplane::ForwardingRule forwarding;
    forwarding.id = id;
    const std::optional<net::IpAddress> external = external_address(rule);
    if (!external) return;
    forwarding.external = rule.external;
    forwarding.external.address = *external;
    forwarding.source = to_translation(rule.source);
    forwarding.crosses = rule.external.address.is_v4() != rule.targets.front().endpoint.address.is_v4();
    forwarding.allowed_sources = net::allowed_sources(rule.from, rule.not_from, everybody(rule));
    forwarding.outbound = rule.outbound;
    for (const Target& target : rule.targets) forwarding.targets.push_back({target.endpoint, target.weight});
    forwarding.balance = rule.balance == Balance::source_hash ? dataplane::Balance::source_hash
                                                              : dataplane::Balance::round_robin;
    if (rule.max_sessions != 0) forwarding.limits.sessions = rule.max_sessions;
    forwarding.limits.sessions_per_source = rule.max_sessions_per_source;
    forwarding.limits.rate = rule.rate;
    if (rule.targets.size() > 1) forwarding.turns = dataplane::turns_of(forwarding.targets);
    if (rule.link) forwarding.ingress = link_id(*rule.link).value();
    for (const auto& [protocol, is_meant] : {std::pair{net::Protocol::tcp, rule.tcp},
                                             {net::Protocol::udp, rule.udp},
                                             {net::Protocol::all, rule.all}}) {
        if (!is_meant) continue;
        forwarding.protocol = protocol;
        to.push_back(forwarding);
    }
}

std::optional<std::uint32_t> Policies::take_free_slot(dataplane::Dataplane& dataplane, Prepared& prepared) {
    while (!prepared.free_slots.empty()) {
        const std::uint32_t slot = prepared.free_slots.back();
        prepared.free_slots.pop_back();
        if (dataplane.rule_counters().is_free(slot)) return slot;
        prepared.busy_slots.push_back(slot);
    }
    return std::nullopt;
}

dataplane::Masquerade Policies::to_dataplane(const Masquerade& masquerade, dataplane::RuleId id) const {
    dataplane::Masquerade made;
    made.id = id;
    made.whole_link = masquerade.link.has_value();
    if (masquerade.link) made.link = link_id(*masquerade.link).value();
    if (masquerade.prefix) made.prefix = *masquerade.prefix;
    for (const net::IpAddress& address : masquerade.pool)
        (address.is_v4() ? made.pool : made.ipv6_pool).push_back(address);
    made.to = net::to_ranges(masquerade.to);
    made.filtering = masquerade.filtering == Filtering::endpoint_independent
                         ? dataplane::Filtering::endpoint_independent
                         : dataplane::Filtering::address_dependent;
    if (masquerade.max_sessions != 0) made.limits.sessions = masquerade.max_sessions;
    made.limits.sessions_per_source = masquerade.max_sessions_per_source;
    made.limits.rate = masquerade.rate;
    made.ports_per_host = masquerade.max_ports_per_host;
    made.inbound_refreshes = masquerade.inbound_refresh;
    return made;
}

Result<void> Policies::prepare_rules(dataplane::Dataplane& dataplane, const Rules& rules,
                                     const Masquerades& masquerades, Pause pause) {
    Prepared prepared{
        .ids = {}, .free_slots = free_slots_, .busy_slots = {}, .set = nullptr, .masquerades = nullptr};
    std::vector<dataplane::ForwardingRule> forwarding;
    forwarding.reserve(rules.size() * 2);
    const auto slot_for = [&](RuleId id) -> Result<dataplane::RuleId> {
        // The book gives a changed rule a new id, so the same id is the same rule.
        std::optional<dataplane::RuleId> known = dataplane_id(id);
        if (!known) {
            const auto slot = take_free_slot(dataplane, prepared);
            if (!slot) {
                return refused("rules",
                               fmt::format("got {}, and {} places are taken, if only by sessions of "
                                           "rules that are gone; want fewer, or clear-sessions first",
                                           rules.size() + masquerades.size(), rule_slots_));
            }
            known = dataplane.rule_counters().renew(*slot);
        }
        prepared.ids.emplace(id, *known);
        return *known;
    };
    std::vector<std::pair<const Rule*, dataplane::RuleId>> followers;
    for (const auto& [id, rule] : rules) {
        const auto known = slot_for(id);
        if (!known) return tl::unexpected(known.error());
        if (rule.external_link && !rule.disabled) {
            followers.emplace_back(&rule, *known);
            continue;
        }
        // A disabled rule keeps its slot: its counters, and its sessions if they live on.
        if (!rule.disabled) append(forwarding, rule, *known);
        pause.step();
    }
    // Rules that name a link's address themselves come before those that follow it.
    for (const auto& [rule, id] : followers) {
        std::vector<dataplane::ForwardingRule> following;
        append(following, *rule, id);
        for (dataplane::ForwardingRule& one : following) {
            const auto overlaps = [&](const dataplane::ForwardingRule& other) {
                return other.external.address == one.external.address && other.ingress == one.ingress &&
                       other.protocol == one.protocol &&
                       other.external.first.host() <= one.external.last.host() &&
                       one.external.first.host() <= other.external.last.host() &&
                       other.external.is_single() == one.external.is_single();
            };
            if (std::ranges::none_of(forwarding, overlaps)) {
                forwarding.push_back(std::move(one));
            } else {
                spdlog::warn("rule {} waits: another one has {} now", rule->name, to_text(one.external));
            }
        }
    }
    std::vector<dataplane::Masquerade> outbound;
    for (const auto& [id, masquerade] : masquerades) {
        const auto known = slot_for(id);
        if (!known) return tl::unexpected(known.error());
        outbound.push_back(to_dataplane(masquerade, *known));
    }
    prepared.masquerades = std::make_shared<const dataplane::MasqueradeSet>(std::move(outbound));
    prepared.free_slots.insert(prepared.free_slots.end(), prepared.busy_slots.begin(),
                               prepared.busy_slots.end());
    auto set = dataplane::RuleSet::create(std::move(forwarding), dataplane.hash());
    if (!set) return tl::unexpected(to_error(set.error()));
    prepared.set = std::move(*set);
    prepared_ = std::move(prepared);
    return {};
}

void Policies::publish_rules(dataplane::Dataplane& dataplane) {
    if (!prepared_) return;
    current_.rules = prepared_->set;
    current_.masquerades = prepared_->masquerades;
    publish(dataplane);
    // Only now can nobody open a session by a rule that is gone, so its slot may go to another.
    free_slots_ = std::move(prepared_->free_slots);
    std::vector<std::uint32_t> freed;
    for (const auto& [id, known] : ids_) {
        if (prepared_->ids.contains(id)) continue;
        freed.push_back(known.slot);
        book_id_of_slot_[known.slot] = 0;
    }
    free_slots_.insert(free_slots_.begin(), freed.rbegin(), freed.rend());  // taken last
    ids_ = std::move(prepared_->ids);
    for (const auto& [id, known] : ids_) book_id_of_slot_[known.slot] = id;
    prepared_.reset();
}

void Policies::publish_timeouts(dataplane::Dataplane& dataplane, const TimeoutSettings& timeouts) {
    current_.timeouts = to_ticks(timeouts);
    current_.mapping_times = mapping_times(timeouts);
    ++current_.timeout_generation;
    publish(dataplane);
}

void Policies::publish_window_check(dataplane::Dataplane& dataplane, bool on) {
    current_.checks_tcp_windows = on;
    publish(dataplane);
}

void Policies::renew_routes() {
    // 0 is what a flow has that never looked.
    if (++current_.route_generation == 0) current_.route_generation = 1;
}

void Policies::renew_next_hops(dataplane::Dataplane& dataplane) {
    renew_routes();
    publish(dataplane);
}

Result<void> Policies::publish_network(dataplane::Dataplane& dataplane,
                                       std::vector<std::vector<net::IpInterfaceAddress>> addresses,
                                       std::vector<dataplane::Route> learnt) {
    for (std::size_t i = 0; i < links_.size(); ++i) links_[i].addresses = std::move(addresses[i]);
    learnt_routes_ = std::move(learnt);
    auto routes = make_routes();
    if (!routes) return tl::unexpected(routes.error());
    current_.routes = *routes;
    renew_routes();
    publish(dataplane);
    return {};
}

void Policies::publish(dataplane::Dataplane& dataplane) {
    dataplane.publish(std::make_unique<const dataplane::Policy>(current_));
}

std::optional<dataplane::RuleId> Policies::dataplane_id(RuleId id) const {
    const auto found = ids_.find(id);
    if (found == ids_.end()) return std::nullopt;
    return found->second;
}

std::optional<RuleId> Policies::book_id(dataplane::RuleId id) const {
    const RuleId book_id = book_id_of_slot_[id.slot];
    if (book_id == 0 || ids_.at(book_id) != id) return std::nullopt;
    return book_id;
}

std::set<std::pair<LinkId, net::IpAddress>> Policies::external_addresses(
    const Rules& rules, const Masquerades& masquerades) const {
    std::set<std::pair<LinkId, net::IpAddress>> addresses;
    for (const auto& [id, rule] : rules) {
        if (rule.disabled || rule.external_link) continue;  // a link's own address anyway
        for (std::size_t i = 0; i < links_.size(); ++i) {
            if (rule.link && *rule.link != links_[i].name) continue;
            // While the kernel has it, it is one of the link's own.
            if (std::ranges::find(links_[i].floating, rule.external.address) != links_[i].floating.end())
                continue;
            addresses.emplace(LinkId{static_cast<std::uint8_t>(i)}, rule.external.address);
        }
    }
    const Topology topology{links_, {}};
    for (const auto& [id, masquerade] : masquerades) {
        for (const net::IpAddress& address : masquerade.pool) {
            // One that is on no segment is led to fwd by somebody's route.
            const LinkSettings* segment = topology.connected(address);
            if (segment != nullptr &&
                std::ranges::find(segment->floating, address) == segment->floating.end())
                addresses.emplace(*link_id(segment->name), address);
        }
    }
    return addresses;
}

}  // namespace fwd::control
