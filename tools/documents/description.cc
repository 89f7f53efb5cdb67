// SPDX-License-Identifier: BSD-3-Clause
#include "tools/documents/description.h"

namespace fwd::documents {
namespace {

constexpr std::string_view kExample = "Example:\n  ";

Argument describe(const CLI::Option& option) {
    Argument argument;
    argument.help = option.get_description();
    argument.positional = option.get_positional() && !option.nonpositional();
    argument.repeats = option.get_items_expected_max() > 1;
    const bool takes_value = option.get_items_expected_max() > 0;
    std::string value = option.get_option_text().empty() ? option.get_type_name() : option.get_option_text();
    value = value.substr(0, value.find(' '));
    if (argument.positional) {
        argument.names = {value};
        return argument;
    }
    for (const std::string& name : option.get_snames()) argument.names.push_back('-' + name);
    for (const std::string& name : option.get_lnames()) argument.names.push_back("--" + name);
    if (takes_value) argument.value = value;
    if (!option.get_default_str().empty() && takes_value)
        argument.help += " (default: " + option.get_default_str() + ")";
    if (!option.get_envname().empty())
        argument.help += "; the environment's " + option.get_envname() + " does the same";
    return argument;
}

}  // namespace

Description describe(const CLI::App& app) {
    Description description{.name = app.get_name(),
                            .help = app.get_description(),
                            .example = {},
                            .arguments = {},
                            .commands = {}};
    const std::string footer = app.get_footer();
    if (const auto at = footer.find(kExample); at != std::string::npos)
        description.example = footer.substr(at + kExample.size());
    for (const CLI::Option* option : app.get_options()) description.arguments.push_back(describe(*option));
    for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; }))
        description.commands.push_back(describe(*command));
    return description;
}

}  // namespace fwd::documents
