// SPDX-License-Identifier: BSD-3-Clause
#include "tools/fwdctl/report.h"

#include <fmt/format.h>

#include <array>
#include <utility>
#include <vector>

namespace fwd::fwdctl {
namespace {

using control::Json;
using Align = Table::Align;

/// A member of an object; null when it is not there.
const Json& member(const Json& object, std::string_view key) {
    static const Json null;
    if (!object.is_object()) return null;
    const auto found = object.find(key);
    return found == object.end() ? null : *found;
}

/// A value as it stands in a table: "-" for none.
std::string cell(const Json& value) {
    if (value.is_string()) return value.get<std::string>();
    if (value.is_null()) return "-";
    if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
    if (value.is_number_float()) return fmt::format("{:.1f}", value.get<double>());
    if (!value.is_array()) return value.dump();
    std::vector<std::string> items;
    for (const Json& item : value) items.push_back(cell(item));
    return items.empty() ? "-" : fmt::format("{}", fmt::join(items, ","));
}

std::string cell(const Json& object, std::string_view key) {
    return cell(member(object, key));
}

double number(const Json& object, std::string_view key) {
    const Json& value = member(object, key);
    return value.is_number() ? value.get<double>() : 0;
}

/// A column of a table of objects: its title and the member that it shows.
struct Field {
    const char* title;
    const char* key;
    Align align = Align::left;
};

Table table_of(std::span<const Field> fields) {
    std::vector<Table::Column> columns;
    for (const Field& field : fields) columns.push_back({field.title, field.align});
    return Table{std::move(columns)};
}

void add_objects(Table& table, std::span<const Field> fields, const Json& objects) {
    for (const Json& object : objects) {
        std::vector<std::string> row;
        for (const Field& field : fields) row.push_back(cell(object, field.key));
        table.add(std::move(row));
    }
}

std::string table_text(std::span<const Field> fields, const Json& objects) {
    Table table = table_of(fields);
    add_objects(table, fields, objects);
    return table.take_text();
}

/// "all, outbound": the target reaches the world as well.
std::string protocol_text(const Json& rule) {
    return cell(rule, "protocol") + (rule.value("outbound", false) ? ", outbound" : "");
}

/// "auto: masquerade": what was asked for and what it became.
std::string source_text(const Json& rule) {
    const std::string source = cell(rule, "source");
    const std::string effective = cell(rule, "source_effective");
    return effective == "-" || effective == source ? source : fmt::format("{}: {}", source, effective);
}

/// "10.0.0.0/8 not 10.1.0.0/16".
std::string from_text(const Json& rule) {
    std::string from = cell(rule, "from");
    const std::string not_from = cell(rule, "not_from");
    if (not_from == "-" || not_from.empty()) return from;
    return (from == "-" || from.empty() ? "" : from + " ") + "not " + not_from;
}

/// "1000, 10/source, 50/s, 100 ports/host".
std::string limits_text(const Json& rule) {
    std::vector<std::string> limits;
    for (const auto& [key, unit] : {std::pair{"max_sessions", ""},
                                    {"max_sessions_per_source", "/source"},
                                    {"rate", "/s"},
                                    {"max_ports_per_host", " ports/host"}}) {
        if (rule.contains(key)) limits.push_back(cell(rule, key) + unit);
    }
    return limits.empty() ? "-" : fmt::format("{}", fmt::join(limits, ", "));
}

std::string report_rules(const Json& result) {
    Table table{{{"NAME"},
                 {"PROTOCOL"},
                 {"EXTERNAL"},
                 {"TARGET"},
                 {"LINK"},
                 {"SOURCE"},
                 {"FROM"},
                 {"LIMITS"},
                 {"ORIGIN"},
                 {"STATE"},
                 {"SESSIONS", Align::right},
                 {"PACKETS", Align::right},
                 {"BYTES", Align::right},
                 {"COMMENT"}}};
    for (const Json& rule : member(result, "rules")) {
        table.add({cell(rule, "name"), protocol_text(rule), cell(rule, "external"), cell(rule, "target"),
                   cell(rule, "link"), source_text(rule), from_text(rule), limits_text(rule),
                   cell(rule, "origin"), cell(rule, "state"), cell(rule, "sessions"), cell(rule, "packets"),
                   cell(rule, "bytes"), cell(rule, "comment")});
    }
    return table.take_text();
}

std::string rule_sentence(const Json& result, const char* how) {
    const Json& rule = member(result, "rule");
    return fmt::format("{} {}: {} {} to {}, source {}", how, cell(rule, "name"), protocol_text(rule),
                       cell(rule, "external"), cell(rule, "target"), source_text(rule));
}

std::string or_else(std::string text, const char* otherwise) {
    return text == "-" ? otherwise : text;
}

std::string report_masquerades(const Json& result) {
    Table table{{{"NAME"},
                 {"INSIDE"},
                 {"POOL"},
                 {"TO"},
                 {"FILTERING"},
                 {"LIMITS"},
                 {"ORIGIN"},
                 {"SESSIONS", Align::right},
                 {"MAPPINGS", Align::right},
                 {"PACKETS", Align::right},
                 {"BYTES", Align::right}}};
    for (const Json& m : member(result, "masquerades")) {
        table.add({cell(m, "name"), cell(m, "inside"), or_else(cell(m, "pool"), "own addresses"),
                   or_else(cell(m, "to"), "anywhere"), cell(m, "filtering"), limits_text(m),
                   cell(m, "origin"), cell(m, "sessions"), cell(m, "mappings"), cell(m, "packets"),
                   cell(m, "bytes")});
    }
    return table.take_text();
}

std::string report_added_masquerade(const Json& result) {
    const Json& m = member(result, "masquerade");
    return fmt::format("added {}: {} to {} under {}\n", cell(m, "name"), cell(m, "inside"),
                       or_else(cell(m, "to"), "anywhere"), or_else(cell(m, "pool"), "fwd's own addresses"));
}

std::string sessions_clause(const Json& result) {
    const bool ended = number(result, "sessions_ended") > 0;
    return fmt::format("; live sessions that {}: {}\n", ended ? "were ended" : "go on until they end",
                       cell(result, ended ? "sessions_ended" : "sessions_kept"));
}

std::string report_ended_rule(const Json& result, const char* how) {
    return fmt::format("{} {}", how, cell(result, how)) + sessions_clause(result);
}

std::string report_enabled_rule(const Json& result) {
    return fmt::format("enabled {}\n", cell(member(result, "rule"), "name"));
}

constexpr std::array kLinkFields{Field{"NAME", "name"},
                                 Field{"DEVICE", "device"},
                                 Field{"DRIVER", "driver"},
                                 Field{"MAC", "mac"},
                                 Field{"VLAN", "vlan", Align::right},
                                 Field{"MTU", "mtu", Align::right},
                                 Field{"UP", "up"},
                                 Field{"MBPS", "speed_mbps", Align::right},
                                 Field{"ADDRESSES", "addresses"},
                                 Field{"RXQ", "rx_queues", Align::right},
                                 Field{"TXQ", "tx_queues", Align::right},
                                 Field{"RX-PACKETS", "rx_packets", Align::right},
                                 Field{"RX-BYTES", "rx_bytes", Align::right},
                                 Field{"TX-PACKETS", "tx_packets", Align::right},
                                 Field{"TX-BYTES", "tx_bytes", Align::right},
                                 Field{"DROPPED", "dropped", Align::right}};

/// One whose device has gone is more than down.
std::string report_links(const Json& result) {
    Json links = member(result, "links");
    for (Json& link : links) {
        if (member(link, "removed") == true) link["up"] = "removed";
    }
    return table_text(kLinkFields, links);
}

constexpr std::array kNeighbourFields{Field{"LINK", "link"}, Field{"ADDRESS", "address"}, Field{"MAC", "mac"},
                                      Field{"STATE", "state"}, Field{"AGE", "age_s", Align::right}};

constexpr std::array kSessionFields{Field{"PROTOCOL", "protocol"},
                                    Field{"STATE", "state"},
                                    Field{"CLIENT", "client"},
                                    Field{"EXTERNAL", "external"},
                                    Field{"SOURCE", "source"},
                                    Field{"TARGET", "target"},
                                    Field{"IN", "packets_in", Align::right},
                                    Field{"BYTES-IN", "bytes_in", Align::right},
                                    Field{"OUT", "packets_out", Align::right},
                                    Field{"BYTES-OUT", "bytes_out", Align::right},
                                    Field{"AGE", "age_s", Align::right},
                                    Field{"IDLE", "idle_s", Align::right},
                                    Field{"EXPIRES", "expires_s", Align::right},
                                    Field{"RULE", "rule"}};

std::string report_reload(const Json& result) {
    return fmt::format("{} rules: {} added, {} removed, {} enabled or disabled, {} unchanged\n",
                       cell(result, "rules"), cell(result, "added"), cell(result, "removed"),
                       cell(result, "switched"), cell(result, "unchanged"));
}

/// An object as lines of name and value.
std::string report_members(const Json& result) {
    std::size_t width = 0;
    for (const auto& [key, value] : result.items()) width = std::max(width, key.size());
    std::string text;
    for (const auto& [key, value] : result.items())
        text += fmt::format("{:<{}}  {}\n", key, width, cell(value));
    return text;
}

std::string uptime_text(const Json& seconds) {
    if (!seconds.is_number()) return "-";
    const auto total = seconds.get<std::uint64_t>();
    const std::string clock =
        fmt::format("{:02}:{:02}:{:02}", total / 3600 % 24, total / 60 % 60, total % 60);
    return total < 86400 ? clock : fmt::format("{} days {}", total / 86400, clock);
}

std::string report_status(const Json& result) {
    const std::array<std::pair<const char*, std::string>, 12> lines{{
        {"fwdd", fmt::format("{}, process {}", cell(result, "version"), cell(result, "pid"))},
        {"up for", uptime_text(member(result, "uptime_s"))},
        {"configuration", cell(result, "config")},
        {"socket", cell(result, "socket")},
        {"state directory", cell(result, "state_directory")},
        {"workers", cell(result, "workers")},
        {"sessions", fmt::format("{} of {}", cell(result, "sessions"), cell(result, "capacity"))},
        {"rules", cell(result, "rules")},
        {"masquerades", cell(result, "masquerades")},
        {"mappings", fmt::format("{} of {}", cell(result, "mappings"), cell(result, "mapping_capacity"))},
        {"hugepages", cell(result, "hugepages")},
        {"memory", cell(result, "memory_mb") + " MB"},
    }};
    std::string text;
    for (const auto& [name, value] : lines) text += fmt::format("{:<15}  {}\n", name, value);
    return text;
}

/// The object of a list that has the same value of `key`: the same link a second ago.
const Json& same_in(const Json& list, const char* key, const Json& object) {
    static const Json null;
    for (const Json& candidate : list) {
        if (member(candidate, key) == member(object, key)) return candidate;
    }
    return null;
}

/// Makes the tables of stats, with a column of rates behind each counter when there is something to compare
/// with.
class StatsReport {
 public:
    StatsReport(const Json& result, const std::optional<EarlierStats>& earlier)
        : result_{result}, earlier_{earlier} {}

