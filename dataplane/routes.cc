// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/routes.h"

#include <rte_errno.h>
#include <rte_hash.h>
#include <rte_memory.h>

#include <atomic>
#include <cstdio>

namespace fwd::dataplane {
namespace {
constexpr std::uint64_t kNoRoute = ~std::uint64_t{0};
}

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
    for (std::size_t i = 0; i < routes.size(); ++i) {
        const int added =
            rte_fib_add(table->fib_, routes[i].prefix.address.value.host(), routes[i].prefix.length, i);
        if (added < 0) return tl::unexpected(SetupError{"can't add a route", -added});
    }
    return table;
}

Routes::~Routes() {
    rte_fib_free(fib_);
}

std::optional<NextHop> Routes::find(net::Ipv4Address destination) const noexcept {
    std::uint32_t address = destination.value.host();
    std::uint64_t index = kNoRoute;
    if (rte_fib_lookup_bulk(fib_, &address, &index, 1) != 0 || index == kNoRoute) return std::nullopt;
    const Route& route = routes_[index];
    return NextHop{route.egress, route.gateway.value_or(destination)};
}

}  // namespace fwd::dataplane
