// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "dataplane/flow_key.h"
#include "dataplane/net/prefix_mapping.h"
#include "dataplane/rule_id.h"

namespace fwd::dataplane {

/// Lets the hosts of an IPv6 network reach the world by addresses of another one, each by its own.
struct PrefixTranslation {
    net::PrefixMapping mapping;
    std::uint32_t inside_links = 0;  ///< a bit for each link by which parts of the network are reached
    bool inbound = false;            ///< the world may open sessions to them as well

    bool is_inside(LinkId link) const noexcept { return (inside_links >> link.value & 1U) != 0; }
};

class PrefixTranslations {
 public:
    /// No rule's: their sessions are counted as nobody's.
    static constexpr RuleId kRule{0, ~0U};

    PrefixTranslations() = default;
    explicit PrefixTranslations(std::vector<PrefixTranslation> all) : all_{std::move(all)} {}

    /// nullptr when the address is in no such prefix.
    const PrefixTranslation* find_inside(const net::IpAddress& address) const noexcept {
        return find([&](const net::PrefixMapping& m) { return m.inside().contains(address); });
    }
    const PrefixTranslation* find_external(const net::IpAddress& address) const noexcept {
        return find([&](const net::PrefixMapping& m) { return m.external().contains(address); });
    }

 private:
    template <typename Has>
    const PrefixTranslation* find(Has has) const noexcept {
        const auto found =
            std::ranges::find_if(all_, [&](const PrefixTranslation& t) { return has(t.mapping); });
        return found != all_.end() ? &*found : nullptr;
    }
    std::vector<PrefixTranslation> all_;  // disjoint; few
};

}  // namespace fwd::dataplane
