// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <CLI/CLI.hpp>
#include <span>
#include <vector>

#include "control/methods.h"

namespace fwd::fwdctl {

/// The parameters of a method as arguments of a command: required ones by position, the others as --options.
class Arguments {
 public:
    Arguments(CLI::App& app, std::span<const control::Param> params);

    /// What was given, as parameters for the method; a file of rules as its name.
    control::Json params() const;

 private:
    struct Argument {
        const control::Param* param;
        const CLI::Option* option;
    };
    std::vector<Argument> arguments_;
};

}  // namespace fwd::fwdctl
