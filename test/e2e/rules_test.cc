// SPDX-License-Identifier: BSD-3-Clause
// Rules that come and go while traffic flows.
#include <fmt/format.h>

#include <atomic>
#include <thread>

#include "test/e2e/conversation.h"
#include "test/e2e/lab.h"

namespace fwd::test {
namespace {

using namespace std::chrono_literals;

constexpr const char* kConfig = R"(
    rules = (
        {{ name = "echo"; protocol = "tcp+udp"; external = "10.0.0.3:7"; target = "10.0.0.4:7000"; }}{}
    );
)";

class RulesTest : public LabTest {
 protected:
    void up_with_echo(const LabOptions& options = {}) {
        ASSERT_NO_FATAL_FAILURE(up(options));
        ASSERT_NO_FATAL_FAILURE(start_echo_server(7000));
    }
    void write_config(const std::string& more_rules) {
        write_file(files() / "lab.conf", fmt::format(kConfig, more_rules));
    }
};

TEST_F(RulesTest, SessionsDoNotNoticeRulesThatComeAndGo) {
    ASSERT_NO_FATAL_FAILURE(up_with_echo({.workers = 2}));
    add_rule("tcp+udp 10.0.0.3:7 10.0.0.4:7000 --name echo");
    Conversation tcp_talk{connected(tcp("client"))};
    Conversation udp_talk{connected(udp("client"))};

    std::string many = "rules = (\n";
    for (int i = 0; i < 500; ++i) {
        many += fmt::format(
            "{}  {{ name = \"m{}\"; protocol = \"tcp\"; external = \"10.0.0.3:{}\"; target = "
            "\"10.0.0.4:7000\"; }}",
            i == 0 ? "" : ",\n", i, 20000 + i);
    }
    write_file(files() / "many.conf", many + "\n);\n");
    for (int i = 0; i < 30; ++i) {
        add_rule(fmt::format("tcp 10.0.0.3:{} 10.0.0.4:7000 --name r{}", 1000 + i, i));
        connected(tcp("client"), static_cast<std::uint16_t>(1000 + i));
        if (i == 10) {
            EXPECT_EQ(fwdctl("add-rules " + (files() / "many.conf").string())["added"], 500);
        }
        if (i >= 10) fwdctl(fmt::format("delete-rule r{}", i - 10));
    }
    for (const unsigned more : {tcp_talk.answers() + 10, udp_talk.answers() + 10})
        EXPECT_TRUE(eventually([&] { return tcp_talk.answers() > more || udp_talk.answers() > more; }));
    EXPECT_TRUE(tcp_talk.was_right());
    EXPECT_TRUE(udp_talk.was_right());
    EXPECT_EQ(rule_names().size(), 1U + 500U + 10U);
    expect_every_packet_accounted_for();
}

/// L5
TEST_F(RulesTest, DeletedRuleKeepsItsLiveSessionsAndTakesNoNewOnes) {
    ASSERT_NO_FATAL_FAILURE(up_with_echo());
    add_rule("tcp+udp 10.0.0.3:7 10.0.0.4:7000 --name echo");
    Socket by_tcp = connected(tcp("client"));
    Socket by_udp = connected(udp("client"));

    EXPECT_EQ(fwdctl("delete-rule echo")["sessions_kept"], 2);

    EXPECT_TRUE(by_tcp.echoes("still there"));
    EXPECT_TRUE(by_udp.echoes("still there"));
    EXPECT_FALSE(tcp("client").connect({"10.0.0.3", 7}, 300ms));
    EXPECT_EQ(sessions().size(), 2U);
    EXPECT_EQ(sessions().at(0)["rule"], nullptr);
    expect_every_packet_accounted_for();
}

/// L5: whatever opens sessions at that moment, none of the rule is there afterwards.
TEST_F(RulesTest, KilledRuleLeavesNoSessionOfAStreamOfNewOnes) {
    ASSERT_NO_FATAL_FAILURE(up_with_echo({.workers = 2}));
    std::atomic<bool> ended = false;
    std::thread stream{[&] {
        while (!ended) {
            Socket socket = udp("client");
            if (socket.connect({"10.0.0.3", 7})) socket.send("hello");
        }
    }};
    for (int round = 0; round < 10; ++round) {
        add_rule("udp 10.0.0.3:7 10.0.0.4:7000 --name echo");
        EXPECT_TRUE(eventually([&] { return sessions().size() > 20; })) << round;
        EXPECT_GT(fwdctl("delete-rule echo --existing kill")["sessions_ended"], 20) << round;
        EXPECT_EQ(sessions().size(), 0U) << round;
    }
    ended = true;
    stream.join();
}

/// L7
TEST_F(RulesTest, ClearedSessionsEndAndTheirRulesGoOn) {
    ASSERT_NO_FATAL_FAILURE(up_with_echo());
    add_rule("tcp 10.0.0.3:7 10.0.0.4:7000 --name echo");
    add_rule("tcp 10.0.0.3:8 10.0.0.4:7000 --name other");
    Socket echo = connected(tcp("client"), 7);
    Socket other = connected(tcp("client"), 8);

    EXPECT_EQ(fwdctl("clear-sessions --rule echo")["cleared"], 1);

    EXPECT_TRUE(eventually([&] { return sessions().size() == 1; }));
    EXPECT_TRUE(echo.send("anyone?"));
    EXPECT_TRUE(eventually([&] { return dropped("not-syn") >= 1; }));
    EXPECT_TRUE(other.echoes("still there"));
    connected(tcp("client"), 7);

    EXPECT_EQ(fwdctl("clear-sessions")["cleared"], 2);
    EXPECT_TRUE(eventually([&] { return sessions().empty(); }));
    connected(tcp("client"), 8);
    EXPECT_EQ(rule_names(), (std::vector<std::string>{"echo", "other"}));
    expect_every_packet_accounted_for();
}

/// L6
TEST_F(RulesTest, ReloadAppliesAChangedFileAndSessionsDoNotNotice) {
    ASSERT_NO_FATAL_FAILURE(up_with_echo({.config = fmt::format(kConfig,
                                                                R"(,
        { name = "old"; protocol = "tcp"; external = "10.0.0.3:8"; target = "10.0.0.4:7000"; })")}));
    add_rule("tcp 10.0.0.3:10 10.0.0.4:7000 --name added");
    Conversation talk{connected(tcp("client"))};

    write_config(R"(,
        { name = "new"; protocol = "tcp"; external = "10.0.0.3:9"; target = "10.0.0.4:7000"; })");
    const Json reloaded = fwdctl("reload");

    EXPECT_EQ(reloaded["added"], 1) << reloaded;
    EXPECT_EQ(reloaded["removed"], 1) << reloaded;
    EXPECT_EQ(reloaded["unchanged"], 1) << reloaded;
    connected(tcp("client"), 9);
    connected(tcp("client"), 10);
    EXPECT_FALSE(tcp("client").connect({"10.0.0.3", 8}, 300ms));
    EXPECT_TRUE(talk.was_right());
    expect_every_packet_accounted_for();
}

/// L6
TEST_F(RulesTest, ReloadOfABadFileChangesNothingAndSaysWhere) {
    ASSERT_NO_FATAL_FAILURE(up_with_echo({.config = fmt::format(kConfig, "")}));
    Conversation talk{connected(tcp("client"))};
    struct {
        const char* rule;
        std::vector<std::string> said;
    } const bad_rules[] = {
        {R"(,
        { name = "x"; protocol = "tcp"; external = "10.0.0.3:70000"; target = "10.0.0.4:1"; })",
         {"lab.conf:4", "external", "70000"}},
        {R"(,
        { name = "x"; protocol = "tcp"; external = "10.0.0.3:8"; targte = "10.0.0.4:1"; })",
         {"lab.conf:4", "targte", "target"}},
        {R"(,
        { name = "echo"; protocol = "tcp"; external = "10.0.0.3:8"; target = "10.0.0.4:1"; })",
         {"lab.conf:4", "echo"}},
        {R"(,
        { name = "x"; protocol = "udp"; external = "10.0.0.3:7"; target = "10.0.0.4:1"; })",
         {"lab.conf:4", "external", "echo"}},
        {R"(,
        { name = "x" protocol = "udp"; })",
         {"lab.conf:4"}},
    };
    for (const auto& bad : bad_rules) {
        write_config(bad.rule);
        const Finished done = try_fwdctl("reload");
        EXPECT_EQ(done.status, 1) << done.output;
        for (const std::string& text : bad.said)
            EXPECT_NE(done.output.find(text), std::string::npos) << text << " is not in: " << done.output;
        EXPECT_EQ(rule_names(), std::vector<std::string>{"echo"});
    }
    std::filesystem::remove(files() / "lab.conf");
    EXPECT_EQ(try_fwdctl("reload").status, 1);
    connected(tcp("client"));
    EXPECT_TRUE(talk.was_right());
    expect_every_packet_accounted_for();
}

