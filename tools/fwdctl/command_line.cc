// SPDX-License-Identifier: BSD-3-Clause
#include "tools/fwdctl/command_line.h"

#include <fmt/format.h>
#include <fmt/ostream.h>

#include <algorithm>
#include <span>
#include <string_view>

#include "control/rpc_server.h"
#include "control/text.h"
#include "tools/fwdctl/fwdctl.h"

namespace fwd::fwdctl {

using control::Error;
using control::Json;
using control::Method;

void print_error(std::ostream& err, const Error& error) {
    const Json message{
        {"error",
         {{"kind", control::kind_text(error.kind)}, {"field", error.field}, {"message", error.message}}}};
    err << message.dump(2, ' ', false, Json::error_handler_t::replace) << '\n';
}

CommandLine::CommandLine() : app_{"Controls fwdd, the port-forwarding daemon.", "fwdctl"} {
    app_.fallthrough();
    app_.require_subcommand(1);
    app_.add_option("--socket", socket_, "where fwdd listens")
        ->envname("FWD_SOCKET")
        ->capture_default_str()
        ->type_name("FILE");
    app_.add_flag("--json", json_, "print the result, or the error, as JSON");
    app_.footer(
        "Exit status: 0 done, 1 refused, 2 wrong usage, 3 fwdd cannot be reached.\n"
        "More on a command: fwdctl COMMAND --help");
    for (const Method& method : control::methods()) {
        CLI::App* command = app_.add_subcommand(std::string{method.command}, std::string{method.help});
        if (!method.example.empty()) command->footer(fmt::format("Example:\n  {}", method.example));
        commands_.push_back({&method, command, Arguments{*command, method.params}});
        if (method.name == "stats") command->add_flag("--watch", watch_, "once a second, with rates");
    }
}

std::optional<int> CommandLine::parse(int argc, const char* const* argv, std::ostream& out,
                                      std::ostream& err) {
    try {
        app_.parse(argc, argv);
        return {};
    } catch (const CLI::ParseError& error) {
        if (error.get_exit_code() == 0) {
            app_.exit(error, out, err);
            return kDone;
        }
        const std::span<const char* const> words{argv, static_cast<std::size_t>(argc)};
        if (std::ranges::find(words, std::string_view{"--json"}) != words.end()) {
            print_error(err, {control::ErrorKind::invalid, "", error.what()});
        } else {
            app_.exit(error, out, err);
            suggest_command(argc, argv, err);
        }
        return kUsage;
    }
}

const CommandLine::Command& CommandLine::chosen() const {
    return *std::ranges::find_if(commands_, [](const Command& command) { return command.app->parsed(); });
}

void CommandLine::suggest_command(int argc, const char* const* argv, std::ostream& err) const {
    std::vector<std::string_view> known;
    for (const Command& command : commands_) {
        if (command.app->parsed()) return;
        known.push_back(command.method->command);
    }
    for (int i = 1; i < argc; ++i) {
        const auto near = control::nearest(argv[i], known.data(), known.data() + known.size());
        if (near.empty()) continue;
        fmt::print(err, "Did you mean {}?\n", near);
        return;
    }
}

}  // namespace fwd::fwdctl
