// SPDX-License-Identifier: BSD-3-Clause
#include "bench/histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <random>
#include <vector>

namespace fwd::bench {
namespace {

TEST(Histogram, PercentilesOfSmallValuesAreExact) {
    Histogram histogram;
    for (std::uint64_t value = 1; value <= 100; ++value) histogram.add(value);
    EXPECT_EQ(histogram.percentile(0.5), 50U);
    EXPECT_EQ(histogram.percentile(0.99), 99U);
    EXPECT_EQ(histogram.percentile(1), 100U);
    EXPECT_EQ(histogram.max(), 100U);
}

TEST(Histogram, EmptyHasNoPercentile) {
    EXPECT_EQ(Histogram{}.percentile(0.5), 0U);
}

TEST(Histogram, AnyValueIsGivenBackAtMostOneSixtyFourthTooHigh) {
    for (std::uint64_t value = 1; value < std::numeric_limits<std::uint64_t>::max() / 3;
         value = value * 3 + 1) {
        Histogram histogram;
        histogram.add(value);
        histogram.add(std::numeric_limits<std::uint64_t>::max());
        EXPECT_GE(histogram.percentile(0.5), value);
        EXPECT_LE(histogram.percentile(0.5), value + value / 64);
    }
}

TEST(Histogram, AgreesWithSortedValues) {
    std::mt19937_64 random{1};
    std::lognormal_distribution<double> round_trips{9, 2};
    Histogram histogram;
    std::vector<std::uint64_t> values;
    for (int i = 0; i < 10000; ++i) {
        values.push_back(static_cast<std::uint64_t>(round_trips(random)));
        histogram.add(values.back());
    }
    std::ranges::sort(values);
    for (const double share : {0.5, 0.99, 0.999}) {
        const std::uint64_t exact = values[static_cast<std::size_t>(share * 10000) - 1];
        EXPECT_GE(histogram.percentile(share), exact);
        EXPECT_LE(histogram.percentile(share), exact + exact / 64);
    }
    EXPECT_EQ(histogram.max(), values.back());
}

}  // namespace
}  // namespace fwd::bench
