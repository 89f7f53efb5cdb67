// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/fragment_table.h"

#include <rte_cycles.h>

#include <algorithm>
#include <bit>

#include "dataplane/net/ipv4.h"

namespace fwd::dataplane {
namespace {

constexpr std::uint64_t kLifetimeSeconds = 15;  // RFC 791, section 3.2: the initial timer setting
constexpr std::size_t kUnitBytes = 8;
constexpr std::size_t kMostBytes = 65535;

/// Lies in the private area of a packet that waits.
struct WaitingNote {
    rte_mbuf* next;
    std::uint16_t l3_offset;
    std::uint16_t ip_bytes;
    LinkId ingress;
    std::uint16_t header_offset;
};
static_assert(sizeof(WaitingNote) <= RTE_CACHE_LINE_SIZE, "the pool's private area is a cache line");

WaitingNote& note_of(rte_mbuf* packet) noexcept {
    return *static_cast<WaitingNote*>(rte_mbuf_to_priv(packet));
}

/// @param before bytes of headers that count into the datagram's length
/// @param bytes what the fragment carries
std::optional<FragmentPlace> place_at(std::size_t begin, bool is_last, std::size_t before,
                                      std::size_t bytes) noexcept {
    if (bytes == 0 || (!is_last && bytes % kUnitBytes != 0)) return std::nullopt;
    if (before + begin * kUnitBytes + bytes > kMostBytes) return std::nullopt;
    return FragmentPlace{.begin = static_cast<std::uint16_t>(begin),
                         .end = static_cast<std::uint16_t>(begin + (bytes + kUnitBytes - 1) / kUnitBytes),
                         .is_last = is_last};
}

/// No fragment's: protocol 0 does not pass parse().
constexpr FlowKey free_key() noexcept {
    FlowKey key;
    key.protocol = net::Protocol{0};
    return key;
}
constexpr FlowKey kFree = free_key();

}  // namespace

struct FragmentTable::Set {
    std::array<FlowKey, kWays> keys;
    std::array<Datagram, kWays> datagrams;
    unsigned waiting = 0;  // fragments

