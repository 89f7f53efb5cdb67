// SPDX-License-Identifier: BSD-3-Clause
#include "tools/fwdctl/arguments.h"

#include <algorithm>
#include <cctype>
#include <string>

namespace fwd::fwdctl {
namespace {

using control::Json;
using control::Param;
using control::ParamType;

/// "not_from" is an option "--not-from".
std::string option_name(const Param& param) {
    std::string name{param.name};
    std::ranges::replace(name, '_', '-');
    return (param.required ? "" : "--") + name;
}

/// How the argument's value is called in help texts: "--limit N".
std::string placeholder(const Param& param) {
    if (param.type == ParamType::integer) return "N";
    if (param.type == ParamType::rules) return "FILE";
    std::string text{param.name};
    std::ranges::replace(text, '_', '-');
    for (char& c : text) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    return text;
}

CLI::Option* add_argument(CLI::App& app, const Param& param) {
    const std::string name = option_name(param);
    const std::string help{param.help};
    if (param.type == ParamType::boolean)
        return app.add_flag(name, help)->check(CLI::IsMember({"true", "false"}));

    CLI::Option* option = app.add_option(name)->description(help)->allow_extra_args(false);
    option->option_text(placeholder(param));
    if (param.required) option->required();
    if (param.type == ParamType::integer) option->check(CLI::Range(param.minimum, param.maximum));
    if (param.type == ParamType::string_list) {
        option->option_text(placeholder(param) + " ...")
            ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    }
    return option;
}

}  // namespace

Arguments::Arguments(CLI::App& app, std::span<const Param> params) {
    for (const Param& param : params) {
        if (param.type != ParamType::masquerades) arguments_.push_back({&param, add_argument(app, param)});
    }
}

Json Arguments::params() const {
    Json params = Json::object();
    for (const auto& [param, option] : arguments_) {
        if (option->count() == 0) continue;
        Json& value = params[std::string{param->name}];
        switch (param->type) {
            case ParamType::string:
            case ParamType::rules:
                value = option->results().front();
                break;
            case ParamType::integer:
                value = option->as<std::uint64_t>();
                break;
            case ParamType::boolean:
                value = option->results().back() == "true";  // --NAME=false is possible
                break;
            case ParamType::string_list:
                value = option->results();
                break;
            case ParamType::masquerades:
                break;  // no argument
        }
    }
    return params;
}

}  // namespace fwd::fwdctl
