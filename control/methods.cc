// SPDX-License-Identifier: BSD-3-Clause
#include "control/methods.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "control/masquerade.h"
#include "control/text.h"

namespace fwd::control {
namespace {

// No value that fwd knows is longer; and what is wrong is quoted in the answer.
constexpr std::size_t kMaxStringBytes = 2048;
constexpr long kMaxInteger =
    1L << 53U;  // beyond it JSON's numbers are not exact everywhere (RFC 8259, section 6)

constexpr Param kRuntime{
    .name = "runtime", .type = ParamType::boolean, .help = "keep it in memory only: gone when fwdd stops"};

// The rule itself, then `runtime`, which rules.add has beside its list and not in it.
constexpr std::array kAddRuleParams{
    Param{.name = "protocol",
          .required = true,
          .help = "tcp, udp, tcp+udp, or all: every protocol and port of an address"},
    Param{.name = "external",
          .required = true,
          .help = "where clients connect to: ADDRESS:PORT or ADDRESS:FIRST-LAST; ADDRESS alone with all; "
                  "IPv6 as [ADDRESS]:PORT; link:LINK:PORT for the IPv4 address that a link has at the time"},
    Param{.name = "target",
          .required = true,
          .help = "where they are sent: ADDRESS:PORT or ADDRESS:FIRST-LAST; several with commas, each with "
                  "*WEIGHT; one ADDRESS alone with all"},
    Param{.name = "balance",
          .help = "how one of several targets is picked: round-robin (by weight) or source-hash (by the "
                  "client's address) (default: round-robin)"},
    Param{.name = "outbound",
          .type = ParamType::boolean,
          .help =
              "with all: the target reaches the world under the external address, too, by the link of that "
              "address or by `link`, and whom `from` lets in; --outbound=false: no longer"},
    Param{.name = "name", .help = "a name for the rule (default: made from what it matches)"},
    Param{.name = "link", .help = "only for packets that come in by this link (default: any)"},
    Param{.name = "source",
          .help =
              "whose address the target sees: auto, masquerade (fwd's own) or preserve (the client's) "
              "(default: "
              "auto, masquerade if the target is on the link that the packet came in by); between IPv4 and "
              "IPv6 always masquerade"},
    Param{.name = "from",
          .type = ParamType::string_list,
          .help = "only for clients in this prefix; may be repeated (default: all)"},
    Param{.name = "not_from",
          .type = ParamType::string_list,
          .help = "not for clients in this prefix; may be repeated"},
    Param{.name = "max_sessions",
          .type = ParamType::integer,
          .help = "at most so many live sessions",
          .minimum = 1,
          .maximum = Rule::kMostSessions},
    Param{.name = "max_sessions_per_source",
          .type = ParamType::integer,
          .help = "at most so many live sessions of one client's address (of IPv6: of one /64)",
          .minimum = 1,
          .maximum = Rule::kMostSessionsPerSource},
    Param{.name = "rate",
          .type = ParamType::integer,
          .help = "at most so many new sessions a second",
          .minimum = 1,
          .maximum = Rule::kMostRate},
    Param{.name = "comment", .help = "what people should know of it: one line of text"},
    Param{.name = "disabled",
          .type = ParamType::boolean,
          .help = "match nothing until enable-rule; the name alone is taken"},
    kRuntime,
};
constexpr std::span<const Param> kRuleParams = std::span{kAddRuleParams}.first(kAddRuleParams.size() - 1);

constexpr std::array kAddMasqueradeParams{
    Param{.name = "inside",
          .required = true,
          .help = "whose packets: a LINK (the hosts behind it, where they leave by another) or a PREFIX"},
    Param{.name = "name", .help = "a name for the masquerade (default: made from LINK or PREFIX)"},
    Param{.name = "pool",
          .type = ParamType::string_list,
          .help =
              "an external ADDRESS that nobody has; may be repeated. Each inside host keeps to one of them "
              "(default: fwd's own addresses of the link that packets leave by)"},
    Param{.name = "to",
          .type = ParamType::string_list,
          .help = "only to this prefix; may be repeated (default: anywhere but inside)"},
    Param{.name = "filtering",
          .help =
              "who may send to an inside host's external port: address-dependent (whom it has sent to) or "
              "endpoint-independent (everybody) (default: address-dependent)"},
    Param{.name = "max_ports_per_host",
          .type = ParamType::integer,
          .help = "at most so many external ports of an inside host at once",
          .minimum = 1,
          .maximum = Masquerade::kMostPortsPerHost},
    Param{.name = "max_sessions",
          .type = ParamType::integer,
          .help = "at most so many live sessions",
          .minimum = 1,
          .maximum = Rule::kMostSessions},
    Param{.name = "max_sessions_per_source",
          .type = ParamType::integer,
          .help = "at most so many live sessions of an inside host",
          .minimum = 1,
          .maximum = Rule::kMostSessionsPerSource},
    Param{.name = "rate",
          .type = ParamType::integer,
          .help = "at most so many new sessions a second",
          .minimum = 1,
          .maximum = Rule::kMostRate},
    Param{.name = "no_inbound_refresh",
          .type = ParamType::boolean,
          .help = "packets from outside alone don't keep a session alive"},
    kRuntime,
};
constexpr std::span<const Param> kMasqueradeParams =
    std::span{kAddMasqueradeParams}.first(kAddMasqueradeParams.size() - 1);

constexpr std::array kDeleteMasqueradeParams{
    Param{.name = "name", .required = true, .help = "name of the masquerade"},
    Param{.name = "existing",
          .help =
              "what becomes of its live sessions: keep (they go on until they end) or kill (default: keep)"},
};

constexpr std::array kAddRulesParams{
    Param{.name = "rules",
          .type = ParamType::rules,
          .required = true,
          .help = "file of rules, as export writes it or one add-rule line each; - for standard input"},
    Param{.name = "masquerades", .type = ParamType::masquerades, .help = "masquerades of the same file"},
    kRuntime,
};

/// The parameters of add-rule but those that are left out, all optional: what is absent stays as it is.
template <std::size_t kCount>
constexpr std::array<Param, kCount> optional_rule_params(std::span<const std::string_view> left_out) {
    std::array<Param, kCount> params;
    std::size_t count = 0;
    for (Param param : kRuleParams) {
        if (std::ranges::find(left_out, param.name) != left_out.end()) continue;
        param.required = false;
        if (param.type == ParamType::integer) param.minimum = 0;  // a limit is taken away
        params[count++] = param;
    }
    return params;
}

constexpr std::array<std::string_view, 2> kOtherCommandsParams{"name", "disabled"};
constexpr auto kChangedParams =
    optional_rule_params<kRuleParams.size() - kOtherCommandsParams.size()>(kOtherCommandsParams);
constexpr auto kChangeRuleParams = [] {
    std::array<Param, kChangedParams.size() + 2> params;
    params.front() = {.name = "name", .required = true, .help = "name of the rule, which it keeps"};
    std::ranges::copy(kChangedParams, params.begin() + 1);
    params.back() = {
        .name = "existing",
        .help =
            "what becomes of its live sessions, which go where they went: keep (they go on until they "
            "end), drain (the same, and list-rules shows the rule as it was until then) or kill "
            "(default: keep)"};
    return params;
}();

constexpr std::array kDeleteRuleParams{
    Param{.name = "name", .required = true, .help = "name of the rule"},
    Param{.name = "existing",
          .help = "what becomes of its live sessions: keep (they go on until they end), drain (the same, and "
                  "list-rules shows the rule until then) or kill (default: keep)"},
};

constexpr std::array kReloadParams{
    Param{
        .name = "existing",
        .help =
            "what becomes of the live sessions of rules that have gone or changed: keep (they go on until "
            "they end), drain (the same, and list-rules shows the rules until then) or kill (default: keep)"},
};

constexpr std::array kDisableRuleParams{
    Param{.name = "name", .required = true, .help = "name of the rule"},
    Param{.name = "existing",
          .help = "what becomes of its live sessions: keep (they go on until they end), drain (the same, and "
                  "list-rules shows the rule as draining until then) or kill (default: keep)"},
};

constexpr std::array kEnableRuleParams{
    Param{.name = "name", .required = true, .help = "name of the rule"},
};

constexpr std::array kListSessionsParams{
    Param{.name = "rule", .help = "only sessions of this rule"},
    Param{.name = "limit",
          .type = ParamType::integer,
          .help = "at most so many (default: 100)",
          .minimum = 1,
          .maximum = 1'000'000'000},
    Param{.name = "cursor",
          .type = ParamType::integer,
          .help = "go on where an earlier list ended",
          .maximum = kMaxInteger},
};

constexpr std::array kClearSessionsParams{Param{.name = "rule", .help = "only sessions of this rule"}};

constexpr std::array kMethods{
    Method{.name = "link.list",
           .command = "list-links",
           .handler = &Operations::list_links,
           .help = "Show the links with their addresses, state and counters.",
           .example = "fwdctl list-links"},
    Method{.name = "masquerade.add",
           .command = "add-masquerade",
           .access = Access::write,
           .params = kAddMasqueradeParams,
           .handler = &Operations::add_masquerade,
           .help = "Let inside hosts reach the world under external addresses.",
           .example = "fwdctl add-masquerade lan --pool 203.0.113.5 --pool 203.0.113.9"},
    Method{
        .name = "masquerade.delete",
        .command = "delete-masquerade",
        .access = Access::write,
        .params = kDeleteMasqueradeParams,
        .handler = &Operations::delete_masquerade,
        .help = "No new sessions by this masquerade; those there are live on until they end, or are ended.",
        .example = "fwdctl delete-masquerade masquerade-lan"},
    Method{.name = "masquerade.list",
           .command = "list-masquerades",
           .handler = &Operations::list_masquerades,
           .help = "Show all masquerades with their mappings and counters.",
           .example = "fwdctl list-masquerades"},
    Method{.name = "neighbour.list",
           .command = "list-neighbours",
           .handler = &Operations::list_neighbours,
           .help = "Show the MAC addresses of next hops that fwd knows or asks for.",
           .example = "fwdctl list-neighbours"},
    Method{.name = "reload",
           .command = "reload",
           .access = Access::write,
           .params = kReloadParams,
           .handler = &Operations::reload,
           .help = "Read the configuration file again and apply its rules, masquerades, timeouts, "
                   "tcp_window_check and log of translations, all or nothing.",
           .example = "fwdctl reload"},
    Method{.name = "rule.add",
           .command = "add-rule",
           .access = Access::write,
           .params = kAddRuleParams,
           .handler = &Operations::add_rule,
           .help = "Forward an external address and port to a target.",
           .example = "fwdctl add-rule tcp 10.0.0.3:80 10.0.0.4:8080 --name web"},
    Method{.name = "rule.change",
           .command = "change-rule",
           .access = Access::write,
           .params = kChangeRuleParams,
           .handler = &Operations::change_rule,
           .help =
               "Give a rule another target, limit or whatever is named; no packet finds it missing. A limit "
               "of 0 is none. Its counters begin anew.",
           .example = "fwdctl change-rule web --target 10.0.0.4:8081 --existing drain"},
    Method{
        .name = "rule.delete",
        .command = "delete-rule",
        .access = Access::write,
        .params = kDeleteRuleParams,
        .handler = &Operations::delete_rule,
        .help =
            "Stop forwarding: no new sessions by this rule; those there are live on until they end, or are "
            "ended.",
        .example = "fwdctl delete-rule web --existing kill"},
    Method{.name = "rule.disable",
           .command = "disable-rule",
           .access = Access::write,
           .params = kDisableRuleParams,
           .handler = &Operations::disable_rule,
           .help = "Stop forwarding for a while: the rule is listed and keeps its name, and matches nothing.",
           .example = "fwdctl disable-rule web --existing drain"},
    Method{.name = "rule.enable",
           .command = "enable-rule",
           .access = Access::write,
           .params = kEnableRuleParams,
           .handler = &Operations::enable_rule,
           .help = "Let a disabled rule match again, unless another one has its address and port by now.",
           .example = "fwdctl enable-rule web"},
    Method{.name = "rule.list",
           .command = "list-rules",
           .handler = &Operations::list_rules,
           .help = "Show all rules with their counters.",
           .example = "fwdctl list-rules"},
    Method{.name = "rules.add",
           .command = "add-rules",
           .access = Access::write,
           .params = kAddRulesParams,
           .handler = &Operations::add_rules,
           .help = "Add many rules, all or nothing.",
           .example = "fwdctl add-rules rules.conf"},
    Method{.name = "rules.export",
           .command = "export",
           .handler = &Operations::export_rules,
           .help = "Print rules and masquerades in the syntax of the configuration file.",
           .example = "fwdctl export > rules.conf"},
    Method{.name = "session.clear",
           .command = "clear-sessions",
           .params = kClearSessionsParams,
           .handler = &Operations::clear_sessions,
           .help = "End sessions at once, all or those of one rule; rules stay.",
           .example = "fwdctl clear-sessions --rule web"},
    Method{.name = "session.list",
           .command = "list-sessions",
           .params = kListSessionsParams,
           .handler = &Operations::list_sessions,
           .help = "Show live sessions with their addresses, state and counters.",
           .example = "fwdctl list-sessions --rule web --limit 10"},
    Method{.name = "stats",
           .command = "stats",
           .handler = &Operations::stats,
           .help = "Show packets, bytes, sessions and every reason for drops, by link, rule and worker.",
           .example = "fwdctl stats --watch"},
    Method{.name = "status",
           .command = "status",
           .handler = &Operations::status,
           .help = "Show how fwdd was started and how full it is.",
           .example = "fwdctl status"},
    Method{.name = "version",
           .command = "version",
           .handler = &Operations::version,
           .help = "Show the versions of fwdd and DPDK.",
           .example = "fwdctl version"},
};
static_assert(std::ranges::is_sorted(kMethods, {}, &Method::name));

/// A value for an error message: short, whatever came.
std::string shown(const Json& value) {
    constexpr std::size_t kShownBytes = 40;
    if (value.is_array()) return "a list";
    if (value.is_object()) return "an object";
    std::string text = value.dump(-1, ' ', true, Json::error_handler_t::replace);
    if (text.size() > kShownBytes) text = text.substr(0, kShownBytes) + "...";
    return text;
}

/// Where a wrong value stands: "rules[3].external". Made into text only when something is wrong.
struct Place {
    std::string_view list;  ///< empty: not in a list
    std::size_t index = 0;

    std::string field(std::string_view name) const {
        return list.empty() ? std::string{name} : fmt::format("{}[{}].{}", list, index, name);
    }
};

Result<void> check_string(const Json& value, const std::string& field) {
    if (!value.is_string()) return invalid(field, fmt::format("got {}, want a text", shown(value)));
    const std::size_t bytes = value.get_ref<const std::string&>().size();
    if (bytes > kMaxStringBytes) {
        return invalid(field, fmt::format("got {} bytes, want at most {}", bytes, kMaxStringBytes));
    }
    return {};
}

Result<void> check_integer(const Param& param, const Json& value, const std::string& field) {
    const auto wrong = [&] {
        return invalid(field,
                       fmt::format("got {}, want {} to {}", shown(value), param.minimum, param.maximum));
    };
    if (!value.is_number_integer()) return wrong();
    // A number above 2^63 would come out negative; nlohmann keeps non-negative numbers unsigned.
    if (value.is_number_unsigned() && value.get<std::uint64_t>() > static_cast<std::uint64_t>(kMaxInteger)) {
        return wrong();
    }
    const auto number = value.get<std::int64_t>();
    if (number < param.minimum || number > param.maximum) return wrong();
    return {};
}

Result<void> check_object(std::span<const Param> params, const Json& object, const Place& place);

Result<void> check_value(const Param& param, const Json& value, const Place& place) {
    const std::string field = place.field(param.name);
    switch (param.type) {
        case ParamType::string:
            return check_string(value, field);
        case ParamType::integer:
            return check_integer(param, value, field);
        case ParamType::boolean:
            if (!value.is_boolean()) {
                return invalid(field, fmt::format("got {}, want true or false", shown(value)));
            }
            return {};
        case ParamType::string_list:
            if (!value.is_array()) {
                return invalid(field, fmt::format("got {}, want a list of texts", shown(value)));
            }
            for (std::size_t i = 0; i < value.size(); ++i) {
                if (auto ok = check_string(value[i], fmt::format("{}[{}]", field, i)); !ok) return ok;
            }
            return {};
        case ParamType::rules:
        case ParamType::masquerades: {
            const bool rules = param.type == ParamType::rules;
            if (!value.is_array()) {
                return invalid(field, fmt::format("got {}, want a list of {}", shown(value), param.name));
            }
            for (std::size_t i = 0; i < value.size(); ++i) {
                if (!value[i].is_object()) {
                    return invalid(fmt::format("{}[{}]", field, i),
                                   fmt::format("got {}, want an object", shown(value[i])));
                }
                const auto known = rules ? kRuleParams : kMasqueradeParams;
                if (auto ok = check_object(known, value[i], {param.name, i}); !ok) return ok;
            }
            return {};
        }
    }
    return {};
}

tl::unexpected<Error> unknown_parameter(std::span<const Param> params, const std::string& name,
                                        const Place& place) {
    std::vector<std::string_view> known;
    for (const Param& param : params) known.push_back(param.name);
    const bool too_long = name.size() > kMaxStringBytes;
    const std::string_view near = too_long ? "" : nearest(name, known.data(), known.data() + known.size());
    std::string wanted = "none is wanted";
    if (!near.empty()) {
        wanted = fmt::format("did you mean {}?", near);
    } else if (!known.empty()) {
        wanted = fmt::format("known are {}", fmt::join(known, ", "));
    }
    const std::string field = place.list.empty() ? "params" : fmt::format("{}[{}]", place.list, place.index);
    return invalid(field, fmt::format("unknown parameter {}, {}", in_quotes(name), wanted));
}

Result<void> check_object(std::span<const Param> params, const Json& object, const Place& place) {
    for (const auto& [name, value] : object.items()) {
        const auto param = std::ranges::find(params, name, &Param::name);
        if (param == params.end()) {
            return unknown_parameter(params, name, place);
        }
        if (auto ok = check_value(*param, value, place); !ok) return ok;
    }
    for (const Param& param : params) {
        if (param.required && !object.contains(param.name)) {
            return invalid(place.field(param.name), fmt::format("missing, want {}", param.help));
        }
    }
    return {};
}

bool changes_anything(const Json& params) {
    return std::ranges::any_of(kChangedParams,
                               [&](const Param& param) { return params.contains(param.name); });
}

}  // namespace

std::span<const Method> methods() {
    return kMethods;
}

const Method* find_method(std::string_view name) {
    const auto* found = std::ranges::lower_bound(kMethods, name, {}, &Method::name);
    return found != kMethods.end() && found->name == name ? found : nullptr;
}

Result<void> check_params(const Method& method, const Json& params) {
    if (!params.is_object()) {
        return invalid("params", fmt::format("got {}, want an object with named parameters", shown(params)));
    }
    if (auto ok = check_object(method.params, params, {}); !ok) return ok;
    const auto is_empty_list = [&](const char* name) {
        return !params.contains(name) || params.at(name).empty();
    };
    if (method.name == "rule.change" && !changes_anything(params)) {
        std::vector<std::string_view> names;
        for (const Param& param : kChangedParams) names.push_back(param.name);
        return invalid("params",
                       fmt::format("got nothing to change, want one of {}", fmt::join(names, ", ")));
    }
    if (method.name == "rules.add" && is_empty_list("rules") && is_empty_list("masquerades"))
        return invalid("rules", "got an empty list, want a list of at least one rule");
    return {};
}

}  // namespace fwd::control
