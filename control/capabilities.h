// SPDX-License-Identifier: BSD-3-Clause
// What the kernel lets fwdd do beyond the files and sockets of its user. Setting devices up takes more of it
// than forwarding does.
#pragma once

#include <chrono>
#include <cstdint>
#include <span>
#include <string>

#include "control/error.h"

namespace fwd::control {

/// Capabilities, as bits by the kernel's numbers.
using Capabilities = std::uint64_t;

/// What the devices' drivers, and what fwdd does on behalf of requests, still need once everything is set up.
/// @param physical_addresses devices are told these, for want of an IOMMU
/// @param kernel_interfaces the kernel has interfaces of fwdd's, whose addresses and routes may have to be
/// added again
Capabilities needed_capabilities(std::span<const std::string> drivers, bool physical_addresses,
                                 bool kernel_interfaces);

/// Takes all other ones from all threads of this process, for good: what it would execute gets no more of
/// them. Threads that others begin meanwhile are found too. Takes SIGUSR2 for the time being.
/// @param patience with a thread that does not take its signal; the error names it, the others lose them
Result<void> keep_only(Capabilities kept, std::chrono::milliseconds patience = std::chrono::seconds{5});

/// Those of the calling thread: "cap_net_admin, cap_net_raw", or "none".
std::string own_capabilities_text();

}  // namespace fwd::control
