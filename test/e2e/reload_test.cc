// SPDX-License-Identifier: BSD-3-Clause
// Reloads: of a hundred thousand rules while traffic flows, and those that are refused.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <chrono>
#include <iostream>

#include "test/e2e/conversation.h"
#include "test/e2e/lab.h"

namespace fwd::test {
namespace {

using Clock = std::chrono::steady_clock;

constexpr unsigned kRules = 100'000;

/// Rules for the addresses of 198.18.0.0/15, of which so many have another target than others.
std::string rules(unsigned changed) {
    std::string text =
        "rules = (\n    { name = \"echo\"; protocol = \"tcp+udp\"; external = \"10.0.0.3:7\"; target = "
        "\"10.0.0.4:7000\"; }";
    for (unsigned n = 0; n < kRules; ++n) {
        fmt::format_to(
            std::back_inserter(text),
            ",\n    {{ name = \"r{}\"; protocol = \"tcp\"; external = \"198.{}.{}.{}:80\"; target = "
            "\"10.0.0.4:{}\"; }}",
            n, 18 + n / 62500, n / 250 % 250, 1 + n % 250, n < changed ? 9000 : 8000);
    }
    return text + "\n);\n";
}

class ReloadTest : public LabTest {
 protected:
    double reload_seconds(const std::string& text) {
        write_file(files() / "lab.conf", text);
        const auto begin = Clock::now();
        result_ = fwdctl("reload");
        return std::chrono::duration<double>(Clock::now() - begin).count();
    }
    Json result_;
};

/// L6: all of them or none, and who talks by a rule that stays does not notice.
TEST_F(ReloadTest, OfAHundredThousandRulesUnderTraffic) {
    ASSERT_NO_FATAL_FAILURE(up({.config = rules(0)}));
    ASSERT_NO_FATAL_FAILURE(start_echo_server(7000));
    // Control and the worker are to share two cores with what happens here, not with the talking.
    constexpr std::chrono::milliseconds kPause{1};
    Conversation tcp_talk{connected(tcp("client")), kPause};
    Conversation udp_talk{connected(udp("client")), kPause};

    const double half = reload_seconds(rules(kRules / 2));
    EXPECT_EQ(result_["added"], kRules / 2);
    EXPECT_EQ(result_["removed"], kRules / 2);
    EXPECT_EQ(result_["unchanged"], kRules / 2 + 1);
    const double all = reload_seconds(rules(kRules));
    EXPECT_EQ(result_["unchanged"], kRules / 2 + 1);
    const double back = reload_seconds(rules(0));
    EXPECT_EQ(result_["added"], kRules) << "all of them at once";
    const double same = reload_seconds(rules(0));
    EXPECT_EQ(result_["unchanged"], kRules + 1);
    std::cout << fmt::format(
        "seconds for a reload of 100 000 rules: half changed {:.2f} and {:.2f}, all changed "
        "{:.2f}, none changed {:.2f}\n",
        half, all, back, same);

    // The last one ties with another: nothing changes.
    std::string bad = rules(kRules);
    bad.insert(bad.rfind("\n);"),
               ",\n    { name = \"bad\"; protocol = \"tcp\"; external = \"198.18.0.1:80\"; target = "
               "\"10.0.0.4:1\"; }");
    write_file(files() / "lab.conf", bad);
    const Finished refused = try_fwdctl("reload");
    EXPECT_EQ(refused.status, 1);
    EXPECT_NE(refused.output.find("'r0'"), std::string::npos) << refused.output;
    EXPECT_EQ(fwdctl("status")["rules"], kRules + 1);
    reload_seconds(rules(0));
    EXPECT_EQ(result_["unchanged"], kRules + 1) << "nothing had changed";

    for (const unsigned more : {tcp_talk.answers() + 10, udp_talk.answers() + 10})
        EXPECT_TRUE(eventually([&] { return tcp_talk.answers() > more || udp_talk.answers() > more; }));
    EXPECT_TRUE(tcp_talk.was_right());
    EXPECT_TRUE(udp_talk.was_right());
    expect_every_packet_accounted_for();
}

/// What a reload can't change it refuses by its key, rather than to leave it as it was without a word.
TEST_F(ReloadTest, RefusesWhatTakesARestart) {
    ASSERT_NO_FATAL_FAILURE(up());
    const std::string before = config();
    const auto refusal_of = [&](const std::string& changed) {
        write_file(lab_file("fwd.conf"), changed);
        const Finished done = try_fwdctl("reload");
        return done.status == 1 ? done.output : "not refused";
    };
    const std::string mtu = "mtu = 1500";
    const std::size_t at = before.find(mtu);
    ASSERT_NE(at, std::string::npos) << before;
    for (const char* link :
         {"mtu = 1400", "mtu = 1500; lowest_ipv6_mtu = 1400", "mtu = 1500; mss_clamp = 1200",
          "mtu = 1500; refuse = \"icmp\"", "mtu = 1500; vlan = 7"}) {
        EXPECT_THAT(refusal_of(std::string{before}.replace(at, mtu.size(), link)),
                    ::testing::HasSubstr("links: changed"))
            << link;
    }
    for (const char* key : {"ttl = \"hide\"", "mappings = 100", "outbound_ports = \"40000-50000\"",
                            "masquerade_ports = \"2000-3000\"", "log_level = \"warning\""}) {
        const std::string name{key, std::string{key}.find(' ')};
        EXPECT_THAT(refusal_of(before + key + ";\n"), ::testing::HasSubstr(name + ": changed")) << key;
    }
    write_file(lab_file("fwd.conf"), before);
    EXPECT_EQ(fwdctl("reload")["unchanged"], 0);
}

/// L5: changing a rule, by a reload.
TEST_F(ReloadTest, KillsTheSessionsOfChangedRulesIfToldSo) {
    const auto config = [](const std::string& target) {
        return "rules = ( { name = \"echo\"; protocol = \"udp\"; external = \"10.0.0.3:7\"; target = "
               "\"10.0.0.4:" +
               target +
               "\"; }, { name = \"other\"; protocol = \"udp\"; external = \"10.0.0.3:8\"; target = "
               "\"10.0.0.4:7000\"; } );\n";
    };
    ASSERT_NO_FATAL_FAILURE(up({.config = config("7000")}));
    ASSERT_NO_FATAL_FAILURE(start_echo_server(7000));
    Socket changed = connected(udp("client"), 7);
    Socket other = connected(udp("client"), 8);
    write_file(files() / "lab.conf", config("7001"));
    const Json done = fwdctl("reload --existing kill");
    EXPECT_EQ(done["sessions_ended"], 1) << done;
    EXPECT_TRUE(other.echoes("still there"));
    EXPECT_TRUE(eventually([&] { return sessions().size() == 1; }));
    EXPECT_TRUE(changed.send("anybody?"));
    EXPECT_FALSE(changed.receive(std::chrono::milliseconds{300}));
}

/// L5: of masquerades as of rules.
TEST_F(ReloadTest, KillEndsTheSessionsOfMasqueradesThatAreGone) {
    const std::string config = "masquerades = ( { inside = \"10.0.0.0/24\"; name = \"home\"; } );\n";
    for (const std::string existing : {"drain", "kill"}) {
        const bool kill = existing == "kill";
        ASSERT_NO_FATAL_FAILURE(up({.topology = "two-arm", .config = config}));
        Socket inside = udp("server");
        ASSERT_TRUE(inside.connect({"192.0.2.10", 4000}) && inside.send("hello"));
        ASSERT_TRUE(eventually([&] { return sessions().size() == 1; }));
        write_file(files() / "lab.conf", "");
        const Json done = fwdctl("reload --existing " + existing);
        EXPECT_EQ(done[kill ? "sessions_ended" : "sessions_kept"], 1) << done;
        EXPECT_TRUE(eventually([&] { return sessions().empty() == kill; }));
    }
}

}  // namespace
}  // namespace fwd::test
