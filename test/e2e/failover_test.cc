// SPDX-License-Identifier: BSD-3-Clause
// Two fwdds and one address: keepalived (VRRP) beside each says who answers for it.
#include <fmt/format.h>

#include <csignal>
#include <iostream>

#include "test/e2e/box.h"

namespace fwd::test {
namespace {

using namespace std::chrono_literals;
class FailoverTest : public LabTest {
 protected:
    void start_two() {
        ASSERT_NO_FATAL_FAILURE(up({.config = R"(
            rules = ( { name = "echo"; protocol = "tcp+udp"; external = "10.0.0.9:7"; target = "10.0.0.4:7000"; } );
        )",
                                    .settings = {R"(lan.host=["vrrp"])", R"(lan.floating=["10.0.0.9"])"}}));
        ASSERT_NO_FATAL_FAILURE(start_echo_server(7000));
        second_ = std::make_unique<Box>("second", "10.0.0.5");
        EXPECT_NE(exec("client", "ping -c 1 -W 1 10.0.0.9").status, 0);
        EXPECT_EQ(exec("client", "ip neighbour show 10.0.0.9").output.find("lladdr"), std::string::npos)
            << "nobody answers for it yet";
        first_keepalived_ = start_keepalived("fwd", 150);
        second_keepalived_ = start_keepalived("second", 100);
        ASSERT_TRUE(eventually([&] { return has_address("fwd") && !has_address("second"); }, 10s))
            << first_keepalived_->output();
        // It hears of it a moment after the kernel.
        ASSERT_TRUE(eventually(
            [&] { return fwdctl("list-links").dump().find("10.0.0.9") != std::string::npos; }, 5s));
        ASSERT_TRUE(eventually([&] { return connects(); }, 5s));
        ASSERT_GT(fwdctl("stats")["sessions"]["opened"], 0);
        ASSERT_EQ(second_->fwdctl("stats")["sessions"]["opened"], 0) << "it stands by";
    }
    std::unique_ptr<Process> start_keepalived(const std::string& host, int priority) {
        write_file(files() / (host + ".conf"),
                   replaced(read_file(source_file("conf/keepalived.conf")), "priority 150",
                            fmt::format("priority {}", priority)));
        return std::make_unique<Process>(host_command(
            host, fmt::format("exec keepalived -P -n -l -f {0}/{1}.conf -p {0}/{1}.pid -r {0}/{1}-vrrp.pid",
                              files().path().string(), host)));
    }
    bool has_address(const std::string& host) {
        return exec(host, "ip address show dev fwd-lan").output.find(" 10.0.0.9/24 ") != std::string::npos;
    }
    bool connects() {
        Socket socket = tcp("client");
        return socket.connect({"10.0.0.9", 7}, 200ms) && socket.send("hello") &&
               socket.receive(500ms) == "hello";
    }
    /// New connections from now on.
    void expect_short_outage(const std::string& what) {
        const Outage outage = outage_within(3s, [&] { return connects(); });
        std::cout << what << ": " << outage.failed << " of " << outage.tried
                  << " connections failed, none worked for " << outage.longest.count() << " s\n";
        EXPECT_LT(outage.longest, 2500ms);
    }

    std::unique_ptr<Box> second_;
    std::unique_ptr<Process> first_keepalived_, second_keepalived_;
};

TEST_F(FailoverTest, AddressMovesWhenTheMastersKeepalivedEndsAndBackWhenItReturns) {
    ASSERT_NO_FATAL_FAILURE(start_two());
    ASSERT_EQ(kill(first_keepalived_->pid(), SIGTERM), 0);
    expect_short_outage("keepalived ended");
    EXPECT_FALSE(has_address("fwd"));
    EXPECT_GT(second_->fwdctl("stats")["sessions"]["opened"], 0);
    // The one of the higher priority takes it again.
    first_keepalived_ = start_keepalived("fwd", 150);
    expect_short_outage("keepalived back");
    EXPECT_TRUE(eventually([&] { return has_address("fwd") && !has_address("second"); }, 10s));
    expect_every_packet_accounted_for();
}

TEST_F(FailoverTest, AddressMovesWhenTheMastersFwddIsKilled) {
    ASSERT_NO_FATAL_FAILURE(start_two());
    kill_fwdd();
    expect_short_outage("fwdd killed");
    EXPECT_TRUE(has_address("second"));
    EXPECT_GT(second_->fwdctl("stats")["sessions"]["opened"], 0);
    start_fwdd();
    EXPECT_TRUE(connects()) << "one that comes back without its keepalived takes nothing over";
}

}  // namespace
}  // namespace fwd::test
