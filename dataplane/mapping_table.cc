// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/mapping_table.h"

#include <rte_debug.h>
#include <rte_errno.h>
#include <rte_lcore.h>
#include <rte_malloc.h>

#include <algorithm>
#include <cstdio>

namespace fwd::dataplane {
namespace {

constexpr std::size_t kCachedPositions = (RTE_MAX_LCORE - 1) * std::size_t{63} + 1;  // see flow_table.cc
constexpr std::uint64_t kKeysPerMapping =
    8;  ///< its two and those of four peers, and an add may fail at 80 %
constexpr std::uint64_t kScarcePercent = 80;  ///< so many mappings, and ports are not held back any more

void check(bool condition, const char* why) noexcept {
    if (!condition) rte_panic("mapping table: %s\n", why);
}

std::uint32_t hash_never_called(const void*, std::uint32_t, std::uint32_t) {
    return 0;
}

std::uint32_t keys_for(std::uint32_t mappings) noexcept {
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(mappings * kKeysPerMapping + 16, 1U << 30U));
}

/// How long a peer stays that nobody refers to: less and less as the seventh of eight parts of their room is
/// taken, so that the last one is there for those whom sessions refer to.
Tick peer_time(Tick whole, std::uint64_t peers, std::uint64_t room) noexcept {
    const std::uint64_t eighth = room / 8;
    const std::uint64_t left = room - eighth > peers ? room - eighth - peers : 0;
    return left >= eighth ? whole : Tick{static_cast<std::uint32_t>(whole.value * left / eighth)};
}

FlowPosition to_position(std::int32_t position) noexcept {
    return {static_cast<std::uint32_t>(position)};
}

}  // namespace

std::size_t MappingTable::memory_bytes(std::uint32_t mappings, bool ipv6) noexcept {
    constexpr std::size_t kKeyEntryBytes = 32, kBucketBytesPerKey = 16;
    const std::size_t positions = keys_for(mappings) + kCachedPositions;
    return positions * (sizeof(Record) + (ipv6 ? sizeof(WideEndpoints) : 0) + 2 * sizeof(std::uint32_t) +
                        kKeyEntryBytes + kBucketBytesPerKey);
}

Setup<std::unique_ptr<MappingTable>> MappingTable::create(std::uint32_t mappings, const FlowHash& hash,
                                                          rte_rcu_qsbr* qsbr, bool ipv6) {
    std::unique_ptr<MappingTable> table{new MappingTable{hash, qsbr}};
    static std::atomic<unsigned> tables{0};
    char name[RTE_HASH_NAMESIZE];
    std::snprintf(name, sizeof name, "fwd_mappings_%u", tables.fetch_add(1));
    rte_hash_parameters params{};
    params.name = name;
    params.entries = keys_for(mappings);
    params.key_len = sizeof(FlowKey);
    params.hash_func = hash_never_called;
    params.socket_id = SOCKET_ID_ANY;
    params.extra_flag = RTE_HASH_EXTRA_FLAGS_RW_CONCURRENCY_LF | RTE_HASH_EXTRA_FLAGS_MULTI_WRITER_ADD;
    table->hash_table_ = rte_hash_create(&params);
    if (table->hash_table_ == nullptr)
        return tl::unexpected(SetupError{"no memory for the mapping table", rte_errno});
    table->position_count_ = static_cast<std::uint32_t>(rte_hash_max_key_id(table->hash_table_)) + 1;
    table->capacity_ = mappings;
    const std::size_t n = table->position_count_;
    // All-zero bytes are what the constructors would write: free records of generation 0.
    table->records_ =
        static_cast<Record*>(rte_zmalloc("fwd_mappings", n * sizeof(Record), RTE_CACHE_LINE_SIZE));
    table->idle_ = static_cast<std::atomic<std::uint32_t>*>(
        rte_zmalloc("fwd_mappings", n * sizeof(std::uint32_t), RTE_CACHE_LINE_SIZE));
    if (ipv6) {
        table->wide_endpoints_ = static_cast<WideEndpoints*>(
            rte_zmalloc("fwd_mappings", n * sizeof(WideEndpoints), RTE_CACHE_LINE_SIZE));
    }
    if (table->records_ == nullptr || table->idle_ == nullptr || (ipv6 && table->wide_endpoints_ == nullptr))
        return tl::unexpected(SetupError{"no memory for the mappings", ENOMEM});
    table->ports_of_hosts_ = std::make_unique<SourceCounts>(mappings);
    return table;
}

