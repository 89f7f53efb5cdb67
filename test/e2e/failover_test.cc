// SPDX-License-Identifier: BSD-3-Clause
// Two fwdds and one address: keepalived (VRRP) beside each says who answers for it.
#include <fmt/format.h>

#include <csignal>
#include <iostream>
#include <utility>
#include <vector>

#include "test/e2e/box.h"

namespace fwd::test {
namespace {

using namespace std::chrono_literals;

class FailoverTest : public LabTest {
 protected:
    explicit FailoverTest(std::string address = "10.0.0.9") : address_{std::move(address)} {}

    bool is_ipv6() const { return address_.find(':') != std::string::npos; }
    void start_two() {
        ASSERT_NO_FATAL_FAILURE(
            up({.ipv6 = is_ipv6(),
                .config = fmt::format(R"(
            rules = ( {{ name = "echo"; protocol = "tcp+udp"; external = "{}"; target = "{}"; }} );
        )",
                                      is_ipv6() ? fmt::format("[{}]:7", address_) : address_ + ":7",
                                      is_ipv6() ? "[2001:db8::4]:7000" : "10.0.0.4:7000"),
                .settings = {R"(lan.host=["vrrp"])", fmt::format(R"(lan.floating=["{}"])", address_)}}));
        ASSERT_NO_FATAL_FAILURE(start_echo_server(7000));
        if (is_ipv6())
            echo_.push_back(start("server", "socat TCP6-LISTEN:7000,ipv6only=1,fork,reuseaddr PIPE"));
        second_ = std::make_unique<Box>("second", "10.0.0.5");
        EXPECT_NE(exec("client", "ping -c 1 -W 1 " + address_).status, 0);
        EXPECT_EQ(exec("client", "ip neighbour show " + address_).output.find("lladdr"), std::string::npos)
            << "nobody answers for it yet";
        first_keepalived_ = start_keepalived("fwd", 150);
        second_keepalived_ = start_keepalived("second", 100);
        ASSERT_TRUE(eventually([&] { return has_address("fwd") && !has_address("second"); }, 10s))
            << first_keepalived_->output();
        // It hears of it a moment after the kernel.
        ASSERT_TRUE(
            eventually([&] { return fwdctl("list-links").dump().find(address_) != std::string::npos; }, 5s));
        ASSERT_TRUE(eventually([&] { return connects(); }, 5s));
        ASSERT_GT(fwdctl("stats")["sessions"]["opened"], 0);
        ASSERT_EQ(second_->fwdctl("stats")["sessions"]["opened"], 0) << "it stands by";
    }
    std::unique_ptr<Process> start_keepalived(const std::string& host, int priority) {
        std::string config = replaced(read_file(source_file("conf/keepalived.conf")), "priority 150",
                                      fmt::format("priority {}", priority));
        if (is_ipv6()) config = replaced(config, "10.0.0.9/24", address_ + "/64");
        write_file(files() / (host + ".conf"), config);
        return std::make_unique<Process>(host_command(
            host, fmt::format("exec keepalived -P -n -l -f {0}/{1}.conf -p {0}/{1}.pid -r {0}/{1}-vrrp.pid",
                              files().path().string(), host)));
    }
    bool has_address(const std::string& host) {
        return exec(host, "ip address show dev fwd-lan").output.find(fmt::format(" {}/", address_)) !=
               std::string::npos;
    }
    bool connects() {
        if (is_ipv6()) {
            return exec("client",
                        fmt::format("echo hello | socat -t 0.5 - TCP6:[{}]:7,connect-timeout=0.2", address_))
                       .output == "hello\n";
        }
        Socket socket = tcp("client");
        return socket.connect({address_, 7}, 200ms) && socket.send("hello") &&
               socket.receive(500ms) == "hello";
    }
    /// New connections from now on.
    void expect_short_outage(const std::string& what) {
        const Outage outage = outage_within(3s, [&] { return connects(); });
        std::cout << what << ": " << outage.failed << " of " << outage.tried
                  << " connections failed, none worked for " << outage.longest.count() << " s\n";
        EXPECT_LT(outage.longest, 2500ms);
    }

    void expect_move_after_sigkill() {
        ASSERT_NO_FATAL_FAILURE(start_two());
        kill_fwdd();
        expect_short_outage("fwdd killed");
        EXPECT_TRUE(has_address("second"));
        EXPECT_GT(second_->fwdctl("stats")["sessions"]["opened"], 0);
        start_fwdd();
        EXPECT_TRUE(connects()) << "one that comes back without its keepalived takes nothing over";
    }

    std::string address_;  ///< that they share
    std::vector<Process> echo_;
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
    expect_move_after_sigkill();
}

class Ipv6FailoverTest : public FailoverTest {
 protected:
    Ipv6FailoverTest() : FailoverTest{"2001:db8::9"} {}
};

TEST_F(Ipv6FailoverTest, AddressMovesWhenTheMastersFwddIsKilled) {
    expect_move_after_sigkill();
}

}  // namespace
}  // namespace fwd::test
