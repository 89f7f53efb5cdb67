// SPDX-License-Identifier: BSD-3-Clause
// R17: the log of translations, as an operator meets it.
#include <fmt/format.h>

#include <algorithm>
#include <sstream>

#include "test/e2e/lab.h"

namespace fwd::test {
namespace {

class TranslationLogTest : public LabTest {
 protected:
    std::vector<Json> lines(const std::string& file = "t.log") {
        std::vector<Json> parsed;
        std::istringstream text{read_file(files() / file)};
        for (std::string line; std::getline(text, line);) parsed.push_back(Json::parse(line));
        return parsed;
    }
    bool has(const std::string& event, std::size_t count, const std::string& file = "t.log") {
        return eventually([&] {
            const auto all = lines(file);
            return static_cast<std::size_t>(std::ranges::count(all, event, [](const Json& line) {
                       return line["event"].get<std::string>();
                   })) == count;
        });
    }
    std::string log_setting() const {
        return fmt::format("translation_log = {{ file = \"{}\"; }};\n", (files() / "t.log").string());
    }
};

/// R17
TEST_F(TranslationLogTest, TellsSessionsAndIsMovedAndTurnedOffWhileFwddRuns) {
    ASSERT_NO_FATAL_FAILURE(up({.config = log_setting()}));
    ASSERT_NO_FATAL_FAILURE(start_echo_server(7000));
    add_rule("tcp 10.0.0.3:7 10.0.0.4:7000 --name echo");
    Socket first = connected(tcp("client"));
    ASSERT_TRUE(has("start", 1));
    const Json started = lines().at(1);
    const Json session = sessions().at(0);
    for (const char* key : {"protocol", "rule", "client", "external", "source", "target"})
        EXPECT_EQ(started[key], session[key]) << key;

    // As logrotate does it.
    std::filesystem::rename(files() / "t.log", files() / "old.log");
    fwdctl("reload");
    fwdctl("clear-sessions");
    ASSERT_TRUE(has("end", 1));
    EXPECT_TRUE(has("start", 1, "old.log"));
    const Json ended = lines().at(0);
    EXPECT_EQ(ended["client"], started["client"]);
    EXPECT_GE(ended["packets_in"], 3);
    EXPECT_GE(ended["bytes_out"], 100);
    const Json stats = fwdctl("stats")["translation_log"];
    EXPECT_EQ(stats["written"], 3);
    EXPECT_EQ(stats["lost"], 0);

    write_file(files() / "lab.conf", "");
    fwdctl("reload");
    connected(tcp("client"));
    write_file(files() / "lab.conf", log_setting());
    fwdctl("reload");
    ASSERT_TRUE(has("log-start", 1));
    stop_fwdd();
    EXPECT_EQ(lines().back()["event"], "fwdd-stop");
    EXPECT_TRUE(has("start", 0)) << "nothing was told while it was off";
    start_fwdd();
}

TEST_F(TranslationLogTest, FileThatCannotBeOpenedIsRefusedAtAReload) {
    ASSERT_NO_FATAL_FAILURE(up({.config = "timeouts = { udp = 300; };\n"}));
    write_file(files() / "lab.conf",
               fmt::format("translation_log = {{ file = \"{}\"; }};\n", files().path().string()));
    const Finished done = try_fwdctl("reload");
    EXPECT_EQ(done.status, 1);
    EXPECT_NE(done.output.find("Is a directory"), std::string::npos) << done.output;
}

}  // namespace
}  // namespace fwd::test
