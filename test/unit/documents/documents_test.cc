// SPDX-License-Identifier: BSD-3-Clause
// Manual pages and completions say what the tables say.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <stdexcept>

#include "control/methods.h"
#include "control/options.h"
#include "test/unit/control/temporary_directory.h"
#include "tools/documents/completion.h"
#include "tools/documents/man_page.h"
#include "tools/fwdctl/command_line.h"

namespace fwd::documents {
namespace {

Description described_fwdctl() {
    return describe(fwdctl::CommandLine{}.app());
}

bool has(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

std::string output_of(const std::string& command) {
    FILE* pipe = ::popen(command.c_str(), "r");
    if (pipe == nullptr) return "cannot be run";
    std::string output;
    std::array<char, 4096> buffer{};
    while (const std::size_t bytes = std::fread(buffer.data(), 1, buffer.size(), pipe))
        output.append(buffer.data(), bytes);
    ::pclose(pipe);
    return output;
}

/// What bash offers for the last of these words.
std::string completed_by_bash(const std::string& words) {
    const test::TemporaryDirectory directory;
    const std::filesystem::path script = directory.path() / "completion";
    std::ofstream{script} << bash_completion(described_fwdctl()) << "COMP_WORDS=(" << words << ")\n"
                          << "COMP_CWORD=$((${#COMP_WORDS[@]} - 1))\n_fwdctl\necho \"${COMPREPLY[*]}\"\n";
    return output_of("bash " + script.string() + " 2>/dev/null");
}

TEST(ManPage, OfFwdctlHasEveryCommandWithItsParametersAndExample) {
    const std::string page = man_page("@fwdctl-options@\n@fwdctl-commands@", "1");
    EXPECT_TRUE(has(page, "\\fB\\-\\-socket\\fR \\fIFILE\\fR")) << page;
    EXPECT_TRUE(has(page, "FWD_SOCKET"));
    for (const control::Method& method : control::methods()) {
        const auto begin = page.find(fmt::format(".SS {}\n", roff(method.command)));
        ASSERT_NE(begin, std::string::npos) << method.command;
        const std::string section = page.substr(begin, page.find(".SS ", begin + 1) - begin);
        EXPECT_TRUE(has(section, roff(method.help))) << section;
        EXPECT_TRUE(has(section, roff(method.example))) << section;
        for (const control::Param& param : method.params) {
            if (param.type == control::ParamType::masquerades) continue;
            EXPECT_TRUE(has(section, roff(param.help))) << param.name << " is not in " << section;
        }
    }
}

TEST(ManPage, OfTheConfigurationHasEveryKeyWithAHelp) {
    const std::string page = man_page("@settings@", "1");
    for (const auto& group : control::setting_groups()) {
        for (const auto& key : group.keys)
            EXPECT_TRUE(has(page, fmt::format("\\fB{}\\fR = {};", roff(key.key), roff(key.example))))
                << key.key;
    }
}

TEST(ManPage, TellsTheVersionAndRefusesWhatItDoesNotKnow) {
    EXPECT_EQ(man_page(".TH FWDD 8 \"\"\nwords", "1.2"), ".TH FWDD 8 \"\" \"fwd 1.2\"\nwords\n");
    EXPECT_THROW(man_page("@fwdctl-comands@", "1"), std::runtime_error);
}

TEST(ManPage, TextIsNotTakenForRequestsOfRoff) {
    EXPECT_EQ(roff(".so /etc\n'it' \\ --x"), "\\&.so /etc\n\\&\\(aqit\\(aq \\e \\-\\-x");
}

TEST(Completion, KnowsCommandsAndOptionsInEveryShell) {
    const std::string zsh = zsh_completion(described_fwdctl());
    const std::string fish = fish_completion(described_fwdctl());
    for (const control::Method& method : control::methods()) {
        const std::string command{method.command};
        EXPECT_TRUE(has(zsh, "'" + command + ":")) << command;
        EXPECT_TRUE(has(fish, "-a " + command + " ")) << command;
    }
    EXPECT_TRUE(has(zsh, "--not-from[")) << zsh;
    EXPECT_TRUE(has(fish, "-l not-from -x")) << fish;
    EXPECT_TRUE(has(bash_completion(describe(control::Options{}.app())), "--check-config"));
}

TEST(Completion, OfBashCompletesCommandsOptionsAndFiles) {
    EXPECT_EQ(completed_by_bash("fwdctl delete-"), "delete-masquerade delete-rule\n");
    EXPECT_EQ(completed_by_bash("fwdctl --socket /tmp/s list-r"), "list-rules\n");
    EXPECT_EQ(completed_by_bash("fwdctl stats --w"), "--watch\n");
    EXPECT_EQ(completed_by_bash("fwdctl add-rule --max-sessions ''"), "\n");
    EXPECT_EQ(completed_by_bash("fwdctl add-rules /proc/self/uid_m"), "/proc/self/uid_map\n");
}

}  // namespace
}  // namespace fwd::documents
