// SPDX-License-Identifier: BSD-3-Clause
// What happens to a packet that no flow explains: a rule matches and a session is opened, or it is dropped
// under a name. Each worker has its own opener.
//
// In two steps, for the memory's sake: plan() says what a session would be and writes nothing, so that the
// places of all its keys can be fetched for a whole burst before open() claims them.
#pragma once

#include <cstdint>

#include "dataplane/counter.h"
#include "dataplane/eviction_queue.h"
#include "dataplane/shared_tables.h"

namespace fwd::dataplane {

class SessionOpener {
 public:
    SessionOpener(const SharedTables& shared, Reclaimer& reclaimer, ThreadCounters& counters,
                  unsigned worker);

    /// A session that is not there yet.
    struct Plan {
        Verdict verdict = Verdict::forward;  ///< anything else: there will be no session
        bool masquerade = false;
        NextHop next_hop{};
        const ForwardingRule* rule = nullptr;
        Translation forward{};
        FlowKey reverse{};  ///< of the answers; where fwd's own port is taken open() tries others
        std::uint32_t reverse_hash = 0;
    };
    /// @param ip a TCP or UDP packet that has passed parse(), with this key
    Plan plan(const Policy& policy, const FlowKey& key, const std::uint8_t* ip) noexcept;

    struct Result {
        Verdict verdict = Verdict::forward;
        Flow* flow = nullptr;  ///< when the verdict is forward
    };
    /// Opens the planned session of a key, or finds that another worker has. The policy is the plan's.
    Result open(const Policy& policy, const FlowKey& key, std::uint32_t hash, Plan& plan, Tick now) noexcept;

    /// A session has begun to close: it may be evicted from now on.
    void note_closing(FlowPosition id, StateWord word) noexcept { closing_.push({id, word}); }

    /// Forgets a few sessions at the heads of the queues that have moved on: a round's share, so that whoever
    /// needs room does not have to wade through them.
    void tidy() noexcept;

 private:
    bool is_evictable_still(const EvictionQueue::Entry& entry) const noexcept;
    /// Ends the oldest session of a queue that may still be evicted.
    bool evict_from(EvictionQueue& queue) noexcept;
    /// Under pressure unanswered and closing sessions make room (requirement R18).
    bool make_room() noexcept;
    /// Draws fwd's own address and a random port (RFC 6056) for a plan; false if that port is a rule's.
    bool draw_source(const Policy& policy, const FlowKey& key, Plan& plan) noexcept;
    void set_translation(const FlowKey& key, net::Endpoint source, Plan& plan) noexcept;
    /// Claims the key of the answers.
    FlowTable::Claim claim_reverse(const Policy& policy, const FlowKey& key, Plan& plan) noexcept;

    const SharedTables& shared_;
    Reclaimer& reclaimer_;
    ThreadCounters& counters_;
    EvictionQueue unanswered_;
    EvictionQueue closing_;
    std::uint64_t random_counter_;
};

}  // namespace fwd::dataplane
