// SPDX-License-Identifier: BSD-3-Clause
// The way of a packet. A burst goes through stages, each over all of its packets and each prefetching for the
// next:
//
//     receive -> parse -> look up flows in bulk -> forward (rewrite, next hop) -> transmit
//                  |            |
//                  |            +-- no flow: a rule matches and a session is opened (SessionOpener), or a
//                  drop
//                  +-- ARP, ICMP: handed to control, or an error about a session; malformed: a drop;
//                      fragments, IP options: a slow way of their own (unusual.cc)
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "dataplane/ageing.h"
#include "dataplane/counter.h"
#include "dataplane/family_translation.h"
#include "dataplane/fragment_table.h"
#include "dataplane/idle.h"
#include "dataplane/link_tally.h"
#include "dataplane/punt_limiter.h"
#include "dataplane/session_opener.h"
#include "dataplane/shared_tables.h"

namespace fwd::dataplane {

/// What a worker does while no packet comes.
enum class IdleMode : std::uint8_t {
    poll,      ///< asks on, without a pause
    adaptive,  ///< sleeps until something comes, or for short times where no interrupt would tell
};

class Worker {
 public:
    struct Config {
        unsigned index = 0;  ///< 0 to worker_count - 1; also its QSBR id
        std::vector<RxQueue> rx_queues;
        std::vector<std::uint16_t> tx_queues;  ///< by PortIndex; TxBuffer::kNoQueue where it has none
        IdleMode idle = IdleMode::poll;
    };
    Worker(const SharedTables& shared, const Config& config);
    ~Worker();
    Worker(const Worker&) = delete;
    Worker& operator=(const Worker&) = delete;

    /// Registers with QSBR and works until told to stop. The thread needs an lcore id.
    void run(const std::atomic<bool>& stop) noexcept;

    /// One round over all queues, and a share of the housekeeping; returns how many packets it met. The
    /// thread needs an lcore id and to be online in QSBR under this worker's id: for tests, which bring their
    /// own time.
    unsigned poll(Tsc now) noexcept;

    /// The same, for packets that somebody else has received by a port.
    void process(std::span<rte_mbuf*> packets, PortIndex port, Tsc now) noexcept;

    /// Receives no more by a port. Not while it runs.
    void stop_receiving(PortIndex port) noexcept;

    const ThreadCounters& counters() const noexcept { return counters_; }
    /// Wakes it when work has come by another way than its receive queues.
    Bell& bell() noexcept { return bell_; }

 private:
    /// TCP and UDP packets of a burst, as arrays that the bulk lookup takes.
    struct Burst;
    struct Parsed {
        rte_mbuf* packet;
        std::uint8_t* ip;
        std::uint16_t ip_bytes;
        LinkId ingress;
    };

    /// The same of IPv6.
    struct WideBurst;
    struct WideParsed : Parsed {
        Ipv6Packet ipv6;
    };

    /// Where a flow's packets go, if there is a route.
    struct Way {
        AdjacencyId id;
        Adjacency adjacency;
        net::IpAddress next_hop{};  ///< if it has been looked up
    };

