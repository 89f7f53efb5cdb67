// SPDX-License-Identifier: BSD-3-Clause
// fwdctl without a daemon: files of rules, tables, and what scripts see of errors.
#include "tools/fwdctl/fwdctl.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <sstream>
#include <vector>

#include "tools/fwdctl/report.h"
#include "tools/fwdctl/rule_file.h"
#include "tools/fwdctl/table.h"

namespace fwd::fwdctl {
namespace {

using control::Json;

struct Outcome {
    int status = 0;
    std::string out;
    std::string err;
};

Outcome run_with(std::vector<const char*> words) {
    words.insert(words.begin(), "fwdctl");
    std::ostringstream out;
    std::ostringstream err;
    const int status = run(static_cast<int>(words.size()), words.data(), out, err);
    return {status, out.str(), err.str()};
}

constexpr const char* kNowhere = "/nowhere/fwd.sock";

TEST(RuleFile, LinesAreTheArgumentsOfAddRule) {
    const auto file = parse_rule_file(
        "# web servers\n"
        "tcp 10.0.0.3:80 10.0.0.4:8080 --name web\n"
        "\n"
        "tcp+udp 10.0.0.3:53 10.0.0.5:53 --link lan --source preserve --from 10.0.0.0/8 --from 1.2.3.4/32 # "
        "dns\n",
        "rules.txt");
    ASSERT_TRUE(file) << file.error().text();
    EXPECT_EQ(
        file->rules,
        (Json::array(
            {{{"protocol", "tcp"}, {"external", "10.0.0.3:80"}, {"target", "10.0.0.4:8080"}, {"name", "web"}},
             {{"protocol", "tcp+udp"},
              {"external", "10.0.0.3:53"},
              {"target", "10.0.0.5:53"},
              {"link", "lan"},
              {"source", "preserve"},
              {"from", {"10.0.0.0/8", "1.2.3.4/32"}}}})));
    EXPECT_EQ(file->places, (std::vector<std::string>{"rules.txt:2", "rules.txt:4"}));
}

TEST(RuleFile, QuotesKeepATextTogether) {
    const auto file = parse_rule_file(
        "tcp 10.0.0.3:80 10.0.0.4:80 --comment \"Bob's # 1\" --disabled # off\n"
        "tcp 10.0.0.3:81 '10.0.0.4:81*2,10.0.0.5:81' --comment ''\n",
        "rules.txt");
    ASSERT_TRUE(file) << file.error().text();
    EXPECT_EQ(file->rules[0]["comment"], "Bob's # 1");
    EXPECT_EQ(file->rules[0]["disabled"], true);
    EXPECT_EQ(file->rules[1]["target"], "10.0.0.4:81*2,10.0.0.5:81");
    EXPECT_EQ(file->rules[1]["comment"], "");
    const auto unclosed = parse_rule_file("\ntcp 10.0.0.3:80 10.0.0.4:80 --comment 'shop\n", "rules.txt");
    ASSERT_FALSE(unclosed);
    EXPECT_EQ(unclosed.error().text(), "rules.txt:2: want another ' at the end of the text");
}

TEST(RuleFile, LibconfigIsWhatExportWrites) {
    const auto file = parse_rule_file(
        "rules = (\n"
        "    { name = \"web\"; protocol = \"tcp\"; external = \"10.0.0.3:80\"; target = \"10.0.0.4:8080\"; "
        "}\n"
        ");\n",
        "rules.conf");
    ASSERT_TRUE(file) << file.error().text();
    ASSERT_EQ(file->rules.size(), 1U);
    EXPECT_EQ(file->rules[0]["name"], "web");
    EXPECT_EQ(file->rules[0]["protocol"], "tcp");
    EXPECT_EQ(file->rules[0]["external"], "10.0.0.3:80");
    EXPECT_EQ(file->rules[0]["target"], "10.0.0.4:8080");
}

TEST(RuleFile, ErrorsNameTheLine) {
    const auto text_of = [](const std::string& text) {
        const auto file = parse_rule_file(text, "rules.txt");
        return file ? std::string{"good"} : file.error().text();
    };
    EXPECT_TRUE(text_of("tcp 10.0.0.3:80 10.0.0.4:80\ntcp 10.0.0.3:99999 10.0.0.4:80\n")
                    .starts_with("rules.txt:2: external: "))
        << text_of("tcp 10.0.0.3:80 10.0.0.4:80\ntcp 10.0.0.3:99999 10.0.0.4:80\n");
    EXPECT_TRUE(text_of("tcp 10.0.0.3:80\n").starts_with("rules.txt:1: ")) << text_of("tcp 10.0.0.3:80\n");
    EXPECT_EQ(text_of("# nothing\n"), "rules.txt: no rules in it");
}

TEST(RuleFile, AnswerAboutARuleOfManyNamesItsLine) {
    const auto file =
        parse_rule_file("tcp 10.0.0.3:80 10.0.0.4:80\n\nudp 10.0.0.3:53 10.0.0.4:53\n", "rules.txt");
    ASSERT_TRUE(file);
    EXPECT_EQ(at_place({control::ErrorKind::refused, "rules[1].external", "taken"}, *file).text(),
              "rules.txt:3: external: taken");
    EXPECT_EQ(at_place({control::ErrorKind::refused, "rules[2].external", "taken"}, *file).field,
              "rules[2].external")
        << "there is no such rule";
}

TEST(Table, ColumnsAreAsWideAsTheirWidestCellAndNumbersStandRight) {
    Table table{{{"NAME"}, {"PACKETS", Table::Align::right}}};
    table.add({"a-long-name", "7"});
    table.add({"b", "123456789"});
    EXPECT_EQ(table.take_text(),
              "NAME           PACKETS\n"
              "a-long-name          7\n"
              "b            123456789\n");
    table.add({"c", "1"});
    EXPECT_EQ(table.take_text(), "c                    1\n") << "titles once, columns as before";
}

TEST(Report, RuleAndReloadReadAsSentences) {
    Json result{{"rule",
                 {{"name", "web"},
                  {"protocol", "tcp"},
                  {"external", "10.0.0.3:80"},
                  {"target", "10.0.0.4:8080"},
                  {"source", "auto"},
                  {"source_effective", "masquerade"}}}};
    EXPECT_EQ(report("rule.add", result),
              "added web: tcp 10.0.0.3:80 to 10.0.0.4:8080, source auto: masquerade\n");
    result["sessions_kept"] = 3;
    result["sessions_ended"] = 0;
    EXPECT_EQ(
        report("rule.change", result),
        "changed web: tcp 10.0.0.3:80 to 10.0.0.4:8080, source auto: masquerade; live sessions that go on "
        "until they end: 3\n");
    EXPECT_EQ(
        report("reload", {{"rules", 4}, {"added", 1}, {"removed", 2}, {"switched", 1}, {"unchanged", 2}}),
        "4 rules: 1 added, 2 removed, 1 enabled or disabled, 2 unchanged\n");
}

TEST(Report, WatchedStatsAreOfTheTimeBetween) {
    const auto stats = [](int busy, int all, int received) {
        return Json{{"workers",
                     {{{"worker", 0},
                       {"busy_percent", 100.0 * busy / all},
                       {"busy_cycles", busy},
                       {"all_cycles", all},
                       {"received", received}}}}};
    };
    const Json before = stats(100, 1000, 50);
    const Json now = stats(850, 2000, 250);
    EXPECT_NE(report_stats(now, {}).find("42.5"), std::string::npos) << report_stats(now, {});
    const std::string watched = report_stats(now, EarlierStats{before, std::chrono::seconds{2}});
    EXPECT_NE(watched.find("75"), std::string::npos) << watched;
    EXPECT_EQ(watched.find("42.5"), std::string::npos) << watched;
    EXPECT_NE(watched.find("100"), std::string::npos) << "packets a second: " << watched;
}

TEST(Fwdctl, WrongUsageIsStatusTwoAndSaysWhat) {
    const std::vector<std::vector<const char*>> wrong_commands{
        {},
        {"add-rules"},
        {"add-rule", "tcp", "10.0.0.3:80"},
        {"list-sessions", "--limit", "many"},
        {"list-sessions", "--limit", "0"},
        {"list-rules", "--colour"},
    };
    for (const auto& words : wrong_commands) {
        const Outcome done = run_with(words);
        EXPECT_EQ(done.status, kUsage) << done.err;
        EXPECT_NE(done.err, "");
        EXPECT_EQ(done.out, "");
    }
    const Outcome misspelt = run_with({"list-rulse"});
    EXPECT_EQ(misspelt.status, kUsage);
    EXPECT_NE(misspelt.err.find("Did you mean list-rules?"), std::string::npos) << misspelt.err;
}

TEST(Fwdctl, HelpIsNoError) {
    for (const auto& words : std::vector<std::vector<const char*>>{{"--help"}, {"add-rule", "--help"}}) {
        const Outcome done = run_with(words);
        EXPECT_EQ(done.status, kDone);
        EXPECT_NE(done.out.find("Usage"), std::string::npos) << done.out;
        EXPECT_EQ(done.err, "");
    }
}

TEST(Fwdctl, UnreachableDaemonIsStatusThree) {
    const Outcome done = run_with({"--socket", kNowhere, "status"});
    EXPECT_EQ(done.status, kUnreachable);
    EXPECT_TRUE(done.err.starts_with("fwdctl: cannot reach fwdd at /nowhere/fwd.sock")) << done.err;
}

TEST(Fwdctl, NothingOfAFileReachesTheTerminalRaw) {
    const char* const file = "\x1b[31m/nowhere";
    const Outcome done = run_with({"add-rules", file});
    EXPECT_EQ(done.status, kRefused);
    EXPECT_EQ(done.err.find('\x1b'), std::string::npos);
    EXPECT_NE(done.err.find("\\x1b[31m/nowhere: cannot be read"), std::string::npos) << done.err;
}

TEST(Fwdctl, WithJsonErrorsAreJsonToo) {
    struct {
        std::vector<const char*> words;
        int status;
        const char* kind;
    } const rows[] = {
        {{"--json", "--socket", kNowhere, "status"}, kUnreachable, "unavailable"},
        {{"--json", "add-rules", "/nowhere/rules.txt"}, kRefused, "invalid"},
        {{"--json", "list-rulse"}, kUsage, "invalid"},
        {{"list-sessions", "--limit", "0", "--json"}, kUsage, "invalid"},
        {{"--json", "add-rule", "all", "10.0.0.3", "10.0.0.4", "--outbound=yes"}, kUsage, "invalid"},
    };
    for (const auto& row : rows) {
        const Outcome done = run_with(row.words);
        EXPECT_EQ(done.status, row.status) << done.err;
        EXPECT_EQ(done.out, "");
        const Json message = Json::parse(done.err, nullptr, false);
        ASSERT_TRUE(message.is_object() && message.contains("error")) << done.err;
        EXPECT_EQ(message["error"]["kind"], row.kind);
        EXPECT_NE(message["error"]["message"], "");
    }
}

TEST(Bind, IsForRootAloneAndSaysSo) {
    for (const char* command : {"bind", "unbind"}) {
        // Who is root may stop being it only in a process of its own.
        EXPECT_EXIT(
            {
                if (::geteuid() == 0 && ::seteuid(65534) != 0) std::abort();
                const Outcome done = run_with({command, "0000:01:00.0"});
                std::cerr << done.err;
                std::exit(done.status);
            },
            ::testing::ExitedWithCode(1),
            std::string{"only root may take cards from drivers: sudo fwdctl "} + command + " 0000:01:00.0");
    }
}

}  // namespace
}  // namespace fwd::fwdctl