MappingTable::~MappingTable() {
    rte_hash_free(hash_table_);
    rte_free(records_);
    rte_free(wide_endpoints_);
    rte_free(idle_);
}

FlowKey MappingTable::short_key(WideKey wide, std::uint16_t kind) const noexcept {
    wide.zero = kind;
    FlowKey key = wide.source.is_v4() || wide.destination.is_v4() ? wide.narrow() : hash_.digest(wide);
    key.zero = kind;
    return key;
}

FlowKey MappingTable::inside_key(const Inside& inside) const noexcept {
    WideKey key;
    key.ingress = inside.egress;
    key.protocol = inside.protocol;
    key.source = inside.endpoint.address;
    key.source_port = inside.endpoint.port;
    key.destination =
        net::IpAddress::from_number(inside.rule.slot | std::uint32_t{inside.address_generation} << 24U);
    key.destination_port = net::be16::from_host(static_cast<std::uint16_t>(inside.rule.generation));
    return short_key(key, kInside);
}

FlowKey MappingTable::external_key(net::Protocol protocol, const net::IpEndpoint& external) const noexcept {
    WideKey key;
    key.protocol = protocol;
    key.destination = external.address;
    key.destination_port = external.port;
    return short_key(key, kExternal);
}

FlowKey MappingTable::peer_key(net::Protocol protocol, const net::IpEndpoint& external,
                               const net::IpAddress& peer) const noexcept {
    WideKey key;
    key.protocol = protocol;
    key.source = peer;
    key.destination = external.address;
    key.destination_port = external.port;
    return short_key(key, kPeer);
}

const MappingTable::Record* MappingTable::find_live(const FlowKey& key) const noexcept {
    const std::int32_t position = lookup(key);
    if (position < 0) return nullptr;
    const Record& record = records_[position];
    return record.load_word().state() == State::live ? &record : nullptr;
}

std::optional<net::IpEndpoint> MappingTable::find_external(const Inside& inside) const noexcept {
    const Record* mapping = find_live(inside_key(inside));
    return mapping != nullptr ? std::optional{mapping_at(position_of(*mapping)).external} : std::nullopt;
}

std::optional<MappingTable::Mapping> MappingTable::find(net::Protocol protocol,
                                                        const net::IpEndpoint& external) const noexcept {
    const Record* record = find_live(external_key(protocol, external));
    if (record == nullptr) return std::nullopt;
    const Word word = records_[record->other.value].load_word();
    if (word.state() != State::live || word.references() == 0) return std::nullopt;
    return mapping_at(record->other);
}

bool MappingTable::has_peer(net::Protocol protocol, const net::IpEndpoint& external,
                            const net::IpAddress& peer) const noexcept {
    return find_live(peer_key(protocol, external, peer)) != nullptr;
}

bool MappingTable::hold_record(Record& record, std::uint32_t least) noexcept {
    Word word = record.load_word();
    while (word.state() == State::live && word.references() >= least) {
        if (record.change(word, {word.bits + 1})) return true;
    }
    return false;
}

MappingTable::Mine MappingTable::claim(net::Protocol protocol, const FlowKey& key,
                                       std::uint32_t hash) noexcept {
    const std::int32_t added = rte_hash_add_key_with_hash(hash_table_, &key, hash);
    if (added < 0) return {.verdict = Verdict::drop_mappings_full};
    const FlowPosition position = to_position(added);
    Record& record = at(position);
    Word word = record.load_word();
    if (word.state() == State::free &&
        record.change(word, Word::make(word.generation(), State::opening, 0))) {
        record.key = key;
        record.protocol = protocol;
        key_count_.fetch_add(1, std::memory_order_relaxed);
        return {.mapping = position, .is_new = true};
    }
    return {.mapping = position};
}

