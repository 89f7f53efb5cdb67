// SPDX-License-Identifier: BSD-3-Clause
// All flows of all workers: one rte_hash that everybody reads without a lock, and beside it, indexed by the
// position that rte_hash gives a key, one record for each flow.
//
// rte_hash has no insert-if-absent: two workers that add the same key both succeed and get the same position.
// So a key belongs to whoever moves the record at its position from free to opening:
//
//        claim()            publish()            condemn()
//     free ----> opening ------------> live -----------------> condemned
//      ^            | abandon()          |  retire()              |  retire()
//      |            v                    v                        |
//      +--------- dead <-----------------+------------------------+
//       reclaim, a grace period later
//
// - A session has two keys. Its forward flow's position is the session's id; the state there is the
// session's.
// - A reader uses a record only if an acquire load of its state says live: everything else in it was written
// before.
// - Whoever moves the forward record to dead deletes both keys; no one else does. The generation in the state
// word
//   keeps a late comer from taking the next session at the same position for the one it meant.
// - Where there is IPv6, its keys have an rte_hash of their own, whose positions lie behind those of IPv4: so
// all that is
//   said here of positions, and all that ages, lists or ends sessions, is the same for both. What a Flow has
//   no room for lies in a WideFlow beside it. A session may have one key here and one there.
// - A packet of a live session finds its record without rte_hash: see flow_hints.h.
// - A position goes back to rte_hash only when every worker has been quiescent since its key was deleted
// (Reclaimer).
#pragma once

#include <rte_hash.h>
#include <rte_rcu_qsbr.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>

#include "dataplane/flow_hints.h"
#include "dataplane/flow_key.h"
#include "dataplane/reclaimer.h"
#include "dataplane/rule_counters.h"
#include "dataplane/session.h"
#include "dataplane/session_log.h"
#include "dataplane/setup_error.h"
#include "dataplane/translation.h"
#include "dataplane/tsc.h"
#include "dataplane/wide_translation.h"

namespace fwd::dataplane {

enum class RecordState : std::uint8_t { free, opening, live, condemned, dead };

/// A record's state and how often its position has been used.
struct StateWord {
    std::uint32_t bits = 0;

    static constexpr StateWord make(std::uint32_t generation, RecordState state) noexcept {
        return {generation << 8U | static_cast<std::uint32_t>(state)};
    }
    constexpr RecordState state() const noexcept { return static_cast<RecordState>(bits & 0xffU); }
    constexpr std::uint32_t generation() const noexcept { return bits >> 8U; }
    constexpr StateWord with(RecordState state) const noexcept { return make(generation(), state); }
    friend constexpr bool operator==(StateWord, StateWord) noexcept = default;
};

/// Which adjacency a flow's packets leave by, and the routes' generation when it was looked up.
struct alignas(4) NextHopRef {  // as its atomic: clang would call a library for less
    std::uint16_t adjacency = 0;
    std::uint16_t route_generation = 0;
};

inline constexpr std::uint8_t kLeastWindowBits = 16;  // what every TCP can announce

/// What a packet of one direction needs, in one cache line. Counters may lose a packet when two workers carry
/// the same flow at the same moment.
struct alignas(64) Flow {
    std::atomic<StateWord> state{};
    std::atomic<NextHopRef> next_hop{};
    FlowPosition session;  ///< where the session's shared part lies: the forward flow's position
    std::atomic<std::uint32_t> last_seen{0};  ///< Tick
    FlowKey key;                              ///< written by whoever has claimed the record
    Translation translation;
    std::atomic<std::uint64_t> counts{0};  ///< see count()
    std::atomic<std::uint32_t> acknowledged{
        0};  ///< TCP: what this direction has acknowledged last; 0: nothing
    Direction direction = Direction::forward;
    /// Packets without SYN, FIN and RST need not look at the session.
    std::atomic<bool> settled{false};
    // Of sessions whose windows are checked, see tcp_window.h.
    std::atomic<std::uint8_t> window_bits{kLeastWindowBits};
    std::atomic<bool> restarts{
        false};  ///< this direction has sent a SYN in the connection, and nothing since

