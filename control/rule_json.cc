// SPDX-License-Identifier: BSD-3-Clause
#include "control/rule_json.h"

#include <fmt/format.h>

#include <string>
#include <utility>

#include "control/text.h"

namespace fwd::control {
namespace {

/// Reads one parameter after the other and stays at the first error.
class RuleReader {
 public:
    explicit RuleReader(const Json& params) : params_{params} {}

    /// Stores what `parse` makes of the parameter. One that is absent changes nothing.
    template <typename Parse, typename Value>
    void read(const char* name, Parse parse, Value& value) {
        const auto found = params_.find(name);
        if (error_ || found == params_.end()) return;
        store(name, parse(found->get_ref<const std::string&>()), value);
    }
    void read_prefixes(const char* name, std::vector<net::IpPrefix>& prefixes) {
        const auto found = params_.find(name);
        if (found == params_.end()) return;
        if (found->size() > Rule::kMostPrefixes)
            fail(name, {ErrorKind::invalid, "",
                        fmt::format("got {} prefixes, want at most {}", found->size(), Rule::kMostPrefixes)});
        for (std::size_t i = 0; i < found->size() && !error_; ++i) {
            store(fmt::format("{}[{}]", name, i), parse_prefix((*found)[i].get_ref<const std::string&>()),
                  prefixes.emplace_back());
        }
    }
    /// Its range has been checked by the table of methods.
    void read_number(const char* name, std::uint32_t& value) const {
        if (const auto found = params_.find(name); found != params_.end())
            value = found->get<std::uint32_t>();
    }
    /// One that is there in any case, and says more than one member.
    void read_into(const char* name, Result<void> (*parse)(std::string_view, Rule&), Rule& rule) {
        if (error_) return;
        if (auto ok = parse(params_.at(name).get_ref<const std::string&>(), rule); !ok)
            fail(name, std::move(ok.error()));
    }
    const std::optional<Error>& error() const { return error_; }

 private:
    template <typename Parsed, typename Value>
    void store(const std::string& field, Result<Parsed> parsed, Value& value) {
        if (parsed) {
            value = std::move(*parsed);
        } else {
            fail(field, std::move(parsed.error()));
        }
    }
    void fail(std::string field, Error error) {
        error.field = std::move(field);
        error_ = std::move(error);
    }

    const Json& params_;
    std::optional<Error> error_;
};

RuleOrigin wanted_origin(const Json& params) {
    return params.value("runtime", false) ? RuleOrigin::runtime : RuleOrigin::database;
}

}  // namespace

Result<Rule> rule_from_json(const Json& params) {
    Rule rule;
    RuleReader reader{params};
    reader.read_into("protocol", parse_protocols, rule);
    reader.read_into("external", parse_external, rule);
    reader.read("target", parse_targets, rule.targets);
    reader.read("balance", parse_balance, rule.balance);
    reader.read("name", parse_name, rule.name);
    reader.read("link", parse_link_name, rule.link);
    reader.read("source", parse_source_mode, rule.source);
    reader.read_prefixes("from", rule.from);
    reader.read_prefixes("not_from", rule.not_from);
    reader.read_number("max_sessions", rule.max_sessions);
    reader.read_number("max_sessions_per_source", rule.max_sessions_per_source);
    reader.read_number("rate", rule.rate);
    reader.read("comment", parse_comment, rule.comment);
    rule.outbound = params.value("outbound", false);
    rule.disabled = params.value("disabled", false);
    if (reader.error()) return tl::unexpected(*reader.error());
    rule.origin = wanted_origin(params);
    return check_ports(rule).map([&] { return std::move(rule); });
}

Result<Rule> changed_rule(const Rule& rule, const Json& params) {
    Json all = rule_to_json(rule);
    if (all.at("link").is_null()) all.erase("link");
    // The link of an external address that follows it goes with that.
    if (rule.external_link && params.contains("external") && !params.contains("link")) all.erase("link");
    all.update(params);
    return rule_from_json(all).map([&](Rule changed) {
        changed.origin = rule.origin;
        return changed;
    });
}

Result<std::vector<Rule>> rules_from_json(const Json& params, Pause pause) {
    const RuleOrigin origin = wanted_origin(params);
    const Json& list = params.at("rules");
    std::vector<Rule> rules;
    rules.reserve(list.size());
    for (std::size_t i = 0; i < list.size(); ++i) {
        Result<Rule> rule = rule_from_json(list[i]);
        if (!rule) {
            rule.error().field = fmt::format("rules[{}].{}", i, rule.error().field);
            return tl::unexpected(std::move(rule.error()));
        }
        rules.push_back(std::move(*rule));
        rules.back().origin = origin;
        pause.step();
    }
    return rules;
}

Json rule_to_json(const Rule& rule) {
    const auto list = [](const std::vector<net::IpPrefix>& prefixes) {
        Json texts = Json::array();
        for (const net::IpPrefix& prefix : prefixes) texts.push_back(to_text(prefix));
        return texts;
    };
    Json json{{"name", rule.name},
              {"protocol", protocols_text(rule)},
              {"external", external_text(rule)},
              {"target", to_text(rule.targets)},
              {"outbound", rule.outbound},
              {"balance", to_text(rule.balance)},
              {"source", to_text(rule.source)},
              {"link", rule.link ? Json(*rule.link) : Json(nullptr)},
              {"from", list(rule.from)},
              {"not_from", list(rule.not_from)},
              {"comment", rule.comment},
              {"disabled", rule.disabled},
              {"origin", to_text(rule.origin)}};
    if (rule.max_sessions != 0) json["max_sessions"] = rule.max_sessions;
    if (rule.max_sessions_per_source != 0) json["max_sessions_per_source"] = rule.max_sessions_per_source;
    if (rule.rate != 0) json["rate"] = rule.rate;
    return json;
}

}  // namespace fwd::control
