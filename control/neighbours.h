// SPDX-License-Identifier: BSD-3-Clause
// Who is at which MAC address (ARP, RFC 826; IPv6 neighbour discovery, RFC 4861). Control asks for next hops,
// keeps the packets that wait for the answer, refreshes what is in use and forgets what is not; it answers
// for fwd's own addresses and for the external addresses of rules (proxy ARP), and announces them. Own IPv6
// addresses are first asked for by fwd itself (duplicate address detection, RFC 4862): those that another
// host has are not answered for. What routers advertise is ignored: routes are configured.
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
#include "dataplane/neighbour_discovery.h"

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
    bool add_static(dataplane::LinkId link, net::IpAddress address, net::MacAddress mac);

    /// Lets it be asked for like any other.
    void remove_static(dataplane::LinkId link, net::IpAddress address);
    /// Whether a link's cable is in, as last seen.
    bool is_up(dataplane::LinkId link) const { return is_up_[link.value]; }

    /// Takes a packet that waits for its next hop (PuntNote::hold_neighbour) and sends or drops it in the
    /// end.
    void hold(rte_mbuf* packet, Clock::time_point now);
    /// Takes an ARP packet that has passed parse().
    void handle_arp(rte_mbuf* packet, Clock::time_point now);
    /// Takes a neighbour solicitation or advertisement that parse_nd() has taken, or a multicast listener
    /// query.
    void handle_nd(rte_mbuf* packet, Clock::time_point now);
    /// Asks again, gives up, refreshes and forgets; call it several times a second.
    void tick(Clock::time_point now);

    /// For which addresses beside its own fwd answers, by link. New ones are announced (RFC 5227,
    /// section 2.3) in the next ticks, and all of them whenever a link has come up.
    void set_external_addresses(std::set<std::pair<dataplane::LinkId, net::IpAddress>> addresses);

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
        bool is_met = false;  ///< it has asked for fwd, and no packet has left by it yet
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
    void drop_held(const dataplane::NextHop& next_hop, Entry& entry);
    void send_to(rte_mbuf* packet, const Entry& entry, dataplane::LinkId egress);
    /// Puts it off to the next ticks. Only those who could ask for the address need to hear of it.
    void announce(dataplane::LinkId link, net::IpAddress address);
    void watch_links(Clock::time_point now);
    void send_announcements();
    void send_arp(dataplane::LinkId link, std::uint16_t operation, net::MacAddress to,
                  net::Ipv4Address sender, net::MacAddress target_mac, net::Ipv4Address target);
    /// Says which multicast groups fwd listens to where somebody has asked.
    void answer_queries(Clock::time_point now);
    /// Asks whether the own IPv6 addresses of a link are free.
    void probe_own(dataplane::LinkId link, Clock::time_point now);
    /// Tells switches and routers on a link which multicast groups fwd listens to.
    /// @param joins some of them are new
    void report_groups(dataplane::LinkId link, bool joins);
    void finish_probes(Clock::time_point now);
    /// Somebody else asks for, or has, one of fwd's addresses.
    void note_conflict(dataplane::LinkId link, net::MacAddress mac, net::IpAddress address,
                       Clock::time_point now);
    /// Somebody says where an address is that fwd may want to send to.
    void learn(const dataplane::NextHop& next_hop, net::MacAddress mac, Clock::time_point now);
    /// The same of somebody who asks for an address of fwd's, and so is about to be answered (RFC 826; RFC
    /// 4861, section 7.2.3): fwd need not ask back then, among all those that a flood makes up.
    void meet(const dataplane::NextHop& next_hop, net::MacAddress mac, Clock::time_point now);
    void take_advertisement(dataplane::LinkId link, const dataplane::NdMessage& message,
                            Clock::time_point now);
    void send_nd(dataplane::LinkId link, net::MacAddress to, const dataplane::NdMessage& message);
    bool answers_for(dataplane::LinkId link, net::IpAddress address) const;
    /// Whether packets have left by it since it changed.
    bool is_in_use(const Entry& entry) const;
    void drop(rte_mbuf* packet, dataplane::Verdict verdict);

    dataplane::Dataplane& dataplane_;
    const std::vector<LinkSettings>& links_;
    std::map<dataplane::NextHop, Entry, ByLinkAndAddress> entries_;
    std::set<std::pair<dataplane::LinkId, net::IpAddress>> external_;
    std::vector<dataplane::AdjacencyId> removed_;
    /// Neighbours whose MAC addresses are not known, by link and whether they are of IPv4.
    std::map<std::pair<dataplane::LinkId, bool>, std::size_t> unresolved_;
    std::map<dataplane::LinkId, std::size_t> met_;   ///< entries that are so
    std::map<dataplane::LinkId, std::size_t> held_;  ///< packets that wait
    std::vector<bool> is_up_;                        ///< by link, as last seen
    Clock::time_point next_link_check_{};
    std::deque<std::pair<dataplane::LinkId, net::IpAddress>> to_announce_;
    /// Own IPv6 addresses that are not answered for: until when it is open whether they are free, or for
    /// good.
    std::map<std::pair<dataplane::LinkId, net::IpAddress>, Clock::time_point> tentative_;
    std::set<dataplane::LinkId> asked_for_groups_;
    Clock::time_point next_report_{};
    Clock::time_point conflict_logged_{};
};

}  // namespace fwd::control