    StateWord load_state() const noexcept { return state.load(std::memory_order_acquire); }
    void touch(Tick now) noexcept {
        if (last_seen.load(std::memory_order_relaxed) != now.value) {
            last_seen.store(now.value, std::memory_order_relaxed);
        }
    }
    /// What a connection before may have left.
    void forget_numbers() noexcept {
        acknowledged.store(0, std::memory_order_relaxed);
        window_bits.store(kLeastWindowBits, std::memory_order_relaxed);
        restarts.store(false, std::memory_order_relaxed);
    }
    static constexpr unsigned kPacketBits = 24;
    /// Counts a packet: packets in the lowest bits, bytes of IP packets above them.
    /// @return true when the packets' bits are full: FlowTable::spill_counts() has to empty the word
    [[nodiscard]] bool count(std::uint16_t ip_bytes) noexcept {
        const std::uint64_t next =
            counts.load(std::memory_order_relaxed) + ((std::uint64_t{ip_bytes} << kPacketBits) | 1U);
        counts.store(next, std::memory_order_relaxed);
        return (next & ((1U << kPacketBits) - 1)) == 0;
    }
    /// Of a flow that arrives as IPv4 and leaves as IPv6: see WideFlow. Its packets never find a next hop
    /// here.
    bool crosses() const noexcept { return translation.destination == net::Ipv4Address{}; }
};
static_assert(sizeof(Flow) == 64);
static_assert(std::atomic<NextHopRef>::is_always_lock_free && std::atomic<StateWord>::is_always_lock_free);

/// What a session holds in the mapping table: kNoPosition where its client, or its target, has no mapping.
struct MappingPeers {
    FlowPosition client = kNoPosition;
    FlowPosition target = kNoPosition;
};
/// Of a flow whose packets arrive as IPv6: what stands in `key` and `translation` of others.
struct alignas(64) WideFlow {
    WideKey key;
    WideTranslation translation;
    /// Of a session that leaves as IPv4: what becomes of the packets that arrive as such, whose Flow has no
    /// room for it.
    WideTranslation crossing;
    std::atomic<NextHopRef> crossing_next_hop{};
};
static_assert(sizeof(WideFlow) == 128);

/// What both directions share; touched only when it changes. Lies at the forward flow's position; of the one
/// at the reverse flow's, only the counters and `peers` are used.
struct alignas(32) Session {
    std::atomic<SessionState> state{SessionState::udp_unanswered};
    net::Protocol protocol = net::Protocol::udp;
    SessionTraits traits;
    /// TCP window scales (RFC 7323), the client's in the low four bits, the target's in the high ones.
    std::atomic<std::uint8_t> window_shifts{0};
    union {
        RuleId rule{};
        MappingPeers peers;  ///< of the session, at the reverse flow's position
    };
    FlowPosition reverse;
    Tick opened;
    // What did not fit in Flow::counts of this position.
    std::atomic<std::uint32_t> full_counts{0};  ///< 2^24 packets each
    std::atomic<std::uint64_t> bytes{0};
};
static_assert(sizeof(Session) == 32);

/// What a flow's packets add up to.
struct FlowCounts {
    std::uint64_t packets = 0;
    std::uint64_t bytes = 0;  ///< of IP packets
};

class MappingTable;
class FlowTable;
using Reclaimer = ReclaimerOf<FlowTable>;

inline constexpr std::uint32_t kNoSession = 0;
inline constexpr std::uint32_t kDueAtOnce = 2;

class FlowTable {
 public:
    /// How many positions a table for that many sessions has: two keys each, at 80 % load.
    static std::uint32_t key_count(std::uint32_t sessions) noexcept;
    /// Memory that create() takes, bytes.
    static std::size_t memory_bytes(std::uint32_t sessions, bool ipv6) noexcept;

    /// @param sessions capacity, at least 1
    /// @param threads QSBR ids that may be used: 0 to threads - 1
    static Setup<std::unique_ptr<FlowTable>> create(std::uint32_t sessions, const FlowHash& hash,
                                                    unsigned threads, RuleCounters& rule_counters, bool ipv6);
    /// Where sessions give back what they hold of mappings.
    void set_mappings(MappingTable& mappings) noexcept { mappings_ = &mappings; }
    ~FlowTable();
    FlowTable(const FlowTable&) = delete;
    FlowTable& operator=(const FlowTable&) = delete;

