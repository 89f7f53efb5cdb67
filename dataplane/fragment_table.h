// SPDX-License-Identifier: BSD-3-Clause
// Fragments of datagrams (requirement U14). Only a datagram's first fragment names ports, so each worker
// remembers, for every datagram that is on its way, what became of the first fragment. The others follow it,
// each as it comes; those that come before it wait. Nothing is put together, so a datagram may have any size.
//
//     source address --> set --> datagram     which parts have come, the first fragment's flow,
//     (keyed hash)       of 32                fragments that wait for it
//
// A set is all that one source may have: another datagram takes the place of the oldest there, whose waiting
// fragments are dropped. So a flood of first fragments, or of last ones, is limited by itself, and hurts
// others only when it names many sources.
//
// DPDK's rte_ip_frag would put datagrams together, of at most 8 fragments in Debian's build.
#pragma once

#include <rte_mbuf.h>

#include <array>
#include <cstdint>
#include <memory>
#include <optional>

#include "dataplane/counter.h"
#include "dataplane/flow_key.h"
#include "dataplane/ipv6_packet.h"
#include "dataplane/tsc.h"
#include "dataplane/verdict.h"

namespace fwd::dataplane {

/// Where a fragment lies in its datagram, in units of 8 bytes.
struct FragmentPlace {
    std::uint16_t begin = 0;
    std::uint16_t end = 0;  ///< behind its last unit
    bool is_last = false;

    bool is_first() const noexcept { return begin == 0; }

    /// Of a fragment that has passed parse(); nullopt when it can't be one: empty, cut at an odd place,
    /// beyond 64 KiB (RFC 791, section 3.2).
    static std::optional<FragmentPlace> of(const std::uint8_t* ip, std::uint16_t ip_bytes) noexcept;
    /// The same of one that has passed parse_ipv6() (RFC 8200, section 4.5).
    static std::optional<FragmentPlace> of(const std::uint8_t* ip, const Ipv6Packet& packet) noexcept;
};

/// A packet of a datagram.
struct Fragment {
    rte_mbuf* packet = nullptr;
    std::uint8_t* ip = nullptr;
    std::uint16_t ip_bytes = 0;
    LinkId ingress{};
    std::uint16_t header_offset = 0;  ///< of its fragment header, of IPv6 alone

    bool is_ipv6() const noexcept { return header_offset != 0; }
};

/// What is known of a datagram.
class Datagram {
 public:
    /// Notes that a fragment has come: Verdict::forward, or why it is dropped. One that overlaps another
    /// (RFC 1858, RFC 5722) spoils the datagram, one that has come already does not.
    Verdict note(FragmentPlace place) noexcept;
    bool is_complete() const noexcept { return end_ != 0 && units_ == end_; }

    /// What becomes of its fragments: Verdict::forward, punt_echo, or why they are dropped.
    Verdict verdict = Verdict::forward;
    /// The first fragment's, once that has come.
    std::optional<FlowKey> flow;
    std::optional<WideKey> wide_flow;  ///< of IPv6
    bool has_flow() const noexcept { return flow || wide_flow; }
    /// What takes the place of its identification, where its source is not its sender's own.
    std::optional<std::uint32_t> identification;

 private:
    friend class FragmentTable;
    std::uint16_t units_ = 0;  // that have come
    std::uint16_t end_ = 0;    // 0: the last fragment has not come
    std::uint16_t reach_ = 0;  // behind the furthest unit that has come
    std::uint16_t waiting_count_ = 0;
    rte_mbuf* first_waiting_ = nullptr;
    rte_mbuf* last_waiting_ = nullptr;
    Tsc began_{};
    static constexpr std::size_t kWords = 65536 / 8 / 64;
    std::array<std::uint64_t, kWords> seen_{};  // a bit for each unit
};

class FragmentTable {
 public:
    static constexpr unsigned kSets = 16, kWays = 32;
    /// Of one set. 64 KiB in fragments of 576 bytes are 119.
    static constexpr unsigned kMostWaiting = 128;
    /// Packet buffers that may be waiting.
    static constexpr unsigned kMostHeld = kSets * kMostWaiting;

    FragmentTable(const FlowHash& hash, ThreadCounters& counters);
    ~FragmentTable();
    FragmentTable(const FragmentTable&) = delete;
    FragmentTable& operator=(const FragmentTable&) = delete;

    /// The datagram that a fragment belongs to, a new one if need be. Valid until the next call.
    Datagram& find_or_add(const Fragment& fragment, Tsc now) noexcept;
    /// Lets a fragment wait for the first one: Verdict::forward, or why it can't.
    Verdict hold(Datagram& datagram, const Fragment& fragment) noexcept;
    /// The next of those that wait, in the order in which they came.
    std::optional<Fragment> release(Datagram& datagram) noexcept;
    /// Drops those that wait.
    void drop_waiting(Datagram& datagram, Verdict verdict) noexcept;
    /// Forgets a datagram.
    void remove(Datagram& datagram) noexcept;

    /// Forgets what has been here for too long, in one set: to be called once a round.
    void expire(Tsc now) noexcept {
        if (count_ != 0) [[unlikely]]
            expire_next_set(now);
    }

 private:
    struct Set;
    void expire_next_set(Tsc now) noexcept;
    Set& set_of(const Datagram& datagram) noexcept;
    FlowKey key_of(const Fragment& fragment) const noexcept;
    void evict(Set& set, unsigned way) noexcept;
    unsigned oldest(const Set& set) const noexcept;

    FlowHash hash_;
    ThreadCounters& counters_;
    std::unique_ptr<Set[]> sets_;
    unsigned count_ = 0;  // datagrams
    unsigned next_expired_ = 0;
    std::uint64_t lifetime_cycles_;
};

}  // namespace fwd::dataplane