    void parse_burst(std::span<rte_mbuf*> packets, const Port& port, Tsc now) noexcept;
    /// Forwards packets of live flows, a group at a time: while the records of one group are on their way
    /// from memory, the packets of the group before are rewritten.
    void forward_burst(Tsc now) noexcept;
    void forward_group(unsigned begin, unsigned end, Tsc now) noexcept;
    /// Packets whose hint was no good: looks them up in bulk, opens sessions, drops what nothing explains.
    void forward_missed(Tsc now) noexcept;
    /// Verdict::forward when the packet has been dealt with, otherwise what has to become of it.
    Verdict forward_looked_up(unsigned index, std::int32_t position, Tsc now) noexcept;
    /// Of the missed packets of a burst, those without a flow at these positions.
    void plan_sessions(const std::array<std::int32_t, kBurst>& positions) noexcept;
    /// The flow of a packet, or what else becomes of it.
    SessionOpener::Result find_or_open(const FlowKey& key, std::uint32_t hash, std::int32_t position,
                                       SessionOpener::Plan& plan, Tick now) noexcept;
    /// The flow at a position that a lookup has found, or what else becomes of its packet.
    SessionOpener::Result find(FlowPosition position) noexcept;
    /// What forwarding reads for every packet, held by value: whatever is behind a pointer the compiler reads
    /// again after each write to a packet.
    struct ForwardContext {
        const Link* links;
        NeighbourTable::View neighbours;
        TxBuffer* tx;
        std::uint16_t route_generation;
        std::uint32_t second;  ///< for NeighbourTable::View::use()
    };
    ForwardContext forward_context(Tsc now) noexcept;
    void forward(const Parsed& parsed, net::Protocol protocol, Flow& flow, Tsc now,
                 const ForwardContext& context, LinkTally& sent) noexcept;
    void forward_icmp(const Parsed& parsed, Tsc now) noexcept;
    // In portless.cc.
    /// A packet of a protocol without ports: of a flow, or one that opens a session.
    void forward_portless(const Parsed& parsed, Tsc now) noexcept;
    /// The same for an ICMP request or reply, or the first fragment of one.
    /// @return Verdict::forward when the packet has been dealt with, otherwise what has to become of it
    Verdict forward_icmp_query(const Parsed& parsed, const FlowKey& key, Tsc now,
                               Datagram* datagram = nullptr) noexcept;
    // In unusual.cc.
    void forward_unusual(Parsed parsed, Tsc now) noexcept;
    /// @param plain the headers as if there were no IP options; nullptr of a later fragment, which opens no
    /// session
    /// @return Verdict::forward when the packet has been dealt with, otherwise what has to become of it
    /// @param datagram of a fragment
    Verdict forward_by_key(const Parsed& parsed, const FlowKey& key, const std::uint8_t* plain, Tsc now,
                           Datagram* datagram = nullptr) noexcept;
    /// Senders that leave by one address know nothing of each other, so fwd numbers their fragments, workers
    /// by turns: the next 65 536 numbers of all of them together differ (RFC 6864, section 5.3).
    std::uint32_t next_identification() noexcept;
    void forward_fragment(const Parsed& parsed, Tsc now) noexcept;
    /// Of either family.
    void forward_fragment(const Fragment& fragment, const FragmentPlace& place, Tsc now) noexcept;
    void forward_first_fragment(Datagram& datagram, const Parsed& parsed, Tsc now) noexcept;
    void forward_later_fragment(Datagram& datagram, const Fragment& fragment, Tsc now) noexcept;
    // In unusual_ipv6.cc.
    void forward_ipv6_fragment(const WideParsed& parsed, bool multicast, Tsc now) noexcept;
    void forward_first_ipv6_fragment(Datagram& datagram, const Fragment& fragment, Tsc now) noexcept;
    void forward_later_ipv6_fragment(Datagram& datagram, const Fragment& fragment, Tsc now) noexcept;
    /// Verdict::forward when the fragment has been dealt with, otherwise what has to become of it.
    Verdict forward_ipv6_by_key(const WideParsed& parsed, const WideKey& key, Tsc now,
                                Datagram* datagram = nullptr) noexcept;
    /// @param tcp the header of a TCP packet, otherwise nullptr
    /// @return false of a packet that is to be dropped as Verdict::drop_outside_window
    [[nodiscard]] bool update_session(Flow& flow, const std::uint8_t* tcp, Tick now) noexcept;
    /// Lowers the MSS of a SYN to what the links on its way allow.
    void clamp_mss(const Parsed& parsed, const Flow& flow) noexcept;
    /// Keeps what belief in later RSTs depends on.
    void note_tcp(Flow& flow, const std::uint8_t* tcp, TcpFlags flags) noexcept;
    /// Checks an IPv6 packet of which so many bytes are there; TCP and UDP wait for forward_ipv6_burst().
    void take_ipv6(const Parsed& frame, std::size_t bytes_there, Tsc now) noexcept;
    void forward_ipv6_burst(Tsc now) noexcept;
    SessionOpener::Result find_or_open(const WideParsed& parsed, const WideKey& key, std::uint32_t hash,
                                       std::int32_t position, Tsc now) noexcept;
    void forward_ipv6(const WideParsed& parsed, Flow& flow, Tsc now, LinkTally& sent) noexcept;
    void clamp_ipv6_mss(const WideParsed& parsed, const net::IpAddress& destination) noexcept;
    void forward_icmpv6(const WideParsed& parsed, bool multicast, Tsc now) noexcept;
    /// The same as forward_portless().
    void forward_ipv6_portless(const WideParsed& parsed, Tsc now) noexcept;
    /// The same as forward_icmp_query().
    Verdict forward_ipv6_echo(const WideParsed& parsed, const WideKey& key, Tsc now,
                              Datagram* datagram = nullptr) noexcept;
    void send_ipv6(const WideParsed& parsed, Flow& flow, const WideTranslation& translation, Tsc now,
                   LinkTally& sent) noexcept;
    /// The same for packets that leave as the other family: `flow` arrives as IPv4, or `wide` as IPv6.
    void send_as_ipv6(Parsed parsed, const Flow& flow, Tsc now) noexcept;
    /// The same for one that is too big for its next link, but may be cut.
    void send_in_ipv6_pieces(const Parsed& parsed, const WideTranslation& translation, const Way& way,
                             Tsc now) noexcept;
    void send_as_ipv4(const WideParsed& parsed, Flow& flow, const WideTranslation& translation, Tsc now,
                      LinkTally& sent) noexcept;
    void send_error_as_ipv6(const Parsed& parsed, const FlowKey& key, const Flow& flow, Tsc now) noexcept;
    /// Where the translation of a flow that crosses() lies.
    WideFlow& crossing_of(const Flow& flow) noexcept;
    std::optional<Way> find_way(std::atomic<NextHopRef>& known, const net::IpAddress& destination) noexcept;
    /// Sends a translated packet there, or lets it wait for the next hop's MAC address.
    void deliver(const Parsed& parsed, const Way& way, const net::IpAddress& destination, Tsc now,
                 LinkTally& sent) noexcept;
    L4Checksum checksum_of(const Parsed& parsed) const noexcept;
    /// What some links want done before a packet is rewritten.
    void prepare_translation(const Parsed& parsed) noexcept;
    /// Rewrites any packet of any protocol, with IP options or a fragment.
    void translate_any(const Parsed& parsed, const Translation& translation) noexcept;
    /// Sends a packet to its next hop, whatever is in the way: the next hop has to be looked up, the packet
    /// is too big, or it has to wait in control. ICMP errors have been rewritten already.
    void emit(const Parsed& parsed, Flow& flow, net::Ipv4Address destination, Tsc now) noexcept;
    /// Copies a fragment out of a packet that is too big for its next link.
    /// @param at where its content begins, from the packet's header; moves behind it
    /// @return nullopt when there is no buffer
    std::optional<Parsed> cut(const Parsed& whole, std::uint16_t mtu, std::size_t& at) noexcept;
    /// The adjacency that a flow knows, looked up again when routes have changed.
    std::optional<NextHop> find_next_hop(std::atomic<NextHopRef>& known, const net::IpAddress& destination,
                                         NextHopRef& ref) noexcept;
    /// Sends a translated packet to a reachable next hop.
    void send(const Parsed& parsed, AdjacencyId id, const Adjacency& adjacency, const ForwardContext& context,
              LinkTally& sent) noexcept;
    PuntNote note_about(const Parsed& parsed, Verdict why, LinkId egress) const noexcept;
    PuntNote note_about(const WideParsed& parsed, Verdict why, LinkId egress) const noexcept;
    void drop(rte_mbuf* packet, Verdict verdict, LinkId link) noexcept;
    /// The same for one that the kernel has no use for.
    void discard(rte_mbuf* packet, Verdict verdict, LinkId link) noexcept;
    /// Punts a packet that would be dropped if the kernel has a use for it.
    /// @return false when it has none
    bool hand_to_host(rte_mbuf* packet, Verdict verdict, LinkId ingress) noexcept;
    /// The same for a packet that no session explains; its sender may be told.
    void refuse(const Parsed& parsed, Verdict verdict, Tsc now) noexcept;
    void refuse(const WideParsed& parsed, Verdict verdict, Tsc now) noexcept;
    /// What becomes of a packet by a verdict; of Verdict::forward, nothing more.
    template <typename AnyParsed>
    void refuse_or_punt(const AnyParsed& parsed, Verdict verdict, Tsc now) noexcept {
        if (verdict == Verdict::forward) return;
        if (is_drop(verdict)) return refuse(parsed, verdict, now);
        punt(parsed.packet, note_about(parsed, verdict, parsed.ingress), now);
    }
    /// Lets control tell the sender of a refused packet, if the link says so.
    /// @param opens it is a SYN that may open a connection
    /// @param note what control quotes
    void tell(const Parsed& refused, Verdict verdict, bool tcp, bool opens, PuntNote note, Tsc now) noexcept;
    bool tells_about(const Parsed& parsed, Verdict verdict) const noexcept {
        return shared_.links[parsed.ingress.value].refuses_by_icmp && is_refusal(verdict);
    }
    void punt(rte_mbuf* packet, const PuntNote& note, Tsc now) noexcept;
    void flush() noexcept;
    /// Sleeps if there is still nothing to do.
    struct Slept {
        unsigned packets = 0;  ///< met on the last look before it
        bool woken = false;
    };
    Slept sleep(IdleSleep& idle, unsigned empty_rounds, Tsc now) noexcept;

