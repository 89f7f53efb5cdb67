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
    void read_from_prefixes(std::vector<net::Ipv4Prefix>& prefixes) {
        const auto found = params_.find("from");
        if (found == params_.end()) return;
        if (found->size() > Rule::kMostPrefixes)
            fail("from",
                 {ErrorKind::invalid, "",
                  fmt::format("got {} prefixes, want at most {}", found->size(), Rule::kMostPrefixes)});
        for (std::size_t i = 0; i < found->size() && !error_; ++i) {
            store(fmt::format("from[{}]", i), parse_prefix((*found)[i].get_ref<const std::string&>()),
                  prefixes.emplace_back());
        }
    }
    void read_protocol(Rule& rule) {
        if (auto ok = parse_protocols(params_.at("protocol").get_ref<const std::string&>(), rule); !ok) {
            fail("protocol", std::move(ok.error()));
        }
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
    reader.read_protocol(rule);
    reader.read("external", parse_endpoint, rule.external);
    reader.read("target", parse_endpoint, rule.target);
    reader.read("name", parse_name, rule.name);
    reader.read("link", parse_link_name, rule.link);
    reader.read("source", parse_source_mode, rule.source);
    reader.read_from_prefixes(rule.from);
    if (reader.error()) return tl::unexpected(*reader.error());
    rule.origin = wanted_origin(params);
    return rule;
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
    Json from = Json::array();
    for (const net::Ipv4Prefix& prefix : rule.from) from.push_back(to_text(prefix));
    return {{"name", rule.name},
            {"protocol", protocols_text(rule)},
            {"external", to_text(rule.external)},
            {"target", to_text(rule.target)},
            {"source", to_text(rule.source)},
            {"link", rule.link ? Json(*rule.link) : Json(nullptr)},
            {"from", std::move(from)},
            {"origin", to_text(rule.origin)}};
}

}  // namespace fwd::control
