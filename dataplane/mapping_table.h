// SPDX-License-Identifier: BSD-3-Clause
// Masquerade's lasting pairs (RFC 4787): an endpoint inside and the one outside that the world sees in its
// place, whomever it talks to. Shared by all workers, looked at on a flow miss only.
//
//     kind      its key                                      its record
//     inside    protocol, inside address and port, rule      the mapping; referred to by its peers
//     external  protocol, external address and port          names the mapping
//     peer      protocol, external endpoint, other address   somebody that the inside endpoint has sent to;
//                                                            referred to by sessions
//
// Keys of IPv6 are digests of what they say, as long as those of IPv4: see FlowHash::digest().
//
// Peers are the many: a mapping has room for kPeersPerMapping of them on average. While there are no more
// sessions than that, who is let in does not depend on load (RFC 4787, REQ-11). Beyond, no new ones are made,
// and a session refers to its mapping itself: its other end reaches the inside endpoint by that session
// alone.
//
// One rte_hash holds the keys of all kinds, under FlowTable's discipline: a key belongs to whoever moves its
// record from free to opening, whoever moves it to dead deletes the key, and the position goes back a grace
// period later. State and references are one word, so nobody can refer to a record that has just ended:
//
//           claim           publish              hold, release             expire
//     free ------> opening --------> live, 1 ref <-----------> live, 0 refs ------> dead ---> free
//
// A session refers to its peer, a peer to its mapping. What nobody refers to stays for a while: a peer, since
// answers may still come (the mapping timer); then its mapping, whose external port nobody else gets so soon
// (requirement R8), unless mappings get scarce. Its own inside endpoint may take it up again at any
// time.
#pragma once

#include <rte_hash.h>
#include <rte_rcu_qsbr.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>

#include "dataplane/flow_key.h"
#include "dataplane/flow_position.h"
#include "dataplane/reclaimer.h"
#include "dataplane/rule_id.h"
#include "dataplane/setup_error.h"
#include "dataplane/source_counts.h"
#include "dataplane/tsc.h"
#include "dataplane/verdict.h"

namespace fwd::dataplane {

class MappingTable;
using MappingReclaimer = ReclaimerOf<MappingTable>;

class MappingTable {
 public:
    /// Memory that create() takes, bytes.
    static std::size_t memory_bytes(std::uint32_t mappings, bool ipv6) noexcept;
    /// @param mappings capacity, at least 1
    /// @param qsbr of the threads that use it
    /// @param ipv6 whether there are endpoints of IPv6
    static Setup<std::unique_ptr<MappingTable>> create(std::uint32_t mappings, const FlowHash& hash,
                                                       rte_rcu_qsbr* qsbr, bool ipv6);
    ~MappingTable();
    MappingTable(const MappingTable&) = delete;
    MappingTable& operator=(const MappingTable&) = delete;

    struct Mapping {
        net::IpEndpoint inside;
        net::IpEndpoint external;
        RuleId rule;
    };
    /// Whose packets a mapping is for.
    struct Inside {
        static constexpr std::uint8_t kAnyLink = 0xff;
        net::Protocol protocol = net::Protocol::udp;
        net::IpEndpoint endpoint{};
        RuleId rule{};
        /// Where the external address is one of the link's own: each link has its own mappings.
        LinkId egress{kAnyLink};
        /// Where such an address has gone, what had it begins anew.
        std::uint8_t address_generation = 0;
    };
    /// One held back is found as well.
    std::optional<net::IpEndpoint> find_external(const Inside& inside) const noexcept;
    /// The live mapping that has the external endpoint; not one that is held back.
    std::optional<Mapping> find(net::Protocol protocol, const net::IpEndpoint& external) const noexcept;
    /// Whether the inside endpoint behind an external one has sent to an address (requirement U8).
    bool has_peer(net::Protocol protocol, const net::IpEndpoint& external,
                  const net::IpAddress& peer) const noexcept;
    bool is_free(net::Protocol protocol, const net::IpEndpoint& external) const noexcept {
        return lookup(external_key(protocol, external)) < 0;
    }

