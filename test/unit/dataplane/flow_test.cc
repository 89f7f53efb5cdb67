// SPDX-License-Identifier: BSD-3-Clause
#include <gtest/gtest.h>

#include "dataplane/flow_table.h"

namespace fwd::dataplane {
namespace {

TEST(Flow, CountSaysWhenThePacketsBitsAreFull) {
    Flow flow;
    for (std::uint64_t packets = 1; packets < (1U << 24U); ++packets) ASSERT_FALSE(flow.count(65535));
    EXPECT_EQ(flow.counts.load() & 0xffffffU, 0xffffffU);
    EXPECT_EQ(flow.counts.load() >> 24U, std::uint64_t{65535} * 0xffffff) << "the bytes fit as well";
    EXPECT_TRUE(flow.count(65535));
    EXPECT_EQ((flow.counts.load() >> 24U) - 1, std::uint64_t{65535} << 24U);
}

}  // namespace
}  // namespace fwd::dataplane
