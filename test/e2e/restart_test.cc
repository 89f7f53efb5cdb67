// SPDX-License-Identifier: BSD-3-Clause
// fwdd ends, by order or by surprise, and starts again: what is there then.
#include <fmt/format.h>

#include "test/e2e/lab.h"

namespace fwd::test {
namespace {

using namespace std::chrono_literals;
using Names = std::vector<std::string>;

class RestartTest : public LabTest {
 protected:
    void up_with_echo(const LabOptions& options) {
        ASSERT_NO_FATAL_FAILURE(up(options));
        ASSERT_NO_FATAL_FAILURE(start_echo_server(7000));
    }
};

TEST_F(RestartTest, DurableRulesAreBackAndRuntimeRulesAreNot) {
    ASSERT_NO_FATAL_FAILURE(up_with_echo({.config = R"(
        rules = ( { name = "of-file"; protocol = "tcp"; external = "10.0.0.3:9"; target = "10.0.0.4:7000"; } );
    )"}));
    add_rule("tcp+udp 10.0.0.3:7 10.0.0.4:7000 --name durable --from 10.0.0.0/24");
    add_rule("tcp 10.0.0.5:7 10.0.0.4:7000 --link lan --source masquerade");
    add_rule("tcp 10.0.0.3:10 10.0.0.4:7000 --name deleted");
    fwdctl("delete-rule deleted");
    const std::string exported = try_fwdctl("export").output;
    add_rule("tcp 10.0.0.3:8 10.0.0.4:7000 --name runtime --runtime");
    connected(tcp("client"), 8);

    stop_fwdd();
    EXPECT_EQ(try_fwdctl("status").status, 3);
    start_fwdd();

    EXPECT_EQ(rule_names(), (Names{"of-file", "durable", "tcp-10.0.0.5-7-lan"}));
    EXPECT_EQ(try_fwdctl("export").output, exported);
    connected(tcp("client"), 7);
    connected(udp("client"), 7);
    connected(tcp("client"), 9);
    EXPECT_FALSE(tcp("client").connect({"10.0.0.3", 8}, 300ms));
    EXPECT_FALSE(tcp("client").connect({"10.0.0.3", 10}, 300ms));
    expect_every_packet_accounted_for();
}

TEST_F(RestartTest, ConversationOfBeforeIsNotMistakenForANewOne) {
    ASSERT_NO_FATAL_FAILURE(up_with_echo({}));
    add_rule("tcp 10.0.0.3:7 10.0.0.4:7000");
    Socket before = connected(tcp("client"));

    stop_fwdd();
    start_fwdd();

    EXPECT_TRUE(before.send("anyone?"));
    EXPECT_TRUE(eventually([&] { return dropped("not-syn") >= 1; }));
    EXPECT_TRUE(sessions().empty());
    connected(tcp("client"));
    expect_every_packet_accounted_for();
}

class KilledFwddTest : public RestartTest, public ::testing::WithParamInterface<const char*> {};

TEST_P(KilledFwddTest, HasTheRuleThatItAcknowledgedJustBefore) {
    ASSERT_NO_FATAL_FAILURE(up_with_echo({.topology = "two-arm", .device = GetParam()}));
    Names names;
    for (std::uint16_t port = 7; port < 10; ++port) {
        names.push_back(fmt::format("rule-{}", port));
        add_rule(fmt::format("tcp+udp 192.0.2.3:{} 10.0.0.4:7000 --name {}", port, names.back()));
        kill_fwdd();
        start_fwdd();
        EXPECT_EQ(rule_names(), names);
        connected(tcp("client"), port);
        connected(udp("client"), port);
    }
    expect_every_packet_accounted_for();
}

INSTANTIATE_TEST_SUITE_P(, KilledFwddTest, ::testing::Values("af_packet", "af_xdp", "tap"),
                         [](const auto& test) { return std::string{test.param}; });

TEST_F(RestartTest, RulesAddedWhileItIsKilledAreThereIfTheyWereAcknowledged) {
    ASSERT_NO_FATAL_FAILURE(up_with_echo({}));
    const std::string fwdctl_path = build_file("tools/fwdctl/fwdctl");
    Process adder{
        {"sh", "-c",
         fmt::format("n=1; while {} --socket {} add-rule tcp 10.0.0.3:$n 10.0.0.4:7000 --name r$n >{}; do "
                     "echo added r$n; n=$((n+1)); done",
                     fwdctl_path, lab_file("fwd.sock").string(), (files() / "fwdctl.out").string())}};
    EXPECT_TRUE(adder.says("added r20\n"));
    kill_fwdd();
    const std::string said = adder.wait().output;
    start_fwdd();

    const Names names = rule_names();
    for (std::size_t i = 1; said.find(fmt::format("added r{}\n", i)) != std::string::npos; ++i) {
        ASSERT_LE(i, names.size());
        EXPECT_EQ(names[i - 1], fmt::format("r{}", i));
    }
    connected(tcp("client"), static_cast<std::uint16_t>(names.size()));
}

}  // namespace
}  // namespace fwd::test
