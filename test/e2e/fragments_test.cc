// SPDX-License-Identifier: BSD-3-Clause
// Datagrams that the kernel cuts into fragments.
#include <fmt/format.h>

#include "test/e2e/lab.h"

namespace fwd::test {
namespace {

struct Way {
    const char* name;
    LabOptions lab;
};

class FragmentsTest : public LabTest, public ::testing::WithParamInterface<Way> {};

/// U14: datagrams of up to 64 KiB reach the server and come back, also through full NAT.
TEST_P(FragmentsTest, BigDatagramsAreEchoed) {
    ASSERT_NO_FATAL_FAILURE(up(GetParam().lab));
    ASSERT_NO_FATAL_FAILURE(start_echo_server(7000));
    add_rule(fmt::format("udp {}:7 10.0.0.4:7000", nobody()));
    Socket socket = connected(udp("client"));
    for (const std::size_t bytes : {1473, 8000, 20000, 65507}) {
        std::string text(bytes, 'x');
        for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>('a' + i * 7 % 25);
        EXPECT_TRUE(socket.echoes(text)) << bytes << " bytes";
    }
    EXPECT_EQ(sessions().size(), 1U);
    expect_every_packet_accounted_for();
}

// Not af_packet: there the kernel puts fragments together before fwd sees them.
INSTANTIATE_TEST_SUITE_P(, FragmentsTest,
                         ::testing::Values(Way{"one_arm", {.device = "af_xdp"}},
                                           Way{"two_arm", {.topology = "two-arm", .device = "af_xdp"}}),
                         [](const auto& test) { return test.param.name; });

using FragmentedPingTest = LabTest;

/// U14, I1: fwd itself answers pings that come in fragments.
TEST_F(FragmentedPingTest, IsAnswered) {
    ASSERT_NO_FATAL_FAILURE(up({.device = "af_xdp"}));
    for (const int bytes : {1473, 8000, 65507}) {
        const Finished done = exec("client", fmt::format("ping -c 3 -i 0.2 -W 2 -s {} 10.0.0.2", bytes));
        EXPECT_EQ(done.status, 0) << done.output;
        EXPECT_NE(done.output.find(" 0% packet loss"), std::string::npos) << done.output;
    }
    expect_every_packet_accounted_for();
}

}  // namespace
}  // namespace fwd::test
