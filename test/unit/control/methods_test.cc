// SPDX-License-Identifier: BSD-3-Clause
#include "control/methods.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

namespace fwd::control {
namespace {

/// A value that is right for the parameter's type and range.
Json right_value(const Param& param) {
    switch (param.type) {
        case ParamType::string:
            return "text";
        case ParamType::integer:
            return param.minimum;
        case ParamType::boolean:
            return true;
        case ParamType::string_list:
            return Json::array({"text"});
        case ParamType::rules:
            return Json::array(
                {{{"protocol", "tcp"}, {"external", "10.0.0.3:80"}, {"target", "10.0.0.4:80"}}});
        case ParamType::masquerades:
            return Json::array({{{"inside", "lan"}}});
    }
    return nullptr;
}

Json right_params(const Method& method) {
    Json params = Json::object();
    for (const Param& param : method.params) params[std::string{param.name}] = right_value(param);
    return params;
}

bool is_right(const Param& param, const Json& value) {
    switch (param.type) {
        case ParamType::string:
            return value.is_string() && value.get<std::string>().size() <= 2048;
        case ParamType::integer:
            return value.is_number_integer() && value >= param.minimum && value <= param.maximum;
        case ParamType::boolean:
            return value.is_boolean();
        case ParamType::string_list:
            return value.is_array() && std::ranges::all_of(value, [](const Json& item) {
                       return item.is_string() && item.get<std::string>().size() <= 2048;
                   });
        case ParamType::rules:
        case ParamType::masquerades:
            return value.is_array() && value.empty();  // of the two lists one may be
    }
    return false;
}

std::vector<Json> junk() {
    Json deep = 1;
    for (int i = 0; i < 30; ++i) deep = Json::array({deep});
    return {nullptr,
            true,
            false,
            0,
            1,
            -1,
            65536,
            1.5,
            -0.0,
            1e300,
            std::int64_t{-9223372036854775807},
            std::uint64_t{18446744073709551615U},
            "",
            "text",
            std::string(2048, 'x'),
            std::string(2049, 'x'),
            std::string(1'000'000, 'x'),
            std::string("a\0b", 3),
            "\xc3\xa4\xe2\x82\xac",
            "\n\r\t\x1b[2J",
            Json::array(),
            Json::array({1}),
            Json::array({"text", nullptr}),
            Json::array({Json::array()}),
            Json::array({std::string(2049, 'x')}),
            Json::object(),
            Json::object({{"protocol", 1}}),
            Json::array({Json::object()}),
            Json::array({{{"protocol", "tcp"}}}),
            deep};
}

TEST(Methods, TableIsSound) {
    std::set<std::string_view> names;
    std::set<std::string_view> commands;
    for (const Method& method : methods()) {
        EXPECT_TRUE(names.insert(method.name).second) << method.name;
        EXPECT_TRUE(commands.insert(method.command).second) << method.command;
        EXPECT_NE(method.handler, nullptr) << method.name;
        EXPECT_TRUE(method.help.ends_with('.')) << method.name;
        EXPECT_TRUE(method.example.starts_with("fwdctl " + std::string{method.command})) << method.name;
        EXPECT_TRUE(std::ranges::is_sorted(method.params, std::greater{}, &Param::required)) << method.name;
        for (const Param& param : method.params) {
            EXPECT_FALSE(param.help.empty()) << method.name << " " << param.name;
            EXPECT_EQ(param.maximum > param.minimum, param.type == ParamType::integer) << param.name;
        }
    }
}

TEST(Methods, EveryMethodIsFoundByItsNameAndNothingElse) {
    for (const Method& method : methods()) {
        EXPECT_EQ(find_method(method.name), &method);
        EXPECT_EQ(find_method(std::string{method.name} + "x"), nullptr);
        EXPECT_EQ(find_method(method.name.substr(1)), nullptr);
    }
    EXPECT_EQ(find_method(""), nullptr);
    EXPECT_EQ(find_method("\xff"), nullptr);
}

TEST(Methods, RightParametersAreAccepted) {
    for (const Method& method : methods()) {
        const auto ok = check_params(method, right_params(method));
        EXPECT_TRUE(ok) << method.name << ": " << ok.error().text();
    }
}

TEST(Methods, JunkInAnyParameterIsRefusedByItsName) {
    for (const Method& method : methods()) {
        for (const Param& param : method.params) {
            for (const Json& value : junk()) {
                Json params = right_params(method);
                params[std::string{param.name}] = value;
                const auto ok = check_params(method, params);
                EXPECT_EQ(ok.has_value(), is_right(param, value))
                    << method.name << " " << param.name << " " << value.dump().substr(0, 80);
                if (ok) continue;
                EXPECT_TRUE(ok.error().field.starts_with(param.name)) << ok.error().text();
                EXPECT_FALSE(ok.error().message.empty());
                EXPECT_LT(ok.error().text().size(), 500) << ok.error().text();
            }
        }
    }
}

TEST(Methods, JunkInPlaceOfTheParametersIsRefused) {
    for (const Method& method : methods()) {
        for (const Json& value : junk()) {
            const bool fits =
                value == Json::object() && std::ranges::none_of(method.params, &Param::required);
            EXPECT_EQ(check_params(method, value).has_value(), fits)
                << method.name << value.dump().substr(0, 80);
        }
    }
}

TEST(Methods, EveryRequiredParameterIsMissed) {
    for (const Method& method : methods()) {
        for (const Param& param : method.params) {
            Json params = right_params(method);
            params.erase(std::string{param.name});
            const auto ok = check_params(method, params);
            EXPECT_EQ(ok.has_value(), !param.required) << method.name << " " << param.name;
            if (!ok) {
                EXPECT_EQ(ok.error().field, param.name);
            }
        }
    }
}

TEST(Methods, MisspeltParameterGetsASuggestion) {
    const Method& add = *find_method("rule.add");
    Json params = right_params(add);
    params["targt"] = "10.0.0.4:80";
    EXPECT_EQ(check_params(add, params).error().text(),
              "params: unknown parameter 'targt', did you mean target?");
}

TEST(Methods, ChangeOfNothingIsRefused) {
    const Method& change = *find_method("rule.change");
    EXPECT_TRUE(check_params(change, {{"name", "web"}, {"comment", ""}}));
    EXPECT_TRUE(check_params(change, {{"name", "web"}, {"max_sessions", 0}})) << "none from now on";
    EXPECT_FALSE(check_params(
        *find_method("rule.add"),
        {{"protocol", "tcp"}, {"external", "10.0.0.3:80"}, {"target", "10.0.0.4:80"}, {"max_sessions", 0}}));
    const auto nothing = check_params(change, {{"name", "web"}, {"existing", "kill"}});
    ASSERT_FALSE(nothing);
    EXPECT_EQ(nothing.error().text(),
              "params: got nothing to change, want one of protocol, external, target, balance, outbound, "
              "link, source, "
              "from, not_from, max_sessions, max_sessions_per_source, rate, comment");
}

TEST(Methods, IntegersAreTakenWithinTheirRangeOnly) {
    const Method& list = *find_method("session.list");
    EXPECT_TRUE(check_params(list, {{"limit", 1}}));
    EXPECT_TRUE(check_params(list, {{"limit", 1'000'000'000}}));
    EXPECT_TRUE(check_params(list, {{"cursor", 1L << 53U}}));
    EXPECT_EQ(check_params(list, {{"limit", 0}}).error().text(), "limit: got 0, want 1 to 1000000000");
    EXPECT_FALSE(check_params(list, {{"limit", 1'000'000'001}}));
    EXPECT_FALSE(check_params(list, {{"limit", 10.0}}));
    EXPECT_FALSE(check_params(list, {{"cursor", (1L << 53U) + 1}}));
}

TEST(Methods, ErrorInAListOfRulesNamesTheRule) {
    const Method& add = *find_method("rules.add");
    Json params = right_params(add);
    Json rule = params["rules"][0];
    params["rules"].push_back(rule);
    EXPECT_TRUE(check_params(add, params));

    params["rules"][1]["external"] = 5;
    EXPECT_EQ(check_params(add, params).error().text(), "rules[1].external: got 5, want a text");
    params["rules"][1].erase("external");
    EXPECT_EQ(check_params(add, params).error().field, "rules[1].external");
    params["rules"][1] = rule;
    params["rules"][1]["runtime"] = true;  // stands beside the list
    EXPECT_EQ(check_params(add, params).error().field, "rules[1]");
    params["rules"] = Json::array();
    EXPECT_TRUE(check_params(add, params));  // there is a masquerade
    params.erase("masquerades");
    EXPECT_EQ(check_params(add, params).error().text(),
              "rules: got an empty list, want a list of at least one rule");
}

}  // namespace
}  // namespace fwd::control
