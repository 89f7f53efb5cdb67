// SPDX-License-Identifier: BSD-3-Clause
// Who is at which MAC address (ARP, RFC 826). Control asks for next hops, keeps the packets that wait for the
// answer, refreshes what is in use and forgets what is not; it answers for fwd's own addresses and for the
// external addresses of rules (proxy ARP), and announces them.
//
//                 packet waits           answer                 60 s old and in use
//     (no entry) ------------> incomplete -----> reachable ---------------------> asks again, still reachable
//                                 |  3 questions    ^  ^____________ answer ________|  |
//                                 v  unanswered     |                                 | 3 questions
//                                 unanswered
//                               failed --2 s--> incomplete, not asking <--------------+
#pragma once

#include <chrono>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "control/settings.h"
#include "dataplane/dataplane.h"

namespace fwd::control {

class Neighbours {
 public:
    using Clock = std::chrono::steady_clock;

    /// @param links the data plane's, for their names
    Neighbours(dataplane::Dataplane& dataplane, const std::vector<LinkSettings>& links);
    ~Neighbours();
    Neighbours(const Neighbours&) = delete;
    Neighbours& operator=(const Neighbours&) = delete;

    /// An entry that never changes. False when the table is full.
    bool add_static(dataplane::LinkId link, net::Ipv4Address address, net::MacAddress mac);

    /// Takes a packet that waits for its next hop (PuntNote::hold_neighbour) and sends or drops it in the
    /// end.
    void hold(rte_mbuf* packet, Clock::time_point now);
    /// Takes an ARP packet that has passed parse().
    void handle_arp(rte_mbuf* packet, Clock::time_point now);
    /// Asks again, gives up, refreshes and forgets; call it several times a second.
    void tick(Clock::time_point now);

    /// For which addresses beside its own fwd answers, by link. New ones are announced (RFC 5227,
    /// section 2.3) in the next ticks, and all of them whenever a link has come up.
    void set_external_addresses(std::set<std::pair<dataplane::LinkId, net::Ipv4Address>> addresses);

    /// Whether a next hop has been taken away since the last call, so that flows have to look up theirs
    /// again. The caller then publishes a new route generation and calls release_removed().
    bool has_removed() const { return !removed_.empty(); }
    void release_removed();

    struct Row {
        dataplane::NextHop next_hop;
        std::optional<net::MacAddress> mac;
        std::string state;  ///< static, reachable, incomplete or failed
        std::chrono::seconds age;
    };
    std::vector<Row> rows(Clock::time_point now) const;

 private:
    struct Entry {
        dataplane::AdjacencyId adjacency;
        bool fixed = false;
        dataplane::AdjacencyState state = dataplane::AdjacencyState::incomplete;
        net::MacAddress mac;
        unsigned unanswered = 0;        ///< questions since the last answer
        Clock::time_point changed;      ///< into this state, or last confirmed
        std::uint32_t used_before = 0;  ///< when packets had last left by it then
        Clock::time_point asked;
        std::deque<rte_mbuf*> held;
    };
    struct ByLinkAndAddress {
        bool operator()(const dataplane::NextHop& a, const dataplane::NextHop& b) const {
            return std::pair{a.egress, a.address} < std::pair{b.egress, b.address};
        }
    };

    void set_state(const dataplane::NextHop& next_hop, Entry& entry, dataplane::AdjacencyState state,
                   Clock::time_point now);
    void ask(const dataplane::NextHop& next_hop, Entry& entry, Clock::time_point now);
    void send_held(const dataplane::NextHop& next_hop, Entry& entry);
    void drop_held(Entry& entry);
    void send_to(rte_mbuf* packet, const Entry& entry, dataplane::LinkId egress);
    /// Puts it off to the next ticks. Only those who could ask for the address need to hear of it.
    void announce(dataplane::LinkId link, net::Ipv4Address address);
    void watch_links(Clock::time_point now);
    void send_announcements();
    void send_arp(dataplane::LinkId link, std::uint16_t operation, net::MacAddress to,
                  net::Ipv4Address sender, net::MacAddress target_mac, net::Ipv4Address target);
    bool answers_for(dataplane::LinkId link, net::Ipv4Address address) const;
    /// Whether packets have left by it since it changed.
    bool is_in_use(const Entry& entry) const;
    void drop(rte_mbuf* packet, dataplane::Verdict verdict);

    dataplane::Dataplane& dataplane_;
    const std::vector<LinkSettings>& links_;
    std::map<dataplane::NextHop, Entry, ByLinkAndAddress> entries_;
    std::set<std::pair<dataplane::LinkId, net::Ipv4Address>> external_;
    std::vector<dataplane::AdjacencyId> removed_;
    std::vector<bool> is_up_;  ///< by link, as last seen
    Clock::time_point next_link_check_{};
    std::deque<std::pair<dataplane::LinkId, net::Ipv4Address>> to_announce_;
    std::size_t held_count_ = 0;
    Clock::time_point conflict_logged_{};
};

}  // namespace fwd::control