MappingTable::Mine MappingTable::hold_or_claim(net::Protocol protocol, const FlowKey& key) noexcept {
    const std::uint32_t hash = hash_(key);
    const std::int32_t found = rte_hash_lookup_with_hash(hash_table_, &key, hash);
    Mine mine = found < 0 ? claim(protocol, key, hash) : Mine{.mapping = to_position(found)};
    if (mine.verdict != Verdict::forward || mine.is_new || hold_record(at(mine.mapping))) return mine;
    mine.verdict = at(mine.mapping).load_word().state() == State::dead ? Verdict::drop_session_ending
                                                                       : Verdict::drop_session_opening;
    return mine;
}

MappingTable::Mine MappingTable::take(const Inside& inside, std::uint32_t most_ports,
                                      MappingReclaimer& reclaimer) noexcept {
    if (!reclaimer.has_room()) return {.verdict = Verdict::drop_mappings_full};
    const Mine mine = hold_or_claim(inside.protocol, inside_key(inside));
    if (mine.verdict != Verdict::forward || !mine.is_new) return mine;
    Record& record = at(mine.mapping);
    record.counted = false;
    record.is_wide = !inside.endpoint.address.is_v4();
    if (record.is_wide) wide_endpoints_[mine.mapping.value].inside = inside.endpoint;
    Verdict refused = Verdict::forward;
    if (count_.fetch_add(1, std::memory_order_relaxed) >= capacity_) {
        refused = Verdict::drop_mappings_full;
    } else if (most_ports != 0) {
        const auto taken = ports_of_hosts_->take(inside.rule.slot, host_of(mine.mapping), most_ports);
        record.counted = taken == SourceCounts::Taken::counted;
        if (taken == SourceCounts::Taken::refused) refused = Verdict::drop_host_ports_full;
    }
    if (refused == Verdict::forward) {
        record.rule = inside.rule;
        return mine;
    }
    give_up(mine.mapping, reclaimer);
    return {.verdict = refused};
}

MappingTable::Published MappingTable::publish(FlowPosition mapping, const Inside& inside,
                                              const net::IpEndpoint& external) noexcept {
    if (!is_free(inside.protocol, external)) return Published::taken;
    const FlowKey key = external_key(inside.protocol, external);
    const Mine claimed = claim(inside.protocol, key, hash_(key));
    if (claimed.verdict != Verdict::forward) return Published::full;
    if (!claimed.is_new) return Published::taken;
    at(claimed.mapping).other = mapping;
    Record& record = at(mapping);
    record.other = claimed.mapping;
    if (record.is_wide) {
        wide_endpoints_[mapping.value].external = external;
    } else {
        record.external = external.v4();
    }
    record.unclean.store(false, std::memory_order_relaxed);
    at(claimed.mapping).set_state(State::live);
    record.set_state(State::live, 1);
    return Published::yes;
}

void MappingTable::give_up(FlowPosition mapping, MappingReclaimer& reclaimer) noexcept {
    Record& record = at(mapping);
    if (record.counted) ports_of_hosts_->give_back(record.rule.slot, host_of(mapping));
    count_.fetch_sub(1, std::memory_order_relaxed);
    record.set_state(State::dead);
    bury(mapping, reclaimer);
}

MappingTable::Held MappingTable::hold_found(net::Protocol protocol, const net::IpEndpoint& external,
                                            const net::IpAddress& peer, Tick now) noexcept {
    const Record* record = find_live(external_key(protocol, external));
    if (record == nullptr || !hold_record(at(record->other), 1))
        return {.verdict = Verdict::drop_session_ending};
    return hold_peer(record->other, peer, now);
}

