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
#include "test/support/rule_operator.h"
#include "test/unit/control/plain_operations.h"
#include "test/unit/control/temporary_directory.h"

namespace fwd::control {
namespace {

using test::Operator;
using test::receive_answer;
using test::Rules;
using test::send_request;
using test::Step;
using test::UsualTime;
using Clock = std::chrono::steady_clock;

#if defined(FWD_ADDRESS_SANITIZER)
constexpr int kRounds = 60;  // when a kill hits matters, not the build
#else
constexpr int kRounds = 250;
#endif

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
    EXPECT_GT(unanswered_and_not_done, kRounds / 25);
    RecordProperty("acknowledged", acknowledged);
    RecordProperty("unanswered_but_done", unanswered_but_done);
    RecordProperty("unanswered_and_not_done", unanswered_and_not_done);
}

}  // namespace
}  // namespace fwd::control
