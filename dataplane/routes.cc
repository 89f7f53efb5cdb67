// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/routes.h"

#include <rte_errno.h>
#include <rte_hash.h>
#include <rte_memory.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <cstring>

namespace fwd::dataplane {
namespace {

constexpr std::uint64_t kNoRoute = ~std::uint64_t{0};

bool tells_side(const Route& route) noexcept {
    return route.gateway && route.prefix.length != 0;
}

}  // namespace

Setup<std::unique_ptr<const Routes>> Routes::create(std::span<const Route> routes) {
    std::unique_ptr<Routes> table{new Routes};
    table->routes_.assign(routes.begin(), routes.end());
    static std::atomic<unsigned> tables{0};
    char name[RTE_HASH_NAMESIZE];
    std::snprintf(name, sizeof name, "fwd_routes_%u", tables.fetch_add(1));
    rte_fib_conf config{};
    // A trie: looked at once per flow, so its size (a few kB, DIR24-8 takes 32 MB) matters more than its
    // speed.
    config.type = RTE_FIB_DUMMY;
    config.default_nh = kNoRoute;
    config.max_routes = static_cast<int>(routes.size() * 2 + 16);
    table->fib_ = rte_fib_create(name, SOCKET_ID_ANY, &config);
    if (table->fib_ == nullptr) return tl::unexpected(SetupError{"no memory for the routes", rte_errno});
    if (std::ranges::any_of(routes, [](const Route& route) { return !route.prefix.address.is_v4(); })) {
        // librte_rib takes its memory by this name, of either family.
        name[std::strlen("fwd_routes")] = '6';
        rte_fib6_conf config6{};
        config6.type = RTE_FIB6_DUMMY;
        config6.default_nh = kNoRoute;
        config6.max_routes = config.max_routes;
        table->fib6_ = rte_fib6_create(name, SOCKET_ID_ANY, &config6);
        if (table->fib6_ == nullptr)
            return tl::unexpected(SetupError{"no memory for the routes of IPv6", rte_errno});
    }
    for (std::size_t i = 0; i < routes.size(); ++i) {
        const net::IpPrefix& prefix = routes[i].prefix;
        const int added =
            prefix.address.is_v4()
                ? rte_fib_add(table->fib_, prefix.address.v4().value.host(), prefix.length, i)
                : rte_fib6_add(table->fib6_, prefix.address.v6().bytes.data(), prefix.length, i);
        if (added < 0) return tl::unexpected(SetupError{"can't add a route", -added});
        table->has_sides_ = table->has_sides_ || tells_side(routes[i]);
    }
    return table;
}

Routes::~Routes() {
    rte_fib_free(fib_);
    rte_fib6_free(fib6_);
}

std::optional<NextHop> Routes::next_hop(const Route* route, const net::IpAddress& destination) noexcept {
    if (route == nullptr) return std::nullopt;
    return NextHop{route->egress, route->gateway.value_or(destination)};
}

const Route* Routes::route_to(net::Ipv4Address destination) const noexcept {
    std::uint32_t address = destination.value.host();
    std::uint64_t index = kNoRoute;
    if (rte_fib_lookup_bulk(fib_, &address, &index, 1) != 0) return nullptr;
    return index != kNoRoute ? &routes_[index] : nullptr;
}

const Route* Routes::route_to(const net::IpAddress& destination) const noexcept {
    if (destination.is_v4()) return route_to(destination.v4());
    std::array<std::uint8_t, RTE_FIB6_IPV6_ADDR_SIZE> address = destination.v6().bytes;
    std::uint64_t index = kNoRoute;
    auto* addresses = reinterpret_cast<std::uint8_t(*)[RTE_FIB6_IPV6_ADDR_SIZE]>(address.data());
    if (fib6_ == nullptr || rte_fib6_lookup_bulk(fib6_, addresses, &index, 1) != 0) return nullptr;
    return index != kNoRoute ? &routes_[index] : nullptr;
}

std::optional<NextHop> Routes::find(net::Ipv4Address destination) const noexcept {
    return next_hop(route_to(destination), destination);
}

std::optional<NextHop> Routes::find(const net::IpAddress& destination) const noexcept {
    return next_hop(route_to(destination), destination);
}

std::optional<LinkId> Routes::find_side(const net::IpAddress& host) const noexcept {
    const Route* route = route_to(host);
    return route != nullptr && tells_side(*route) ? std::optional{route->egress} : std::nullopt;
}

}  // namespace fwd::dataplane
