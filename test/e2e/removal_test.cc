// SPDX-License-Identifier: BSD-3-Clause
// A device that goes away under fwdd: what leaves by its link is dropped under a name, the other links go on,
// and nothing waits, spins or crashes. Cards that are pulled out are tools/vm's.
#include <fmt/format.h>

#include "test/e2e/lab.h"

namespace fwd::test {
namespace {

using namespace std::chrono_literals;

class RemovalTest : public LabTest {
 protected:
    bool log_says(const std::string& text) {
        return eventually([&] { return fwdd_log().find(text) != std::string::npos; }, 10s);
    }
};

class DeviceRemovalTest : public RemovalTest, public ::testing::WithParamInterface<const char*> {};

TEST_P(DeviceRemovalTest, OtherLinkGoesOnAndPacketsForTheRemovedOneAreCounted) {
    ASSERT_NO_FATAL_FAILURE(up({.topology = "two-arm", .device = GetParam(), .workers = 2, .ipv6 = true}));
    ASSERT_NO_FATAL_FAILURE(start_web_server());
    add_rule("tcp 192.0.2.3:80 10.0.0.4:8080");
    EXPECT_EQ(get("http://192.0.2.3/").output, kPage);
    const Json process = fwdctl("status")["pid"];

    EXPECT_EQ(exec("fwd", "ip link delete lan").status, 0);
    EXPECT_TRUE(log_says("error: link lan: its device net_"));
    EXPECT_NE(fwdd_log().find("has been removed"), std::string::npos);
    Json links = fwdctl("list-links")["links"];
    EXPECT_EQ(links[0]["removed"], false);
    EXPECT_EQ(links[1]["removed"], true);
    EXPECT_EQ(links[1]["up"], false);
    EXPECT_NE(try_fwdctl("list-links").output.find("removed"), std::string::npos);

    EXPECT_EQ(exec("client", "ping -c 3 -i 0.2 192.0.2.1").status, 0);
    EXPECT_NE(get("http://192.0.2.3/", "--max-time 1").status, 0);
    EXPECT_GE(dropped("link-removed"), 1);
    EXPECT_EQ(fwdctl("status")["pid"], process);
    // A descriptor of a deleted tap is always ready to be read.
    const auto share_of_core = [&] {
        const auto before = cpu_time(process);
        std::this_thread::sleep_for(1s);
        return (cpu_time(process) - before).count();
    };
    EXPECT_TRUE(eventually([&] { return share_of_core() < 0.2; }, 20s)) << "it does not rest";
    expect_every_packet_accounted_for();
    // DPDK says so when it is asked about a device that it has given back.
    EXPECT_EQ(fwdd_log().find("Invalid port_id"), std::string::npos) << fwdd_log();
}

INSTANTIATE_TEST_SUITE_P(, DeviceRemovalTest, ::testing::Values("af_packet", "af_xdp", "tap"),
                         [](const auto& test) { return std::string{test.param}; });

TEST_F(RemovalTest, FwddEndsWithoutAnyLinkAndStartsAgainWhenThereIsOne) {
    ASSERT_NO_FATAL_FAILURE(up());
    ASSERT_NO_FATAL_FAILURE(start_web_server());
    add_rule("tcp 10.0.0.3:80 10.0.0.4:8080");
    exec("fwd", "ip link delete lan");
    EXPECT_TRUE(log_says("no link is left: ending"));
    EXPECT_TRUE(eventually([&] { return lab({"status"}).status != 0; }, 10s));
    EXPECT_NE(lab({"start"}).output.find("the kernel has no interface lan"), std::string::npos);

    exec("switch", fmt::format("ip link add new type veth peer name lan netns {} && "
                               "ip link set new master lan up",
                               namespace_of("fwd")));
    exec("fwd", "ip link set lan up");
    start_fwdd();
    EXPECT_EQ(get("http://10.0.0.3/").output, kPage);
}

}  // namespace
}  // namespace fwd::test
