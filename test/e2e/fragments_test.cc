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

using Ipv6FragmentsTest = LabTest;

/// U14: the same over IPv6, and from an IPv4 client to a server of IPv6.
TEST_F(Ipv6FragmentsTest, BigDatagramsAreEchoed) {
    ASSERT_NO_FATAL_FAILURE(up({.device = "af_xdp", .ipv6 = true}));
    constexpr const char* kServer = R"(
import socket
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.bind(("::", 7000))
print("ready", flush=True)
while True:
    data, peer = s.recvfrom(70000)
    s.sendto(data, peer)
)";
    constexpr const char* kClient = R"(
import socket
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.settimeout(5)
s.connect(("2001:db8::3", 7))
for size in (1453, 8000, 20000, 65507):
    text = bytes(i * 7 % 251 for i in range(size))
    s.send(text)
    assert s.recv(70000) == text, size
print("echoed")
)";
    write_file(files() / "server.py", kServer);
    write_file(files() / "client.py", kClient);
    const Process server = start("server", "python3 -u " + (files() / "server.py").string());
    ASSERT_TRUE(server.says("ready"));
    ASSERT_TRUE(eventually([&] { return exec("client", "ping -6 -c 1 -W 1 2001:db8::2").status == 0; }));
    add_rule("udp '[2001:db8::3]:7' '[2001:db8::4]:7000'");
    add_rule("udp 10.0.0.3:7 '[2001:db8::4]:7000'");
    const Finished done = exec("client", "python3 " + (files() / "client.py").string());
    EXPECT_EQ(done.output, "echoed\n");
    Socket socket = connected(udp("client"));
    for (const std::size_t bytes : {1473, 8000, 20000, 65507})
        EXPECT_TRUE(socket.echoes(std::string(bytes, 'x'))) << bytes << " bytes";
    expect_every_packet_accounted_for();
}

using FragmentedPingTest = LabTest;

/// U14, I1: fwd itself answers pings that come in fragments, of either family.
TEST_F(FragmentedPingTest, IsAnswered) {
    ASSERT_NO_FATAL_FAILURE(up({.device = "af_xdp", .ipv6 = true}));
    ASSERT_TRUE(eventually([&] { return exec("client", "ping -6 -c 1 -W 1 2001:db8::2").status == 0; }));
    for (const auto& [bytes, address] :
         {std::pair{1473, "10.0.0.2"}, {65507, "10.0.0.2"}, {1473, "2001:db8::2"}, {65507, "2001:db8::2"}}) {
        const Finished done = exec("client", fmt::format("ping -c 3 -i 0.2 -W 2 -s {} {}", bytes, address));
        EXPECT_EQ(done.status, 0) << done.output;
        EXPECT_NE(done.output.find(" 0% packet loss"), std::string::npos) << done.output;
    }
    expect_every_packet_accounted_for();
}

}  // namespace
}  // namespace fwd::test
