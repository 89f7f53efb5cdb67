// SPDX-License-Identifier: BSD-3-Clause
// Real programs over IPv6, both ways through fwd.
#include "test/e2e/lab.h"

namespace fwd::test {
namespace {

class Ipv6Test : public LabTest, public ::testing::WithParamInterface<LabOptions> {
 protected:
    void SetUp() override {
        LabTest::SetUp();
        if (IsSkipped()) return;
        ASSERT_NO_FATAL_FAILURE(up(GetParam()));
        const bool two_arm = GetParam().topology == "two-arm";
        external_ = two_arm ? "2001:db8:2::3" : "2001:db8::3";
        own_ = two_arm ? "2001:db8:2::2" : "2001:db8::2";
        server_ = two_arm ? "2001:db8:1::4" : "2001:db8::4";
        client_ = two_arm ? "2001:db8:2::1" : "2001:db8::1";
        write_file(files() / "index.html", kPage);
        web_.emplace_back(start("server", "python3 -u -m http.server --bind :: --directory " +
                                              files().path().string() + " 8080"));
        EXPECT_TRUE(web_.front().says("Serving HTTP"));
        // fwd is sure of its own addresses after a second.
        EXPECT_TRUE(eventually([&] { return exec("client", "ping -6 -c 1 -W 1 " + own_).status == 0; }));
    }
    Finished get6() { return get("'http://[" + external_ + "]/'", "-6 -g"); }

