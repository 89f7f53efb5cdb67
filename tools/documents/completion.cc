// SPDX-License-Identifier: BSD-3-Clause
#include "tools/documents/completion.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

namespace fwd::documents {
namespace {

/// In single quotes of a shell.
std::string shell_quoted(std::string_view text) {
    std::string result = "'";
    for (const char c : text) result += c == '\'' ? std::string{"'\\''"} : std::string{c};
    return result + '\'';
}

std::string fish_quoted(std::string_view text) {
    std::string result = "'";
    for (const char c : text) {
        if (c == '\'' || c == '\\') result += '\\';
        result += c;
    }
    return result + '\'';
}

/// The first words of a help text: a list of completions has one line for each.
std::string brief(std::string_view help) {
    return std::string{help.substr(0, std::min(help.find(": "), help.find(" (default")))};
}

enum class Help { with, without };

std::string option_words(const std::vector<Argument>& arguments, Help help) {
    std::string words;
    for (const Argument& argument : arguments) {
        if (argument.positional || (argument.names.back() == "--help" && help == Help::without)) continue;
        for (const std::string& name : argument.names) words += (words.empty() ? "" : " ") + name;
    }
    return words;
}

bool takes_file(const Description& command) {
    return std::ranges::any_of(command.arguments,
                               [](const Argument& a) { return a.positional && a.takes_file(); });
}

/// Options with a value, of the program and its commands: those that want a file, and the others.
std::string options_with_value(const Description& program, bool files) {
    std::set<std::string> names;
    const auto collect = [&](const Description& part) {
        for (const Argument& argument : part.arguments) {
            if (argument.positional || argument.value.empty() || argument.takes_file() != files) continue;
            names.insert(argument.names.begin(), argument.names.end());
        }
    };
    collect(program);
    for (const Description& command : program.commands) collect(command);
    return fmt::format("{}", fmt::join(names, " | "));
}

std::string zsh_argument(const Argument& argument) {
    std::string help;
    for (const char c : brief(argument.help)) {
        if (c == '[' || c == ']' || c == ':' || c == '\\') help += '\\';
        help += c;
    }
    const std::string action = argument.takes_file() ? "_files" : " ";
    if (argument.positional) return shell_quoted(fmt::format(":{}:{}", argument.names.front(), action));
    std::string text;
    for (const std::string& name : argument.names) {
        text += text.empty() ? "" : " ";
        text += shell_quoted(
            fmt::format("{}{}[{}]{}", argument.repeats ? "*" : "", name, help,
                        argument.value.empty() ? "" : fmt::format(":{}:{}", argument.value, action)));
    }
    return text;
}

std::string zsh_arguments(const std::vector<Argument>& arguments) {
    std::string text;
    for (const Argument& argument : arguments) text += " \\\n        " + zsh_argument(argument);
    return text;
}

std::string fish_argument(const std::string& program, const Argument& argument, const std::string& when) {
    if (argument.positional) {
        if (!argument.takes_file()) return {};
        return fmt::format("complete -c {}{} -F\n", program, when);
    }
    std::string text = fmt::format("complete -c {}{}", program, when);
    for (const std::string& name : argument.names)
        text += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
    if (!argument.value.empty()) text += argument.takes_file() ? " -r -F" : " -x";
    return text + fmt::format(" -d {}\n", fish_quoted(brief(argument.help)));
}

}  // namespace

std::string bash_completion(const Description& program) {
    const std::string& name = program.name;
    std::string text =
        fmt::format("# bash completion for {}: made from its own table of commands.\n_{}() {{\n", name, name);
    text += "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} command='' i\n";
    const std::string with_file = options_with_value(program, true);
    const std::string with_value = options_with_value(program, false);
    text += "    for ((i = 1; i < COMP_CWORD; i++)); do\n        case ${COMP_WORDS[i]} in\n";
    if (!with_file.empty()) text += fmt::format("            {}) ((i++)) ;;\n", with_file);
    text +=
        "            -*) ;;\n            *) command=${COMP_WORDS[i]} && break ;;\n        esac\n    done\n";
    const std::string files =
        "compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- \"$word\"); return";
    text += "    COMPREPLY=()\n    case $before in\n";
    if (!with_file.empty()) text += fmt::format("        {}) {} ;;\n", with_file, files);
    if (!with_value.empty()) text += fmt::format("        {}) return ;;\n", with_value);
    text += "    esac\n    local words\n    case $command in\n";
    const std::string common = option_words(program.arguments, Help::with);
    std::string commands;
    for (const Description& command : program.commands) {
        commands += command.name + ' ';
        const std::string given =
            takes_file(command) ? fmt::format("[[ $word == -* ]] || {{ {}; }}; ", files) : "";
        text += fmt::format("        {}) {}words={} ;;\n", command.name, given,
                            shell_quoted(option_words(command.arguments, Help::without) + ' ' + common));
    }
    text += fmt::format("        *) words={} ;;\n    esac\n", shell_quoted(commands + common));
    text += "    mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$word\")\n}\n";
    return text + fmt::format("complete -F _{} {}\n", name, name);
}

std::string zsh_completion(const Description& program) {
    const std::string& name = program.name;
    std::string text = fmt::format("#compdef {}\n# Made from its own table of commands.\n", name);
    if (program.commands.empty())
        return text + fmt::format("_arguments{}\n", zsh_arguments(program.arguments));

    std::string commands;
    std::string cases;
    for (const Description& command : program.commands) {
        std::string help;
        for (const char c : brief(command.help)) help += c == ':' ? std::string{"\\:"} : std::string{c};
        commands += "\n        " + shell_quoted(command.name + ':' + help);
        std::vector<Argument> arguments = command.arguments;
        for (const Argument& argument : program.arguments) {
            if (argument.names.back() != "--help") arguments.push_back(argument);
        }
        cases += fmt::format("    {})\n        _arguments{}\n        ;;\n", command.name,
                             zsh_arguments(arguments));
    }
    text += fmt::format(
        "_{0}() {{\n    local -a commands=({1}\n    )\n    local context state state_descr line\n"
        "    typeset -A opt_args\n    _arguments -C{2} \\\n        '1:command:->command' \\\n"
        "        '*::argument:->argument'\n    case $state in\n    command)\n"
        "        _describe command commands\n        return\n        ;;\n    argument) ;;\n"
        "    *) return ;;\n    esac\n    case $words[1] in\n{3}    esac\n}}\n",
        name, commands, zsh_arguments(program.arguments), cases);
    return text + fmt::format("_{} \"$@\"\n", name);
}

std::string fish_completion(const Description& program) {
    const std::string& name = program.name;
    std::string text =
        fmt::format("# Made from the table of commands of {}.\ncomplete -c {} -f\n", name, name);
    for (const Argument& argument : program.arguments) text += fish_argument(name, argument, "");
    for (const Description& command : program.commands) {
        text += fmt::format("complete -c {} -n __fish_use_subcommand -a {} -d {}\n", name, command.name,
                            fish_quoted(brief(command.help)));
        const std::string when = fmt::format(" -n '__fish_seen_subcommand_from {}'", command.name);
        for (const Argument& argument : command.arguments) {
            if (argument.names.back() != "--help") text += fish_argument(name, argument, when);
        }
    }
    return text;
}

}  // namespace fwd::documents
