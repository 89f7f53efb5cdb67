// SPDX-License-Identifier: BSD-3-Clause
#include "control/masquerade_json.h"

#include <fmt/format.h>

#include <array>
#include <string>
#include <utility>

#include "control/text.h"

namespace fwd::control {
namespace {

constexpr std::array<std::pair<const char*, std::uint32_t Masquerade::*>, 4> kLimits{
    {{"max_ports_per_host", &Masquerade::max_ports_per_host},
     {"max_sessions", &Masquerade::max_sessions},
     {"max_sessions_per_source", &Masquerade::max_sessions_per_source},
     {"rate", &Masquerade::rate}}};

template <typename T, typename Parse>
Result<void> read_list(const Json& params, const char* name, std::size_t most, Parse parse,
                       std::vector<T>& values) {
    const auto found = params.find(name);
    if (found == params.end()) return {};
    if (found->size() > most)
        return invalid(name, fmt::format("got {}, want at most {}", found->size(), most));
    for (std::size_t i = 0; i < found->size(); ++i) {
        auto parsed = parse((*found)[i].template get_ref<const std::string&>());
        if (!parsed) return invalid(fmt::format("{}[{}]", name, i), parsed.error().message);
        values.push_back(std::move(*parsed));
    }
    return {};
}

}  // namespace

Result<Masquerade> masquerade_from_json(const Json& params) {
    Masquerade masquerade;
    const auto at_field = [](const char* field, Error error) {
        error.field = field;
        return tl::unexpected(std::move(error));
    };
    if (auto ok = parse_inside(params.at("inside").get_ref<const std::string&>(), masquerade); !ok)
        return at_field("inside", ok.error());
    if (params.contains("name")) {
        auto name = parse_name(params.at("name").get_ref<const std::string&>());
        if (!name) return at_field("name", name.error());
        masquerade.name = std::move(*name);
    }
    if (params.contains("filtering")) {
        const auto filtering = parse_filtering(params.at("filtering").get_ref<const std::string&>());
        if (!filtering) return at_field("filtering", filtering.error());
        masquerade.filtering = *filtering;
    }
    if (auto ok = read_list(params, "pool", Masquerade::kMostAddresses, parse_address, masquerade.pool); !ok)
        return tl::unexpected(ok.error());
    if (auto ok = read_list(params, "to", Rule::kMostPrefixes, parse_prefix, masquerade.to); !ok)
        return tl::unexpected(ok.error());
    for (const auto& [name, member] : kLimits) {
        if (params.contains(name)) masquerade.*member = params.at(name).get<std::uint32_t>();
    }
    masquerade.inbound_refresh = !params.value("no_inbound_refresh", false);
    masquerade.origin = params.value("runtime", false) ? RuleOrigin::runtime : RuleOrigin::database;
    return masquerade;
}

Result<std::vector<Masquerade>> masquerades_from_json(const Json& params) {
    std::vector<Masquerade> masquerades;
    if (!params.contains("masquerades")) return masquerades;
    const Json& list = params.at("masquerades");
    for (std::size_t i = 0; i < list.size(); ++i) {
        auto masquerade = masquerade_from_json(list[i]);
        if (!masquerade) {
            masquerade.error().field = fmt::format("masquerades[{}].{}", i, masquerade.error().field);
            return tl::unexpected(std::move(masquerade.error()));
        }
        masquerade->origin = params.value("runtime", false) ? RuleOrigin::runtime : RuleOrigin::database;
        masquerades.push_back(std::move(*masquerade));
    }
    return masquerades;
}

Json masquerade_to_json(const Masquerade& masquerade) {
    const auto list = [](const auto& values) {
        Json texts = Json::array();
        for (const auto& value : values) texts.push_back(to_text(value));
        return texts;
    };
    Json json{{"name", masquerade.name},
              {"inside", inside_text(masquerade)},
              {"pool", list(masquerade.pool)},
              {"to", list(masquerade.to)},
              {"filtering", to_text(masquerade.filtering)},
              {"inbound_refresh", masquerade.inbound_refresh},
              {"origin", to_text(masquerade.origin)}};
    for (const auto& [name, member] : kLimits) {
        if (masquerade.*member != 0) json[name] = masquerade.*member;
    }
    return json;
}

Json masquerade_params(const Masquerade& masquerade) {
    Json params = masquerade_to_json(masquerade);
    params.erase("origin");
    params.erase("inbound_refresh");
    if (!masquerade.inbound_refresh) params["no_inbound_refresh"] = true;
    return params;
}

}  // namespace fwd::control
