// SPDX-License-Identifier: BSD-3-Clause
// Prints a manual page or a completion, made from the tables that the programs themselves go by. For the
// build.
#include <fmt/format.h>

#include <cstdlib>
#include <exception>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>

#include "control/options.h"
#include "tools/documents/completion.h"
#include "tools/documents/man_page.h"
#include "tools/fwdctl/command_line.h"

namespace {

using fwd::documents::Description;

Description describe(const std::string& program) {
    if (program == "fwdd") return fwd::documents::describe(fwd::control::Options{}.app());
    return fwd::documents::describe(fwd::fwdctl::CommandLine{}.app());
}

std::string document(const std::string& kind, const std::string& what) {
    if (kind == "bash") return fwd::documents::bash_completion(describe(what));
    if (kind == "zsh") return fwd::documents::zsh_completion(describe(what));
    if (kind == "fish") return fwd::documents::fish_completion(describe(what));
    std::ifstream file{what};
    const std::string page_template{std::istreambuf_iterator<char>{file}, {}};
    return fwd::documents::man_page(page_template, FWD_VERSION);
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) {
        fmt::print(stderr, "Usage: documents man TEMPLATE | documents bash|zsh|fish fwdd|fwdctl\n");
        return 2;
    }
    try {
        std::cout << document(argv[1], argv[2]) << std::flush;
        return std::cout ? EXIT_SUCCESS : EXIT_FAILURE;
    } catch (const std::exception& error) {
        fmt::print(stderr, "documents: {}\n", error.what());
        return EXIT_FAILURE;
    }
}
