// SPDX-License-Identifier: BSD-3-Clause
// What a daemon without a data plane answers: the rules are real, everything else is made up.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "control/masquerade_json.h"
#include "control/methods.h"
#include "control/rule_book.h"
#include "control/rule_json.h"
#include "control/settings.h"
#include "control/text.h"

namespace fwd::test {

/// One segment, 10.0.0.0/8, with fwd on 10.0.0.2, and one behind link "wan", 192.0.2.0/24.
inline control::Topology example_topology() {
    control::LinkSettings lan;
    lan.name = "lan";
    lan.addresses = {*control::parse_interface_address("10.0.0.2/8")};
    control::LinkSettings wan;
    wan.name = "wan";
    wan.addresses = {*control::parse_interface_address("192.0.2.1/24")};
    return control::Topology{{lan, wan}, {}};
}

/// "tcp", "10.0.0.3:80", "10.0.0.4:8080".
inline control::Rule make_rule(std::string_view protocol, std::string_view external, std::string_view target,
                               std::string name = "") {
    control::Rule rule;
    rule.name = std::move(name);
    rule.external = *control::parse_endpoint(external);
    rule.targets = *control::parse_targets(target);
    rule.origin = control::RuleOrigin::database;
    rule.tcp = protocol != "udp";
    rule.udp = protocol != "tcp";
    return rule;
}

class PlainOperations : public control::Operations {
 public:
    using Json = control::Json;
    template <typename T>
    using Result = control::Result<T>;

    explicit PlainOperations(control::RuleBook& book) : book_{book} {}

