// SPDX-License-Identifier: BSD-3-Clause
// Starting DPDK's environment (EAL) from fwd's own settings, and finding the devices in it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "control/doctor.h"
#include "control/error.h"
#include "control/settings.h"

namespace fwd::control {

struct Eal {
    bool hugepages = false;
    std::size_t memory_bytes = 0;         ///< what the data plane will take
    std::vector<unsigned> worker_lcores;  ///< one each
    std::vector<unsigned> worker_cores;   ///< the core that each is pinned to
    std::vector<std::uint16_t>
        ethdevs;  ///< DPDK's port id of each link's device, by the order of settings.links
};

/// What start_eal() will ask of the machine for these settings.
Result<Needs> needs_of(const Settings& settings);

/// Starts EAL: control on the main lcore, which may run on every core that the process may use, a worker on
/// each of its own. Takes hugepages when enough are free, ordinary memory otherwise.
Result<Eal> start_eal(const Settings& settings);

/// Of all devices, also those that make others up.
std::vector<std::string> drivers_in_use();
/// For want of an IOMMU.
bool uses_physical_addresses();

/// Gives everything back.
void stop_eal();

}  // namespace fwd::control
