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
    add_local_commands();
}

void CommandLine::add_local_commands() {
    const auto add = [this](const char* name, const char* help, const char* example) {
        local_commands_.push_back(app_.add_subcommand(name, help));
        local_commands_.back()->footer(fmt::format("Example:\n  {}", example));
        return local_commands_.back();
    };
    const auto add_device = [this](CLI::App* command) {
        command->add_option("device", device_, "PCI address of the card")->required()->option_text("ADDRESS");
    };
    add("devices",
        "Show this machine's network cards, their drivers and what they are used for; needs no fwdd.",
        "fwdctl devices");
    CLI::App* bind = add("bind", "Take a network card from the kernel, for fwdd; needs no fwdd.",
                         "fwdctl bind 0000:01:00.0");
    add_device(bind);
    bind->add_option("--driver", driver_, "the driver that gets it")
        ->option_text("DRIVER")
        ->capture_default_str();
    bind->add_flag("--force", force_, "also one that carries the default route or an ssh session");
    add_device(add("unbind", "Give a network card back to the kernel's own driver; needs no fwdd.",
                   "fwdctl unbind 0000:01:00.0"));
}

std::string_view CommandLine::local() const {
    for (const CLI::App* command : local_commands_) {
        if (command->parsed()) return command->get_name();
    }
    return {};
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
    if (!local().empty()) return;
    for (const CLI::App* command : local_commands_) known.push_back(command->get_name());
    for (int i = 1; i < argc; ++i) {
        const auto near = control::nearest(argv[i], known.data(), known.data() + known.size());
        if (near.empty()) continue;
        fmt::print(err, "Did you mean {}?\n", near);
        return;
    }
}

}  // namespace fwd::fwdctl
