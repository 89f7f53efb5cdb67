// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <rte_fib.h>
#include <rte_fib6.h>

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
    net::IpPrefix prefix;
    LinkId egress;
    std::optional<net::IpAddress> gateway;  ///< absent: the destination itself is on the link
};

struct NextHop {
    LinkId egress;
    net::IpAddress address;  ///< whose MAC address the packet needs
};

/// Longest prefix match over all routes. Immutable; control publishes the next one.
class Routes {
 public:
    static Setup<std::unique_ptr<const Routes>> create(std::span<const Route> routes);
    ~Routes();
    Routes(const Routes&) = delete;
    Routes& operator=(const Routes&) = delete;

    std::optional<NextHop> find(net::Ipv4Address destination) const noexcept;
    std::optional<NextHop> find(const net::IpAddress& destination) const noexcept;
    /// The link behind which a host is, where a route by a router says so other than the default one.
    std::optional<LinkId> side_of(const net::IpAddress& host) const noexcept {
        return has_sides_ ? find_side(host) : std::nullopt;
    }

 private:
    Routes() = default;
    std::vector<Route> routes_;
    /// nullptr: none
    const Route* route_to(net::Ipv4Address destination) const noexcept;
    const Route* route_to(const net::IpAddress& destination) const noexcept;
    static std::optional<NextHop> next_hop(const Route* route, const net::IpAddress& destination) noexcept;

    std::optional<LinkId> find_side(const net::IpAddress& host) const noexcept;

    bool has_sides_ = false;  // some route does
    rte_fib* fib_ = nullptr;
    rte_fib6* fib6_ = nullptr;  // nullptr: no route of IPv6
};

}  // namespace fwd::dataplane