    const FlowHash& hash() const noexcept { return hash_; }
    /// What it tells of sessions that begin and end.
    SessionLog& log() noexcept { return log_; }
    rte_rcu_qsbr* qsbr() const noexcept { return qsbr_; }
    std::uint32_t position_count() const noexcept { return position_count_; }
    std::uint32_t capacity() const noexcept { return capacity_; }
    /// Keys in the hash table: two for each session, once those of ended ones have been freed.
    std::uint32_t key_count_in_use() const noexcept {
        return static_cast<std::uint32_t>(rte_hash_count(hash_table_)) +
               (has_ipv6() ? static_cast<std::uint32_t>(rte_hash_count(wide_hash_table_)) : 0);
    }
    bool has_ipv6() const noexcept { return wide_hash_table_ != nullptr; }
    std::uint32_t session_count() const noexcept { return session_count_.load(std::memory_order_relaxed); }
    std::uint32_t evictable_count(Evictable kind) const noexcept {
        return evictable_counts_[static_cast<std::size_t>(kind)].load(std::memory_order_relaxed);
    }

    /// Up to RTE_HASH_LOOKUP_BULK_MAX keys; a position is negative where the key is not there.
    void lookup_bulk(const void** keys, std::uint32_t* hashes, unsigned count,
                     std::int32_t* positions) const noexcept {
        rte_hash_lookup_with_hash_bulk(hash_table_, keys, hashes, count, positions);
    }
    /// Negative when the key is not there.
    std::int32_t lookup(const FlowKey& key, std::uint32_t hash) const noexcept {
        return rte_hash_lookup_with_hash(hash_table_, &key, hash);
    }

    /// The same for keys of IPv6, which there is.
    void lookup_bulk_wide(const void** keys, std::uint32_t* hashes, unsigned count,
                          std::int32_t* positions) const noexcept {
        rte_hash_lookup_with_hash_bulk(wide_hash_table_, keys, hashes, count, positions);
        for (unsigned i = 0; i < count; ++i) {
            if (positions[i] >= 0) positions[i] += static_cast<std::int32_t>(first_wide_);
        }
    }
    /// Of a key of either family.
    std::int32_t lookup(const WideKey& key, std::uint32_t hash) const noexcept;
    std::uint32_t hash_of(const WideKey& key) const noexcept {
        return key.destination.is_v4() ? hash_(key.narrow()) : hash_(key);
    }

    /// Where keys probably are; ask live_flow() whether it is true.
    FlowHints& hints() noexcept { return hints_; }
    /// The flow at a position if it is this key's and live, otherwise nullptr: then the lookups above tell
    /// more. Any position will do. While the caller is not quiescent the record stays what it is: a live one
    /// is reused only a grace period after its end, whichever way a reader has found it.
    Flow* live_flow(FlowPosition position, const FlowKey& key) noexcept {
        Flow& record = flow(position);
        return record.load_state().state() == RecordState::live && record.key.same_bytes(key) ? &record
                                                                                              : nullptr;
    }

    Flow& flow(FlowPosition position) noexcept { return flows_[position.value]; }
    /// Whether an ICMP query, whose key has this position or none, may go on: a request opens a session, and
    /// what is known goes its own way alone. With the identifier 0 a host's requests and its replies have one
    /// key.
    bool explains_query(std::int32_t position, bool is_request) noexcept {
        if (position < 0) return is_request;
        const Flow& record = flow(FlowPosition{static_cast<std::uint32_t>(position)});
        return record.load_state().state() != RecordState::live ||
               (record.direction == Direction::forward) == is_request;
    }
    /// Whether a position is one of IPv6.
    bool is_wide(FlowPosition position) const noexcept { return position.value >= first_wide_; }
    WideFlow& wide(FlowPosition position) noexcept { return wide_flows_[position.value - first_wide_]; }
    /// The key at a position, whichever family it is of.
    WideKey key_of(FlowPosition position) noexcept {
        return is_wide(position) ? wide(position).key : WideKey{flow(position).key};
    }
    FlowPosition position_of(const Flow& flow) const noexcept {
        return {static_cast<std::uint32_t>(&flow - flows_)};
    }
    Session& session(FlowPosition id) noexcept { return sessions_[id.value]; }
    FlowCounts counts(FlowPosition position) noexcept;
    /// To be called when Flow::count() says so.
    void spill_counts(Flow& flow) noexcept;
    /// When the session at a position has to be looked at next: a Tick that is made odd, kNoSession or
    /// kDueAtOnce. A hint for sweeping: it may be too early, or as late as the timeout of the session's first
    /// state.
    std::atomic<std::uint32_t>& deadline(FlowPosition id) noexcept { return deadlines_[id.value]; }