    Result<Json> add_rule(const Json& params) override {
        return control::rule_from_json(params).and_then([&](const control::Rule& rule) -> Result<Json> {
            return book_.add(rule).map([&](control::RuleId id) {
                return Json{{"rule", rule_json(book_.rules().at(id))}};
            });
        });
    }
    Result<Json> add_rules(const Json& params) override {
        return control::rules_from_json(params)
            .and_then([&](std::vector<control::Rule> rules) {
                return control::masquerades_from_json(params).and_then(
                    [&](auto masquerades) { return book_.add(std::move(rules), std::move(masquerades)); });
            })
            .map([](const std::vector<control::RuleId>& ids) {
                return Json{{"added", ids.size()}};
            });
    }
    Result<Json> change_rule(const Json& params) override {
        const std::string name = params.at("name");
        const auto id = book_.find(name);
        if (!id) return tl::unexpected(book_.remove(name).error());
        return control::changed_rule(book_.rules().at(*id), params)
            .and_then([&](control::Rule rule) { return book_.change(std::move(rule)); })
            .map([&](const control::Rule&) {
                return Json{{"rule", rule_json(book_.rules().at(*book_.find(name)))}, {"sessions_kept", 0}};
            });
    }
    Result<Json> delete_rule(const Json& params) override {
        return book_.remove(params.at("name").get<std::string>()).map([](const control::Rule& rule) {
            return Json{{"deleted", rule.name}, {"sessions_kept", 0}};
        });
    }
    Result<Json> enable_rule(const Json& params) override {
        return book_.enable(params.at("name").get<std::string>()).map([&](control::RuleId id) {
            return Json{{"rule", rule_json(book_.rules().at(id))}};
        });
    }
    Result<Json> disable_rule(const Json& params) override {
        return book_.disable(params.at("name").get<std::string>()).map([&](control::RuleId id) {
            return Json{{"disabled", book_.rules().at(id).name}, {"sessions_kept", 0}};
        });
    }
    Result<Json> add_masquerade(const Json& params) override {
        return control::masquerade_from_json(params)
            .and_then([&](control::Masquerade masquerade) { return book_.add(std::move(masquerade)); })
            .map([&](control::RuleId id) {
                return Json{{"masquerade", masquerade_json(book_.masquerades().at(id))}};
            });
    }
    Result<Json> delete_masquerade(const Json& params) override {
        return book_.remove_masquerade(params.at("name").get<std::string>()).map([](const auto& masquerade) {
            return Json{{"deleted", masquerade.name}, {"sessions_kept", 0}};
        });
    }
    Result<Json> list_masquerades(const Json&) override {
        Json rows = Json::array();
        for (const auto& [id, masquerade] : book_.masquerades()) rows.push_back(masquerade_json(masquerade));
        return Json{{"masquerades", std::move(rows)}};
    }
    Result<Json> export_rules(const Json&) override {
        std::vector<control::Rule> rules;
        for (const auto& [id, rule] : book_.rules()) rules.push_back(rule);
        std::vector<control::Masquerade> masquerades;
        for (const auto& [id, masquerade] : book_.masquerades()) masquerades.push_back(masquerade);
        return Json{{"text", control::format_rules(rules) + control::format_masquerades(masquerades)}};
    }
    Result<Json> list_rules(const Json&) override {
        Json rules = Json::array();
        for (const auto& [id, rule] : book_.rules()) rules.push_back(rule_json(rule));
        return Json{{"rules", std::move(rules)}};
    }
    /// As many sessions as `session_count`, numbered by their client's port, in pages of at most 30.
    Result<Json> list_sessions(const Json& params) override {
        const std::size_t first = params.value("cursor", std::size_t{0});
        const std::size_t limit = std::min<std::size_t>(30, params.value("limit", std::size_t{100}));
        Json sessions = Json::array();
        std::size_t next = first;
        for (; next < std::min(session_count, first + limit); ++next) {
            sessions.push_back({{"rule", "web"},
                                {"protocol", "tcp"},
                                {"state", "established"},
                                {"client", "10.0.0.1:" + std::to_string(1000 + next)},
                                {"external", "10.0.0.3:80"},
                                {"source", "10.0.0.2:40000"},
                                {"target", "10.0.0.4:8080"},
                                {"packets_in", 6},
                                {"bytes_in", 600},
                                {"packets_out", 5},
                                {"bytes_out", 50000},
                                {"age_s", 1},
                                {"idle_s", 0},
                                {"expires_s", 7440}});
        }
        return Json{{"sessions", std::move(sessions)},
                    {"cursor", next < session_count ? Json(next) : Json(nullptr)}};
    }
    Result<Json> list_links(const Json&) override { return links; }
    Result<Json> list_neighbours(const Json&) override { return neighbours; }
    Result<Json> clear_sessions(const Json&) override {
        return Json{{"cleared", std::exchange(session_count, 0)}};
    }
    Result<Json> stats(const Json&) override { return statistics; }
    Result<Json> reload(const Json&) override {
        return book_.reload(config_rules).map([&](const control::RuleBook::Reloaded& result) {
            return Json{{"rules", book_.rules().size()},
                        {"added", result.added},
                        {"removed", result.removed},
                        {"switched", result.switched},
                        {"unchanged", result.unchanged}};
        });
    }
    Result<Json> status(const Json&) override { return state; }
    Result<Json> version(const Json&) override { return Json{{"version", "0.1.0"}, {"dpdk", "DPDK 22.11"}}; }

    Result<void> commit() override {
        ++commits;
        if (commit_error) {
            return tl::unexpected(*commit_error);
        }
        return book_.commit();
    }

    void between_requests() override { pause(); }

    std::function<void()> pause = [] {};
    std::size_t session_count = 0;
    std::vector<control::Rule> config_rules;
    Json links = Json::object();
    Json neighbours = Json::object();
    Json statistics = Json::object();
    Json state = Json::object();
    std::optional<control::Error> commit_error;
    int commits = 0;

 private:
    static Json masquerade_json(const control::Masquerade& masquerade) {
        Json json = control::masquerade_to_json(masquerade);
        json["mappings"] = 3;
        json["packets"] = 11;
        json["bytes"] = 50600;
        json["sessions"] = 1;
        return json;
    }
    static Json rule_json(const control::Rule& rule) {
        Json json = control::rule_to_json(rule);
        json["source_effective"] = "masquerade";
        json["packets"] = 11;
        json["bytes"] = 50600;
        json["sessions"] = 1;
        return json;
    }

    control::RuleBook& book_;
};

}  // namespace fwd::test
