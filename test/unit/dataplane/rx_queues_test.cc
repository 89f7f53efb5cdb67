// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/rx_queues.h"

#include <gtest/gtest.h>

namespace fwd::dataplane {
namespace {

TEST(RxQueues, DeviceWithoutRssHasOneUnlessOthersSpreadItsPackets) {
    struct {
        const char* what;
        std::uint16_t most;
        std::uint64_t rss;
        unsigned wanted;
        bool spread_by_others;
        RxQueues expected;
    } const rows[] = {
        {"a NIC", 8, RTE_ETH_RSS_IPV4 | RTE_ETH_RSS_L2_PAYLOAD, 4, false, {4, RTE_ETH_RSS_IPV4, false}},
        {"... of fewer queues", 2, RTE_ETH_RSS_IPV4, 4, false, {2, RTE_ETH_RSS_IPV4, false}},
        {"... for one worker", 8, RTE_ETH_RSS_IPV4, 1, false, {1, 0, false}},
        {"without RSS", 8, 0, 4, false, {1, 0, true}},
        {"without RSS of addresses", 8, RTE_ETH_RSS_L2_PAYLOAD, 4, false, {1, 0, true}},
        {"without RSS, for one worker", 8, 0, 1, false, {1, 0, false}},
        {"one queue", 1, 0, 4, false, {1, 0, false}},
        {"virtio", 8, 0, 4, true, {4, 0, false}},
        {"a device that says nothing", 0, 0, 4, true, {1, 0, false}},
    };
    for (const auto& row : rows) {
        rte_eth_dev_info device{};
        device.max_rx_queues = row.most;
        device.flow_type_rss_offloads = row.rss;
        const RxQueues got = choose_rx_queues(device, row.wanted, row.spread_by_others);
        EXPECT_EQ(got.count, row.expected.count) << row.what;
        EXPECT_EQ(got.rss, row.expected.rss) << row.what;
        EXPECT_EQ(got.lacks_rss, row.expected.lacks_rss) << row.what;
    }
}

}  // namespace
}  // namespace fwd::dataplane
