// SPDX-License-Identifier: BSD-3-Clause
// Every command of fwdctl, as text and as JSON, against a fwdd that forwards.
#include <fmt/format.h>

#include "test/e2e/lab.h"

namespace fwd::test {
namespace {

using namespace std::chrono_literals;

class FwdctlTest : public LabTest {
 protected:
    /// Standard output alone; what went to standard error is an error of the test.
    std::string text(const std::string& words) {
        const Finished done = try_fwdctl(words);
        EXPECT_EQ(done.status, 0) << "fwdctl " << words << ": " << done.output;
        return done.output;
    }
    void expect_texts(const std::string& words, const std::vector<std::string>& texts) {
        const std::string output = text(words);
        for (const std::string& wanted : texts)
            EXPECT_NE(output.find(wanted), std::string::npos) << wanted << " is not in: " << output;
    }
    /// The error as JSON on standard error, with nothing on standard output.
    void expect_json_error(const std::string& words, int status, const std::string& kind) {
        const Finished done = try_fwdctl("--json " + words + " 2>&1 >/dev/null");
        EXPECT_EQ(done.status, status) << done.output;
        const Json message = Json::parse(done.output, nullptr, false);
        ASSERT_TRUE(message.is_object() && message.contains("error")) << done.output;
        EXPECT_EQ(message["error"]["kind"], kind) << message;
        const Finished quiet = try_fwdctl("--json " + words + " 2>/dev/null");
        EXPECT_EQ(quiet.output, "");
    }
};

TEST_F(FwdctlTest, EveryCommandWorksAsTextAndAsJson) {
    ASSERT_NO_FATAL_FAILURE(up({.workers = 2,
                                .config = "rules = ( { name = \"old\"; protocol = \"tcp\"; "
                                          "external = \"10.0.0.3:99\"; target = \"10.0.0.4:99\"; } );\n"}));
    // What was chosen at the start.
    for (const char* said : {"link lan on net_af_packet0", "2 rx and 2 tx queue(s)",
                             "2 worker(s) on core(s) ", "room for 65536 sessions", " MB of ordinary memory"})
        EXPECT_NE(fwdd_log().find(said), std::string::npos) << said << " is not in: " << fwdd_log();
    ASSERT_NO_FATAL_FAILURE(start_echo_server(7000));

    // Rules come.
    expect_texts("add-rule tcp 10.0.0.3:80 10.0.0.4:7000", {"added tcp-10.0.0.3-80: tcp 10.0.0.3:80"});
    expect_texts(
        "add-rule tcp+udp 10.0.0.3:7 10.0.0.4:7000 --name echo --link lan --source masquerade "
        "--from 10.0.0.0/24 --from 192.0.2.0/24 --runtime",
        {"added echo: tcp+udp 10.0.0.3:7 to 10.0.0.4:7000, source masquerade"});
    const Json added = fwdctl("add-rule udp 10.0.0.3:53 10.0.0.4:7000 --name dns")["rule"];
    EXPECT_EQ(added["name"], "dns");
    EXPECT_EQ(added["source_effective"], "masquerade");
    EXPECT_EQ(added["origin"], "database");
    write_file(files() / "rules.txt",
               "tcp 10.0.0.3:81 10.0.0.4:7000 --name a\nudp 10.0.0.3:81 10.0.0.4:7000 --name b\n");
    const std::string file = files() / "rules.txt";
    EXPECT_EQ(text("add-rules " + file), "added 2 rules\n");
    write_file(files() / "more.txt", "tcp 10.0.0.3:82 10.0.0.4:7000 --name c\n");
    EXPECT_EQ(fwdctl("add-rules --runtime - < " + (files() / "more.txt").string())["added"], 1);
    EXPECT_TRUE(eventually([&] { return fwdd_log().find("added 2 rule(s): a, b") != std::string::npos; }));

    // They are listed and exported.
    expect_texts("list-rules",
                 {"NAME", "ORIGIN", "10.0.0.0/24,192.0.2.0/24", "runtime", "database", "config"});
    const Json rules = fwdctl("list-rules")["rules"];
    ASSERT_EQ(rules.size(), 7U);
    EXPECT_EQ(rules[2]["name"], "echo");
    EXPECT_EQ(rules[2]["from"], (Json{"10.0.0.0/24", "192.0.2.0/24"}));
    EXPECT_EQ(rules[2]["link"], "lan");
    expect_texts("export", {"rules = (", "name = \"echo\"; protocol = \"tcp+udp\""});
    EXPECT_NE(fwdctl("export")["text"].get<std::string>().find("name = \"dns\""), std::string::npos);
    const std::string lost =
        fmt::format("{} --socket {} export > /dev/full", build_file("tools/fwdctl/fwdctl").string(),
                    lab_file("fwd.sock").string());
    EXPECT_EQ(run({"sh", "-c", lost}).status, 1) << "an export that is not on disk";
    EXPECT_EQ(text("delete-rule a"), "deleted a; live sessions that go on until they end: 0\n");
    EXPECT_EQ(fwdctl("delete-rule b")["deleted"], "b");

    // More sessions than are shown.
    std::vector<Socket> talks;
    talks.reserve(15);
    for (int i = 0; i < 12; ++i) talks.push_back(connected(udp("client")));
    for (int i = 0; i < 3; ++i) talks.push_back(connected(udp("client"), 53));
    EXPECT_EQ(fwdctl("list-sessions")["sessions"].size(), 15U);
    const Json some = fwdctl("list-sessions --rule echo --limit 5");
    EXPECT_EQ(some["sessions"].size(), 5U);
    EXPECT_NE(some["cursor"], nullptr) << "there are more";
    EXPECT_EQ(some["sessions"][0]["rule"], "echo");
    EXPECT_EQ(fwdctl("list-sessions --rule dns")["sessions"].size(), 3U);
    const std::string listed = text("list-sessions --rule echo --limit 4");
    EXPECT_EQ(std::ranges::count(listed, '\n'), 1 + 4) << listed;
    EXPECT_NE(listed.find("CLIENT"), std::string::npos) << listed;

    // What there is beside them.
    expect_texts("list-links", {"lan", "net_af_packet", "10.0.0.2/24"});
    const Json links = fwdctl("list-links")["links"];
    ASSERT_EQ(links.size(), 1U);
    EXPECT_EQ(links[0]["rx_queues"], 2);
    EXPECT_EQ(links[0]["up"], true);
    expect_texts("list-neighbours", {"10.0.0.4", "reachable"});
    EXPECT_GE(fwdctl("list-neighbours")["neighbours"].size(), 2U);
    expect_texts("stats", {"sessions live", "RULE", "WORKER"});
    const Json stats = fwdctl("stats");
    EXPECT_EQ(stats["sessions"]["live"], 15);
    EXPECT_EQ(stats["workers"].size(), 2U);
    // Rules' totals are counted anew only now and then when counting them takes long.
    EXPECT_TRUE(eventually([&] {
        const Json rules_now = fwdctl("stats")["rules"];
        return std::ranges::any_of(rules_now, [](const Json& rule) {
            return rule["name"] == "echo" && rule["sessions"] == 12 && rule["packets"] == 24;
        });
    }));
    const auto watch = [](const Command& options) {
        Command command{build_file("tools/fwdctl/fwdctl"), "--socket", lab_file("fwd.sock")};
        command.insert(command.end(), options.begin(), options.end());
        command.insert(command.end(), {"stats", "--watch"});
        return Process{command};
    };
    Process watched = watch({});
    EXPECT_TRUE(watched.says("/S")) << "rates from the second round on: " << watched.output();
    EXPECT_TRUE(watched.is_running());
    EXPECT_EQ(watched.stop().status, 128 + SIGTERM);
    Process stream = watch({"--json"});
    EXPECT_TRUE(stream.says("\n"));
    const std::string lines = stream.stop().output;
    EXPECT_TRUE(Json::parse(lines.substr(0, lines.find('\n')), nullptr, false).is_object());

    EXPECT_EQ(fwdctl("clear-sessions --rule dns")["cleared"], 3);
    EXPECT_TRUE(eventually([&] { return sessions().size() == 12; }));
    EXPECT_EQ(text("clear-sessions"), "ended 12 sessions\n");
    EXPECT_TRUE(eventually([&] { return sessions().empty(); }));

    // The configuration changes, and is read again by command and by signal.
    const auto configure = [&](const std::string& name) {
        write_file(files() / "lab.conf",
                   fmt::format("rules = ( {{ name = \"{}\"; protocol = \"tcp\"; external = "
                               "\"10.0.0.3:99\"; target = \"10.0.0.4:99\"; }} );\n",
                               name));
    };
    configure("new");
    EXPECT_EQ(text("reload"), "5 rules: 1 added, 1 removed, 0 enabled or disabled, 0 unchanged\n");
    configure("newer");
    EXPECT_EQ(fwdctl("reload")["added"], 1);
    configure("newest");
    const auto pid = fwdctl("status")["pid"].get<pid_t>();
    ASSERT_EQ(kill(pid, SIGHUP), 0);
    EXPECT_TRUE(eventually([&] {
        const auto names = rule_names();
        return std::ranges::find(names, "newest") != names.end();
    }));

    expect_texts("status", {"up for", "2", "of 65536", "hugepages"});
    EXPECT_EQ(fwdctl("status")["workers"], 2);
    expect_texts("version", {"version", "DPDK 22.11"});
    EXPECT_TRUE(fwdctl("version").contains("dpdk"));
    expect_every_packet_accounted_for();
}

TEST_F(FwdctlTest, ExitStatusTellsWhoseFaultItWas) {
    ASSERT_NO_FATAL_FAILURE(up());
    EXPECT_EQ(try_fwdctl("status").status, 0);
    EXPECT_EQ(try_fwdctl("delete-rule nobody").status, 1);
    EXPECT_EQ(try_fwdctl("add-rule tcp 10.0.0.4:80 10.0.0.4:80").status, 1);
    EXPECT_EQ(try_fwdctl("add-rule tcp").status, 2);

    expect_json_error("delete-rule nobody", 1, "not_found");
    expect_json_error("add-rule tcp 10.0.0.3:99999 10.0.0.4:80", 1, "invalid");
    expect_json_error("add-rule tcp", 2, "invalid");
    stop_fwdd();
    EXPECT_EQ(try_fwdctl("status").status, 3);
    expect_json_error("status", 3, "unavailable");
    start_fwdd();
}

}  // namespace
}  // namespace fwd::test