TEST_F(RulesTest, RuleOfTheConfigurationIsNotDeletedByFwdctl) {
    ASSERT_NO_FATAL_FAILURE(up({.config = fmt::format(kConfig, "")}));
    const Finished done = try_fwdctl("delete-rule echo");
    EXPECT_EQ(done.status, 1);
    EXPECT_NE(done.output.find("lab.conf:3"), std::string::npos) << done.output;
    EXPECT_EQ(rule_names(), std::vector<std::string>{"echo"});
}

TEST_F(RulesTest, ExportedRulesComeBackByAddRules) {
    ASSERT_NO_FATAL_FAILURE(up_with_echo());
    add_rule("tcp 10.0.0.3:7 10.0.0.4:7000 --name echo --from 10.0.0.0/24");
    add_rule("udp 10.0.0.5:7 10.0.0.4:7000 --link lan --source masquerade");
    const std::string text = try_fwdctl("export").output;
    write_file(files() / "rules.conf", text);
    const std::string file = files() / "rules.conf";
    for (const std::string& name : rule_names()) fwdctl("delete-rule " + name);
    EXPECT_EQ(fwdctl(fmt::format("add-rules - < {}", file))["added"], 2);
    EXPECT_EQ(try_fwdctl("export").output, text);
    connected(tcp("client"));
}

