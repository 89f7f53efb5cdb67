// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/eviction_queue.h"

#include <gtest/gtest.h>

#include <deque>
#include <random>

namespace fwd::dataplane {
namespace {

EvictionQueue::Entry entry(std::uint32_t n) {
    return {FlowPosition{n}, StateWord::make(n, RecordState::live)};
}

TEST(EvictionQueue, GivesBackTheOldestFirst) {
    EvictionQueue queue{4};
    EXPECT_TRUE(queue.empty());
    for (std::uint32_t n = 1; n <= 3; ++n) queue.push(entry(n));
    for (std::uint32_t n = 1; n <= 3; ++n) {
        ASSERT_FALSE(queue.empty());
        const EvictionQueue::Entry oldest = queue.pop();
        EXPECT_EQ(oldest.session.value, n);
        EXPECT_EQ(oldest.word, StateWord::make(n, RecordState::live));
    }
    EXPECT_TRUE(queue.empty());
}

TEST(EvictionQueue, FullItForgetsTheOldest) {
    EvictionQueue queue{4};
    for (std::uint32_t n = 1; n <= 6; ++n) queue.push(entry(n));
    for (std::uint32_t n = 3; n <= 6; ++n) EXPECT_EQ(queue.pop().session.value, n);
    EXPECT_TRUE(queue.empty());
}

TEST(EvictionQueue, CapacityOfOneWorks) {
    EvictionQueue queue{1};
    queue.push(entry(1));
    queue.push(entry(2));
    EXPECT_EQ(queue.pop().session.value, 2U);
    EXPECT_TRUE(queue.empty());
}

TEST(EvictionQueue, AgreesWithADequeOverARandomWalk) {
    constexpr std::size_t kCapacity = 64;
    EvictionQueue queue{50};  // rounded up to a power of two
    std::deque<std::uint32_t> model;
    std::mt19937 random{42};
    for (std::uint32_t n = 0; n < 100'000; ++n) {
        if (random() % 8 < 5) {
            queue.push(entry(n));
            model.push_back(n);
            if (model.size() > kCapacity) model.pop_front();
        } else if (!model.empty()) {
            ASSERT_EQ(queue.pop().session.value, model.front());
            model.pop_front();
        }
        ASSERT_EQ(queue.empty(), model.empty());
    }
}

}  // namespace
}  // namespace fwd::dataplane
