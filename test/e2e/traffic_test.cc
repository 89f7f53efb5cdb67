// SPDX-License-Identifier: BSD-3-Clause
// Much at once, and for long.
#include <fmt/format.h>

#include <algorithm>

#include "test/e2e/lab.h"

namespace fwd::test {
namespace {

class TrafficTest : public LabTest {
 protected:
    void up_with_web_server(const LabOptions& options = {}) {
        ASSERT_NO_FATAL_FAILURE(up(options));
        ASSERT_NO_FATAL_FAILURE(start_web_server());
        add_rule(fmt::format("tcp {}:80 10.0.0.4:8080", nobody()));
    }

    void start_iperf() {
        iperf_.push_back(start("server", "iperf3 --server --port 5201"));
        ASSERT_TRUE(
            eventually([&] { return exec("server", "ss -Htln").output.find(":5201") != std::string::npos; }));
        add_rule(fmt::format("tcp+udp {0}:5201 10.0.0.4:5201 --name iperf", nobody()));
    }
    Json iperf(const std::string& options) {
        // After a test the server listens anew: for a moment nobody is there, or one who is just going.
        Finished done;
        EXPECT_TRUE(eventually([&] {
            done = exec("client", fmt::format("timeout 60 iperf3 --json --client {} {}", nobody(), options));
            const auto says = [&](const char* what) { return done.output.find(what) != std::string::npos; };
            return !says("Connection refused") && !says("unable to receive control message") &&
                   !says("the server is busy");
        }));
        EXPECT_EQ(done.status, 0) << done.output;
        Json report = Json::parse(done.output, nullptr, false);
        EXPECT_TRUE(report.is_object() && !report.contains("error")) << done.output;
        return report.is_object() ? report : Json::object();
    }

    /// What a device's queue loses while nothing on this machine runs, fwd never sees: so more than one try.
    void expect_all_arrive(const std::string& options) {
        Json report;
        const bool arrived = [&] {
            for (int tries = 0; tries < 5; ++tries) {
                report = iperf(options);
                EXPECT_GE(number(report, "/end/sum/packets"), 4000) << report;
                if (number(report, "/end/sum/lost_packets") == 0) return true;
            }
            return false;
        }();
        EXPECT_TRUE(arrived) << report;
    }

    static double number(const Json& report, const char* path) {
        return report.value(Json::json_pointer{path}, -1.0);
    }

