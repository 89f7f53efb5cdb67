// SPDX-License-Identifier: BSD-3-Clause
#include "control/daemon.h"

#include <fmt/format.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_version.h>
#include <spdlog/spdlog.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <future>
#include <set>
#include <span>
#include <utility>

#include "control/capabilities.h"
#include "control/masquerade_json.h"
#include "control/rule_json.h"
#include "control/text.h"

namespace fwd::control {
namespace {

using namespace std::chrono_literals;

constexpr std::uint32_t kRuleSlots = 262144;  // a reload may change all of 131072 rules at once
constexpr auto kTickTime = 100ms;
constexpr auto kLogTime = 10ms;  // between looks at what workers tell of sessions
constexpr std::size_t kSessionsPerAnswer = 1000;
constexpr std::size_t kNamesInLog = 5;

static_assert(kMostLinks == dataplane::kMaxLinks);
static_assert(kRuleSlots <= dataplane::SourceCounts::kMostSlots);
static_assert(Rule::kMostSessionsPerSource == dataplane::SourceCounts::kMostSessions);
static_assert(kMostNeighbours * 2 == dataplane::NeighbourTable::kCapacity);

Error to_error(const dataplane::SetupError& error) {
    return {ErrorKind::unavailable,
            {},
            error.code == 0 ? error.what : fmt::format("{}: {}", error.what, rte_strerror(error.code))};
}

/// What a reload can't change, named by its key; empty when nothing of that kind differs.
std::string changed_for_good(const Settings& a, const Settings& b) {
    if (a.links != b.links) return "links";
    if (a.routes != b.routes) return "routes";
    if (a.neighbours != b.neighbours) return "neighbours";
    if (a.prefixes != b.prefixes) return "prefixes";
    if (a.workers != b.workers) return "workers";
    if (a.sessions != b.sessions) return "sessions";
    if (a.mappings != b.mappings) return "mappings";
    if (a.outbound_port_first != b.outbound_port_first || a.outbound_port_last != b.outbound_port_last)
        return "outbound_ports";
    if (a.idle != b.idle) return "idle";
    if (a.hugepages != b.hugepages) return "hugepages";
    if (a.socket != b.socket) return "socket";
    if (a.state_directory != b.state_directory) return "state_directory";
    if (a.log_level != b.log_level) return "log_level";
    if (a.masquerade_port_first != b.masquerade_port_first ||
        a.masquerade_port_last != b.masquerade_port_last) {
        return "masquerade_ports";
    }
    if (a.hide_hop != b.hide_hop) return "ttl";
    return {};
}

Result<Existing> existing_parameter(const Json& params) {
    auto existing = parse_existing(params.value("existing", "keep"));
    if (!existing) existing.error().field = "existing";
    return existing;
}

}  // namespace

Daemon::Daemon(std::filesystem::path config_file, Settings settings, Eal eal, RuleBook book)
    : config_file_{std::move(config_file)},
      settings_{std::move(settings)},
      topology_{settings_.links, settings_.routes},
      eal_{std::move(eal)},
      book_{std::move(book)},
      policies_{settings_, kRuleSlots} {}

Daemon::~Daemon() {
    server_.reset();
    if (dataplane_) dataplane_->stop();
    if (translation_log_) {
        while (translation_log_->drain()) {
        }
        translation_log_.reset();
    }
    neighbours_.reset();
}

Result<std::unique_ptr<Daemon>> Daemon::create(const std::filesystem::path& config_file, Settings settings,
                                               Eal eal, std::unique_ptr<RuleStore> store) {
    auto book = RuleBook::open(Topology{settings.links, settings.routes, settings.neighbours},
                               std::move(store), settings.rules, settings.masquerades);
    if (!book) return tl::unexpected(book.error());
    std::unique_ptr<Daemon> daemon{
        new Daemon{config_file, std::move(settings), std::move(eal), std::move(*book)}};
    // Where another fwdd answers, no device is touched. Clients wait until run().
    auto server = RpcServer::listen(daemon->settings_.socket, *daemon);
    if (!server) return tl::unexpected(server.error());
    daemon->server_ = std::move(*server);
    if (auto ok = daemon->create_dataplane(); !ok) return tl::unexpected(ok.error());
    daemon->published_revision_ = ~daemon->book_.revision();  // whatever it is, nothing has been published
    if (auto ok = daemon->commit(); !ok) return tl::unexpected(ok.error());
    if (auto ok = daemon->dataplane_->start(); !ok) return tl::unexpected(to_error(ok.error()));
    daemon->server_->wake_by(daemon->dataplane_->control_bell().descriptor());
    if (daemon->host_) {
        daemon->follow_kernel();
        for (const int descriptor : daemon->host_->descriptors()) daemon->server_->wake_by(descriptor);
    }
    daemon->log_links();
    daemon->drop_capabilities();
    daemon->log_ready();
    return daemon;
}

Result<void> Daemon::create_dataplane() {
    dataplane::DataplaneConfig config;
    for (std::size_t i = 0; i < settings_.links.size(); ++i) {
        const LinkSettings& link = settings_.links[i];
        rte_eth_dev_info device{};
        if (rte_eth_dev_info_get(eal_.ethdevs[i], &device) == 0 && link.mtu > device.max_mtu) {
            return unavailable(fmt::format("link {}: mtu {} is more than its device takes, want at most {}",
                                           link.name, link.mtu, device.max_mtu));
        }
        config.links.push_back({.ethdev = eal_.ethdevs[i],
                                .vlan = link.vlan.value_or(0),
                                .mtu = link.mtu,
                                .queues = link.queues,
                                .rx_checksum_partial = link.rx_checksum == RxChecksum::partial,
                                .ping = link.ping,
                                .mss_clamp = link.greatest_mss(),
                                .lowest_ipv6_mtu = link.lowest_ipv6_mtu,
                                .refuses_by_icmp = link.refuse == Refusal::icmp,
                                .addresses = link.addresses,
                                .host = link.host,
                                .floating = link.floating});
    }
    config.sessions = settings_.sessions;
    config.mappings = settings_.mappings;
    config.rule_slots = kRuleSlots;
    config.worker_lcores = eal_.worker_lcores;
    config.idle =
        settings_.idle == IdleMode::poll ? dataplane::IdleMode::poll : dataplane::IdleMode::adaptive;
    config.hide_hop = settings_.hide_hop;
    config.masquerade_ports = {settings_.masquerade_port_first, settings_.masquerade_port_last};
    config.outbound_ports = {settings_.outbound_port_first, settings_.outbound_port_last};
    if (getrandom(config.secret.bytes, sizeof config.secret.bytes, 0) != sizeof config.secret.bytes) {
        return unavailable("the kernel gives no random numbers for the hash's secret");
    }
    auto policy = policies_.initial(dataplane::FlowHash{config.secret});
    if (!policy) return tl::unexpected(policy.error());
    auto made = dataplane::Dataplane::create(config, std::move(*policy));
    if (!made) {
        Error error = to_error(made.error());
        if (made.error().link >= 0) {
            const LinkSettings& link = settings_.links[static_cast<std::size_t>(made.error().link)];
            error.message = fmt::format("link {} on {}: {}", link.name, link.device, error.message);
        }
        return tl::unexpected(std::move(error));
    }
    dataplane_ = std::move(*made);
    neighbours_ = std::make_unique<Neighbours>(*dataplane_, settings_.links);
    const auto has_host = [](const LinkSettings& link) { return !link.host.empty(); };
    if (std::ranges::any_of(settings_.links, has_host)) {
        auto host = HostLinks::create(*dataplane_, settings_);
        if (!host) return tl::unexpected(host.error());
        host_ = std::move(*host);
        follower_ = std::make_unique<KernelFollower>(*dataplane_, settings_, *host_, *neighbours_);
    }
    punts_ = std::make_unique<Punts>(*dataplane_, *neighbours_, host_.get());
    live_sessions_ = std::make_unique<LiveSessions>(*dataplane_, [this] { serve_network(); });
    rule_totals_ = std::make_unique<RuleTotaller>(*dataplane_, *live_sessions_);
    reports_ = std::make_unique<Reports>(*dataplane_, policies_, settings_.links, eal_.worker_cores, book_,
                                         *live_sessions_);
    watch_ = std::make_unique<CounterWatch>(*dataplane_);
    device_watch_ = std::make_unique<DeviceWatch>(eal_.ethdevs);
    translation_log_ = std::make_unique<TranslationLog>(*dataplane_);
    add_static_neighbours();
    if (!settings_.translation_log.is_on()) return {};
    return LogSink::open(settings_.translation_log).and_then([this](std::unique_ptr<LogSink> sink) {
        return translation_log_->switch_to(std::move(sink));
    });
}

void Daemon::add_static_neighbours() {
    for (const NeighbourSettings& neighbour : settings_.neighbours) {
        const auto link = std::ranges::find(settings_.links, neighbour.link, &LinkSettings::name);
        const dataplane::LinkId id{static_cast<std::uint8_t>(link - settings_.links.begin())};
        if (!neighbours_->add_static(id, neighbour.address, neighbour.mac)) {
            spdlog::error("neighbours: no room for {}", to_text(neighbour.address));
        }
    }
}

void Daemon::log_links() const {
    const auto workers = static_cast<unsigned>(eal_.worker_lcores.size());
    for (std::size_t i = 0; i < settings_.links.size(); ++i) {
        const dataplane::Port& port = dataplane_->port_of(dataplane::LinkId{static_cast<std::uint8_t>(i)});
        std::string shared;
        if (port.rx_queues() < workers) {
            shared = fmt::format(
                "{}: fewer than the {} workers; the others receive by other links if they have any, age "
                "their "
                "share of the sessions, and send through the one with the queue",
                port.lacks_rss() ? " for want of RSS" : "", workers);
        }
        spdlog::info("link {} on {}: mtu {}, mac {}, {} rx and {} tx queue(s){}{}", settings_.links[i].name,
                     settings_.links[i].device, settings_.links[i].mtu, to_text(port.mac()), port.rx_queues(),
                     port.tx_queues(), port.has_rx_interrupts() ? ", rx interrupts" : "", shared);
    }
    spdlog::info("{} worker(s) on core(s) {}, room for {} sessions, {} MB of {}", workers,
                 fmt::join(eal_.worker_cores, ", "), settings_.sessions, eal_.memory_bytes >> 20U,
                 eal_.hugepages ? "hugepages" : "ordinary memory");
}

void Daemon::drop_capabilities() const {
    const std::vector<std::string> drivers = drivers_in_use();
    const bool has_host = host_ != nullptr;
    if (const auto ok = keep_only(needed_capabilities(drivers, uses_physical_addresses(), has_host)); !ok) {
        return spdlog::warn(
            "cannot drop what capabilities nothing needs any more: {}; the main thread has {}",
            ok.error().text(), own_capabilities_text());
    }
    spdlog::info("capabilities from now on: {}", own_capabilities_text());
}

void Daemon::log_ready() const {
    spdlog::info("ready with {} rule(s), socket {}", book_.rules().size(), settings_.socket.string());
}

std::string Daemon::status_line() const {
    const std::size_t removed = removed_links();
    return fmt::format("{} rule(s), {} masquerade(s) on {} link(s){}", book_.rules().size(),
                       book_.masquerades().size(), settings_.links.size() - removed,
                       removed == 0 ? "" : fmt::format("; {} removed", removed));
}

void Daemon::tell_alive(Neighbours::Clock::time_point now) {
    if (!service_manager_.is_sign_of_life_due(now)) return;
    std::vector<std::uint64_t> cycles;
    for (const auto& worker : dataplane_->workers()) cycles.push_back(worker->counters().all_cycles.get());
    service_manager_.tell_alive(now, std::move(cycles), status_line());
}

bool Daemon::run(const std::atomic<bool>& stop, std::atomic<bool>& reload_wanted) {
    service_manager_.tell_ready(status_line());
    while (!stop.load(std::memory_order_relaxed)) {
        const auto until_tick =
            std::chrono::ceil<std::chrono::milliseconds>(next_tick_ - Neighbours::Clock::now());
        dataplane_->control_bell().lie_down();
        const auto longest = translation_log_->is_on() ? kLogTime : kTickTime;
        server_->poll(
            dataplane_->has_punts() ? 0ms : std::clamp<std::chrono::milliseconds>(until_tick, 0ms, longest));
        dataplane_->control_bell().get_up();
        serve_network();
        // Not at once, since daemons change much within moments, and only here, where no request is under
        // way.
        if (const auto now = Neighbours::Clock::now(); now >= next_follow_) {
            next_follow_ = now + kTickTime;
            if (!let_go_of_removed_devices()) return false;
            if (host_ && host_->catch_up()) follow_kernel();
            if (host_ && !host_->is_complete()) {
                spdlog::error(
                    "an interface that the kernel had on a link has been deleted: ending, to begin anew");
                return false;
            }
        }
        if (reload_wanted.exchange(false)) {
            auto done = reload(Json::object());  // sessions go on
            if (done) {
                if (auto ok = commit(); !ok) done = tl::unexpected(ok.error());
            }
            if (!done) spdlog::error("reload refused, nothing changed: {}", done.error().text());
        }
    }
    spdlog::info("stopping");
    service_manager_.tell_stopping();
    return true;
}

void Daemon::serve_network() {
    const auto now = Neighbours::Clock::now();
    punts_->poll(now);
    if (host_) host_->poll(now);
    translation_log_->drain();
    if (now < next_tick_) return;
    next_tick_ = now + kTickTime;
    tell_alive(now);
    for (const std::string& line : watch_->look(now)) spdlog::warn(line);
    if (const auto complaint = translation_log_->complaint(now)) spdlog::warn(*complaint);
    neighbours_->tick(now);
    for (std::size_t i = 0; host_ && i < settings_.links.size(); ++i) {
        const dataplane::LinkId link{static_cast<std::uint8_t>(i)};
        host_->show_cable(link, neighbours_->is_up(link));
    }
    if (neighbours_->has_removed()) {
        policies_.renew_next_hops(*dataplane_);
        neighbours_->release_removed();
    }
}

bool Daemon::let_go_of_removed_devices() {
    for (const std::uint16_t ethdev : device_watch_->take_gone()) {
        std::vector<std::string> names;
        std::size_t last = 0;
        for (std::size_t i = 0; i < settings_.links.size(); ++i) {
            if (eal_.ethdevs[i] != ethdev) continue;
            names.push_back(settings_.links[i].name);
            last = i;
        }
        spdlog::error(
            "link {}: its device {} has been removed; what would leave by it is dropped as "
            "link-removed, until fwdd starts again with a device there",
            fmt::join(names, ", "), settings_.links[last].device);
        const auto given_back = dataplane_->remove_device(dataplane::LinkId{static_cast<std::uint8_t>(last)});
        if (!given_back) {
            spdlog::error("workers do not start again: {}", to_error(given_back.error()).text());
            return false;
        }
        if (!*given_back) {
            spdlog::error(
                "DPDK does not let go of {}: whoever takes it away may have to wait for fwdd to end",
                settings_.links[last].device);
        }
    }
    if (removed_links() < settings_.links.size()) return true;
    spdlog::error("no link is left: ending");
    return false;
}

std::size_t Daemon::removed_links() const {
    std::size_t count = 0;
    for (std::size_t i = 0; i < settings_.links.size(); ++i)
        count += dataplane_->port_of(dataplane::LinkId{static_cast<std::uint8_t>(i)}).is_removed() ? 1 : 0;
    return count;
}

void Daemon::follow_kernel() {
    KernelFollower::Addresses now = follower_->follow();
    for (const std::string& line : host_->tell_unfollowed()) spdlog::warn(line);
    if (auto ok = policies_.publish_network(*dataplane_, std::move(now.by_link), host_->routes()); !ok)
        spdlog::error("routes of the kernel: {}; the ones before stay", ok.error().text());
    if (!now.have_changed) return;
    // A pool's address is answered for in networks of links alone.
    neighbours_->set_external_addresses(policies_.external_addresses(book_.rules(), book_.masquerades()));
    const auto follows = [](const auto& entry) { return entry.second.external_link.has_value(); };
    if (std::ranges::any_of(book_.rules(), follows)) {
        if (auto ok =
                policies_.prepare_rules(*dataplane_, book_.rules(), book_.masquerades(), network_turns());
            ok) {
            policies_.publish_rules(*dataplane_);
        } else {
            spdlog::error("rules of links' addresses: {}; the ones before stay", ok.error().text());
        }
    }
    reports_->clear_sessions_at(now.lost);
}

Result<void> Daemon::commit() {
    const std::vector<std::string> log = std::exchange(uncommitted_log_, {});
    auto done = commit_rules();
    if (done) {
        for (const std::string& line : log) spdlog::info(line);
    }
    return done;
}

std::uint32_t Daemon::session_count(dataplane::RuleId id) const {
    const auto* slot = dataplane_->rule_counters().find(id);
    return slot != nullptr ? slot->sessions.load(std::memory_order_relaxed) : 0;
}

void Daemon::forget_drained() {
    std::erase_if(draining_, [this](const Ended& rule) { return session_count(rule.id) == 0; });
}

void Daemon::end_sessions_of(std::vector<Ended> ended) {
    forget_drained();
    std::vector<dataplane::RuleId> killed;
    for (Ended& rule : ended) {
        if (rule.existing == Existing::kill) {
            killed.push_back(rule.id);
        } else {
            draining_.push_back(std::move(rule));
        }
    }
    reports_->clear_sessions_of(killed);
    // One that has been enabled again drains no more.
    std::erase_if(draining_, [this](const Ended& rule) {
        const auto id = policies_.book_id(rule.id);
        return id && !book_.rules().at(*id).disabled;
    });
}

Json Daemon::end_at_commit(const Rule& rule, std::optional<dataplane::RuleId> id, Existing existing) {
    const std::uint32_t sessions = id ? session_count(*id) : 0;
    const bool kill = existing == Existing::kill;
    if (id && existing != Existing::keep) uncommitted_ended_.push_back({rule, *id, existing});
    return {{"sessions_kept", kill ? 0 : sessions}, {"sessions_ended", kill ? sessions : 0}};
}

Result<void> Daemon::commit_rules() {
    std::vector<Ended> ended = std::exchange(uncommitted_ended_, {});
    if (book_.revision() != published_revision_) {
        // What may fail comes first: an accepted rule is on disk and in force.
        if (auto ready =
                policies_.prepare_rules(*dataplane_, book_.rules(), book_.masquerades(), network_turns());
            !ready) {
            book_.roll_back();
            new_settings_.reset();
            return ready;
        }
        if (auto durable = book_.commit(); !durable) {
            new_settings_.reset();
            return durable;
        }
        policies_.publish_rules(*dataplane_);
        neighbours_->set_external_addresses(policies_.external_addresses(book_.rules(), book_.masquerades()));
        published_revision_ = book_.revision();
        translation_log_->learn_names(policies_, book_.rules(), book_.masquerades());
    }
    end_sessions_of(std::move(ended));
    if (auto settings = std::exchange(new_settings_, std::nullopt)) apply(std::move(*settings));
    return {};
}

void Daemon::apply(NewSettings settings) {
    settings_.timeouts = settings.timeouts;
    policies_.publish_timeouts(*dataplane_, settings_.timeouts);
    settings_.tcp_window_check = settings.tcp_window_check;
    policies_.publish_window_check(*dataplane_, settings_.tcp_window_check);
    translation_log_->drain();
    const bool same_log = settings.translation_log == settings_.translation_log;
    settings_.translation_log = settings.translation_log;
    const auto done =
        same_log ? translation_log_->reopen() : translation_log_->switch_to(std::move(settings.log_sink));
    if (!same_log) translation_log_->learn_names(policies_, book_.rules(), book_.masquerades());
    if (!done) spdlog::error("log of translations: {}; it goes on as before", done.error().text());
}

Json Daemon::rule_row(const Rule& rule, const RuleTotals& totals) const {
    Json row = rule_to_json(rule);
    row["state"] = rule.disabled ? "disabled" : "enabled";
    if (rule.external_link) {
        const auto address = policies_.external_address(rule);
        row["external_address"] = address ? Json(to_text(*address)) : Json();
    }
    row["source_effective"] = topology_.effective_source(rule);
    row["packets"] = totals.packets;
    row["bytes"] = totals.bytes;
    row["sessions"] = totals.sessions;
    return row;
}

RuleTotals Daemon::totals_of(RuleId id) const {
    const auto known = policies_.dataplane_id(id);
    return known ? rule_totals_->of(*known) : RuleTotals{};
}

Result<Json> Daemon::add_rule(const Json& params) {
    return rule_from_json(params)
        .and_then([this](Rule rule) { return book_.add(std::move(rule)); })
        .map([this](RuleId id) {
            uncommitted_log_.push_back("added rule " + book_.rules().at(id).name);
            return Json{{"rule", rule_row(book_.rules().at(id), {})}};
        });
}

Result<Json> Daemon::add_rules(const Json& params) {
    auto rules = rules_from_json(params, network_turns());
    if (!rules) return tl::unexpected(rules.error());
    auto masquerades = masquerades_from_json(params);
    if (!masquerades) return tl::unexpected(masquerades.error());
    return book_.add(std::move(*rules), std::move(*masquerades), network_turns())
        .map([this](const std::vector<RuleId>& ids) {
            std::vector<std::string> names;
            for (const RuleId id : std::span{ids}.first(std::min(ids.size(), kNamesInLog)))
                names.push_back(book_.name_of(id));
            uncommitted_log_.push_back(fmt::format("added {} rule(s): {}{}", ids.size(),
                                                   fmt::join(names, ", "),
                                                   ids.size() > names.size() ? ", ..." : ""));
            return Json{{"added", ids.size()}};
        });
}

Json Daemon::masquerade_row(const Masquerade& masquerade, const RuleTotals& totals,
                            std::uint64_t mappings) const {
    Json row = masquerade_to_json(masquerade);
    row["mappings"] = mappings;
    row["packets"] = totals.packets;
    row["bytes"] = totals.bytes;
    row["sessions"] = totals.sessions;
    return row;
}

std::map<dataplane::RuleId, std::uint64_t> Daemon::count_mappings() {
    std::map<dataplane::RuleId, std::uint64_t> counts;
    const dataplane::MappingTable& mappings = dataplane_->mappings();
    for (std::uint32_t at = 0; at < mappings.position_count();) {
        {
            const dataplane::Dataplane::ReadSection section{*dataplane_};
            at = mappings.visit(at, [&](const auto& mapping) { ++counts[mapping.rule]; });
        }
        serve_network();
    }
    return counts;
}

Result<Json> Daemon::add_masquerade(const Json& params) {
    return masquerade_from_json(params)
        .and_then([this](Masquerade masquerade) { return book_.add(std::move(masquerade)); })
        .map([this](RuleId id) {
            const Masquerade& added = book_.masquerades().at(id);
            uncommitted_log_.push_back("added masquerade " + added.name);
            return Json{{"masquerade", masquerade_row(added, {}, 0)}};
        });
}

Result<Json> Daemon::delete_masquerade(const Json& params) {
    const std::string name = params.at("name");
    const auto existing = parse_existing(params.value("existing", "keep"));
    if (!existing || *existing == Existing::drain) {
        return invalid("existing", fmt::format("got {}, want 'keep' or 'kill'",
                                               in_quotes(params.at("existing").get<std::string>())));
    }
    const auto id = book_.find_masquerade(name);
    const auto known = id ? policies_.dataplane_id(*id) : std::nullopt;
    return book_.remove_masquerade(name).map([&](const Masquerade& masquerade) {
        Json result = end_at_commit({}, known, *existing);
        result["deleted"] = masquerade.name;
        uncommitted_log_.push_back("deleted masquerade " + masquerade.name);
        return result;
    });
}

Result<Json> Daemon::list_masquerades(const Json&) {
    rule_totals_->refresh();
    const auto mappings = count_mappings();
    Json rows = Json::array();
    for (const auto& [id, masquerade] : book_.masquerades()) {
        const auto known = policies_.dataplane_id(id);
        const auto count = known ? mappings.find(*known) : mappings.end();
        rows.push_back(
            masquerade_row(masquerade, totals_of(id), count != mappings.end() ? count->second : 0));
    }
    return Json{{"masquerades", std::move(rows)}};
}

Result<Json> Daemon::delete_rule(const Json& params) {
    const auto existing = existing_parameter(params);
    if (!existing) return tl::unexpected(existing.error());
    const std::string name = params.at("name");
    const auto id = book_.find(name);
    const auto known = id ? policies_.dataplane_id(*id) : std::nullopt;
    return book_.remove(name).map([&](const Rule& rule) {
        uncommitted_log_.push_back("deleted rule " + rule.name);
        Json result = end_at_commit(rule, known, *existing);
        result["deleted"] = rule.name;
        return result;
    });
}

Result<Json> Daemon::change_rule(const Json& params) {
    const auto existing = existing_parameter(params);
    if (!existing) return tl::unexpected(existing.error());
    const std::string name = params.at("name");
    const auto id = book_.find(name);
    if (!id) return tl::unexpected(book_.remove(name).error());
    const auto known = policies_.dataplane_id(*id);
    return changed_rule(book_.rules().at(*id), params)
        .and_then([&](Rule rule) { return book_.change(std::move(rule)); })
        .map([&](const Rule& before) {
            uncommitted_log_.push_back("changed rule " + name);
            Json result = end_at_commit(before, known, *existing);
            result["rule"] = rule_row(book_.rules().at(*book_.find(name)), {});
            return result;
        });
}

Result<Json> Daemon::enable_rule(const Json& params) {
    return book_.enable(params.at("name").get<std::string>()).map([&](RuleId id) {
        const Rule& rule = book_.rules().at(id);
        uncommitted_log_.push_back("enabled rule " + rule.name);
        return Json{{"rule", rule_row(rule, totals_of(id))}};
    });
}

Result<Json> Daemon::disable_rule(const Json& params) {
    const auto existing = existing_parameter(params);
    if (!existing) return tl::unexpected(existing.error());
    return book_.disable(params.at("name").get<std::string>()).map([&](RuleId id) {
        const Rule& rule = book_.rules().at(id);
        uncommitted_log_.push_back("disabled rule " + rule.name);
        Json result = end_at_commit(rule, policies_.dataplane_id(id), *existing);
        result["disabled"] = rule.name;
        return result;
    });
}

Result<Json> Daemon::export_rules(const Json&) {
    std::vector<Rule> rules;
    for (const auto& [id, rule] : book_.rules()) rules.push_back(rule);
    std::vector<Masquerade> masquerades;
    for (const auto& [id, masquerade] : book_.masquerades()) masquerades.push_back(masquerade);
    return Json{{"text", format_rules(rules) + format_masquerades(masquerades)}};
}

Result<Json> Daemon::list_rules(const Json&) {
    rule_totals_->refresh();
    Json rows = Json::array();
    forget_drained();
    std::set<RuleId> draining;
    for (const Ended& rule : draining_) {
        if (const auto id = policies_.book_id(rule.id)) draining.insert(*id);
    }
    for (const auto& [id, rule] : book_.rules()) {
        rows.push_back(rule_row(rule, totals_of(id)));
        if (draining.contains(id)) rows.back()["state"] = "draining";
    }
    for (const Ended& gone : draining_) {
        if (policies_.book_id(gone.id)) continue;
        rows.push_back(rule_row(gone.rule, rule_totals_->of(gone.id)));
        rows.back()["origin"] = "draining";
        rows.back()["state"] = "draining";
    }
    return Json{{"rules", std::move(rows)}};
}

Result<std::optional<dataplane::RuleId>> Daemon::rule_parameter(const Json& params) const {
    if (!params.contains("rule")) return std::nullopt;
    const std::string name = params.at("rule");
    const auto rule = book_.find(name);
    const auto id = rule ? rule : book_.find_masquerade(name);
    if (!id) {
        return not_found("rule", fmt::format("got '{}', want the name of a rule (list-rules shows them) or "
                                             "masquerade (list-masquerades)",
                                             name));
    }
    return policies_.dataplane_id(*id);
}

Result<Json> Daemon::list_sessions(const Json& params) {
    const auto rule = rule_parameter(params);
    if (!rule) return tl::unexpected(rule.error());
    const auto limit = std::min<std::size_t>(params.value("limit", std::size_t{100}), kSessionsPerAnswer);
    return reports_->sessions(*rule, params.value("cursor", std::uint64_t{0}), limit);
}

Result<Json> Daemon::list_links(const Json&) {
    return reports_->links();
}

Result<Json> Daemon::list_neighbours(const Json&) {
    return reports_->neighbours(*neighbours_);
}

Result<Json> Daemon::clear_sessions(const Json& params) {
    const auto rule = rule_parameter(params);
    if (!rule) return tl::unexpected(rule.error());
    const std::uint64_t cleared = reports_->clear_sessions(*rule);
    spdlog::info("cleared {} session(s)", cleared);
    return Json{{"cleared", cleared}};
}

Result<Json> Daemon::stats(const Json&) {
    Json stats = reports_->stats();
    Json rows = Json::array();
    rule_totals_->refresh();
    const auto add = [&](RuleId id, const std::string& name) {
        const RuleTotals totals = totals_of(id);
        rows.push_back({{"name", name},
                        {"packets", totals.packets},
                        {"bytes", totals.bytes},
                        {"sessions", totals.sessions}});
    };
    for (const auto& [id, rule] : book_.rules()) add(id, rule.name);
    for (const auto& [id, masquerade] : book_.masquerades()) add(id, masquerade.name);
    stats["rules"] = std::move(rows);
    if (host_) {
        stats["host"] = Json::array();
        for (std::size_t i = 0; i < settings_.links.size(); ++i) {
            const HostLinks::Counts* counts = host_->counts(dataplane::LinkId{static_cast<std::uint8_t>(i)});
            if (counts == nullptr) continue;
            stats["host"].push_back({{"link", settings_.links[i].name},
                                     {"interface", settings_.links[i].host_interface},
                                     {"to_kernel", counts->to_kernel},
                                     {"lost", counts->lost},
                                     {"from_kernel", counts->from_kernel},
                                     {"refused", counts->refused}});
        }
    }
    if (translation_log_->is_on() || translation_log_->written() + translation_log_->lost() != 0)
        stats["translation_log"] = {{"written", translation_log_->written()},
                                    {"lost", translation_log_->lost()}};
    return stats;
}

Result<Json> Daemon::reload(const Json& params) {
    const auto existing = existing_parameter(params);
    if (!existing) return tl::unexpected(existing.error());
    // A hundred thousand rules take a while to read: ARP and the like go on.
    auto loading = std::async([this] { return load_settings(config_file_); });
    while (loading.wait_for(2ms) == std::future_status::timeout) serve_network();
    auto settings = loading.get();
    if (!settings) return tl::unexpected(settings.error());
    if (const std::string key = changed_for_good(settings_, *settings); !key.empty()) {
        return refused(fmt::format("{}: {}", config_file_.string(), key),
                       "changed, and takes effect only with a restart of fwdd; nothing has been reloaded");
    }
    NewSettings changed{settings->timeouts, settings->tcp_window_check, settings->translation_log, nullptr};
    if (changed.translation_log.is_on() && changed.translation_log != settings_.translation_log) {
        auto sink = LogSink::open(changed.translation_log);
        if (!sink) return tl::unexpected(sink.error());
        changed.log_sink = std::move(*sink);
    }
    auto reloaded =
        book_.reload(std::move(settings->rules), std::move(settings->masquerades), network_turns());
    if (!reloaded) return tl::unexpected(reloaded.error());
    std::uint64_t kept = 0;
    std::uint64_t killed = 0;
    const auto end = [&](const Rule& rule, RuleId id, Existing how) {
        const Json sessions = end_at_commit(rule, policies_.dataplane_id(id), how);
        kept += sessions["sessions_kept"].get<std::uint64_t>();
        killed += sessions["sessions_ended"].get<std::uint64_t>();
    };
    for (const auto& [id, rule] : reloaded->ended) end(rule, id, *existing);
    // Only rules drain.
    for (const RuleId id : reloaded->ended_masquerades)
        end({}, id, *existing == Existing::drain ? Existing::keep : *existing);
    new_settings_ = std::move(changed);
    uncommitted_log_.push_back(
        fmt::format("reload: {} rule(s) added, {} removed, {} enabled or disabled, {} unchanged",
                    reloaded->added, reloaded->removed, reloaded->switched, reloaded->unchanged));
    return Json{{"rules", book_.rules().size() + book_.masquerades().size()},
                {"added", reloaded->added},
                {"removed", reloaded->removed},
                {"switched", reloaded->switched},
                {"sessions_kept", kept},
                {"sessions_ended", killed},
                {"unchanged", reloaded->unchanged}};
}

Result<Json> Daemon::status(const Json&) {
    const auto uptime = std::chrono::steady_clock::now() - started_;
    return Json{{"version", FWD_VERSION},
                {"pid", getpid()},
                {"uptime_s", std::chrono::duration_cast<std::chrono::seconds>(uptime).count()},
                {"config", config_file_.string()},
                {"socket", settings_.socket.string()},
                {"state_directory", settings_.state_directory.string()},
                {"workers", eal_.worker_lcores.size()},
                {"sessions", dataplane_->flows().session_count()},
                {"capacity", dataplane_->flows().capacity()},
                {"rules", book_.rules().size()},
                {"masquerades", book_.masquerades().size()},
                {"mappings", dataplane_->mappings().count()},
                {"mapping_capacity", dataplane_->mappings().capacity()},
                {"hugepages", eal_.hugepages},
                {"memory_mb", eal_.memory_bytes >> 20U}};
}

Result<Json> Daemon::version(const Json&) {
    return Json{{"version", FWD_VERSION}, {"dpdk", rte_version()}};
}

}  // namespace fwd::control
