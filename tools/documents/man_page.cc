// SPDX-License-Identifier: BSD-3-Clause
#include "tools/documents/man_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <sstream>
#include <stdexcept>

#include "control/methods.h"
#include "control/options.h"
#include "tools/fwdctl/command_line.h"

namespace fwd::documents {
namespace {

std::string bold(std::string_view text) {
    return fmt::format("\\fB{}\\fR", roff(text));
}
std::string italic(std::string_view text) {
    return fmt::format("\\fI{}\\fR", roff(text));
}

/// "--rate N", as a list of arguments shows it.
std::string title(const Argument& argument) {
    if (argument.positional) return italic(argument.names.front());
    std::string text;
    for (const std::string& name : argument.names) {
        if (!text.empty()) text += ", ";
        text += bold(name);
        if (!argument.value.empty()) text += ' ' + italic(argument.value);
    }
    return text;
}

std::string list(const std::vector<Argument>& arguments) {
    std::string text;
    for (const Argument& argument : arguments)
        text += fmt::format(".TP\n{}\n{}.\n", title(argument), roff(argument.help));
    return text;
}

bool is_help(const Argument& argument) {
    return argument.names.back() == "--help";
}

/// What rule.add and masquerade.add say of a parameter.
std::string_view help_in_requests(std::string_view group, std::string_view key) {
    const auto* method = control::find_method(group == "rules" ? "rule.add" : "masquerade.add");
    const auto param = std::ranges::find(method->params, key, &control::Param::name);
    return param == method->params.end() ? std::string_view{} : param->help;
}

}  // namespace

std::string roff(std::string_view text) {
    std::string result;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const bool at_line_start = result.empty() || result.back() == '\n';
        if (at_line_start && (text[i] == '.' || text[i] == '\'')) result += "\\&";
        switch (text[i]) {
            case '\\':
                result += "\\e";
                break;
            case '-':
                result += "\\-";
                break;
            case '\'':
                result += "\\(aq";
                break;
            case '~':
                result += "\\(ti";
                break;
            case '^':
                result += "\\(ha";
                break;
            case '`':
                result += "\\(ga";
                break;
            default:
                result += text[i];
        }
    }
    return result;
}

std::string man_options(const Description& program) {
    return list(program.arguments);
}

std::string man_commands(const Description& program) {
    std::string text;
    for (const Description& command : program.commands) {
        text += fmt::format(".SS {}\n", roff(command.name));
        std::string usage = bold(program.name) + ' ' + bold(command.name);
        std::vector<Argument> arguments;
        for (const Argument& argument : command.arguments) {
            if (argument.positional) usage += ' ' + italic(argument.names.front());
            if (!is_help(argument)) arguments.push_back(argument);
        }
        const bool has_options =
            std::ranges::any_of(arguments, [](const Argument& argument) { return !argument.positional; });
        if (has_options) usage += " [" + italic("OPTION") + "]...";
        text += fmt::format("{}\n.PP\n{}\n{}", usage, roff(command.help), list(arguments));
        if (!command.example.empty())
            text += fmt::format(".PP\nExample:\n.PP\n.RS 4\n.EX\n{}\n.EE\n.RE\n", roff(command.example));
    }
    return text;
}

std::string man_settings(const std::vector<control::SettingGroup>& groups) {
    std::string text;
    for (const control::SettingGroup& group : groups) {
        text += group.name.empty() ? ".SS Top level\n" : fmt::format(".SS {}\n", roff(group.name));
        for (const control::SettingKey& key : group.keys) {
            std::string_view help = key.help.empty() ? help_in_requests(group.name, key.key) : key.help;
            if (help.empty())
                throw std::runtime_error{fmt::format("{}: no help for the key {}", group.name, key.key)};
            text += fmt::format(".TP\n{} = {};{}\n{}.\n", bold(key.key), roff(key.example),
                                key.required ? " (required)" : "", roff(help));
        }
    }
    return text;
}

std::string man_page(std::string_view page_template, std::string_view version) {
    std::istringstream lines{std::string{page_template}};
    std::string text;
    const fwdctl::CommandLine command_line;
    const control::Options daemon;
    for (std::string line; std::getline(lines, line);) {
        if (line == "@fwdctl-options@") {
            text += man_options(describe(command_line.app()));
        } else if (line == "@fwdctl-commands@") {
            text += man_commands(describe(command_line.app()));
        } else if (line == "@fwdd-options@") {
            text += man_options(describe(daemon.app()));
        } else if (line == "@settings@") {
            text += man_settings(control::setting_groups());
        } else if (line.starts_with('@')) {
            throw std::runtime_error{fmt::format("unknown line in a template: {}", line)};
        } else {
            if (line.starts_with(".TH")) line += fmt::format(" \"fwd {}\"", version);
            text += line + '\n';
        }
    }
    return text;
}

}  // namespace fwd::documents
