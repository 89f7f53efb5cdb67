// SPDX-License-Identifier: BSD-3-Clause
// fwdd itself is killed at random moments while its rules change by JSON-RPC. Started again, it has every
// rule that it has acknowledged, and of the request that it did not answer all or nothing.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>

#include "test/e2e/lab.h"
#include "test/support/rule_operator.h"

namespace fwd::test {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr unsigned kSeed = 11;
constexpr int kRounds = 200;

/// Needs neither root nor hugepages: its devices lead nowhere.
constexpr const char* kConfig = R"(
workers = 1;
sessions = 64;
hugepages = false;
socket = "{0}/fwd.sock";
state_directory = "{0}/state";
log_level = "warning";
links = ( {{ name = "lan"; device = "net_null0,no-rx=1"; addresses = [ "10.0.0.2/8" ]; }},
          {{ name = "wan"; device = "net_null1,no-rx=1"; addresses = [ "192.0.2.1/24" ]; }} );
)";

/// A connection to fwdd, made as soon as it listens.
class Connection {
 public:
    Connection(const std::string& path, Process& fwdd) {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        path.copy(address.sun_path, sizeof address.sun_path - 1);
        for (const auto end = Clock::now() + 30s; Clock::now() < end && fwdd.is_running();) {
            socket_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
            if (::connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return;
            ::close(std::exchange(socket_, -1));
            std::this_thread::sleep_for(500us);
        }
    }
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;
    ~Connection() {
        if (socket_ >= 0) ::close(socket_);
    }
    int socket() const { return socket_; }

    Rules rules() const {
        send_request(socket_,
                     {{"jsonrpc", "2.0"}, {"id", 0}, {"method", "rule.list"}, {"params", Json::object()}});
        const auto answer = receive_answer(socket_);
        Rules rules;
        if (!answer || !answer->contains("result")) {
            ADD_FAILURE() << (answer ? answer->dump() : "no answer");
            return rules;
        }
        for (const Json& rule : (*answer)["result"]["rules"]) {
            EXPECT_EQ(rule["target"], "10.0.0.4:8080") << rule;
            EXPECT_EQ(rule["protocol"], "tcp") << rule;
            EXPECT_EQ(rule["origin"], "database") << rule;
            rules[rule["name"]] = rule["external"];
        }
        return rules;
    }

 private:
    int socket_ = -1;
};

TEST(Kill, EveryAcknowledgedRuleIsBackAndNoneIsHalf) {
    const TemporaryDirectory directory;
    setenv("RUNTIME_DIRECTORY", directory.path().c_str(), 1);  // DPDK's: nothing of 200 processes is left
    write_file(directory / "fwd.conf", fmt::format(kConfig, directory.path().string()));
    Operator person{kSeed};
    Rules rules;                      // acknowledged
    std::optional<Rules> unanswered;  // how they are if the last request was carried out all the same
    UsualTime start, request;
    int acknowledged = 0;
    int starts_killed = 0;
    int requests_killed = 0;
    for (int round = 0; round <= kRounds; ++round) {
        Process fwdd{{build_file("control/fwdd"), "--config", directory / "fwd.conf"}};
        const auto started = Clock::now();
        if (round % 5 == 4 && round != kRounds) {
            std::this_thread::sleep_for(person.moment_within(start.get()));
            ASSERT_EQ(fwdd.stop(SIGKILL).status, 128 + SIGKILL) << fwdd.output();
            ++starts_killed;
            continue;
        }
        const Connection connection{directory / "fwd.sock", fwdd};
        ASSERT_GE(connection.socket(), 0) << "round " << round << ": " << fwdd.output();
        start.add(Clock::now() - started);
        const Rules seen = connection.rules();
        if (unanswered && seen == *unanswered) rules = seen;
        unanswered.reset();
        ASSERT_EQ(seen, rules) << "round " << round << ", seed " << kSeed;
        if (round == kRounds) break;

        for (unsigned left = person.requests_to_be_answered();; --left) {
            const Step step = person.next(rules);
            const auto sent = Clock::now();
            send_request(connection.socket(), step.request);
            if (left == 0) {
                std::this_thread::sleep_for(person.moment_within(request.get()));
                ASSERT_EQ(fwdd.stop(SIGKILL).status, 128 + SIGKILL) << fwdd.output();
            }
            if (const auto answer = receive_answer(connection.socket())) {
                ASSERT_TRUE(answer->contains("result")) << *answer;
                rules = step.rules;
                ++acknowledged;
            } else {
                ASSERT_EQ(left, 0U) << "it died of itself: " << fwdd.output();
                unanswered = step.rules;
                ++requests_killed;
            }
            if (left == 0) break;
            request.add(Clock::now() - sent);
        }
    }
    // The kills did come in the middle of things.
    EXPECT_GT(acknowledged, kRounds / 2);
    EXPECT_GT(requests_killed, 10);
    EXPECT_EQ(starts_killed, kRounds / 5);
}

}  // namespace
}  // namespace fwd::test
