// SPDX-License-Identifier: BSD-3-Clause
// A flood of made-up sources at the highest rate at which sessions are set up on this machine, answered by
// the server.
#include <fmt/format.h>

#include "test/e2e/lab.h"

using namespace std::chrono_literals;

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
                  { name = "echo"; protocol = "udp"; external = "192.0.2.3:7"; target = "10.0.0.4:7000"; },
                  { name = "talk"; protocol = "tcp+udp"; external = "192.0.2.3:9"; target = "10.0.0.4:9000"; } );
    )";
    ASSERT_NO_FATAL_FAILURE(up({.topology = "two-arm", .config = config}));
    ASSERT_NO_FATAL_FAILURE(start_web_server());
    ASSERT_NO_FATAL_FAILURE(start_echo_server(7000));
    ASSERT_NO_FATAL_FAILURE(start_echo_server(9000));
    constexpr int kConversations = 30;  // of TCP, and as many of UDP
    Process talk =
        start("client", fmt::format("python3 {} 192.0.2.3 9 {} {}", source_file("test/e2e/talk.py").string(),
                                    kConversations, kConversations));
    ASSERT_TRUE(talk.says("talking")) << talk.output();
    const auto began = std::chrono::steady_clock::now();
    const std::string mac = fwdctl("list-links")["links"][0]["mac"];
    const auto flooding = [&](unsigned seconds, std::int64_t rate) {
        Process flood = start("client", fmt::format("python3 {} eth0 {} {} 192.0.2.3 {} {} {}",
                                                    source_file("test/e2e/flood.py").string(), mac, protocol,
                                                    protocol == "tcp" ? 80 : 7, seconds, rate));
        EXPECT_TRUE(flood.says("flooding", 60s)) << flood.output();
        return flood;
    };
    // The highest rate at which sessions are set up here. Beyond it the devices' queues overflow, which would
    // test them: a client's packet gets lost there before fwd sees it.
    const auto opened = [&] { return fwdctl("stats")["sessions"]["opened"].get<std::int64_t>(); };
    const std::int64_t before = opened();
    constexpr unsigned kSeconds = 3;
    flooding(kSeconds, 0).wait();
    const std::int64_t rate = (opened() - before) / kSeconds;
    RecordProperty("sessions opened a second", std::to_string(rate));
    ASSERT_GT(rate, 0);
    Process flood = flooding(90, rate);
    ASSERT_TRUE(eventually([&] { return fwdctl("stats")["sessions"]["evicted"] > 1000; }, 60s))
        << fwdctl("stats")["sessions"];

    constexpr int kClients = 40;
    std::vector<Process> clients;
    clients.reserve(kClients);
    for (int i = 0; i < kClients; ++i)
        clients.push_back(start("client", "curl -sS --max-time 40 http://192.0.2.3/"));
    int served = 0;
    for (Process& client : clients) served += client.wait().output == kPage ? 1 : 0;
    EXPECT_TRUE(flood.is_running()) << "it was to last as long as that";
    EXPECT_GE(served, kClients * 95 / 100) << fwdctl("stats");
    // Nothing of a conversation is lost, and each has the session that it had before: one that had been
    // evicted would have another one. What the devices' queues lose nevertheless is said again.
    const auto age = std::chrono::duration<double>{std::chrono::steady_clock::now() - began}.count();
    const Json sessions = fwdctl("list-sessions --rule talk")["sessions"];
    EXPECT_EQ(sessions.size(), 2 * kConversations);
    for (const Json& session : sessions) EXPECT_GE(session["age_s"], age) << session;
    const std::string said = talk.stop().output;
    flood.stop();
    const Json report = Json::parse(said.substr(said.find('{')), nullptr, false);
    for (const char* kind : {"tcp", "udp"}) {
        EXPECT_EQ(report[kind]["conversations"], kConversations) << said;
        EXPECT_GT(report[kind]["least said"], 10) << said;
        EXPECT_EQ(report[kind]["lost"], Json::array()) << said;
        RecordProperty(fmt::format("said again by {}", kind), report[kind]["said again"].get<int>());
    }
    EXPECT_EQ(dropped("sessions-full"), 0);
    expect_every_packet_accounted_for();
}

INSTANTIATE_TEST_SUITE_P(, FloodTest, ::testing::Values("tcp", "udp"),
                         [](const auto& test) { return std::string{test.param}; });

}  // namespace
}  // namespace fwd::test