MappingTable::Held MappingTable::hold_peer(FlowPosition mapping, const net::IpAddress& peer,
                                           Tick now) noexcept {
    const net::Protocol protocol = at(mapping).protocol;
    const net::IpEndpoint external = mapping_at(mapping).external;
    const FlowKey key = peer_key(protocol, external, peer);
    if (peer_count() >= peer_room() && lookup(key) < 0) return {.peer = mapping, .external = external};
    const Mine mine = hold_or_claim(protocol, key);
    if (mine.verdict == Verdict::forward && mine.is_new) {
        Record& record = at(mine.mapping);
        record.other = mapping;
        record.unclean.store(false, std::memory_order_relaxed);
        record.set_state(State::live, 1);
    } else {
        release_record(mapping, now, true);
    }
    return {.verdict = mine.verdict, .peer = mine.mapping, .external = external};
}

void MappingTable::release_record(FlowPosition position, Tick last_use, bool clean) noexcept {
    Record& record = at(position);
    if (!clean) record.unclean.store(true, std::memory_order_relaxed);
    std::atomic<std::uint32_t>& idle = idle_[position.value];
    std::uint32_t seen = idle.load(std::memory_order_relaxed);
    while ((seen == 0 || Tick{seen}.before(last_use)) &&
           !idle.compare_exchange_weak(seen, last_use.value | 1U, std::memory_order_relaxed)) {
    }
    record.word.fetch_sub(1, std::memory_order_acq_rel);
}

void MappingTable::release(FlowPosition peer, Tick last_use, bool clean) noexcept {
    release_record(peer, last_use, clean);
}

bool MappingTable::end(Record& record) noexcept {
    Word word = record.load_word();
    if (word.state() != State::live || word.references() != 0) return false;
    return record.change(word, Word::make(word.generation(), State::dead, 0));
}

void MappingTable::expire(FlowPosition position, const Times& times, Tick now,
                          MappingReclaimer& reclaimer) noexcept {
    Record& record = at(position);
    const Word word = record.load_word();
    if (word.state() != State::live || word.references() != 0) return;
    const Tick last{idle_[position.value].load(std::memory_order_relaxed)};
    const Tick idle = now.before(last) ? Tick{} : now - last;
    const bool unclean = record.unclean.load(std::memory_order_relaxed);
    if (record.key.zero == kPeer) {
        if (record.protocol == net::Protocol::udp &&
            idle.before(peer_time(times.peer, peer_count(), peer_room()))) {
            return;
        }
        if (!end(record)) return;
        const FlowPosition mapping = record.other;
        bury(position, reclaimer);
        release_record(mapping, now, !unclean);
        return;
    }
    const bool scarce = count() * std::uint64_t{100} >= capacity_ * kScarcePercent;
    if ((unclean && !scarce && idle.before(times.quarantine)) || !end(record)) return;
    at(record.other).set_state(State::dead);
    if (record.counted) ports_of_hosts_->give_back(record.rule.slot, host_of(position));
    count_.fetch_sub(1, std::memory_order_relaxed);
    bury(position, reclaimer);
    bury(record.other, reclaimer);
}

void MappingTable::bury(FlowPosition position, MappingReclaimer& reclaimer) noexcept {
    idle_[position.value].store(0, std::memory_order_relaxed);
    const FlowKey& key = at(position).key;
    const std::int32_t deleted = rte_hash_del_key_with_hash(hash_table_, &key, hash_(key));
    check(deleted >= 0 && to_position(deleted) == position, "a key was not where its record is");
    reclaimer.bury(position);
}

void MappingTable::free_position(FlowPosition position) noexcept {
    Record& record = at(position);
    record.word.store(Word::make(record.load_word().generation() + 1, State::free, 0).bits,
                      std::memory_order_release);
    key_count_.fetch_sub(1, std::memory_order_relaxed);
    rte_hash_free_key_with_position(hash_table_, static_cast<std::int32_t>(position.value));
}

}  // namespace fwd::dataplane