    /// A peer and through it the mapping, or the mapping itself, held for a session until release().
    struct Held {
        Verdict verdict = Verdict::forward;  ///< otherwise nothing is held
        FlowPosition peer{};
        net::IpEndpoint external{};
    };
    /// For a session from inside; makes what is not there.
    /// @param most_ports of this inside host; 0: any number
    /// @param draw gives one external endpoint after the other that would do, then nullopt
    template <typename Draw>
    Held hold(const Inside& inside, const net::IpAddress& peer, std::uint32_t most_ports, Tick now, Draw draw,
              MappingReclaimer& reclaimer) noexcept {
        const Mine mine = take(inside, most_ports, reclaimer);
        if (mine.verdict != Verdict::forward) return {.verdict = mine.verdict};
        for (auto published = mine.is_new ? Published::taken : Published::yes; published != Published::yes;) {
            const std::optional<net::IpEndpoint> external = draw();
            if (external) published = publish(mine.mapping, inside, *external);
            if (!external || published == Published::full) {
                give_up(mine.mapping, reclaimer);
                return {.verdict = external ? Verdict::drop_mappings_full : Verdict::drop_ports_used_up};
            }
        }
        return hold_peer(mine.mapping, peer, now);
    }
    /// For a session from outside, to a mapping that find() has just found.
    Held hold_found(net::Protocol protocol, const net::IpEndpoint& external, const net::IpAddress& peer,
                    Tick now) noexcept;
    /// A session has ended.
    /// @param last_use when it last kept the mapping alive
    /// @param clean nothing of it can still be on its way: TCP that was closed
    void release(FlowPosition peer, Tick last_use, bool clean) noexcept;

    /// How long what nobody refers to stays.
    struct Times {
        Tick peer;        ///< of a peer, since the last packet; of TCP's and of cleanly closed ones: nothing
        Tick quarantine;  ///< of a mapping's external port
    };
    /// Ends what lies at a position, if it is time.
    void expire(FlowPosition position, const Times& times, Tick now, MappingReclaimer& reclaimer) noexcept;
    bool may_expire(FlowPosition position) const noexcept {
        return idle_[position.value].load(std::memory_order_relaxed) != 0;
    }

    std::uint32_t position_count() const noexcept { return position_count_; }
    std::uint32_t capacity() const noexcept { return capacity_; }
    /// Mappings, those held back included.
    std::uint32_t count() const noexcept { return count_.load(std::memory_order_relaxed); }
    /// Keys of all kinds, until their positions are free again.
    std::uint32_t key_count() const noexcept { return key_count_.load(std::memory_order_relaxed); }
    rte_rcu_qsbr* qsbr() const noexcept { return qsbr_; }

    /// Calls `visit(mapping)` for some of the mappings, from a position on; where to go on. While the caller
    /// keeps workers from reusing positions.
    template <typename Visit>
    std::uint32_t visit(std::uint32_t first, Visit visit) const {
        constexpr std::uint32_t kAtOnce = 16384;
        std::uint32_t at = first;
        for (; at < position_count_ && at - first < kAtOnce; ++at) {
            const Record& record = records_[at];
            if (record.load_word().state() == State::live && record.key.zero == kInside)
                visit(mapping_at(FlowPosition{at}));
        }
        return at;
    }

 private:
    friend MappingReclaimer;
    enum class State : std::uint8_t { free, opening, live, dead };
    /// Generation, state and how many refer to the record.
    struct Word {
        std::uint64_t bits = 0;
        static constexpr Word make(std::uint32_t generation, State state, std::uint32_t references) noexcept {
            return {std::uint64_t{generation} << 40U |
                    std::uint64_t{static_cast<std::uint8_t>(state)} << 32U | references};
        }
        constexpr State state() const noexcept { return static_cast<State>(bits >> 32U & 0xffU); }
        constexpr std::uint32_t generation() const noexcept {
            return static_cast<std::uint32_t>(bits >> 40U);
        }
        constexpr std::uint32_t references() const noexcept { return static_cast<std::uint32_t>(bits); }
    };
    struct alignas(64) Record {
        std::atomic<std::uint64_t> word{0};
        FlowKey key;  ///< written by whoever has claimed the record; `zero` is its kind
        net::Protocol protocol = net::Protocol::udp;
        bool is_wide = false;  ///< of a mapping: its endpoints are of IPv6, and lie in `wide_endpoints_`
        FlowPosition
            other;  ///< of an external endpoint and of a peer: their mapping; of a mapping: the former
        net::Endpoint external;  ///< of a mapping of IPv4
        RuleId rule;             ///< of a mapping
        bool counted = false;    ///< a mapping that is in the counts of its host's ports
        /// Something of it may still be on its way.
        std::atomic<bool> unclean{false};

        Word load_word() const noexcept { return {word.load(std::memory_order_acquire)}; }
        /// False, and `expected` is what it is instead, when it has changed.
        bool change(Word& expected, Word next) noexcept {
            return word.compare_exchange_strong(expected.bits, next.bits, std::memory_order_acq_rel);
        }
        void set_state(State state, std::uint32_t references = 0) noexcept {
            const Word now{word.load(std::memory_order_relaxed)};
            word.store(Word::make(now.generation(), state, references).bits, std::memory_order_release);
        }
    };
    struct WideEndpoints {
        net::IpEndpoint inside;
        net::IpEndpoint external;
    };
    static_assert(sizeof(Record) == 64 && std::atomic<std::uint64_t>::is_always_lock_free);
    // Kinds of keys.
    static constexpr std::uint16_t kInside = 1, kExternal = 2, kPeer = 3;

