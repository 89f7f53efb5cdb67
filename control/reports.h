// SPDX-License-Identifier: BSD-3-Clause
// What fwdctl shows, read from the running data plane. Nothing here stops a worker.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "control/live_sessions.h"
#include "control/methods.h"
#include "control/neighbours.h"
#include "control/policies.h"
#include "dataplane/dataplane.h"

namespace fwd::control {

class Reports {
 public:
    Reports(dataplane::Dataplane& dataplane, const Policies& policies, const std::vector<LinkSettings>& links,
            const std::vector<unsigned>& worker_cores, const RuleBook& book, const LiveSessions& sessions)
        : dataplane_{dataplane},
          policies_{policies},
          links_{links},
          worker_cores_{worker_cores},
          book_{book},
          sessions_{sessions} {}

    Json stats() const;
    Json links() const;
    Json neighbours(const Neighbours& neighbours) const;
    /// A page of sessions from `cursor` on; the answer's own cursor is null after the last page.
    Json sessions(std::optional<dataplane::RuleId> rule, std::uint64_t cursor, std::size_t limit) const;
    /// Condemns the sessions (of one rule); returns how many.
    std::uint64_t clear_sessions(std::optional<dataplane::RuleId> rule);
    /// The same for those that use one of these addresses of fwd's, as what clients ask for or as the source
    /// that targets see.
    std::uint64_t clear_sessions_at(std::span<const net::IpAddress> own);
    /// The same for many rules, in one walk over the table.
    std::uint64_t clear_sessions_of(std::span<const dataplane::RuleId> rules);

 private:
    struct Totals;
    Totals sum_counters() const;
    Json link_row(std::size_t link, const Totals& totals) const;
    Json session_row(dataplane::FlowPosition id, dataplane::Tick now) const;
    dataplane::Dataplane& dataplane_;
    const Policies& policies_;
    const std::vector<LinkSettings>& links_;
    const std::vector<unsigned>& worker_cores_;
    const RuleBook& book_;
    const LiveSessions& sessions_;
};

}  // namespace fwd::control
