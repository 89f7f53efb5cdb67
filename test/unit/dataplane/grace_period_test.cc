// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/grace_period.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <memory>
#include <thread>

namespace fwd::dataplane {
namespace {

using namespace std::chrono_literals;

constexpr unsigned kThreads = 3;

struct Free {
    void operator()(rte_rcu_qsbr* qsbr) const noexcept { std::free(qsbr); }
};

std::unique_ptr<rte_rcu_qsbr, Free> three_threads() {
    const std::size_t bytes = rte_rcu_qsbr_get_memsize(kThreads);
    std::unique_ptr<rte_rcu_qsbr, Free> qsbr{
        static_cast<rte_rcu_qsbr*>(std::aligned_alloc(RTE_CACHE_LINE_SIZE, bytes))};
    rte_rcu_qsbr_init(qsbr.get(), kThreads);
    for (unsigned thread = 0; thread < kThreads; ++thread) rte_rcu_qsbr_thread_register(qsbr.get(), thread);
    return qsbr;
}

TEST(GracePeriod, IsOverOnceEachThreadOnlineHasBeenQuiescent) {
    const auto qsbr = three_threads();
    EXPECT_TRUE(grace_period_is_over(qsbr.get(), rte_rcu_qsbr_start(qsbr.get()))) << "all are offline";
    rte_rcu_qsbr_thread_online(qsbr.get(), 0);
    rte_rcu_qsbr_thread_online(qsbr.get(), 2);
    const std::uint64_t token = rte_rcu_qsbr_start(qsbr.get());
    EXPECT_FALSE(grace_period_is_over(qsbr.get(), token));
    rte_rcu_qsbr_quiescent(qsbr.get(), 0);
    EXPECT_FALSE(grace_period_is_over(qsbr.get(), token));
    rte_rcu_qsbr_thread_offline(qsbr.get(), 2);
    EXPECT_TRUE(grace_period_is_over(qsbr.get(), token));
    rte_rcu_qsbr_thread_online(qsbr.get(), 2);
    EXPECT_TRUE(grace_period_is_over(qsbr.get(), token)) << "it has come too late to have seen anything";
}

TEST(GracePeriod, ThreadThatCameOnlineWhileAnotherOneWaitedIsWaitedFor) {
    const auto qsbr = three_threads();
    rte_rcu_qsbr_thread_online(qsbr.get(), 1);
    // It finds thread 0 offline, and thread 1 not yet quiescent.
    std::thread waiting{[&] { wait_grace_period(qsbr.get()); }};
    std::this_thread::sleep_for(50ms);
    rte_rcu_qsbr_thread_online(qsbr.get(), 0);
    // What thread 0 may have found by now is taken away, and thread 1 moves on.
    const std::uint64_t token = rte_rcu_qsbr_start(qsbr.get());
    rte_rcu_qsbr_quiescent(qsbr.get(), 1);
    waiting.join();
    EXPECT_FALSE(grace_period_is_over(qsbr.get(), token));
    rte_rcu_qsbr_quiescent(qsbr.get(), 0);
    EXPECT_TRUE(grace_period_is_over(qsbr.get(), token));
}

}  // namespace
}  // namespace fwd::dataplane