    explicit MappingTable(const FlowHash& hash, rte_rcu_qsbr* qsbr) noexcept : hash_{hash}, qsbr_{qsbr} {}
    /// Of IPv4 what it says, of IPv6 a digest of it.
    FlowKey short_key(WideKey key, std::uint16_t kind) const noexcept;
    FlowKey inside_key(const Inside& inside) const noexcept;
    FlowKey external_key(net::Protocol protocol, const net::IpEndpoint& external) const noexcept;
    FlowKey peer_key(net::Protocol protocol, const net::IpEndpoint& external,
                     const net::IpAddress& peer) const noexcept;
    Mapping mapping_at(FlowPosition mapping) const noexcept {
        const Record& record = records_[mapping.value];
        if (!record.is_wide) return {record.key.source_endpoint(), record.external, record.rule};
        const WideEndpoints& wide = wide_endpoints_[mapping.value];
        return {wide.inside, wide.external, record.rule};
    }
    /// What an inside host is counted as.
    net::Ipv4Address host_of(FlowPosition mapping) const noexcept {
        return hash_.counted_alone(mapping_at(mapping).inside.address);
    }
    Record& at(FlowPosition position) noexcept { return records_[position.value]; }
    FlowPosition position_of(const Record& record) const noexcept {
        return {static_cast<std::uint32_t>(&record - records_)};
    }
    /// Negative when the key is not there.
    std::int32_t lookup(const FlowKey& key) const noexcept {
        return rte_hash_lookup_with_hash(hash_table_, &key, hash_(key));
    }
    /// The live record of a key, otherwise nullptr.
    const Record* find_live(const FlowKey& key) const noexcept;

    /// A record that is referred to by the caller, or a new one that is still to be published.
    struct Mine {
        Verdict verdict = Verdict::forward;
        FlowPosition mapping{};
        bool is_new = false;
    };
    /// Not new, and not held: the key has an owner already.
    Mine claim(net::Protocol protocol, const FlowKey& key, std::uint32_t hash) noexcept;
    Mine hold_or_claim(net::Protocol protocol, const FlowKey& key) noexcept;
    Mine take(const Inside& inside, std::uint32_t most_ports, MappingReclaimer& reclaimer) noexcept;
    enum class Published : std::uint8_t { yes, taken, full };
    /// Makes a claimed mapping live under an external endpoint, unless that is somebody else's.
    Published publish(FlowPosition mapping, const Inside& inside, const net::IpEndpoint& external) noexcept;
    void give_up(FlowPosition mapping, MappingReclaimer& reclaimer) noexcept;
    /// The caller's reference to the mapping goes over to the peer, or back.
    Held hold_peer(FlowPosition mapping, const net::IpAddress& peer, Tick now) noexcept;
    /// @param least so many have to refer to it already
    static bool hold_record(Record& record, std::uint32_t least = 0) noexcept;
    void release_record(FlowPosition position, Tick last_use, bool clean) noexcept;
    static constexpr std::uint32_t kPeersPerMapping = 4;
    std::uint64_t peer_room() const noexcept { return std::uint64_t{capacity_} * kPeersPerMapping; }
    /// A mapping has two keys of its own.
    std::uint64_t peer_count() const noexcept {
        const std::uint64_t keys = key_count(), others = 2 * std::uint64_t{count()};
        return keys > others ? keys - others : 0;
    }
    /// Live and referred to by nobody: dead.
    static bool end(Record& record) noexcept;
    /// Deletes a dead record's key.
    void bury(FlowPosition position, MappingReclaimer& reclaimer) noexcept;
    void free_position(FlowPosition position) noexcept;

    FlowHash hash_;
    rte_rcu_qsbr* qsbr_;
    rte_hash* hash_table_ = nullptr;
    Record* records_ = nullptr;
    WideEndpoints* wide_endpoints_ = nullptr;  // beside `records_`; nullptr: no IPv6
    /// Of mappings and peers: when they were last used (a Tick that is made odd), for those who sweep.
    std::atomic<std::uint32_t>* idle_ = nullptr;
    std::uint32_t position_count_ = 0;
    std::uint32_t capacity_ = 0;
    std::unique_ptr<SourceCounts> ports_of_hosts_;
    alignas(64) std::atomic<std::uint32_t> count_{0};
    std::atomic<std::uint32_t> key_count_{0};
};

}  // namespace fwd::dataplane