    std::string text() const {
        std::string text = totals();
        text += list("drops", "reason", {{"DROPPED BECAUSE", "reason"}}, {{"PACKETS", "packets"}},
                     {{"WHAT IT MEANS", "help"}});
        text += list("punts", "reason", {{"HANDED TO CONTROL", "reason"}}, {{"PACKETS", "packets"}},
                     {{"WHAT IT MEANS", "help"}});
        text += list("links", "name", {{"LINK", "name"}},
                     {{"RX-PACKETS", "rx_packets"},
                      {"RX-BYTES", "rx_bytes"},
                      {"TX-PACKETS", "tx_packets"},
                      {"TX-BYTES", "tx_bytes"},
                      {"DROPPED", "dropped"},
                      {"MISSED", "missed"}},
                     {});
        text += list("host", "interface", {{"INTERFACE", "interface"}, {"OF LINK", "link"}},
                     {{"TO-KERNEL", "to_kernel"},
                      {"LOST", "lost"},
                      {"FROM-KERNEL", "from_kernel"},
                      {"REFUSED", "refused"}},
                     {});
        text += list("rules", "name", {{"RULE", "name"}}, {{"PACKETS", "packets"}, {"BYTES", "bytes"}},
                     {{"SESSIONS", "sessions", Align::right}});
        text += list("workers", "worker",
                     {{"WORKER", "worker", Align::right},
                      {"CORE", "core", Align::right},
                      {"BUSY %", "busy_percent", Align::right}},
                     {{"RECEIVED", "received"},
                      {"BYTES", "received_bytes"},
                      {"SENT", "sent"},
                      {"DROPPED", "dropped"},
                      {"SESSIONS", "sessions_opened"}},
                     {});
        return text;
    }

