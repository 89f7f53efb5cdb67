// SPDX-License-Identifier: BSD-3-Clause
// What happens to a packet that no flow explains: a rule matches and a session is opened, or it is dropped
// under a name. Each worker has its own opener.
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

    struct Result {
        Verdict verdict = Verdict::forward;
        Flow* flow = nullptr;  ///< when the verdict is forward
    };
    /// @param ip a TCP or UDP packet that has passed parse(), with the key and its hash
    Result open(const Policy& policy, const FlowKey& key, std::uint32_t hash, const std::uint8_t* ip,
                Tick now) noexcept;

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
    /// Claims the key of the answers, with fwd's own address and a random port (RFC 6056).
    FlowTable::Claim claim_masqueraded(const Policy& policy, const FlowKey& key, const ForwardingRule& rule,
                                       NextHop next_hop, Translation& forward) noexcept;
    FlowTable::Claim claim_reverse(const FlowKey& key, LinkId egress, const Translation& forward) noexcept;

    const SharedTables& shared_;
    Reclaimer& reclaimer_;
    ThreadCounters& counters_;
    EvictionQueue unanswered_;
    EvictionQueue closing_;
    std::uint64_t random_counter_;
};

}  // namespace fwd::dataplane