    /// The position of a key that the caller has just made its own. Needs an lcore id.
    struct Claim {
        enum class Outcome : std::uint8_t {
            won,
            taken,  ///< the key has an owner already: `position` is where
            full,   ///< the table has no place for it
        };
        Outcome outcome = Outcome::full;
        FlowPosition position;
    };
    Claim claim(const FlowKey& key, std::uint32_t hash) noexcept;
    /// The same for a key of either family; of IPv6 only if has_ipv6(). `hash` is hash_of(key).
    Claim claim(const WideKey& key, std::uint32_t hash) noexcept;

    /// Gives up a claim that was not published.
    void abandon(FlowPosition position, Reclaimer& reclaimer) noexcept;

    struct NewSession {
        FlowPosition forward;
        FlowPosition reverse;
        Translation forward_translation{};
        Translation reverse_translation{};
        /// In place of those above where a direction arrives or leaves as IPv6.
        const WideTranslation* wide_forward_translation = nullptr;
        const WideTranslation* wide_reverse_translation = nullptr;
        NextHopRef forward_next_hop;
        net::Protocol protocol = net::Protocol::udp;
        RuleId rule;
        SessionTraits traits;
        MappingPeers peers;
        Tick now;
        Tick timeout;  ///< in its first state
    };
    /// Makes two claimed records one live session.
    void publish(const NewSession& session) noexcept;

    /// Ends a session: deletes both keys and gives the positions to the reclaimer. Only if its state word is
    /// still `expected` (live or condemned); false when somebody else was first.
    bool retire(FlowPosition id, StateWord expected, Reclaimer& reclaimer) noexcept;

    /// Brings what retire() needs of both keys' places into the cache, for live or condemned sessions.
    void fetch_keys(std::span<const FlowPosition> sessions) const noexcept;
    /// When a session last had a packet that keeps it alive.
    Tick last_use(FlowPosition id) noexcept;

    /// Marks a session to be retired by the next sweep; its packets are dropped from now on. Any thread that
    /// is online in QSBR; false when the session is not live any more.
    bool condemn(FlowPosition id, StateWord expected) noexcept;

    /// Whether a RST of this flow may end its session (requirement T11).
    /// @param sequence its sequence number, host order
    bool believes_rst(const Flow& flow, std::uint32_t sequence) noexcept;

    /// Moves a session on after a packet; true when the state changed.
    bool advance(FlowPosition id, Direction direction, TcpFlags flags, Tick now,
                 const std::array<Tick, kSessionStateCount>& timeouts) noexcept;

    /// True while one more session fits; counts it.
    bool reserve_session() noexcept;
    void release_session() noexcept { session_count_.fetch_sub(1, std::memory_order_relaxed); }

 private:
    friend Reclaimer;
    FlowTable(const FlowHash& hash, RuleCounters& rule_counters) noexcept
        : hash_{hash}, rule_counters_{rule_counters} {}
    /// A session has gone from one state to another; count_ before its beginning and after its end.
    void count_move(SessionState from, SessionState to) noexcept;
    void release_mappings(FlowPosition id, SessionState last) noexcept;
    /// True when the record was free, and is now the caller's.
    bool take(FlowPosition position) noexcept;
    void delete_key(FlowPosition position) noexcept;
    void free_position(FlowPosition position) noexcept;
    void log_event(SessionEvent::Kind kind, FlowPosition id) noexcept;

    FlowHash hash_;
    RuleCounters& rule_counters_;
    SessionLog log_;
    MappingTable* mappings_ = nullptr;
    rte_hash* hash_table_ = nullptr;
    rte_hash* wide_hash_table_ = nullptr;  // nullptr: no IPv6
    WideFlow* wide_flows_ = nullptr;
    std::uint32_t first_wide_ = 0;  // position of IPv6; there are none from position_count_ on
    rte_rcu_qsbr* qsbr_ = nullptr;
    void* hint_memory_ = nullptr;
    FlowHints hints_;
    Flow* flows_ = nullptr;
    Session* sessions_ = nullptr;
    std::atomic<std::uint32_t>* deadlines_ = nullptr;
    std::uint32_t position_count_ = 0;
    std::uint32_t capacity_ = 0;
    // Written at the opening and the end of sessions by all workers.
    alignas(64) std::atomic<std::uint32_t> session_count_{0};
    std::array<std::atomic<std::uint32_t>, kEvictableCount> evictable_counts_{};
};

}  // namespace fwd::dataplane
