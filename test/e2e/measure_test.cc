// SPDX-License-Identifier: BSD-3-Clause
// The commands of README.md's "Measure it yourself" that need no NIC, as they stand there: testpmd sends and
// receives through net_memif. Only their files are in a directory of the test's own.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <iostream>
#include <map>
#include <set>
#include <sstream>

#include "test/e2e/lab.h"

namespace fwd::test {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kSessions = 16384;  // of bench/capture
constexpr const char* kTarget = "10.0.0.100";
constexpr std::uint16_t kTargetPort = 8080;

std::string replace_all(std::string text, const std::string& from, const std::string& to) {
    for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
        text.replace(at, from.size(), to);
    return text;
}

/// The first block of commands in a section of README.md: one string for each command.
std::vector<std::string> readme_commands(const std::string& heading) {
    std::istringstream readme{read_file(source_file("README.md"))};
    std::string line;
    while (std::getline(readme, line) && line != heading) continue;
    while (std::getline(readme, line) && !line.starts_with("    ")) continue;
    std::vector<std::string> commands;
    bool continues = false;
    for (; line.starts_with("    "); std::getline(readme, line)) {
        std::string words = line.substr(line.find_first_not_of(' '));
        const bool goes_on = words.ends_with('\\');
        if (goes_on) words.pop_back();
        if (continues) {
            commands.back() += words;
        } else {
            commands.push_back(words);
        }
        continues = goes_on;
    }
    return commands;
}

class MeasureTest : public ::testing::Test {
 protected:
    void SetUp() override {
        if (geteuid() != 0) GTEST_SKIP() << "testpmd needs root";
        if (shell("command -v dpdk-testpmd").status != 0)
            GTEST_SKIP() << "there is no dpdk-testpmd: tools/setup test";
        // Hugepages that are free may be there for somebody else.
        write_file(file("fwd.conf"),
                   here(read_file(source_file("conf/measure-memif.conf"))) + "hugepages = false;\n");
        const Finished capture = shell(command("bench/capture"));
        ASSERT_EQ(capture.status, 0) << capture.output;
        fwdd_.push_back(start(command("control/fwdd")));
        ASSERT_TRUE(fwdd_.front().says("ready with")) << fwdd_.front().output();
    }
    void TearDown() override { end(); }

    /// fwdd ends first: DPDK's memif may crash whoever polls when the other side goes.
    void end() {
        if (fwdd_.empty()) return;
        const Finished done = fwdd_.front().stop();
        EXPECT_EQ(done.status, 0) << done.output;
        fwdd_.clear();
        testpmd_.clear();
    }

    std::string file(const std::string& name) const { return directory_ / name; }
    /// The command of the README that runs this program, for the test's own files.
    std::string command(const std::string& program) const {
        std::string found;
        for (const std::string& command : readme_commands("### On one machine, with testpmd")) {
            if (command.find(program) != std::string::npos) found += command;
        }
        EXPECT_NE(found, "") << program << " is not run in README.md";
        if (found.ends_with(" &")) found.resize(found.size() - 2);
        return here(found);
    }
    std::string here(std::string text) const {
        text = replace_all(std::move(text), "conf/measure-memif.conf", file("fwd.conf"));
        text = replace_all(std::move(text), "/run/fwd-measure", directory_.path());
        return replace_all(std::move(text), "build/", build_file(""));
    }
    static Finished shell(const std::string& command) { return start_shell(command).wait(); }
    static Process start(const std::string& command) { return start_shell("exec " + command); }
    /// Sends and receives until end(). What it prints into a file comes at once only with stdbuf.
    void start_testpmd(const std::string& command) {
        testpmd_.push_back(start("stdbuf -oL " + command));
        ASSERT_TRUE(testpmd_.front().says("NIC statistics for port 3")) << testpmd_.front().output();
    }
    /// A figure of one of testpmd's ports, as printed last.
    std::uint64_t testpmd_figure(int port, const std::string& name) const {
        const std::string output = testpmd_.front().output();
        const std::size_t port_at = output.rfind(fmt::format("NIC statistics for port {} ", port));
        const std::size_t at = output.find(name, port_at);
        return at == std::string::npos ? 0 : std::stoull(output.substr(at + name.size()));
    }
    Json stats() const {
        const std::string command_line = command("fwdctl");
        const std::size_t options = command_line.find(" --socket");
        const Finished done = shell(command_line.substr(0, options) + " --json" +
                                    command_line.substr(options, command_line.find(" --watch") - options));
        EXPECT_EQ(done.status, 0) << done.output;
        return Json::parse(done.output, nullptr, false);
    }