    const SharedTables& shared_;
    Config config_;
    const Policy* policy_ = nullptr;  // of this round
    Tsc now_{};                       // of this burst, for what is seldom asked
    const bool clamps_mss_;           // some link does
    const bool has_host_;             // some link has
    std::unique_ptr<Burst> burst_;  // kept between rounds, since clearing it would cost more than filling it
    std::unique_ptr<WideBurst> wide_burst_;  // nullptr: no link has IPv6
    Bell bell_;
    ThreadCounters counters_;
    Reclaimer reclaimer_;
    MappingReclaimer mapping_reclaimer_;
    SessionOpener opener_;
    Sweeper sweeper_;
    MappingSweeper mapping_sweeper_;
    FragmentTable fragments_;
    std::uint32_t identification_counter_ = 0;
    std::uint32_t identification_step_,
        identification_start_;  // secret, so that nobody can tell the next one
    std::vector<TxBuffer> tx_;  // by PortIndex
    /// By link, so that a flood at one takes nothing from the others.
    struct LinkLimiters {
        PuntLimiter arp_requests, arp_replies, nd_questions, nd_answers, icmp, hold, refusals, host_openings,
            host_established, host_answers;
    };
    LinkLimiters& limiters_of(LinkId link) noexcept { return limiters_[link.value]; }
    std::vector<LinkLimiters> limiters_;
};

}  // namespace fwd::dataplane
