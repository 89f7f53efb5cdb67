// SPDX-License-Identifier: BSD-3-Clause
// The network of tools/lab as a fixture.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "test/e2e/capture.h"
#include "test/e2e/process.h"
#include "test/e2e/socket.h"

namespace fwd::test {

using Json = nlohmann::json;

struct LabOptions {
    std::string topology = "one-arm";
    std::string device = "af_packet";
    unsigned workers = 1;
    bool offload = false;  ///< the hosts leave checksums to their interfaces
    unsigned mtu = 1500;
    bool ipv6 = false;
    std::string config = {};  ///< rules and the like, in the configuration's syntax
    /// Of links, as "wan.host=(\"ssh\")".
    std::vector<std::string> settings = {};
};

/// All that a host saw, until stop().
class Capture {
 public:
    Capture(Process tcpdump, std::filesystem::path file)
        : tcpdump_{std::move(tcpdump)}, file_{std::move(file)} {}
    Wire stop();
    /// What has been seen until now.
    Wire so_far() const { return read_capture(file_); }

 private:
    Process tcpdump_;
    std::filesystem::path file_;
};

/// A file of the lab that is up: fwd.conf, fwd.sock, state.
std::filesystem::path lab_file(const std::string& name);

/// Each test has a network of its own. Hosts are called as tools/lab calls them.
class LabTest : public ::testing::Test {
 protected:
    void SetUp() override;
    void TearDown() override;

    void up(const LabOptions& options = {});
    /// fwdd ends and starts again, its network stays.
    void stop_fwdd() { EXPECT_EQ(lab({"stop"}).status, 0); }
    void kill_fwdd() { EXPECT_EQ(lab({"kill"}).status, 0); }
    void start_fwdd();
    /// fwdd's configuration, as tools/lab made it.
    static std::string config() { return read_file(lab_file("fwd.conf")); }
    void restart_fwdd_with(const std::string& config);
    /// Lets fwdd start again with one text in its configuration replaced.
    void restart_fwdd_with(const std::string& text, const std::string& replacement);
    std::string fwdd_log() const;
    /// An address of nobody, beside the client's.
    std::string nobody() const { return is_two_arm_ ? "192.0.2.3" : "10.0.0.3"; }
    Finished lab(Command arguments);

    /// Runs a shell command in a host.
    Finished exec(const std::string& host, const std::string& command);
    Process start(const std::string& host, const std::string& command);
    Socket udp(const std::string& host) { return Socket::udp(namespace_of(host)); }
    Socket tcp(const std::string& host) { return Socket::tcp(namespace_of(host)); }
    /// A socket of the client that has had an echo through fwd from nobody()'s port.
    Socket connected(Socket socket, std::uint16_t port = 7);
    /// tcpdump with this filter on a host's interface; whole frames.
    Capture capture(const std::string& host, const std::string& filter);

    /// Runs `fwdctl --json` with these words and expects it to succeed.
    Json fwdctl(const std::string& words);
    /// Runs `fwdctl` with these words, however it ends.
    Finished try_fwdctl(const std::string& words);
    void add_rule(const std::string& words) { fwdctl("add-rule " + words); }
    std::vector<std::string> rule_names();

    /// nginx on the server, ports 80 and 8080 of every address there. Its files lie in files()/www; "/who"
    /// tells who asked whom.
    void start_web_server();
    void stop_web_server();
    std::string access_log() const { return read_file(files_ / "access.log"); }
    /// On the server: what comes by TCP or UDP goes back.
    void start_echo_server(std::uint16_t port);
    /// curl's output in the client: the page, or what went wrong.
    Finished get(const std::string& url, const std::string& options = "");

    Json sessions() { return fwdctl("list-sessions --limit 100000")["sessions"]; }
    /// Packets dropped for a reason.
    std::uint64_t dropped(const std::string& reason);
    /// received + originated = sent + punted + dropped + held, once traffic has stopped.
    void expect_every_packet_accounted_for();

    const TemporaryDirectory& files() const { return files_; }
    Command host_command(const std::string& host, const std::string& command) const;
    static std::string namespace_of(const std::string& host);

 private:
    TemporaryDirectory files_;
    std::vector<Process> web_server_;
    std::vector<Process> echo_servers_;
    bool is_up_ = false;
    bool is_two_arm_ = false;
    unsigned captures_ = 0;
};

/// The page that start_web_server() serves as "/".
inline constexpr const char* kPage = "It works.\n";

/// More of everything, when time does not matter.
bool is_full_run();
/// A file of the source or build tree.
std::filesystem::path source_file(const std::string& name);
std::filesystem::path build_file(const std::string& name);

/// Waits for a condition; false if it does not come true within the time.
template <typename Condition>
bool eventually(Condition condition, std::chrono::milliseconds time = std::chrono::seconds{60}) {
    const auto end = std::chrono::steady_clock::now() + time;
    while (!condition()) {
        if (std::chrono::steady_clock::now() > end) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds{20});
    }
    return true;
}

}  // namespace fwd::test