 private:
    std::vector<Process> iperf_;
};

TEST_F(TrafficTest, GigabyteArrivesWithItsSha256) {
    ASSERT_NO_FATAL_FAILURE(up_with_web_server({.topology = "two-arm"}));
    const std::string file = files() / "www/gigabyte";
    const std::string sum =
        exec("server", fmt::format("head -c 1000000000 /dev/urandom | tee {} | sha256sum", file)).output;
    const Finished done =
        exec("client", fmt::format("curl -sS --max-time 600 http://{}/gigabyte | sha256sum", nobody()));
    EXPECT_EQ(done.output, sum);
    EXPECT_EQ(sessions().at(0)["rule"], "tcp-192.0.2.3-80");
    EXPECT_GE(sessions().at(0)["bytes_out"], 1000000000);
    expect_every_packet_accounted_for();
}

TEST_F(TrafficTest, TwoHundredClientsAtOnceGetTheWholeFile) {
    ASSERT_NO_FATAL_FAILURE(up_with_web_server({.workers = 2}));
    exec("server", fmt::format("head -c 200000 /dev/urandom > {}", (files() / "www/file").string()));
    const std::string urls = fmt::format("'http://{}/file?[1-200]'", nobody());
    const Finished done =
        get(urls,
            "--parallel --parallel-immediate --parallel-max 200 --max-time 300 -H 'Connection: close' "
            "-o /dev/null -w '%{http_code} %{size_download}\\n'");
    EXPECT_EQ(done.status, 0);
    std::string expected;
    for (int i = 0; i < 200; ++i) expected += "200 200000\n";
    EXPECT_EQ(done.output, expected);
    EXPECT_EQ(fwdctl("stats")["sessions"]["opened"], 200);
    EXPECT_TRUE(eventually([&] { return std::ranges::count(access_log(), '\n') == 200; }));
    expect_every_packet_accounted_for();
}

class WindowCheckTest : public TrafficTest, public ::testing::WithParamInterface<const char*> {};
INSTANTIATE_TEST_SUITE_P(, WindowCheckTest, ::testing::Values("one-arm", "two-arm"), [](const auto& test) {
    return test.param == std::string{"one-arm"} ? "OneArm" : "TwoArm";
});

/// T11: with `tcp_window_check` nothing of real connections is dropped, with two workers and many segments on
/// their way in both directions; and what a stranger makes up is. By af_xdp, since af_packet hands a flow's
/// packets to another worker while the ring of its own is full: once the host lets that one run again, it
/// sends ACKs that are megabytes old.
TEST_P(WindowCheckTest, DropsWhatIsMadeUpAndNothingElse) {
    ASSERT_NO_FATAL_FAILURE(up_with_web_server(
        {.topology = GetParam(), .device = "af_xdp", .workers = 2, .config = "tcp_window_check = true;\n"}));
    ASSERT_NO_FATAL_FAILURE(start_iperf());
    start_echo_server(7);
    add_rule(fmt::format("tcp {}:7 10.0.0.4:7 --name echo", nobody()));
    Socket echo = connected(tcp("client"));
    const Json tcp = iperf("--parallel 4 --time 2 --bidir");
    EXPECT_GT(number(tcp, "/end/sum_received/bytes"), 1e6) << tcp;
    EXPECT_GT(number(tcp, "/end/sum_received_bidir_reverse/bytes"), 1e6) << tcp;
    exec("server", fmt::format("head -c 200000 /dev/urandom > {}", (files() / "www/file").string()));
    const Finished done = get(fmt::format("'http://{}/file?[1-50]'", nobody()),
                              "--parallel --parallel-max 50 -H 'Connection: close' -o /dev/null -w "
                              "'%{http_code} %{size_download}\n'");
    EXPECT_EQ(std::ranges::count(done.output, '\n'), 50);
    EXPECT_EQ(done.output.find_first_not_of("20 \n"), std::string::npos) << done.output;
    EXPECT_EQ(dropped("outside-window"), 0U);

    const auto forge = [&, own = echo.local()] {
        EXPECT_EQ(
            exec("client", fmt::format("python3 -B {} {} {} {} 7", source_file("test/e2e/forge.py").string(),
                                       own.ip, own.port, nobody()))
                .output,
            "");
    };
    forge();
    EXPECT_TRUE(eventually([&] { return dropped("outside-window") >= 63; })) << dropped("outside-window");
    EXPECT_TRUE(echo.echoes("still here"));

    write_file(files() / "lab.conf", "tcp_window_check = false;\n");
    fwdctl("reload");
    const std::uint64_t before = dropped("outside-window");
    forge();
    EXPECT_TRUE(echo.echoes("still here"));
    EXPECT_EQ(dropped("outside-window"), before);
    expect_every_packet_accounted_for();
}

/// Topology, device and number of workers.
class IperfTest : public TrafficTest,
                  public ::testing::WithParamInterface<std::tuple<const char*, const char*, unsigned>> {};

TEST_P(IperfTest, LosesNothing) {
    const auto& [topology, device, workers] = GetParam();
    ASSERT_NO_FATAL_FAILURE(up({.topology = topology, .device = device, .workers = workers}));
    ASSERT_NO_FATAL_FAILURE(start_iperf());

    for (const char* direction : {"", "--reverse"}) {
        const Json tcp = iperf(fmt::format("--parallel 4 --time 1 {}", direction));
        EXPECT_GT(number(tcp, "/end/sum_received/bytes"), 1e6) << tcp;
        expect_all_arrive(fmt::format("--udp --bitrate 20M --length 1200 --blockcount 4000 {}", direction));
    }
    expect_all_arrive("--udp --bitrate 5M --length 64 --blockcount 15000");  // 10 000 a second
    expect_every_packet_accounted_for();
}

// Each device has been through both, and each topology met both numbers of workers.
INSTANTIATE_TEST_SUITE_P(
    , IperfTest,
    ::testing::Values(std::tuple{"two-arm", "af_packet", 1U}, std::tuple{"one-arm", "af_packet", 2U},
                      std::tuple{"one-arm", "af_xdp", 1U}, std::tuple{"two-arm", "af_xdp", 2U}),
    [](const auto& test) {
        return fmt::format("{}_{}_{}_workers",
                           std::get<0>(test.param) == std::string{"one-arm"} ? "OneArm" : "TwoArm",
                           std::get<1>(test.param), std::get<2>(test.param));
    });

}  // namespace
}  // namespace fwd::test
