// SPDX-License-Identifier: BSD-3-Clause
// A daemon is killed at random moments while it changes rules. Whatever it has acknowledged is there
// afterwards; of the request that it did not answer all or nothing.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <ctime>
#include <map>
#include <random>

#include "control/rpc_server.h"
#include "test/unit/control/plain_operations.h"
#include "test/unit/control/temporary_directory.h"

namespace fwd::control {
namespace {

using Rules = std::map<std::string, std::string>;  ///< names and external endpoints

constexpr int kRounds = 250;
constexpr long kLongestLifeNs = 12'000'000;

/// The daemon, without its data plane. It lives until the timer kills it, at any instruction.
[[noreturn]] void run_daemon(const std::filesystem::path& directory, long life_ns) {
    auto store = RuleStore::open(directory / "state");
    if (!store) ::_exit(1);
    auto book = RuleBook::open(test::example_topology(), std::move(*store), {});
    if (!book) ::_exit(2);
    test::PlainOperations operations{*book};
    auto server = RpcServer::listen(directory / "fwd.sock", operations);
    if (!server) ::_exit(3);

    sigevent event{};
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = SIGKILL;
    timer_t timer{};
    const itimerspec life{.it_interval = {}, .it_value = {.tv_sec = 0, .tv_nsec = life_ns}};
    if (::timer_create(CLOCK_MONOTONIC, &event, &timer) != 0 ||
        ::timer_settime(timer, 0, &life, nullptr) != 0) {
        ::_exit(4);
    }
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
    long life_ns() { return static_cast<long>(1 + random_() % kLongestLifeNs); }

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

/// The answer, or nothing when the daemon is dead.
std::optional<Json> ask(int socket, const Json& request) {
    const std::string line = request.dump() + '\n';
    if (::send(socket, line.data(), line.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(line.size()))
        return {};
    std::string answer;
    while (!answer.ends_with('\n')) {
        char buffer[4096];
        const ssize_t bytes = ::recv(socket, buffer, sizeof buffer, 0);
        if (bytes <= 0) return {};
        answer.append(buffer, static_cast<std::size_t>(bytes));
    }
    return Json::parse(answer);
}

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
    int acknowledged = 0;
    int unanswered_but_done = 0;
    int unanswered_and_not_done = 0;
    for (int round = 0; round < kRounds; ++round) {
        const long life_ns = person.life_ns();
        const pid_t daemon = ::fork();
        ASSERT_GE(daemon, 0);
        if (daemon == 0) run_daemon(directory.path(), life_ns);

        std::optional<Rules> unanswered;
        if (const FileDescriptor socket = connect_to(directory.path() / "fwd.sock", daemon); socket.valid()) {
            while (!unanswered) {
                const Step step = person.next(rules);
                const auto answer = ask(socket.get(), step.request);
                if (!answer) {
                    unanswered = step.rules;
                } else {
                    ASSERT_TRUE(answer->contains("result")) << *answer;
                    rules = step.rules;
                    ++acknowledged;
                }
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
