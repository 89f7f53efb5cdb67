// SPDX-License-Identifier: BSD-3-Clause
// A flood of made-up sources at the highest rate that this machine gives, answered by the server.
#include <fmt/format.h>

#include "test/e2e/lab.h"

namespace fwd::test {
namespace {

class FloodTest : public LabTest, public ::testing::WithParamInterface<const char*> {};

/// R18
TEST_P(FloodTest, HarmsNoEstablishedSessionAndHardlyANewClient) {
    const std::string protocol = GetParam();
    const std::string config = R"(
        sessions = 65536;
        routes = ( { prefix = "0.0.0.0/0"; via = "192.0.2.10"; } );
        rules = ( { name = "web"; protocol = "tcp"; external = "192.0.2.3:80"; target = "10.0.0.4:8080"; },
                  { name = "echo"; protocol = "tcp+udp"; external = "192.0.2.3:7"; target = "10.0.0.4:7000"; } );
    )";
    ASSERT_NO_FATAL_FAILURE(up({.topology = "two-arm", .config = config}));
    ASSERT_NO_FATAL_FAILURE(start_web_server());
    ASSERT_NO_FATAL_FAILURE(start_echo_server(7000));
    Socket tcp_talk = connected(tcp("client"));
    Socket udp_talk = connected(udp("client"));
    ASSERT_TRUE(udp_talk.echoes("a client that goes on"));
    const std::string mac = fwdctl("list-links")["links"][0]["mac"];
    Process flood = start("client", fmt::format("python3 {} eth0 {} {} 192.0.2.3 {} 60",
                                                source_file("test/e2e/flood.py").string(), mac, protocol,
                                                protocol == "tcp" ? 80 : 7));
    ASSERT_TRUE(flood.says("flooding")) << flood.output();
    ASSERT_TRUE(eventually([&] { return fwdctl("stats")["sessions"]["evicted"] > 1000; }))
        << fwdctl("stats")["sessions"];

    constexpr int kClients = 40;
    // Real clients lose packets in the full queues of the devices as well, and send them again.
    std::vector<Process> clients;
    clients.reserve(kClients);
    for (int i = 0; i < kClients; ++i)
        clients.push_back(start("client", "curl -sS --max-time 20 http://192.0.2.3/"));
    int served = 0;
    for (Process& client : clients) served += client.wait().output == kPage ? 1 : 0;
    EXPECT_TRUE(flood.is_running()) << "it was to last as long as that";
    EXPECT_GE(served, kClients * 95 / 100);
    // The devices' queues are full, so packets get lost before fwd sees them; sessions do not.
    EXPECT_TRUE(tcp_talk.echoes("in the flood"));
    flood.stop();
    EXPECT_TRUE(tcp_talk.echoes("after it"));
    EXPECT_TRUE(eventually([&] { return udp_talk.echoes("after it"); }));
    EXPECT_EQ(dropped("sessions-full"), 0);
    RecordProperty("sessions opened", fwdctl("stats")["sessions"]["opened"].dump());
    expect_every_packet_accounted_for();
}

INSTANTIATE_TEST_SUITE_P(, FloodTest, ::testing::Values("tcp", "udp"),
                         [](const auto& test) { return std::string{test.param}; });

}  // namespace
}  // namespace fwd::test
