// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "dataplane/mapping_table.h"
#include "dataplane/masquerade_set.h"
#include "dataplane/prefix_translation.h"
#include "dataplane/routes.h"
#include "dataplane/rule_set.h"
#include "dataplane/session.h"
#include "dataplane/tsc.h"

namespace fwd::dataplane {

/// What control has decided, as one immutable whole: a worker reads the pointer to it once a burst, so a
/// packet sees the old policy or the new one, never both. Parts that do not change are shared with the policy
/// before.
struct Policy {
    std::shared_ptr<const RuleSet> rules;
    std::shared_ptr<const Routes> routes;
    std::shared_ptr<const MasqueradeSet> masquerades = std::make_shared<const MasqueradeSet>();
    std::shared_ptr<const PrefixTranslations> prefixes = std::make_shared<const PrefixTranslations>();
    MappingTable::Times mapping_times{};
    std::array<Tick, kSessionStateCount> timeouts{};
    bool checks_tcp_windows = false;  ///< see tcp_window.h
    /// Changes with the timeouts: live sessions are then looked at once, since they may end sooner.
    std::uint32_t timeout_generation = 0;
    /// Changes with the routes, and whenever an adjacency is taken away: flows then look up their next hop
    /// again.
    std::uint16_t route_generation = 1;

    Tick timeout(SessionState state) const noexcept { return timeouts[static_cast<std::size_t>(state)]; }
};

}  // namespace fwd::dataplane
