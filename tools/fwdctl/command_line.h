// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "tools/fwdctl/arguments.h"

namespace fwd::fwdctl {

void print_error(std::ostream& err, const control::Error& error);

/// fwdctl's command line as CLI11 knows it, made from the table of methods.
class CommandLine {
 public:
    CommandLine();

    /// None when there is something to do, otherwise the exit status.
    std::optional<int> parse(int argc, const char* const* argv, std::ostream& out, std::ostream& err);

    const control::Method& method() const { return *chosen().method; }
    control::Json params() const { return chosen().arguments.params(); }
    const std::string& socket() const { return socket_; }
    bool json() const { return json_; }
    bool watch() const { return watch_; }

    /// For those who describe it: the manual page, completion of shells.
    const CLI::App& app() const { return app_; }

 private:
    struct Command {
        const control::Method* method;
        CLI::App* app;
        Arguments arguments;
    };

    const Command& chosen() const;
    void suggest_command(int argc, const char* const* argv, std::ostream& err) const;

    CLI::App app_;
    std::vector<Command> commands_;
    std::string socket_ = "/run/fwd/fwd.sock";
    bool json_ = false;
    bool watch_ = false;
};

}  // namespace fwd::fwdctl
