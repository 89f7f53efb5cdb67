// SPDX-License-Identifier: BSD-3-Clause
// A daemon is killed at random moments while it changes rules. Whatever it has acknowledged is there
// afterwards; of the request that it did not answer all or nothing.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <map>
#include <random>
#include <thread>

#include "control/rpc_server.h"
#include "test/unit/control/plain_operations.h"
#include "test/unit/control/temporary_directory.h"

namespace fwd::control {
namespace {

using Rules = std::map<std::string, std::string>;  ///< names and external endpoints

using Clock = std::chrono::steady_clock;

constexpr int kRounds = 250;
constexpr unsigned kMostAnswered = 4;  ///< requests before the one that is disturbed

/// The daemon, without its data plane. It lives until it is killed.
[[noreturn]] void run_daemon(const std::filesystem::path& directory) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    auto store = RuleStore::open(directory / "state");
    if (!store) ::_exit(1);
    auto book = RuleBook::open(test::example_topology(), std::move(*store), {});
    if (!book) ::_exit(2);
    test::PlainOperations operations{*book};
    auto server = RpcServer::listen(directory / "fwd.sock", operations);
    if (!server) ::_exit(3);
    while (true) (*server)->poll(std::chrono::milliseconds{100});
}

/// A request and what the rules are when it has been carried out.
struct Step {
    Json request;
    Rules rules;
};

class Operator {
 public:
    explicit Operator(unsigned seed) : random_{seed} {}

    Step next(const Rules& rules) {
        Step step{{{"jsonrpc", "2.0"}, {"id", ++id_}}, rules};
        switch (random_() % 3) {
            case 0:
                step.request["method"] = "rule.add";
                step.request["params"] = new_rule(step.rules);
                break;
            case 1: {
                Json list = Json::array();
                for (int i = 0; i < 5; ++i) list.push_back(new_rule(step.rules));
                step.request["method"] = "rules.add";
                step.request["params"] = {{"rules", list}};
                break;
            }
            default: {
                if (rules.empty()) return next(rules);
                const auto victim = std::next(rules.begin(), static_cast<long>(random_() % rules.size()));
                step.request["method"] = "rule.delete";
                step.request["params"] = {{"name", victim->first}};
                step.rules.erase(victim->first);
            }
        }
        return step;
    }
    unsigned requests_to_be_answered() { return random_() % (kMostAnswered + 1); }
    /// A moment up to one and a half times as late as something usually takes.
    Clock::duration moment_within(Clock::duration usual) {
        return usual * static_cast<long>(random_() % 1500) / 1000;
    }

 private:
    Json new_rule(Rules& rules) {
        ++rule_;
        const std::string name = fmt::format("r{}", rule_);
        const std::string external = fmt::format("10.1.{}.{}:80", rule_ / 250 % 250, 1 + rule_ % 250);
        rules[name] = external;
        return {{"protocol", "tcp"}, {"external", external}, {"target", "10.0.0.4:8080"}, {"name", name}};
    }

    std::mt19937 random_;
    unsigned id_ = 0;
    unsigned rule_ = 0;
};

void send_request(int socket, const Json& request) {
    const std::string line = request.dump() + '\n';
    EXPECT_EQ(::send(socket, line.data(), line.size(), MSG_NOSIGNAL), static_cast<ssize_t>(line.size()));
}

/// The answer, or nothing when the daemon is dead.
std::optional<Json> receive_answer(int socket) {
    std::string answer;
    while (!answer.ends_with('\n')) {
        char buffer[4096];
        const ssize_t bytes = ::recv(socket, buffer, sizeof buffer, 0);
        if (bytes <= 0) return {};
        answer.append(buffer, static_cast<std::size_t>(bytes));
    }
    return Json::parse(answer);
}

/// How long something takes, of late.
class UsualTime {
 public:
    void add(Clock::duration time) {
        usual_ = known_ ? (3 * usual_ + time) / 4 : time;
        known_ = true;
    }
    Clock::duration get() const { return usual_; }

 private:
    bool known_ = false;
    Clock::duration usual_{};
};

FileDescriptor connect_to(const std::filesystem::path& path, pid_t daemon) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.string().copy(address.sun_path, sizeof address.sun_path - 1);
    siginfo_t ended{};  // stays as it is as long as the daemon lives
    while (::waitid(P_PID, static_cast<id_t>(daemon), &ended, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           ended.si_pid == 0) {
        FileDescriptor socket{::socket(AF_UNIX, SOCK_STREAM, 0)};
        if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0)
            return socket;
        ::usleep(200);
    }
    return {};
}

TEST(RuleCrash, EveryAcknowledgedRuleIsBackAfterAKillAndNoneIsHalf) {
    constexpr unsigned kSeed = 3;
    const test::TemporaryDirectory directory;
    Operator person{kSeed};
    Rules rules;
    UsualTime start, request;  // kills are timed by them, so that they hit on a slow machine too
    int acknowledged = 0;
    int unanswered_but_done = 0;
    int unanswered_and_not_done = 0;
    for (int round = 0; round < kRounds; ++round) {
        const pid_t daemon = ::fork();
        ASSERT_GE(daemon, 0);
        if (daemon == 0) run_daemon(directory.path());

        std::optional<Rules> unanswered;
        const auto forked = Clock::now();
        if (round % 5 == 4) {
            std::this_thread::sleep_for(person.moment_within(start.get()));
            ASSERT_EQ(::kill(daemon, SIGKILL), 0);
        } else {
            const FileDescriptor socket = connect_to(directory.path() / "fwd.sock", daemon);
            ASSERT_TRUE(socket.valid());
            start.add(Clock::now() - forked);
            for (unsigned left = person.requests_to_be_answered();; --left) {
                const Step step = person.next(rules);
                const auto sent = Clock::now();
                send_request(socket.get(), step.request);
                if (left == 0) {
                    std::this_thread::sleep_for(person.moment_within(request.get()));
                    ASSERT_EQ(::kill(daemon, SIGKILL), 0);
                }
                if (const auto answer = receive_answer(socket.get())) {
                    ASSERT_TRUE(answer->contains("result")) << *answer;
                    rules = step.rules;
                    ++acknowledged;
                } else {
                    ASSERT_EQ(left, 0U) << "it died of itself";
                    unanswered = step.rules;
                }
                if (left == 0) break;
                request.add(Clock::now() - sent);
            }
        }
        int status = 0;
        ASSERT_EQ(::waitpid(daemon, &status, 0), daemon);
        ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
            << "round " << round << ", status " << status;

        auto store = RuleStore::open(directory.path() / "state");
        ASSERT_TRUE(store) << store.error().text();
        const auto stored = (*store)->load();
        ASSERT_TRUE(stored) << stored.error().text();
        Rules seen;
        for (const Rule& rule : *stored) seen[rule.name] = to_text(rule.external);
        if (unanswered && seen == *unanswered && seen != rules) {
            ++unanswered_but_done;
            rules = seen;
        } else {
            unanswered_and_not_done += unanswered ? 1 : 0;
        }
        ASSERT_EQ(seen, rules) << "round " << round << ", seed " << kSeed;
    }
    // The kills did come in the middle of things.
    EXPECT_GT(acknowledged, kRounds);
    EXPECT_GT(unanswered_and_not_done, 10);
    RecordProperty("acknowledged", acknowledged);
    RecordProperty("unanswered_but_done", unanswered_but_done);
    RecordProperty("unanswered_and_not_done", unanswered_and_not_done);
}

}  // namespace
}  // namespace fwd::control
