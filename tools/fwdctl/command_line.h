// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
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

    /// Of a command that fwdctl carries out itself, without fwdd; empty when a method is asked for.
    std::string_view local() const;
    const std::string& device() const { return device_; }
    const std::string& driver() const { return driver_; }
    bool force() const { return force_; }

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

    void add_local_commands();
    const Command& chosen() const;
    void suggest_command(int argc, const char* const* argv, std::ostream& err) const;

    CLI::App app_;
    std::vector<Command> commands_;
    std::string socket_ = "/run/fwd/fwd.sock";
    bool json_ = false;
    bool watch_ = false;
    std::vector<CLI::App*> local_commands_;
    std::string device_;
    std::string driver_ = "vfio-pci";
    bool force_ = false;
};

}  // namespace fwd::fwdctl