/// L5
TEST_F(RulesTest, DeletedRulesSessionsAreKeptDrainedOrKilledAsTheOperatorSays) {
    ASSERT_NO_FATAL_FAILURE(up_with_echo());
    for (const std::string existing : {"keep", "drain", "kill"}) {
        add_rule("udp 10.0.0.3:7 10.0.0.4:7000 --name echo");
        Socket talk = connected(udp("client"));
        const Json deleted = fwdctl("delete-rule echo --existing " + existing);
        const bool kill = existing == "kill";
        EXPECT_EQ(deleted["sessions_kept"], kill ? 0 : 1);
        EXPECT_EQ(deleted["sessions_ended"], kill ? 1 : 0);
        EXPECT_EQ(talk.echoes("still there?"), !kill) << existing;
        EXPECT_EQ(rule_names().size(), existing == "drain" ? 1U : 0U);
        if (existing == "drain") {
            EXPECT_EQ(fwdctl("list-rules")["rules"][0]["origin"], "draining");
        }
        fwdctl("clear-sessions");
        EXPECT_TRUE(eventually([&] { return rule_names().empty() && sessions().empty(); }));
    }
    const Finished wrong = try_fwdctl("delete-rule echo --existing maybe");
    EXPECT_EQ(wrong.status, 1);
    EXPECT_NE(wrong.output.find("existing: got 'maybe', want 'keep', 'drain' or 'kill'"), std::string::npos)
        << wrong.output;
    expect_every_packet_accounted_for();
}

/// L1: a whole address, once it is asked for in so many words.
TEST_F(RulesTest, WholeAddressIsForwardedWithEveryPortAndPing) {
    ASSERT_NO_FATAL_FAILURE(up_with_echo());
    const Finished no_port = try_fwdctl("add-rule tcp+udp 10.0.0.3 10.0.0.4");
    EXPECT_EQ(no_port.status, 1);
    EXPECT_NE(no_port.output.find("want a port as well"), std::string::npos) << no_port.output;

    add_rule("all 10.0.0.3 10.0.0.4");
    connected(tcp("client"), 7000);
    connected(udp("client"), 7000);
    const Finished ping = exec("client", "ping -c 3 -i 0.2 -W 2 10.0.0.3");
    EXPECT_EQ(ping.status, 0) << ping.output;
    EXPECT_NE(ping.output.find("3 received"), std::string::npos) << ping.output;
    EXPECT_EQ(rule_names(), std::vector<std::string>{"all-10.0.0.3"});
    expect_every_packet_accounted_for();
}

