// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/flow_table.h"

#include <rte_debug.h>
#include <rte_errno.h>
#include <rte_lcore.h>
#include <rte_malloc.h>

#include <algorithm>
#include <cstdio>
#include <new>

#include "dataplane/mapping_table.h"

namespace fwd::dataplane {
namespace {

/// rte_hash keeps up to 63 free positions for itself on each lcore; it adds that many.
constexpr std::size_t kCachedPositions = (RTE_MAX_LCORE - 1) * std::size_t{63} + 1;

/// A broken invariant here would hand one session's packets to another.
void check(bool condition, const char* why) noexcept {
    if (!condition) rte_panic("flow table: %s\n", why);
}

/// For rte_hash's own use; fwd passes hashes itself.
std::uint32_t hash_never_called(const void*, std::uint32_t, std::uint32_t) {
    return 0;
}

}  // namespace

std::uint32_t FlowTable::key_count(std::uint32_t sessions) noexcept {
    return static_cast<std::uint32_t>(
        std::min<std::uint64_t>(std::uint64_t{sessions} * 5 / 2 + 16, 1U << 30U));
}

std::size_t FlowTable::memory_bytes(std::uint32_t sessions, bool ipv6) noexcept {
    const std::size_t positions = key_count(sessions) + kCachedPositions;
    constexpr std::size_t kBucketEntries = 8;
    std::size_t buckets = 1;
    while (buckets * kBucketEntries < key_count(sessions)) buckets *= 2;
    constexpr std::size_t kKeyEntryBytes = 32;
    constexpr std::size_t kWideKeyEntryBytes = 64;
    const std::size_t common =
        positions * (sizeof(Flow) + sizeof(Session) + 2 * sizeof(std::uint32_t)) + buckets * 64;
    const std::size_t narrow =
        common + positions * kKeyEntryBytes + FlowHints::memory_bytes(key_count(sessions));
    return ipv6 ? narrow + common + positions * (kWideKeyEntryBytes + sizeof(WideFlow)) : narrow;
}

Setup<std::unique_ptr<FlowTable>> FlowTable::create(std::uint32_t sessions, const FlowHash& hash,
                                                    unsigned threads, RuleCounters& rule_counters,
                                                    bool ipv6) {
    std::unique_ptr<FlowTable> table{new FlowTable{hash, rule_counters}};
    static std::atomic<unsigned> tables{0};
    const unsigned number = tables.fetch_add(1);
    char name[RTE_HASH_NAMESIZE];
    std::snprintf(name, sizeof name, "fwd_flows_%u", number);
    rte_hash_parameters params{};
    params.name = name;
    params.entries = key_count(sessions);
    params.key_len = sizeof(FlowKey);
    params.hash_func = hash_never_called;
    params.socket_id = SOCKET_ID_ANY;
    params.extra_flag = RTE_HASH_EXTRA_FLAGS_RW_CONCURRENCY_LF | RTE_HASH_EXTRA_FLAGS_MULTI_WRITER_ADD;
    table->hash_table_ = rte_hash_create(&params);
    if (table->hash_table_ == nullptr)
        return tl::unexpected(SetupError{"no memory for the flow table", rte_errno});

    // Positions go beyond the number of entries, since lcores cache some.
    table->first_wide_ = static_cast<std::uint32_t>(rte_hash_max_key_id(table->hash_table_)) + 1;
    table->position_count_ = table->first_wide_;
    if (ipv6) {
        std::snprintf(name, sizeof name, "fwd_flows6_%u", number);
        params.key_len = sizeof(WideKey);
        table->wide_hash_table_ = rte_hash_create(&params);
        if (table->wide_hash_table_ == nullptr)
            return tl::unexpected(SetupError{"no memory for the flow table of IPv6", rte_errno});
        const auto wide = static_cast<std::uint32_t>(rte_hash_max_key_id(table->wide_hash_table_)) + 1;
        table->position_count_ += wide;
        table->wide_flows_ =
            static_cast<WideFlow*>(rte_zmalloc("fwd_flows6", wide * sizeof(WideFlow), RTE_CACHE_LINE_SIZE));
        if (table->wide_flows_ == nullptr)
            return tl::unexpected(SetupError{"no memory for the session records of IPv6", ENOMEM});
    }
    table->capacity_ = sessions;
    const std::size_t n = table->position_count_;
    const auto take = [n](std::size_t each) {
        return rte_zmalloc("fwd_flows", n * each, RTE_CACHE_LINE_SIZE);
    };
    // All-zero bytes are what the constructors would write: free records of generation 0.
    table->flows_ = static_cast<Flow*>(take(sizeof(Flow)));
    table->sessions_ = static_cast<Session*>(take(sizeof(Session)));
    table->deadlines_ = static_cast<std::atomic<std::uint32_t>*>(take(sizeof(std::uint32_t)));
    // One hint for each key that may be there and a little more: sets are seldom full.
    const std::uint32_t hinted = key_count(sessions);
    table->hint_memory_ = rte_zmalloc("fwd_hints", FlowHints::memory_bytes(hinted), RTE_CACHE_LINE_SIZE);
    table->hints_ = FlowHints{table->hint_memory_, hinted, table->first_wide_};
    const std::size_t qsbr_bytes = rte_rcu_qsbr_get_memsize(threads);
    table->qsbr_ = static_cast<rte_rcu_qsbr*>(rte_zmalloc("fwd_qsbr", qsbr_bytes, RTE_CACHE_LINE_SIZE));
    if (table->flows_ == nullptr || table->sessions_ == nullptr || table->deadlines_ == nullptr ||
        table->hint_memory_ == nullptr || table->qsbr_ == nullptr) {
        return tl::unexpected(SetupError{"no memory for the session records", ENOMEM});
    }
    rte_rcu_qsbr_init(table->qsbr_, threads);
    return table;
}

FlowTable::~FlowTable() {
    rte_hash_free(hash_table_);
    rte_hash_free(wide_hash_table_);
    rte_free(wide_flows_);
    rte_free(flows_);
    rte_free(sessions_);
    rte_free(deadlines_);
    rte_free(hint_memory_);
    rte_free(qsbr_);
}

FlowTable::Claim FlowTable::claim(const FlowKey& key, std::uint32_t hash) noexcept {
    const std::int32_t added = rte_hash_add_key_with_hash(hash_table_, &key, hash);
    if (added < 0) return {Claim::Outcome::full, {}};
    const FlowPosition position{static_cast<std::uint32_t>(added)};
    if (!take(position)) return {Claim::Outcome::taken, position};
    flow(position).key = key;
    return {Claim::Outcome::won, position};
}

bool FlowTable::take(FlowPosition position) noexcept {
    Flow& record = flow(position);
    StateWord word = record.load_state();
    return word.state() == RecordState::free &&
           record.state.compare_exchange_strong(word, word.with(RecordState::opening),
                                                std::memory_order_acq_rel);
}

FlowTable::Claim FlowTable::claim(const WideKey& key, std::uint32_t hash) noexcept {
    if (key.destination.is_v4()) return claim(key.narrow(), hash);
    const std::int32_t added = rte_hash_add_key_with_hash(wide_hash_table_, &key, hash);
    if (added < 0) return {Claim::Outcome::full, {}};
    const FlowPosition position{static_cast<std::uint32_t>(added) + first_wide_};
    if (!take(position)) return {Claim::Outcome::taken, position};
    wide(position).key = key;
    return {Claim::Outcome::won, position};
}

std::int32_t FlowTable::lookup(const WideKey& key, std::uint32_t hash) const noexcept {
    if (key.destination.is_v4()) return lookup(key.narrow(), hash);
    const std::int32_t position = rte_hash_lookup_with_hash(wide_hash_table_, &key, hash);
    return position < 0 ? position : position + static_cast<std::int32_t>(first_wide_);
}

void FlowTable::abandon(FlowPosition position, Reclaimer& reclaimer) noexcept {
    Flow& record = flow(position);
    record.state.store(record.load_state().with(RecordState::dead), std::memory_order_release);
    delete_key(position);
    reclaimer.bury(position);
}

void FlowTable::publish(const NewSession& n) noexcept {
    const auto fill = [&](FlowPosition position, Direction direction, const Translation& translation,
                          const WideTranslation* wide_translation) {
        Flow& record = flow(position);
        record.translation = translation;
        const NextHopRef next_hop = direction == Direction::forward ? n.forward_next_hop : NextHopRef{};
        const bool crosses = wide_translation != nullptr && !is_wide(position);
        if (crosses) {
            WideFlow& twin = wide(direction == Direction::forward ? n.reverse : n.forward);
            twin.crossing = *wide_translation;
            twin.crossing_next_hop.store(next_hop, std::memory_order_relaxed);
        } else if (wide_translation != nullptr) {
            wide(position).translation = *wide_translation;
        }
        record.next_hop.store(crosses ? NextHopRef{} : next_hop, std::memory_order_relaxed);
        record.session = n.forward;
        record.direction = direction;
        record.settled.store(is_settled(first_state(n.protocol), direction), std::memory_order_relaxed);
        record.last_seen.store(n.now.value, std::memory_order_relaxed);
        record.forget_numbers();
        record.counts.store(0, std::memory_order_relaxed);
        session(position).full_counts.store(0, std::memory_order_relaxed);
        session(position).bytes.store(0, std::memory_order_relaxed);
    };
    fill(n.forward, Direction::forward, n.forward_translation, n.wide_forward_translation);
    fill(n.reverse, Direction::reverse, n.reverse_translation, n.wide_reverse_translation);
    Session& shared = session(n.forward);
    shared.state.store(first_state(n.protocol), std::memory_order_relaxed);
    shared.protocol = n.protocol;
    shared.rule = n.rule;
    shared.reverse = n.reverse;
    shared.opened = n.now;
    shared.traits = n.traits;
    session(n.reverse).peers = n.peers;
    shared.window_shifts.store(0, std::memory_order_relaxed);
    count_move(SessionState::count_, first_state(n.protocol));

    // Before anybody can end it.
    if (log_.is_on()) [[unlikely]]
        log_event(SessionEvent::Kind::opened, n.forward);
    const auto go_live = [this](FlowPosition position) {
        Flow& record = flow(position);
        record.state.store(record.state.load(std::memory_order_relaxed).with(RecordState::live),
                           std::memory_order_release);
    };
    deadline(n.forward).store((n.now + n.timeout).value | 1U, std::memory_order_relaxed);
    go_live(n.reverse);
    go_live(n.forward);
}

bool FlowTable::retire(FlowPosition id, StateWord expected, Reclaimer& reclaimer) noexcept {
    // A caller may have read the word just after another worker had ended the session.
    if (expected.state() != RecordState::live && expected.state() != RecordState::condemned) return false;
    Flow& forward = flow(id);
    if (!forward.state.compare_exchange_strong(expected, expected.with(RecordState::dead),
                                               std::memory_order_acq_rel)) {
        return false;
    }
    Session& shared = session(id);
    Flow& reverse = flow(shared.reverse);
    reverse.state.store(reverse.load_state().with(RecordState::dead), std::memory_order_release);
    deadline(id).store(kNoSession, std::memory_order_relaxed);
    delete_key(id);
    delete_key(shared.reverse);
    // From dead on nobody changes the state; an advance() that is still under way counts for itself.
    const SessionState last = shared.state.exchange(SessionState::count_, std::memory_order_acq_rel);
    count_move(last, SessionState::count_);
    const FlowCounts in = counts(id);
    const FlowCounts out = counts(shared.reverse);
    if (log_.is_on()) [[unlikely]]
        log_event(SessionEvent::Kind::ended, id);
    // The slot is free for another rule once the last session has been taken off.
    if (shared.traits.counted) {
        const net::IpAddress client = key_of(id).source;
        rule_counters_.sources().give_back(shared.rule.slot, shared.traits.counted_alone
                                                                 ? hash_.counted_alone(client)
                                                                 : hash_.counted_as(client));
    }
    rule_counters_.session_closed(shared.rule, in.packets + out.packets, in.bytes + out.bytes);
    release_mappings(id, last);
    release_session();
    reclaimer.bury(id);
    reclaimer.bury(shared.reverse);
    return true;
}

void FlowTable::fetch_keys(std::span<const FlowPosition> sessions) const noexcept {
    constexpr std::size_t kAtOnce = RTE_HASH_LOOKUP_BULK_MAX;
    std::array<const void*, kAtOnce> keys;
    std::array<std::uint32_t, kAtOnce> hashes;
    std::array<std::int32_t, kAtOnce> ignored;
    unsigned count = 0;
    const auto flush = [&] {
        // One alone has nobody to wait together with.
        if (count > 2) lookup_bulk(keys.data(), hashes.data(), count, ignored.data());
        count = 0;
    };
    for (const FlowPosition id : sessions) {
        for (const FlowPosition position : {id, sessions_[id.value].reverse}) {
            if (is_wide(position)) continue;
            const FlowKey& key = flows_[position.value].key;
            keys[count] = &key;
            hashes[count++] = hash_(key);
        }
        if (count + 2 > kAtOnce) flush();
    }
    flush();
}

[[gnu::noinline]] void FlowTable::log_event(SessionEvent::Kind kind, FlowPosition id) noexcept {
    const Session& shared = session(id);
    const WideKey answers = key_of(shared.reverse);
    const FlowCounts in = counts(id);
    const FlowCounts out = counts(shared.reverse);
    log_.write({.key = key_of(id),
                .source = answers.destination_endpoint(),
                .target = answers.source_endpoint(),
                .time = Tsc::read(),
                .rule = shared.rule,
                .opened = shared.opened,
                .kind = kind,
                .packets_in = in.packets,
                .bytes_in = in.bytes,
                .packets_out = out.packets,
                .bytes_out = out.bytes});
}

void FlowTable::release_mappings(FlowPosition id, SessionState last) noexcept {
    const MappingPeers& peers = session(session(id).reverse).peers;
    // One that only its answers could have kept alive has not been in use at all, not even when it was
    // opened: otherwise a peer outside would keep a mapping by ever new ports (requirement U6).
    constexpr Tick kLongAgo{1U << 30U};
    const bool unused = session(id).traits.kept_alive_by == Directions::reverse &&
                        evictable_as(last) == Evictable::unanswered;
    const Tick used = unused ? session(id).opened - kLongAgo : last_use(id);
    for (const FlowPosition peer : {peers.client, peers.target}) {
        if (peer != kNoPosition) [[unlikely]]
            mappings_->release(peer, used, is_closed(last));
    }
}

Tick FlowTable::last_use(FlowPosition id) noexcept {
    const Session& shared = session(id);
    const Tick forward{flow(id).last_seen.load(std::memory_order_relaxed)};
    const Tick reverse{flow(shared.reverse).last_seen.load(std::memory_order_relaxed)};
    if (!has(shared.traits.kept_alive_by, Direction::reverse)) return forward;
    if (!has(shared.traits.kept_alive_by, Direction::forward)) return reverse;
    return forward.before(reverse) ? reverse : forward;
}

bool FlowTable::condemn(FlowPosition id, StateWord expected) noexcept {
    const StateWord live = expected.with(RecordState::live);
    StateWord word = live;
    if (!flow(id).state.compare_exchange_strong(word, live.with(RecordState::condemned),
                                                std::memory_order_acq_rel)) {
        return false;
    }
    // The answers' record may be retired under our hands: then it is not live any more, and stays as it is.
    Flow& reverse = flow(session(id).reverse);
    StateWord reverse_word = reverse.load_state();
    if (reverse_word.state() == RecordState::live) {
        reverse.state.compare_exchange_strong(reverse_word, reverse_word.with(RecordState::condemned),
                                              std::memory_order_acq_rel);
    }
    std::uint32_t due = deadline(id).load(std::memory_order_relaxed);
    while (due != kNoSession &&
           !deadline(id).compare_exchange_weak(due, kDueAtOnce, std::memory_order_relaxed)) {
    }
    return true;
}

bool FlowTable::advance(FlowPosition id, Direction direction, TcpFlags flags, Tick now,
                        const std::array<Tick, kSessionStateCount>& timeouts) noexcept {
    Session& shared = session(id);
    SessionState before = shared.state.load(std::memory_order_relaxed);
    SessionState after;
    do {
        if (before == SessionState::count_) return false;  // just retired
        after = next_state(before, direction, flags);
        if (after == before) return false;
    } while (!shared.state.compare_exchange_weak(before, after, std::memory_order_acq_rel));
    count_move(before, after);
    for (const Direction side : {Direction::forward, Direction::reverse}) {
        if (is_settled(after, side)) continue;
        std::atomic_thread_fence(std::memory_order_seq_cst);  // see Worker::update_session()
        Flow& record = flow(side == Direction::forward ? id : shared.reverse);
        record.settled.store(false, std::memory_order_relaxed);
    }
    // The new state may end sooner than the sweep would look again.
    const Tick timeout = timeouts[static_cast<std::size_t>(after)];
    std::uint32_t due = deadline(id).load(std::memory_order_relaxed);
    while (due != kNoSession && due != kDueAtOnce &&
           !deadline(id).compare_exchange_weak(due, (now + timeout).value | 1U, std::memory_order_relaxed)) {
    }
    return true;
}

bool FlowTable::believes_rst(const Flow& rst, std::uint32_t sequence) noexcept {
    const Session& shared = session(rst.session);
    if (!has_connection(shared.state.load(std::memory_order_relaxed))) return true;
    const bool from_client = rst.direction == Direction::forward;
    const Flow& receiver = flow(from_client ? shared.reverse : rst.session);
    const std::uint32_t acknowledged = receiver.acknowledged.load(std::memory_order_relaxed);
    const unsigned shifts = shared.window_shifts.load(std::memory_order_relaxed);
    return acknowledged == 0 || dataplane::believes_rst(sequence, net::be32::from_wire(acknowledged).host(),
                                                        from_client ? shifts >> 4U : shifts & 0xfU);
}

FlowCounts FlowTable::counts(FlowPosition position) noexcept {
    const Session& spilled = session(position);
    const std::uint64_t word = flow(position).counts.load(std::memory_order_relaxed);
    return {
        .packets = (std::uint64_t{spilled.full_counts.load(std::memory_order_relaxed)} << Flow::kPacketBits) +
                   (word & ((1U << Flow::kPacketBits) - 1)),
        .bytes = spilled.bytes.load(std::memory_order_relaxed) + (word >> Flow::kPacketBits)};
}

void FlowTable::spill_counts(Flow& record) noexcept {
    std::uint64_t word = record.counts.load(std::memory_order_relaxed);
    // Another worker that carries the same flow may have seen it, too, and been here.
    if (word == 0 || (word & ((1U << Flow::kPacketBits) - 1)) != 0 ||
        !record.counts.compare_exchange_strong(word, 0, std::memory_order_relaxed)) {
        return;
    }
    Session& spilled = session(position_of(record));
    spilled.full_counts.fetch_add(1, std::memory_order_relaxed);
    // The packets' last carry went into the bytes.
    spilled.bytes.fetch_add((word >> Flow::kPacketBits) - 1, std::memory_order_relaxed);
}

void FlowTable::count_move(SessionState from, SessionState to) noexcept {
    const std::optional<Evictable> before = evictable_as(from);
    const std::optional<Evictable> after = evictable_as(to);
    if (before == after) return;
    if (before) evictable_counts_[static_cast<std::size_t>(*before)].fetch_sub(1, std::memory_order_relaxed);
    if (after) evictable_counts_[static_cast<std::size_t>(*after)].fetch_add(1, std::memory_order_relaxed);
}

bool FlowTable::reserve_session() noexcept {
    if (session_count_.fetch_add(1, std::memory_order_relaxed) < capacity_) return true;
    session_count_.fetch_sub(1, std::memory_order_relaxed);
    return false;
}

void FlowTable::delete_key(FlowPosition position) noexcept {
    std::int32_t deleted = 0;
    std::uint32_t expected = position.value;
    if (is_wide(position)) {
        const WideKey& key = wide(position).key;
        deleted = rte_hash_del_key_with_hash(wide_hash_table_, &key, hash_(key));
        expected -= first_wide_;
    } else {
        const FlowKey& key = flow(position).key;
        deleted = rte_hash_del_key_with_hash(hash_table_, &key, hash_(key));
    }
    check(deleted >= 0 && static_cast<std::uint32_t>(deleted) == expected,
          "a key was not where its record is");
}

void FlowTable::free_position(FlowPosition position) noexcept {
    Flow& record = flow(position);
    const StateWord word = record.state.load(std::memory_order_relaxed);
    record.state.store(StateWord::make(word.generation() + 1, RecordState::free), std::memory_order_release);
    if (is_wide(position)) {
        rte_hash_free_key_with_position(wide_hash_table_,
                                        static_cast<std::int32_t>(position.value - first_wide_));
    } else {
        rte_hash_free_key_with_position(hash_table_, static_cast<std::int32_t>(position.value));
    }
}

}  // namespace fwd::dataplane