 private:
    static Process start_shell(const std::string& command) {
        return Process{{"sh", "-c", fmt::format("cd {} && {}", source_file("").string(), command)}};
    }

    TemporaryDirectory directory_;
    std::vector<Process> fwdd_, testpmd_;
};

TEST_F(MeasureTest, TestpmdGetsBackWhatItSends) {
    ASSERT_NO_FATAL_FAILURE(start_testpmd(command("dpdk-testpmd")));
    ASSERT_TRUE(eventually([&] { return stats()["sessions"]["live"] == kSessions; })) << stats();
    ASSERT_TRUE(eventually([&] { return testpmd_figure(2, "Rx-pps:") > 0; }));

    const Json before = stats();
    std::this_thread::sleep_for(2s);
    const std::uint64_t received = testpmd_figure(2, "RX-packets:");
    const Json after = stats();
    std::cout << "testpmd received " << received << " packets, " << testpmd_figure(2, "Rx-pps:")
              << " in the last second; worker busy " << after["workers"][0]["busy_percent"] << " %\n";
    EXPECT_GT(after["packets"]["sent"], before["packets"]["sent"]);
    EXPECT_EQ(after["packets"]["dropped"], before["packets"]["dropped"]) << after["drops"];
    for (const Json& drop : after["drops"]) {
        EXPECT_EQ(drop["reason"], "tx-full") << "all that may be lost, before testpmd is on both links";
    }
    EXPECT_EQ(after["sessions"]["opened"], kSessions);
    EXPECT_EQ(after["sessions"]["closed"], 0);
    EXPECT_GT(after["workers"][0]["busy_percent"], 0.0);
    EXPECT_GT(received, 0U);
    EXPECT_LE(received, after["packets"]["sent"]);
}

TEST_F(MeasureTest, PacketsThatComeBackAreTranslatedAndOtherwiseUnchanged) {
    const std::string testpmd_command =
        replace_all(command("dpdk-testpmd"), "net_null0,no-rx=1", "net_pcap1,tx_pcap=" + file("out.pcap"));
    ASSERT_NO_FATAL_FAILURE(start_testpmd(testpmd_command));
    // A file and frame header for each, and 60 bytes.
    constexpr std::uintmax_t kSampleBytes = 24 + kSessions * (16 + 60);
    ASSERT_TRUE(eventually([&] { return std::filesystem::file_size(file("out.pcap")) >= kSampleBytes; }));
    end();
    std::filesystem::resize_file(file("out.pcap"), kSampleBytes);

    std::map<std::vector<std::uint8_t>, WirePacket> sent;  // payloads are different
    for (const WirePacket& packet : read_capture(file("sessions.pcap")).packets) {
        EXPECT_TRUE(packet.checksums_right);
        sent[packet.unchangeable()] = packet;
    }
    ASSERT_EQ(sent.size(), kSessions);
    std::set<std::vector<std::uint8_t>> sessions;
    const std::vector<WirePacket> received = read_capture(file("out.pcap")).packets;
    EXPECT_GE(received.size(), kSessions - 1);
    for (const WirePacket& packet : received) {
        const auto original = sent.find(packet.unchangeable());
        ASSERT_NE(original, sent.end()) << packet;
        sessions.insert(original->first);
        ASSERT_EQ(packet.source, original->second.source);
        ASSERT_EQ(packet.source_port, original->second.source_port);
        ASSERT_EQ(packet.destination, kTarget);
        ASSERT_EQ(packet.destination_port, kTargetPort);
        ASSERT_EQ(packet.ttl, original->second.ttl - 1);
        ASSERT_TRUE(packet.checksums_right) << packet;
    }
    EXPECT_GT(sessions.size(), kSessions / 2);
}

}  // namespace
}  // namespace fwd::test
