// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/net/checksum.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <random>

#include "test/support/packet_builder.h"

namespace fwd::net {
namespace {

using test::Bytes;

constexpr std::uint32_t kSeed = 20240611;
constexpr std::array<std::uint16_t, 8> kCorners{0x0000, 0x0001, 0x00ff, 0x7fff,
                                                0x8000, 0xfffe, 0xffff, 0xff00};

/// A checksum as it stands in memory, from one as people write it.
std::uint16_t in_memory(std::uint16_t host) {
    return static_cast<std::uint16_t>(host << 8U | host >> 8U);
}

std::uint16_t load16(const Bytes& bytes, std::size_t at) {
    std::uint16_t value;
    std::memcpy(&value, bytes.data() + at, 2);
    return value;
}

/// P1
TEST(Checksum, EqualsTheSlowSumForEveryLength) {
    std::mt19937 random{kSeed};
    for (std::size_t length = 0; length < 200; ++length) {
        Bytes bytes(length);
        for (auto& byte : bytes) byte = static_cast<std::uint8_t>(random());
        EXPECT_EQ(checksum(bytes.data(), length), in_memory(test::slow_checksum(bytes)))
            << length << " bytes";
    }
}

/// P1
TEST(Checksum, ShortWayThroughAHeaderSaysTheSame) {
    std::mt19937 random{kSeed};
    unsigned good = 0;
    for (int round = 0; round < 200'000; ++round) {
        Bytes header(20);
        for (auto& byte : header)
            byte = static_cast<std::uint8_t>(random() % 4 == 0 ? random() : 0xff * (random() % 2));
        if (round % 2 == 0) {
            header[10] = header[11] = 0;
            const std::uint16_t sum = checksum(header.data(), header.size());
            std::memcpy(header.data() + 10, &sum, 2);
        }
        const bool is_good = checksum(header.data(), header.size()) == 0;
        ASSERT_EQ(has_good_checksum20(header.data()), is_good) << "round " << round;
        good += is_good ? 1 : 0;
    }
    EXPECT_GE(good, 100'000U);
    EXPECT_FALSE(has_good_checksum20(Bytes(20).data()))
        << "as RFC 1071 has it: the sum of nothing is not 0xffff";
}

TEST(Checksum, LongBuffersOfOnesCarryCorrectly) {
    for (const std::size_t length : {2U, 1500U, 9000U, 65535U}) {
        const Bytes bytes(length, 0xff);
        EXPECT_EQ(checksum(bytes.data(), length), in_memory(test::slow_checksum(bytes))) << length;
    }
}

TEST(Checksum, PseudoHeaderIsAddedAsItsBytes) {
    const Bytes pseudo{10, 0, 0, 1, 10, 0, 0, 3, 0, 17, 0x12, 0x34};
    std::uint32_t source, destination;
    std::memcpy(&source, pseudo.data(), 4);
    std::memcpy(&destination, pseudo.data() + 4, 4);
    const auto sum = fold_checksum(pseudo_header_sum(source, destination, 17, 0x1234));
    EXPECT_EQ(static_cast<std::uint16_t>(~sum), in_memory(test::slow_checksum(pseudo)));
}

TEST(Checksum, FoldingKeepsZeroApartFromAllOnes) {
    EXPECT_EQ(fold_checksum(0), 0);
    EXPECT_EQ(fold_checksum(0xffff), 0xffff);
    EXPECT_EQ(fold_checksum(0x1fffe), 0xffff);
    EXPECT_EQ(fold_checksum(~std::uint64_t{0}), 0xffff);
    EXPECT_EQ(fold_checksum(std::uint64_t{1} << 32U), 1);
}

/// P1
TEST(ChecksumDelta, EqualsRecomputationForRandomData) {
    std::mt19937 random{kSeed};
    for (int round = 0; round < 200'000; ++round) {
        Bytes bytes(2 * (1 + random() % 40));
        for (auto& byte : bytes)
            byte = static_cast<std::uint8_t>(random() % 4 == 0 ? random() : 0xff * (random() % 2));
        bytes[0] |= 1;  // data of all zeros is a case of its own
        const std::uint16_t before = in_memory(test::slow_checksum(bytes));
        ChecksumDelta delta;
        for (unsigned words = 1 + random() % 5; words != 0; --words) {
            const std::size_t at = random() % (bytes.size() / 2) * 2;
            const auto to = random() % 2 == 0 ? static_cast<std::uint16_t>(random())
                                              : kCorners[random() % kCorners.size()];
            if (at == 0 && (to & 0xffU) == 0) continue;
            delta.replace16(load16(bytes, at), to);
            std::memcpy(bytes.data() + at, &to, 2);
        }
        ASSERT_EQ(delta.apply(before), in_memory(test::slow_checksum(bytes)))
            << "seed " << kSeed << " round " << round;
    }
}

/// P1: RFC 1624, section 3 and 4: eqn. 1 and 2 go wrong where a sum is 0x0000 or 0xffff.
TEST(ChecksumDelta, EqualsRecomputationForEveryCorner) {
    for (const std::uint16_t rest : kCorners) {
        for (const std::uint16_t from : kCorners) {
            for (const std::uint16_t to : kCorners) {
                if (rest == 0 && (from == 0 || to == 0)) continue;  // data of all zeros
                const auto data = [rest](std::uint16_t word) {
                    return Bytes{static_cast<std::uint8_t>(rest >> 8U), static_cast<std::uint8_t>(rest),
                                 static_cast<std::uint8_t>(word >> 8U), static_cast<std::uint8_t>(word)};
                };
                ChecksumDelta delta;
                delta.replace16(in_memory(from), in_memory(to));
                EXPECT_EQ(delta.apply(in_memory(test::slow_checksum(data(from)))),
                          in_memory(test::slow_checksum(data(to))))
                    << std::hex << rest << ": " << from << " -> " << to;
            }
        }
    }
}

/// P1
TEST(ChecksumDelta, RfcExampleComesOutAsZero) {
    // RFC 1624, section 4: HC = 0xdd2f, m = 0x5555, m' = 0x3285 gives 0x0000, where eqn. 2 gave 0xffff.
    ChecksumDelta delta;
    delta.replace16(in_memory(0x5555), in_memory(0x3285));
    EXPECT_EQ(delta.apply(in_memory(0xdd2f)), 0x0000);
}

TEST(ChecksumDelta, NeverMakesAllOnes) {
    for (std::uint32_t checksum = 0; checksum <= 0xffff; ++checksum) {
        for (const std::uint16_t from : kCorners) {
            for (const std::uint16_t to : kCorners) {
                ASSERT_NE(ChecksumDelta{}.replace16(from, to).apply(static_cast<std::uint16_t>(checksum)),
                          0xffff);
            }
        }
    }
}

TEST(ChecksumDelta, NoChangeKeepsTheChecksum) {
    for (std::uint32_t checksum = 0; checksum < 0xffff; ++checksum) {
        ASSERT_EQ(ChecksumDelta{}.apply(static_cast<std::uint16_t>(checksum)), checksum);
        ASSERT_EQ(
            ChecksumDelta{}.replace32(0x0a000001, 0x0a000001).apply(static_cast<std::uint16_t>(checksum)),
            checksum);
    }
}

TEST(ChecksumDelta, ReplacingThirtyTwoBitsIsReplacingBothHalves) {
    ChecksumDelta whole;
    whole.replace32(0x12345678, 0x9abcdef0);
    ChecksumDelta halves;
    halves.replace16(0x5678, 0xdef0).replace16(0x1234, 0x9abc);
    for (const std::uint16_t checksum : kCorners) EXPECT_EQ(whole.apply(checksum), halves.apply(checksum));
}

}  // namespace
}  // namespace fwd::net