 private:
    std::string rate(const Json& now, const Json& before, std::string_view key) const {
        if (before.is_null() || earlier_->age.count() <= 0) return "-";
        return fmt::format("{:.0f}", (number(now, key) - number(before, key)) / earlier_->age.count());
    }

    std::string totals() const {
        static constexpr std::array<std::pair<const char*, const char*>, 18> kTotals{{
            {"packets", "received"},
            {"packets", "originated"},
            {"packets", "sent"},
            {"packets", "punted"},
            {"packets", "dropped"},
            {"packets", "held"},
            {"bytes", "received"},
            {"bytes", "sent"},
            {"sessions", "live"},
            {"sessions", "unanswered"},
            {"sessions", "half_open"},
            {"sessions", "closing"},
            {"sessions", "capacity"},
            {"sessions", "opened"},
            {"sessions", "closed"},
            {"sessions", "evicted"},
            {"translation_log", "written"},
            {"translation_log", "lost"},
        }};
        std::vector<Table::Column> columns{{"COUNTER"}, {"TOTAL", Align::right}};
        if (earlier_) columns.push_back({"/S", Align::right});
        Table table{columns};
        for (const auto& [group, key] : kTotals) {
            const Json& now = member(result_, group);
            if (now.is_null() && group == std::string_view{"translation_log"}) continue;  // there is none
            std::vector<std::string> row{fmt::format("{} {}", group, key), cell(now, key)};
            const bool is_level = key == std::string_view{"held"} || key == std::string_view{"live"} ||
                                  key == std::string_view{"unanswered"} ||
                                  key == std::string_view{"half_open"} ||
                                  key == std::string_view{"closing"} || key == std::string_view{"capacity"};
            if (earlier_) row.push_back(is_level ? "" : rate(now, member(earlier_->result, group), key));
            table.add(std::move(row));
        }
        return table.take_text();
    }

