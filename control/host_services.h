// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "control/error.h"
#include "dataplane/host_path.h"

namespace fwd::control {

/// What packets a service of the kernel's is known by: "ssh", "bgp" and so on. The error, with an empty
/// field, names those there are.
Result<std::vector<dataplane::HostService>> host_service(std::string_view name);

/// The groups of IPv6 that a service's packets go to.
std::vector<net::Ipv6Address> groups_of(const dataplane::HostService& service);

/// Whether it is there for a link that has no address yet.
bool finds_addresses(std::string_view service);

}  // namespace fwd::control
