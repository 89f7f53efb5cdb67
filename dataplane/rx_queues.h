// SPDX-License-Identifier: BSD-3-Clause
// How a device spreads what it receives over its queues.
#pragma once

#include <rte_ethdev.h>

#include <algorithm>
#include <cstdint>

namespace fwd::dataplane {

struct RxQueues {
    std::uint16_t count = 1;
    std::uint64_t rss = 0;   ///< of RTE_ETH_RSS_*; 0: without
    bool lacks_rss = false;  ///< there would have been more queues
};

/// @param spread_by_others whoever puts packets into the queues chooses one: the kernel, a hypervisor,
/// another process
inline RxQueues choose_rx_queues(const rte_eth_dev_info& device, unsigned wanted,
                                 bool spread_by_others) noexcept {
    constexpr std::uint64_t kRss = RTE_ETH_RSS_IPV4 | RTE_ETH_RSS_NONFRAG_IPV4_TCP |
                                   RTE_ETH_RSS_NONFRAG_IPV4_UDP | RTE_ETH_RSS_IPV6 |
                                   RTE_ETH_RSS_NONFRAG_IPV6_TCP | RTE_ETH_RSS_NONFRAG_IPV6_UDP;
    const auto count =
        static_cast<std::uint16_t>(std::clamp(wanted, 1U, std::max<unsigned>(device.max_rx_queues, 1)));
    if (count == 1) return {};
    const std::uint64_t rss = kRss & device.flow_type_rss_offloads;
    // Otherwise all but one of the workers would wait for packets that never come by their queues.
    if (rss == 0 && !spread_by_others) return {.count = 1, .rss = 0, .lacks_rss = true};
    return {.count = count, .rss = rss, .lacks_rss = false};
}

}  // namespace fwd::dataplane
