// SPDX-License-Identifier: BSD-3-Clause
// What a command line takes, read from CLI11, so that manual pages and completions say what the program does.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace fwd::documents {

struct Argument {
    std::vector<std::string> names;  ///< "--json"; for one without dashes what usage calls it: "NAME"
    std::string value;               ///< what follows an option: "N"; empty for a flag
    std::string help;
    bool positional = false;
    bool repeats = false;

    /// Its value is the name of a file.
    bool takes_file() const { return (positional ? names.front() : value) == "FILE"; }
};

struct Description {
    std::string name;
    std::string help;
    std::string example;  ///< what --help shows below: a command line
    std::vector<Argument> arguments;
    std::vector<Description> commands;
};

Description describe(const CLI::App& app);

}  // namespace fwd::documents
