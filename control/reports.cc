// SPDX-License-Identifier: BSD-3-Clause
#include "control/reports.h"

#include <rte_ethdev.h>

#include <algorithm>
#include <array>
#include <unordered_map>

#include "control/text.h"

namespace fwd::control {
namespace {

using dataplane::FlowPosition;
using dataplane::Session;
using dataplane::SessionState;
using dataplane::StateWord;
using dataplane::Tick;
using dataplane::Verdict;

/// Positions looked at for one answer, so that a long list never keeps control from ARP.
constexpr std::uint32_t kPositionsPerPage = 1U << 20U;

double seconds(Tick ticks) {
    return static_cast<double>(ticks.to_duration().count()) / 1000;
}

}  // namespace

struct Reports::Totals {
    std::uint64_t received = 0, received_bytes = 0, originated = 0, sent = 0, sent_bytes = 0, punted = 0,
                  dropped = 0, held = 0, opened = 0, closed = 0, evicted = 0;
    std::array<std::uint64_t, dataplane::kVerdictCount> verdicts{};
    struct Link {
        std::uint64_t rx_packets = 0, rx_bytes = 0, tx_packets = 0, tx_bytes = 0, dropped = 0;
    };
    std::array<Link, dataplane::kMaxLinks> links{};

    void add(const dataplane::ThreadCounters& c) {
        received += c.received.get();
        received_bytes += c.received_bytes.get();
        originated += c.originated.get();
        sent += c.sent.get();
        sent_bytes += c.sent_bytes.get();
        held += c.held.get();
        held -= c.released.get();
        opened += c.sessions_opened.get();
        closed += c.sessions_closed.get();
        evicted += c.sessions_evicted.get();
        for (std::size_t v = 0; v < verdicts.size(); ++v) {
            const std::uint64_t n = c.verdicts[v].get();
            verdicts[v] += n;
            const auto verdict = static_cast<Verdict>(v);
            if (dataplane::is_drop(verdict)) {
                dropped += n;
            } else if (verdict != Verdict::forward && verdict != Verdict::hold_neighbour) {
                punted += n;
            }
        }
        for (std::size_t l = 0; l < links.size(); ++l) {
            links[l].rx_packets += c.links[l].rx_packets.get();
            links[l].rx_bytes += c.links[l].rx_bytes.get();
            links[l].tx_packets += c.links[l].tx_packets.get();
            links[l].tx_bytes += c.links[l].tx_bytes.get();
            links[l].dropped += c.links[l].dropped.get();
        }
    }
};

Reports::Totals Reports::sum_counters() const {
    Totals totals;
    for (const auto& worker : dataplane_.workers()) totals.add(worker->counters());
    totals.add(dataplane_.control_counters());
    return totals;
}

Json Reports::link_row(std::size_t link, const Totals& totals) const {
    const Totals::Link& c = totals.links[link];
    const dataplane::Port& port = dataplane_.port_of(dataplane::LinkId{static_cast<std::uint8_t>(link)});
    rte_eth_stats device{};
    const bool known = !port.is_removed() && rte_eth_stats_get(port.ethdev(), &device) == 0;
    return {{"name", links_[link].name},
            {"rx_packets", c.rx_packets},
            {"rx_bytes", c.rx_bytes},
            {"tx_packets", c.tx_packets},
            {"tx_bytes", c.tx_bytes},
            {"dropped", c.dropped},
            // Of the whole device: links that share it show the same.
            {"missed", known ? Json(device.imissed + device.rx_nombuf) : Json()}};
}

Json Reports::stats() const {
    const Totals totals = sum_counters();
    Json drops = Json::array();
    for (const auto& row : dataplane::kVerdictNames) {
        const std::uint64_t packets = totals.verdicts[static_cast<std::size_t>(row.verdict)];
        if (dataplane::is_drop(row.verdict) && packets != 0) {
            drops.push_back({{"reason", row.name}, {"help", row.help}, {"packets", packets}});
        }
    }
    Json punts = Json::array();
    for (const auto& row : dataplane::kVerdictNames) {
        const std::uint64_t packets = totals.verdicts[static_cast<std::size_t>(row.verdict)];
        if (!dataplane::is_drop(row.verdict) && row.verdict != Verdict::forward && packets != 0) {
            punts.push_back({{"reason", row.name}, {"help", row.help}, {"packets", packets}});
        }
    }
    Json links = Json::array();
    for (std::size_t link = 0; link < links_.size(); ++link) links.push_back(link_row(link, totals));
    Json workers = Json::array();
    for (std::size_t w = 0; w < dataplane_.workers().size(); ++w) {
        const dataplane::ThreadCounters& c = dataplane_.workers()[w]->counters();
        std::uint64_t dropped = 0;
        for (std::size_t v = 0; v < c.verdicts.size(); ++v) {
            if (dataplane::is_drop(static_cast<Verdict>(v))) dropped += c.verdicts[v].get();
        }
        const std::uint64_t all = std::max<std::uint64_t>(c.all_cycles.get(), 1);
        workers.push_back(
            {{"worker", w},
             {"core", worker_cores_[w]},
             {"busy_percent", 100.0 * static_cast<double>(c.busy_cycles.get()) / static_cast<double>(all)},
             {"busy_cycles", c.busy_cycles.get()},
             {"all_cycles", c.all_cycles.get()},
             {"received", c.received.get()},
             {"received_bytes", c.received_bytes.get()},
             {"sent", c.sent.get()},
             {"sent_bytes", c.sent_bytes.get()},
             {"dropped", dropped},
             {"sessions_opened", c.sessions_opened.get()},
             {"sessions_closed", c.sessions_closed.get()}});
    }
    dataplane::FlowTable& flows = dataplane_.flows();
    return {{"packets",
             {{"received", totals.received},
              {"originated", totals.originated},
              {"sent", totals.sent},
              {"punted", totals.punted},
              {"dropped", totals.dropped},
              {"held", totals.held}}},
            {"bytes", {{"received", totals.received_bytes}, {"sent", totals.sent_bytes}}},
            {"sessions",
             {{"live", flows.session_count()},
              {"unanswered", flows.evictable_count(dataplane::Evictable::unanswered)},
              {"half_open", flows.evictable_count(dataplane::Evictable::half_open)},
              {"closing", flows.evictable_count(dataplane::Evictable::closing)},
              {"capacity", flows.capacity()},
              {"opened", totals.opened},
              {"closed", totals.closed},
              {"evicted", totals.evicted}}},
            {"drops", drops},
            {"punts", punts},
            {"links", links},
            {"workers", workers}};
}

Json Reports::links() const {
    const Totals totals = sum_counters();
    Json rows = Json::array();
    for (std::size_t i = 0; i < links_.size(); ++i) {
        const dataplane::Link& link = dataplane_.links()[i];
        const dataplane::Port& port = dataplane_.port_of(dataplane::LinkId{static_cast<std::uint8_t>(i)});
        rte_eth_dev_info info{};
        if (!port.is_removed()) rte_eth_dev_info_get(port.ethdev(), &info);
        rte_eth_link state{};
        const bool known = !port.is_removed() && rte_eth_link_get_nowait(port.ethdev(), &state) == 0;
        Json addresses = Json::array();
        // Those of now, the kernel's among them.
        for (const auto& own : link.addresses)
            addresses.push_back(to_text(net::IpInterfaceAddress{own.address, own.length}));
        for (const auto& own : link.ipv6_addresses) addresses.push_back(to_text(own));
        if (link.has_ipv6()) addresses.push_back(to_text(net::IpInterfaceAddress{link.link_local, 64}));
        Json row = link_row(i, totals);
        row["device"] = links_[i].device;
        row["driver"] = info.driver_name != nullptr ? info.driver_name : "";
        row["mac"] = to_text(link.mac);
        row["vlan"] = link.vlan != 0 ? Json(link.vlan) : Json();
        row["mtu"] = link.mtu;
        row["up"] = known && state.link_status == RTE_ETH_LINK_UP;
        row["removed"] = port.is_removed();
        row["speed_mbps"] =
            known && state.link_speed != RTE_ETH_SPEED_NUM_UNKNOWN ? Json(state.link_speed) : Json();
        row["addresses"] = addresses;
        row["rx_queues"] = port.rx_queues();
        row["tx_queues"] = port.tx_queues();
        rows.push_back(std::move(row));
    }
    return {{"links", rows}};
}

Json Reports::neighbours(const Neighbours& neighbours) const {
    Json rows = Json::array();
    for (const Neighbours::Row& row : neighbours.rows(Neighbours::Clock::now())) {
        rows.push_back({{"link", links_[row.next_hop.egress.value].name},
                        {"address", to_text(row.next_hop.address)},
                        {"mac", row.mac ? Json(to_text(*row.mac)) : Json()},
                        {"state", row.state},
                        {"age_s", row.age.count()}});
    }
    return {{"neighbours", rows}};
}

Json Reports::session_row(FlowPosition id, Tick now) const {
    dataplane::FlowTable& flows = dataplane_.flows();
    const Session& session = flows.session(id);
    const dataplane::WideKey key = flows.key_of(id);
    const dataplane::WideKey answers = flows.key_of(session.reverse);
    const SessionState state = session.state.load(std::memory_order_relaxed);
    const auto index = std::min(static_cast<std::size_t>(state), dataplane::kSessionStateCount - 1);
    Tick last = flows.last_use(id);
    if (now.before(last)) last = now;
    const Tick idle = now - last;
    const Tick timeout = dataplane_.policy().timeouts[index];
    const std::optional<RuleId> rule = policies_.book_id(session.rule);
    const dataplane::FlowCounts in = flows.counts(id);
    const dataplane::FlowCounts out = flows.counts(session.reverse);
    return {{"rule", rule ? Json(book_.name_of(*rule)) : Json()},
            {"protocol", to_text(session.protocol)},
            {"state", dataplane::kSessionStateNames[index]},
            {"client", to_text(key.source_endpoint())},
            {"external", to_text(key.destination_endpoint())},
            {"source", to_text(answers.destination_endpoint())},
            {"target", to_text(answers.source_endpoint())},
            {"packets_in", in.packets},
            {"bytes_in", in.bytes},
            {"packets_out", out.packets},
            {"bytes_out", out.bytes},
            {"age_s", now.before(session.opened) ? 0.0 : seconds(now - session.opened)},
            {"idle_s", seconds(idle)},
            {"expires_s", idle.before(timeout) ? seconds(timeout - idle) : 0.0}};
}

Json Reports::sessions(std::optional<dataplane::RuleId> rule, std::uint64_t cursor, std::size_t limit) const {
    dataplane::FlowTable& flows = dataplane_.flows();
    const std::uint64_t end = flows.position_count();
    const auto first = static_cast<std::uint32_t>(std::min(cursor, end));
    const auto page_end =
        static_cast<std::uint32_t>(std::min<std::uint64_t>(std::uint64_t{first} + kPositionsPerPage, end));
    const Tick now = Tick::of(dataplane::Tsc::read());
    Json rows = Json::array();
    const std::uint32_t next = sessions_.visit(first, page_end, [&](FlowPosition id, StateWord) {
        if (!rule || flows.session(id).rule == *rule) rows.push_back(session_row(id, now));
        return rows.size() < limit;
    });
    return {{"sessions", std::move(rows)}, {"cursor", next < end ? Json(next) : Json()}};
}

std::uint64_t Reports::clear_sessions(std::optional<dataplane::RuleId> rule) {
    dataplane::FlowTable& flows = dataplane_.flows();
    std::uint64_t cleared = 0;
    sessions_.visit(0, flows.position_count(), [&](FlowPosition id, StateWord word) {
        if ((!rule || flows.session(id).rule == *rule) && flows.condemn(id, word)) ++cleared;
        return true;
    });
    return cleared;
}

std::uint64_t Reports::clear_sessions_at(std::span<const net::IpAddress> own) {
    if (own.empty()) return 0;
    dataplane::FlowTable& flows = dataplane_.flows();
    std::uint64_t cleared = 0;
    sessions_.visit(0, flows.position_count(), [&](FlowPosition id, StateWord word) {
        // Each way's packets come to an address that is fwd's, or leave as they came.
        const bool uses =
            std::ranges::find(own, flows.key_of(id).destination) != own.end() ||
            std::ranges::find(own, flows.key_of(flows.session(id).reverse).destination) != own.end();
        if (uses && flows.condemn(id, word)) ++cleared;
        return true;
    });
    return cleared;
}

std::uint64_t Reports::clear_sessions_of(std::span<const dataplane::RuleId> rules) {
    if (rules.empty()) return 0;
    std::unordered_map<std::uint32_t, std::uint32_t> generation_of_slot;
    for (const dataplane::RuleId rule : rules) generation_of_slot[rule.slot] = rule.generation;
    dataplane::FlowTable& flows = dataplane_.flows();
    std::uint64_t cleared = 0;
    sessions_.visit(0, flows.position_count(), [&](FlowPosition id, StateWord word) {
        const dataplane::RuleId rule = flows.session(id).rule;
        const auto found = generation_of_slot.find(rule.slot);
        if (found != generation_of_slot.end() && found->second == rule.generation && flows.condemn(id, word))
            ++cleared;
        return true;
    });
    return cleared;
}

}  // namespace fwd::control