    std::string external_, own_, server_, client_;
    std::vector<Process> web_;
};

/// I1, S1: whoever asks for the external address by TCP is served, and neighbours find each other.
TEST_P(Ipv6Test, WebServerIsReached) {
    add_rule("tcp '[" + external_ + "]:80' '[" + server_ + "]:8080' --name web6");
    for (int request = 0; request < 5; ++request) EXPECT_EQ(get6().output, kPage);
    const Json sessions = this->sessions();
    ASSERT_FALSE(sessions.empty());
    EXPECT_EQ(sessions[0]["external"], "[" + external_ + "]:80");
    EXPECT_EQ(sessions[0]["target"], "[" + server_ + "]:8080");
    EXPECT_NE(fwdctl("export")["text"].get<std::string>().find("[" + external_ + "]:80"), std::string::npos);
    EXPECT_NE(exec("client", "ip -6 neighbour show " + external_).output.find("lladdr"), std::string::npos);

    // Rules are there again after a restart, and so is the way.
    stop_fwdd();
    start_fwdd();
    EXPECT_TRUE(eventually([&] { return get6().output == kPage; }));
    expect_every_packet_accounted_for();
}

/// One public IPv4 address serves a server that has IPv6 alone, and the reverse.
TEST_P(Ipv6Test, FamiliesAreTranslated) {
    add_rule("tcp " + nobody() + ":80 '[" + server_ + "]:8080'");
    add_rule("tcp '[" + external_ + "]:80' 10.0.0.4:8080");
    for (int request = 0; request < 3; ++request) {
        EXPECT_EQ(get("http://" + nobody() + "/").output, kPage);
        EXPECT_EQ(get6().output, kPage);
    }
    write_file(files() / "large", std::string(2'000'000, 'x'));
    EXPECT_EQ(get("http://" + nobody() + "/large").output.size(), 2'000'000U);
    expect_every_packet_accounted_for();
}

/// L1: a whole address, by every port and by ping.
TEST_P(Ipv6Test, WholeAddressIsForwarded) {
    add_rule("all " + external_ + " " + server_);
    EXPECT_EQ(get("'http://[" + external_ + "]:8080/'", "-6 -g").output, kPage);
    const Finished ping = exec("client", "ping -6 -c 3 -i 0.2 -W 2 " + external_);
    EXPECT_NE(ping.output.find("3 received"), std::string::npos) << ping.output;
    const Json rules = fwdctl("list-rules")["rules"];
    ASSERT_EQ(rules.size(), 1U);
    EXPECT_EQ(rules[0]["external"], external_);
    const Finished other_family = try_fwdctl("add-rule all " + nobody() + " " + server_);
    EXPECT_NE(other_family.output.find("want IPv4"), std::string::npos) << other_family.output;
    expect_every_packet_accounted_for();
}

/// L1: a request that can't be carried out says why, and changes nothing.
TEST_P(Ipv6Test, WhatDoesNotFitIsRefused) {
    const auto refusal = [&](const std::string& words) {
        const Finished done = try_fwdctl("add-rule tcp " + words);
        EXPECT_EQ(done.status, 1);
        return done.output;
    };
    EXPECT_NE(refusal("'[" + external_ + "]:80' '[" + server_ + "]:80' --from 10.0.0.0/8").find("want IPv6"),
              std::string::npos);
    EXPECT_NE(refusal("'[" + external_ + "]:80' 10.0.0.4:80 --source preserve").find("want 'masquerade'"),
              std::string::npos);
    EXPECT_NE(refusal(external_ + ":80 '[" + server_ + "]:80'").find("want brackets"), std::string::npos);
    EXPECT_NE(refusal("'[fe80::1]:80' '[" + server_ + "]:80'").find("link-local"), std::string::npos);
    EXPECT_EQ(fwdctl("list-rules")["rules"].size(), 0U);
}

/// U13: a server learns of a smaller MTU on the way to its client.
TEST_P(Ipv6Test, LargeAnswersArrive) {
    write_file(files() / "large", std::string(2'000'000, 'x'));
    add_rule("tcp '[" + external_ + "]:80' '[" + server_ + "]:8080'");
    EXPECT_EQ(get("'http://[" + external_ + "]/large'", "-6 -g").output.size(), 2'000'000U);
    expect_every_packet_accounted_for();
}

INSTANTIATE_TEST_SUITE_P(Labs, Ipv6Test,
                         testing::Values(LabOptions{.ipv6 = true},
                                         LabOptions{.topology = "two-arm", .workers = 2, .ipv6 = true},
                                         LabOptions{.offload = true, .ipv6 = true}),
                         [](const auto& lab) {
                             return lab.param.offload                 ? "OneArmPartialChecksums"
                                    : lab.param.topology == "two-arm" ? "TwoArmTwoWorkers"
                                                                      : "OneArm";
                         });

using Ipv6OutboundTest = LabTest;

/// P5: a host inside reaches the world by its counterpart in another network, which sees nothing else of it.
TEST_F(Ipv6OutboundTest, HostReachesTheWorldByItsCounterpart) {
    ASSERT_NO_FATAL_FAILURE(
        up({.topology = "two-arm",
            .ipv6 = true,
            .config = R"(prefixes = ( { inside = "2001:db8:1::/64"; external = "2001:db8:aa::/64"; } );)"}));
    write_file(files() / "index.html", kPage);
    const Process web = start(
        "client", "python3 -u -m http.server --bind :: --directory " + files().path().string() + " 8080");
    EXPECT_TRUE(web.says("Serving HTTP"));
    const auto ping = [&] { return exec("server", "ping -6 -c 1 -W 1 2001:db8:2::1").status == 0; };
    EXPECT_TRUE(eventually(ping));
    EXPECT_EQ(exec("server", "curl -s -g -6 -m 10 'http://[2001:db8:2::1]:8080/'").output, kPage);
    EXPECT_TRUE(web.says("2001:db8:aa:"));
    EXPECT_EQ(web.output().find("2001:db8:1:"), std::string::npos);
    // The world opens nothing.
    EXPECT_NE(exec("client", "ping -6 -c 1 -W 1 2001:db8:aa::4").status, 0);
    expect_every_packet_accounted_for();
}

/// U1, R3, I1: hosts behind a link reach the world by fwd's own address, or by a pool's.
TEST_F(Ipv6OutboundTest, HostsAreMasqueraded) {
    ASSERT_NO_FATAL_FAILURE(up({.topology = "two-arm", .ipv6 = true}));
    write_file(files() / "index.html", kPage);
    const Process web = start(
        "client", "python3 -u -m http.server --bind :: --directory " + files().path().string() + " 8080");
    EXPECT_TRUE(web.says("Serving HTTP"));
    const auto ping = [&] { return exec("server", "ping -6 -c 1 -W 1 2001:db8:2::1").status == 0; };
    const auto page = [&] {
        return exec("server", "curl -s -g -6 -m 10 'http://[2001:db8:2::1]:8080/'").output;
    };
    fwdctl("add-masquerade lan");
    EXPECT_TRUE(eventually(ping));
    EXPECT_EQ(page(), kPage);
    EXPECT_TRUE(web.says("2001:db8:2::2"));
    fwdctl("delete-masquerade masquerade-lan --existing kill");
    fwdctl("add-masquerade 2001:db8:1::/64 --pool 2001:db8:2::77");
    EXPECT_TRUE(eventually(ping));
    EXPECT_EQ(page(), kPage);
    EXPECT_TRUE(web.says("2001:db8:2::77"));
    EXPECT_EQ(fwdctl("list-masquerades")["masquerades"][0]["name"], "masquerade-2001.db8.1..-64");
    EXPECT_EQ(web.output().find("2001:db8:1:"), std::string::npos);
    expect_every_packet_accounted_for();
}

}  // namespace
}  // namespace fwd::test