/// L5
TEST_F(RulesTest, DisabledRulesSessionsAreKeptDrainedOrKilledAsTheOperatorSays) {
    ASSERT_NO_FATAL_FAILURE(up_with_echo());
    add_rule("udp 10.0.0.3:7 10.0.0.4:7000 --name echo --comment 'one two'");
    const auto state = [&] { return fwdctl("list-rules")["rules"][0]["state"].get<std::string>(); };
    EXPECT_EQ(fwdctl("list-rules")["rules"][0]["comment"], "one two");
    for (const std::string existing : {"keep", "drain", "kill"}) {
        Socket talk = connected(udp("client"));
        const Json disabled = fwdctl("disable-rule echo --existing " + existing);
        const bool kill = existing == "kill";
        EXPECT_EQ(disabled["sessions_kept"], kill ? 0 : 1);
        EXPECT_EQ(disabled["sessions_ended"], kill ? 1 : 0);
        EXPECT_EQ(talk.echoes("still there?"), !kill) << existing;
        EXPECT_EQ(state(), existing == "drain" ? "draining" : "disabled");
        Socket late = udp("client");
        EXPECT_TRUE(late.connect({"10.0.0.3", 7}));
        late.send("anybody?");
        EXPECT_FALSE(late.receive(300ms)) << "a disabled rule matches nothing";
        fwdctl("clear-sessions");
        // Counted until a worker has taken them off.
        EXPECT_TRUE(
            eventually([&] { return fwdctl("stats")["sessions"]["live"] == 0 && state() == "disabled"; }));
        fwdctl("enable-rule echo");
        EXPECT_EQ(state(), "enabled");
    }
    fwdctl("disable-rule echo");
    stop_fwdd();
    start_fwdd();
    EXPECT_EQ(state(), "disabled");
    fwdctl("enable-rule echo");
    connected(udp("client"));
    expect_every_packet_accounted_for();
}

/// L5: those there are live on as the operator says, new ones go by the rule as it is now.
TEST_F(RulesTest, ChangedRulesSessionsAreKeptDrainedOrKilledAsTheOperatorSays) {
    ASSERT_NO_FATAL_FAILURE(up_with_echo());
    add_rule("udp 10.0.0.3:7 10.0.0.4:7000 --name echo --comment 'one two'");
    for (const std::string existing : {"keep", "drain", "kill"}) {
        Socket talk = connected(udp("client"));
        const Json changed = fwdctl("change-rule echo --not-from 10.0.0.1/32 --existing " + existing);
        const bool kill = existing == "kill";
        EXPECT_EQ(changed["sessions_kept"], kill ? 0 : 1);
        EXPECT_EQ(changed["sessions_ended"], kill ? 1 : 0);
        EXPECT_EQ(changed["rule"]["target"], "10.0.0.4:7000");
        EXPECT_EQ(changed["rule"]["comment"], "one two");
        EXPECT_EQ(talk.echoes("still there?"), !kill) << existing;
        EXPECT_EQ(rule_names().size(), existing == "drain" ? 2U : 1U);
        Socket late = udp("client");
        EXPECT_TRUE(late.connect({"10.0.0.3", 7}));
        late.send("anybody?");
        EXPECT_FALSE(late.receive(300ms)) << "the rule does not let this client in any more";
        fwdctl("clear-sessions");
        EXPECT_TRUE(eventually([&] { return rule_names().size() == 1 && sessions().empty(); }));
        fwdctl("delete-rule echo");
        add_rule("udp 10.0.0.3:7 10.0.0.4:7000 --name echo --comment 'one two'");
    }
    const Finished nothing = try_fwdctl("change-rule echo --existing kill");
    EXPECT_EQ(nothing.status, 1);
    EXPECT_NE(nothing.output.find("got nothing to change, want one of protocol, external, target"),
              std::string::npos)
        << nothing.output;
    expect_every_packet_accounted_for();
}

/// L6: no packet finds a rule missing that is being changed.
TEST_F(RulesTest, NewSessionsDoNotNoticeThatTheirRuleChanges) {
    ASSERT_NO_FATAL_FAILURE(up_with_echo({.workers = 2}));
    add_rule("udp 10.0.0.3:7 10.0.0.4:7000 --name echo");
    std::atomic<bool> done{false};
    std::thread operator_{[&] {
        for (int i = 0; i < 40; ++i) fwdctl(fmt::format("change-rule echo --max-sessions {}", 100000 + i));
        done = true;
    }};
    unsigned sessions = 0;
    for (; !done; ++sessions) EXPECT_TRUE(connected(udp("client")).echoes("in?"));
    operator_.join();
    EXPECT_GT(sessions, 40U);
    EXPECT_EQ(dropped("no-rule"), 0U);
    EXPECT_EQ(fwdctl("list-rules")["rules"][0]["max_sessions"], 100039);
    fwdctl("change-rule echo --max-sessions 0");
    EXPECT_FALSE(fwdctl("list-rules")["rules"][0].contains("max_sessions"));
    expect_every_packet_accounted_for();
}

}  // namespace
}  // namespace fwd::test
