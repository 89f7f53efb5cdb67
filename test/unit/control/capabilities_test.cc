// SPDX-License-Identifier: BSD-3-Clause
// That threads lose them is tested where fwdd runs as root: e2e and package.
#include "control/capabilities.h"

#include <gtest/gtest.h>
#include <linux/capability.h>

#include <vector>

namespace fwd::control {
namespace {

constexpr Capabilities kAlways = 1U << CAP_DAC_OVERRIDE | 1U << CAP_IPC_LOCK;

TEST(Capabilities, ThoseKeptAreWhatADriverNeedsToTheEnd) {
    struct {
        std::vector<std::string> drivers;
        Capabilities more;
    } const rows[] = {
        {{}, 0},
        {{"net_e1000_em", "net_virtio", "net_af_packet", "net_tap", "net_memif"}, 0},
        {{"net_af_packet", "net_af_xdp"}, 1U << CAP_NET_ADMIN | 1U << CAP_SYS_ADMIN},
        {{"mlx5_pci"}, 1U << CAP_NET_ADMIN | 1U << CAP_NET_RAW},
        {{"net_mlx4"}, 1U << CAP_NET_ADMIN | 1U << CAP_NET_RAW},
    };
    for (const auto& row : rows) {
        EXPECT_EQ(needed_capabilities(row.drivers, false, false), kAlways | row.more)
            << ::testing::PrintToString(row.drivers);
    }
    EXPECT_EQ(needed_capabilities({}, true, false), kAlways | 1U << CAP_SYS_ADMIN);
    EXPECT_EQ(needed_capabilities({}, false, true), kAlways | 1U << CAP_NET_ADMIN);
}

}  // namespace
}  // namespace fwd::control
