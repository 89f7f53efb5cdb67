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
    std::string examined_file = "/etc/fwd/fwd.conf";
    bool json = false;
    bool examines() const { return examine_->count() != 0; }

 private:
    CLI::App app_;
    CLI::Option* examine_ = nullptr;
};

}  // namespace fwd::control