    Set() { keys.fill(kFree); }
};

std::optional<FragmentPlace> FragmentPlace::of(const std::uint8_t* ip, std::uint16_t ip_bytes) noexcept {
    const std::uint16_t word = net::load_host16(ip + net::kFragmentOffset);
    const std::size_t begin = word & net::kFragmentOffsetMask;
    const bool is_last = (word & net::kMoreFragments) == 0;
    const std::size_t header_bytes = net::header_bytes(ip);
    return place_at(begin, is_last, header_bytes, ip_bytes - header_bytes);
}

std::optional<FragmentPlace> FragmentPlace::of(const std::uint8_t* ip, const Ipv6Packet& packet) noexcept {
    const std::uint16_t word = net::load_host16(ip + packet.fragment_offset + net::kFragmentWordOffset);
    const bool is_last = (word & net::kIpv6MoreFragments) == 0;
    const std::size_t headers = packet.fragment_offset + net::kFragmentHeaderBytes;
    return place_at((word & net::kIpv6FragmentOffsetMask) / kUnitBytes, is_last,
                    packet.fragment_offset - net::kIpv6Bytes, packet.ip_bytes - headers);
}

Verdict Datagram::note(FragmentPlace place) noexcept {
    const auto spoil = [this] { return verdict = Verdict::drop_fragment_overlap; };
    if (end_ != 0 && (place.end > end_ || (place.is_last && place.end != end_))) return spoil();
    if (place.is_last && reach_ > place.end) return spoil();
    unsigned known = 0;
    const auto for_each_word = [&](auto&& visit) {
        for (unsigned unit = place.begin; unit < place.end; unit = (unit | 63U) + 1) {
            const unsigned count = std::min(64U - unit % 64, place.end - unit);
            visit(seen_[unit / 64], (~std::uint64_t{0} >> (64 - count)) << unit % 64);
        }
    };
    for_each_word([&](std::uint64_t word, std::uint64_t mask) {
        known += static_cast<unsigned>(std::popcount(word & mask));
    });
    const auto units = static_cast<std::uint16_t>(place.end - place.begin);
    if (known == units) return Verdict::drop_fragment_overlap;  // the same once more
    if (known != 0) return spoil();
    for_each_word([](std::uint64_t& word, std::uint64_t mask) { word |= mask; });
    units_ = static_cast<std::uint16_t>(units_ + units);
    reach_ = std::max(reach_, place.end);
    if (place.is_last) end_ = place.end;
    return Verdict::forward;
}

FragmentTable::FragmentTable(const FlowHash& hash, ThreadCounters& counters)
    : hash_{hash},
      counters_{counters},
      sets_{std::make_unique<Set[]>(kSets)},
      lifetime_cycles_{kLifetimeSeconds * rte_get_tsc_hz()} {}

FragmentTable::~FragmentTable() {
    for (unsigned s = 0; s < kSets; ++s) {
        for (Datagram& datagram : sets_[s].datagrams) drop_waiting(datagram, Verdict::drop_fragment_expired);
    }
}

FragmentTable::Set& FragmentTable::set_of(const Datagram& datagram) noexcept {
    const auto distance = reinterpret_cast<const char*>(&datagram) - reinterpret_cast<char*>(sets_.get());
    return sets_[static_cast<std::size_t>(distance) / sizeof(Set)];
}

FlowKey FragmentTable::key_of(const Fragment& fragment) const noexcept {
    const std::uint8_t* ip = fragment.ip;
    if (fragment.is_ipv6()) {
        WideKey key;
        key.ingress = fragment.ingress;
        key.zeros = net::load32(ip + fragment.header_offset + net::kFragmentIdOffset);
        key.source = net::load_ipv6(ip + net::kIpv6SourceOffset);
        key.destination = net::load_ipv6(ip + net::kIpv6DestinationOffset);
        return hash_.digest(key);
    }
    FlowKey key;
    key.ingress = fragment.ingress;
    key.protocol = static_cast<net::Protocol>(ip[net::kProtocolOffset]);
    key.zero = net::load16(ip + net::kIdentificationOffset);
    key.source.value = net::be32::from_wire(net::load32(ip + net::kAddressesOffset));
    key.destination.value = net::be32::from_wire(net::load32(ip + net::kDestinationOffset));
    return key;
}

Datagram& FragmentTable::find_or_add(const Fragment& fragment, Tsc now) noexcept {
    const FlowKey key = key_of(fragment);
    FlowKey source;
    source.source = fragment.is_ipv6()
                        ? hash_.counted_as(net::load_ipv6(fragment.ip + net::kIpv6SourceOffset))
                        : key.source;
    Set& set = sets_[hash_(source) % kSets];
    std::optional<unsigned> free_way;
    for (unsigned way = 0; way < kWays; ++way) {
        if (set.keys[way].same_bytes(key)) return set.datagrams[way];
        if (!free_way && set.keys[way].same_bytes(kFree)) free_way = way;
    }
    const unsigned way = free_way ? *free_way : oldest(set);
    Datagram& datagram = set.datagrams[way];
    if (!free_way) evict(set, way);
    datagram = {};
    datagram.began_ = now;
    set.keys[way] = key;
    ++count_;
    return datagram;
}

unsigned FragmentTable::oldest(const Set& set) const noexcept {
    unsigned oldest = 0;
    for (unsigned way = 1; way < kWays; ++way) {
        if (set.datagrams[way].began_.cycles < set.datagrams[oldest].began_.cycles) oldest = way;
    }
    return oldest;
}

void FragmentTable::evict(Set& set, unsigned way) noexcept {
    drop_waiting(set.datagrams[way], Verdict::drop_fragment_expired);
    set.keys[way] = kFree;
    --count_;
}

void FragmentTable::remove(Datagram& datagram) noexcept {
    Set& set = set_of(datagram);
    evict(set, static_cast<unsigned>(&datagram - set.datagrams.data()));
}

Verdict FragmentTable::hold(Datagram& datagram, const Fragment& fragment) noexcept {
    Set& set = set_of(datagram);
    if (set.waiting == kMostWaiting) {
        // The oldest other datagram that waits makes room; one that takes all the room itself is given up.
        Datagram* victim = nullptr;
        for (Datagram& other : set.datagrams) {
            if (&other == &datagram || other.waiting_count_ == 0) continue;
            if (victim == nullptr || other.began_.cycles < victim->began_.cycles) victim = &other;
        }
        if (victim == nullptr) victim = &datagram;
        victim->verdict = Verdict::drop_fragments_full;
        drop_waiting(*victim, victim->verdict);
        if (victim == &datagram) return victim->verdict;
    }
    WaitingNote& note = note_of(fragment.packet);
    note = {.next = nullptr,
            .l3_offset =
                static_cast<std::uint16_t>(fragment.ip - rte_pktmbuf_mtod(fragment.packet, std::uint8_t*)),
            .ip_bytes = fragment.ip_bytes,
            .ingress = fragment.ingress,
            .header_offset = fragment.header_offset};
    if (datagram.last_waiting_ == nullptr) {
        datagram.first_waiting_ = fragment.packet;
    } else {
        note_of(datagram.last_waiting_).next = fragment.packet;
    }
    datagram.last_waiting_ = fragment.packet;
    ++datagram.waiting_count_;
    ++set.waiting;
    counters_.held.add(1);
    return Verdict::forward;
}

std::optional<Fragment> FragmentTable::release(Datagram& datagram) noexcept {
    rte_mbuf* packet = datagram.first_waiting_;
    if (packet == nullptr) return std::nullopt;
    const WaitingNote note = note_of(packet);
    datagram.first_waiting_ = note.next;
    if (note.next == nullptr) datagram.last_waiting_ = nullptr;
    --datagram.waiting_count_;
    --set_of(datagram).waiting;
    counters_.released.add(1);
    return Fragment{.packet = packet,
                    .ip = rte_pktmbuf_mtod_offset(packet, std::uint8_t*, note.l3_offset),
                    .ip_bytes = note.ip_bytes,
                    .ingress = note.ingress,
                    .header_offset = note.header_offset};
}

void FragmentTable::drop_waiting(Datagram& datagram, Verdict verdict) noexcept {
    while (const auto fragment = release(datagram)) {
        counters_.count(verdict);
        counters_.links[fragment->ingress.value].dropped.add(1);
        rte_pktmbuf_free(fragment->packet);
    }
}

void FragmentTable::expire_next_set(Tsc now) noexcept {
    Set& set = sets_[next_expired_];
    next_expired_ = (next_expired_ + 1) % kSets;
    for (unsigned way = 0; way < kWays; ++way) {
        const bool is_used = !set.keys[way].same_bytes(kFree);
        if (is_used && now.cycles >= set.datagrams[way].began_.cycles + lifetime_cycles_) evict(set, way);
    }
}

}  // namespace fwd::dataplane
