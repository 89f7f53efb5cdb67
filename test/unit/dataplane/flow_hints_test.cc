// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/flow_hints.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <random>
#include <vector>

namespace fwd::dataplane {
namespace {

struct Memory {
    explicit Memory(std::uint32_t keys)
        : bytes{static_cast<std::uint8_t*>(
              std::aligned_alloc(64, (FlowHints::memory_bytes(keys) + 63) / 64 * 64))} {
        std::fill_n(bytes.get(), FlowHints::memory_bytes(keys), std::uint8_t{0});
    }
    struct Free {
        void operator()(std::uint8_t* memory) const { std::free(memory); }
    };
    std::unique_ptr<std::uint8_t, Free> bytes;
};

std::uint32_t next(std::mt19937& random) {
    return static_cast<std::uint32_t>(random());
}

constexpr std::uint32_t kKeys = 1024, kPositions = 5000;

class FlowHintsTest : public ::testing::Test {
 protected:
    Memory memory_{kKeys};
    FlowHints hints_{memory_.bytes.get(), kKeys, kPositions};
};

TEST_F(FlowHintsTest, NothingIsKnownInTheBeginning) {
    for (const std::uint32_t hash : {0U, 1U, 0x80000000U, 0xffffffffU})
        EXPECT_EQ(hints_.find(hash).value, 0U);
}

TEST_F(FlowHintsTest, WhatWasNotedIsFound) {
    for (const std::uint32_t hash : {0U, 77U, 0x12345678U, 0xffffffffU}) {
        hints_.note(hash, {kPositions - 1});
        EXPECT_EQ(hints_.find(hash).value, kPositions - 1);
    }
}

TEST_F(FlowHintsTest, EightKeysOfOneSetAreAllFound) {
    for (std::uint32_t i = 1; i <= 8; ++i) hints_.note(i << 28U | 5U, {i});
    for (std::uint32_t i = 1; i <= 8; ++i) EXPECT_EQ(hints_.find(i << 28U | 5U).value, i);
}

TEST_F(FlowHintsTest, NinthKeyOfASetTakesTheOldPlaceOfOne) {
    for (std::uint32_t i = 1; i <= 9; ++i) hints_.note(i << 28U | 5U, {i});
    unsigned found = 0;
    for (std::uint32_t i = 1; i <= 9; ++i) found += hints_.find(i << 28U | 5U).value == i ? 1 : 0;
    EXPECT_EQ(found, 8U);
    EXPECT_EQ(hints_.find(9U << 28U | 5U).value, 9U);
}

TEST_F(FlowHintsTest, LaterPositionOfAKeyReplacesTheOneBefore) {
    hints_.note(42, {7});
    hints_.note(42, {8});
    EXPECT_EQ(hints_.find(42).value, 8U);
}

TEST_F(FlowHintsTest, EveryAnswerIsAPositionThatExists) {
    std::mt19937 random{1};
    for (int i = 0; i < 200000; ++i) {
        hints_.note(next(random), {next(random) % kPositions});
        EXPECT_LT(hints_.find(next(random)).value, kPositions);
    }
}

TEST(FlowHints, FewOfTheKeysOfAFullTableHaveNoPlace) {
    constexpr std::uint32_t kMany = 1U << 18U;  // two keys for every session of a full table: 0.8 of kMany
    Memory memory{kMany};
    FlowHints hints{memory.bytes.get(), kMany, kMany};
    std::mt19937 random{2};
    std::vector<std::uint32_t> hashes(kMany * 8 / 10);
    for (std::uint32_t i = 0; i < hashes.size(); ++i) {
        hashes[i] = next(random);
        hints.note(hashes[i], {i + 1});
    }
    std::uint32_t lost = 0;
    for (std::uint32_t i = 0; i < hashes.size(); ++i) lost += hints.find(hashes[i]).value != i + 1 ? 1 : 0;
    EXPECT_LT(lost, hashes.size() / 10);
}

}  // namespace
}  // namespace fwd::dataplane
