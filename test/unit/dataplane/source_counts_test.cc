// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/source_counts.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <thread>
#include <utility>

namespace fwd::dataplane {
namespace {

using Taken = SourceCounts::Taken;

net::Ipv4Address client(std::uint32_t n) {
    return net::Ipv4Address::from_host(0xc6330000U + n);
}

/// R5
TEST(SourceCounts, EachClientOfEachRuleHasItsLimit) {
    SourceCounts counts{1000};
    for (const std::uint32_t slot : {0U, 7U, SourceCounts::kMostSlots - 1}) {
        for (std::uint32_t n = 0; n < 10; ++n) {
            for (int i = 0; i < 3; ++i) EXPECT_EQ(counts.take(slot, client(n), 3), Taken::counted);
            EXPECT_EQ(counts.take(slot, client(n), 3), Taken::refused);
        }
    }
    counts.give_back(7, client(5));
    EXPECT_EQ(counts.take(7, client(5), 3), Taken::counted);
    EXPECT_EQ(counts.take(7, client(5), 3), Taken::refused);
    EXPECT_EQ(counts.take(0, client(5), 3), Taken::refused);
}

TEST(SourceCounts, AgreeWithAMapAsLongAsThereIsRoom) {
    constexpr std::uint32_t kSessions = 4096;
    SourceCounts counts{kSessions};
    std::map<std::pair<std::uint32_t, std::uint32_t>, std::uint32_t> wanted;
    std::uint32_t live = 0;
    std::uint32_t not_counted = 0;
    std::mt19937 random{5};
    for (int i = 0; i < 300'000; ++i) {
        const std::uint32_t slot = random() % 4;
        const std::uint32_t who = random() % 3000;
        auto& sessions = wanted[{slot, who}];
        if (live < kSessions && random() % 3 != 0) {
            const Taken taken = counts.take(slot, client(who), 5);
            if (taken == Taken::not_counted) {
                ++not_counted;
                continue;
            }
            EXPECT_EQ(taken, sessions < 5 ? Taken::counted : Taken::refused);
            if (taken == Taken::counted) {
                ++sessions;
                ++live;
            }
        } else if (sessions != 0) {
            counts.give_back(slot, client(who));
            --sessions;
            --live;
        }
    }
    EXPECT_LT(not_counted, 10);
}

TEST(SourceCounts, TwoThreadsLoseNothing) {
    SourceCounts counts{1024};
    const auto work = [&] {
        for (int i = 0; i < 200'000; ++i) {
            const auto who = client(static_cast<std::uint32_t>(i) % 16);
            if (counts.take(1, who, 1000) == Taken::counted) counts.give_back(1, who);
        }
    };
    std::thread other{work};
    work();
    other.join();
    // All has been given back: each has its whole limit.
    for (std::uint32_t n = 0; n < 16; ++n) {
        EXPECT_EQ(counts.take(1, client(n), 1), Taken::counted) << n;
        EXPECT_EQ(counts.take(1, client(n), 1), Taken::refused) << n;
    }
}

}  // namespace
}  // namespace fwd::dataplane
