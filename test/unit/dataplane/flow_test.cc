// SPDX-License-Identifier: BSD-3-Clause
#include <gtest/gtest.h>

#include "dataplane/flow_table.h"

namespace fwd::dataplane {
namespace {

TEST(Flow, CountsOnWhenThePacketCounterPasses32Bits) {
    Flow flow;
    flow.packets_low.store(0xfffffffe);
    flow.bytes.store(std::uint64_t{1500} * 0xfffffffe);
    for (std::uint64_t packets = 0xffffffff; packets <= 0x100000003; ++packets) {
        flow.count(1500);
        EXPECT_EQ(flow.packet_count(), packets);
        EXPECT_EQ(flow.byte_count(), 1500 * packets);
    }
}

TEST(Flow, CountsOnAfterManyTimes32Bits) {
    Flow flow;
    for (std::uint64_t times = 1; times <= 1000; ++times) {
        flow.packets_low.store(0xffffffff);
        flow.count(64);
        EXPECT_EQ(flow.packet_count(), times << 32U);
    }
}

}  // namespace
}  // namespace fwd::dataplane