    /// Columns of fields, then of counters, then of more fields. `key` tells the rows apart.
    std::string list(const char* name, const char* key, const std::vector<Field>& first,
                     const std::vector<Field>& counters, const std::vector<Field>& last) const {
        std::vector<Table::Column> columns;
        columns.reserve(first.size() + 2 * counters.size() + last.size());
        for (const Field& field : first) columns.push_back({field.title, field.align});
        for (const Field& field : counters) {
            columns.push_back({field.title, Align::right});
            if (earlier_) columns.push_back({"/S", Align::right});
        }
        for (const Field& field : last) columns.push_back({field.title, field.align});

        Table table{columns};
        for (const Json& now : member(result_, name)) {
            std::vector<std::string> row;
            row.reserve(columns.size());
            for (const Field& field : first) row.push_back(cell(now, field.key));
            for (const Field& field : counters) {
                row.push_back(cell(now, field.key));
                if (!earlier_) continue;
                row.push_back(rate(now, same_in(member(earlier_->result, name), key, now), field.key));
            }
            for (const Field& field : last) row.push_back(cell(now, field.key));
            table.add(std::move(row));
        }
        return table.empty() ? "" : "\n" + table.take_text();
    }

    const Json& result_;
    const std::optional<EarlierStats>& earlier_;
};

}  // namespace

std::string report(std::string_view method, const Json& result) {
    if (method == "rule.add") return rule_sentence(result, "added") + "\n";
    if (method == "rule.change") return rule_sentence(result, "changed") + sessions_clause(result);
    if (method == "rules.add") return fmt::format("added {} rules\n", cell(result, "added"));
    if (method == "rule.delete") return report_ended_rule(result, "deleted");
    if (method == "rule.disable") return report_ended_rule(result, "disabled");
    if (method == "rule.enable") return report_enabled_rule(result);
    if (method == "masquerade.add") return report_added_masquerade(result);
    if (method == "masquerade.delete") return report_ended_rule(result, "deleted");
    if (method == "masquerade.list") return report_masquerades(result);
    if (method == "rule.list") return report_rules(result);
    if (method == "rules.export") return cell(result, "text");
    if (method == "link.list") return report_links(result);
    if (method == "neighbour.list") return table_text(kNeighbourFields, member(result, "neighbours"));
    if (method == "session.clear") return fmt::format("ended {} sessions\n", cell(result, "cleared"));
    if (method == "stats") return report_stats(result, {});
    if (method == "reload") return report_reload(result);
    if (method == "status") return report_status(result);
    return report_members(result);
}

SessionReport::SessionReport() : table_{table_of(kSessionFields)} {}

std::string SessionReport::page(const Json& result) {
    add_objects(table_, kSessionFields, member(result, "sessions"));
    return table_.take_text();
}

std::string report_stats(const Json& result, const std::optional<EarlierStats>& earlier) {
    if (!earlier) return StatsReport{result, earlier}.text();
    // How busy a worker has been since then, not since it started.
    Json recent = result;
    for (Json& now : recent["workers"]) {
        const Json& before = same_in(member(earlier->result, "workers"), "worker", now);
        const double all = number(now, "all_cycles") - number(before, "all_cycles");
        const double busy = number(now, "busy_cycles") - number(before, "busy_cycles");
        if (all > 0) now["busy_percent"] = 100.0 * busy / all;
    }
    return StatsReport{recent, earlier}.text();
}

}  // namespace fwd::fwdctl
