// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace fwd::control {

/// fwdd's command line as CLI11 knows it.
class Options {
 public:
    Options();

    CLI::App& app() { return app_; }
    const CLI::App& app() const { return app_; }

    std::string config_file;
    std::string checked_file;

 private:
    CLI::App app_;
};

}  // namespace fwd::control
