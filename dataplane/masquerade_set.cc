// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/masquerade_set.h"

#include <algorithm>
#include <tuple>

namespace fwd::dataplane {
namespace {

/// What tells the hosts of one masquerade from those of another, the most specific first.
auto hosts_of(const Masquerade& m) noexcept {
    const int most_bits = m.prefix.address.is_v4() ? 32 : 128;
    return std::tuple{m.whole_link, m.whole_link ? 0 : most_bits - m.prefix.length,
                      m.whole_link ? net::IpAddress{} : m.prefix.address, m.whole_link ? m.link : LinkId{}};
}

}  // namespace

MasqueradeSet::MasqueradeSet(std::vector<Masquerade> masquerades) : masquerades_{std::move(masquerades)} {
    std::ranges::stable_sort(masquerades_, [](const Masquerade& a, const Masquerade& b) {
        return std::tuple{hosts_of(a), a.to.empty()} < std::tuple{hosts_of(b), b.to.empty()};
    });
    for (const Masquerade& masquerade : masquerades_) {
        if (!masquerade.has_pool()) uses_own_addresses_ = true;
        for (const auto* pool : {&masquerade.pool, &masquerade.ipv6_pool})
            pools_.insert(pools_.end(), pool->begin(), pool->end());
    }
    std::ranges::sort(pools_);
}

const Masquerade* MasqueradeSet::Host::find(const net::IpAddress& destination) const noexcept {
    const auto found =
        std::ranges::find_if(masquerades, [&](const Masquerade& m) { return m.allows(destination); });
    return found != masquerades.end() ? &*found : nullptr;
}

MasqueradeSet::Host MasqueradeSet::find_host(const Routes& routes,
                                             const net::IpAddress& host) const noexcept {
    const auto next_hop = routes.find(host);
    if (!next_hop) return {};
    const auto first = std::ranges::find_if(
        masquerades_, [&](const Masquerade& m) { return m.has_host(host, next_hop->egress); });
    const auto last = std::find_if(first, masquerades_.end(),
                                   [&](const Masquerade& m) { return hosts_of(m) != hosts_of(*first); });
    return {{first, last}, next_hop->egress};
}

const Masquerade* MasqueradeSet::find(RuleId id) const noexcept {
    const auto found = std::ranges::find(masquerades_, id, &Masquerade::id);
    return found != masquerades_.end() ? &*found : nullptr;
}

bool MasqueradeSet::has_external(const net::IpAddress& address) const noexcept {
    return std::ranges::binary_search(pools_, address);
}

}  // namespace fwd::dataplane
