// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <rte_fib.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "dataplane/flow_key.h"
#include "dataplane/net/address.h"
#include "dataplane/setup_error.h"

namespace fwd::dataplane {

struct Route {
    net::Ipv4Prefix prefix;
    LinkId egress;
    std::optional<net::Ipv4Address> gateway;  ///< absent: the destination itself is on the link
};

struct NextHop {
    LinkId egress;
    net::Ipv4Address address;  ///< whose MAC address the packet needs
};

/// Longest prefix match over all routes. Immutable; control publishes the next one.
class Routes {
 public:
    static Setup<std::unique_ptr<const Routes>> create(std::span<const Route> routes);
    ~Routes();
    Routes(const Routes&) = delete;
    Routes& operator=(const Routes&) = delete;

    std::optional<NextHop> find(net::Ipv4Address destination) const noexcept;

 private:
    Routes() = default;
    std::vector<Route> routes_;
    rte_fib* fib_ = nullptr;
};

}  // namespace fwd::dataplane
