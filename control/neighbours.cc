// SPDX-License-Identifier: BSD-3-Clause
#include "control/neighbours.h"

#include <rte_arp.h>
#include <rte_ethdev.h>
#include <rte_ether.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstring>

#include "control/host_services.h"
#include "control/text.h"
#include "dataplane/address_check.h"

namespace fwd::control {
namespace {

using dataplane::AdjacencyState;
using dataplane::LinkId;
using dataplane::NextHop;
using dataplane::Verdict;
using namespace std::chrono_literals;

constexpr auto kAskAgain = 1s;
constexpr unsigned kQuestions = 3;
constexpr auto kFailedFor = 2s;
// With more neighbours than this, most of them made up by somebody, those that do not answer at once must go.
constexpr std::size_t kCrowd = dataplane::NeighbourTable::kCapacity * 3 / 4;
constexpr auto kAnswersWithin = 300ms;
constexpr auto kFreshFor = 60s;  // RFC 4861's base for reachable time is 30 s; ARP caches keep a minute
constexpr auto kUnusedFor = 60s;
constexpr auto kLinkCheck = 1s;
constexpr auto kReportEvery = 1s;
// On each link: whoever makes up sources of its network takes nothing from others' next hops. In a /64 there
// is no end of them.
constexpr std::size_t most_unresolved(const net::IpAddress& address) {
    return address.is_v4() ? dataplane::NeighbourTable::kCapacity / 2 : 512;
}
constexpr auto kProbeTime = 1s;              // RFC 4861's RetransTimer
constexpr unsigned kAnnouncedPerTick = 256;  // a port's outbox has room for four times as many
constexpr std::size_t kHeldPerNeighbour = 16;
constexpr std::size_t kHeldInAll = 1024;  // each link has its share
// On each link, of those who have asked for fwd and then are sent nothing.
constexpr std::size_t kMostMet = 512;
constexpr auto kMetFor = 2s;

net::MacAddress from_arp(const rte_ether_addr& address) {
    net::MacAddress mac;
    std::copy_n(address.addr_bytes, 6, mac.bytes.begin());
    return mac;
}

rte_ether_addr to_arp(const net::MacAddress& mac) {
    rte_ether_addr address{};
    std::copy_n(mac.bytes.begin(), 6, address.addr_bytes);
    return address;
}

const char* state_name(AdjacencyState state) {
    switch (state) {
        case AdjacencyState::reachable:
            return "reachable";
        case AdjacencyState::failed:
            return "failed";
        default:
            return "incomplete";
    }
}

}  // namespace

Neighbours::Neighbours(dataplane::Dataplane& dataplane, const std::vector<LinkSettings>& links)
    : dataplane_{dataplane}, links_{links}, is_up_(links.size()) {}

Neighbours::~Neighbours() {
    for (auto& [next_hop, entry] : entries_) drop_held(next_hop, entry);
}

bool Neighbours::add_static(LinkId link, net::IpAddress address, net::MacAddress mac) {
    const NextHop next_hop{link, address};
    const auto id = dataplane_.neighbours().add(next_hop);
    if (!id) return false;
    Entry& entry = entries_[next_hop];
    entry.adjacency = *id;
    entry.fixed = true;
    entry.mac = mac;
    send_held(next_hop, entry);
    set_state(next_hop, entry, AdjacencyState::reachable, Clock::now());
    return true;
}

void Neighbours::remove_static(LinkId link, net::IpAddress address) {
    const auto found = entries_.find({link, address});
    if (found == entries_.end()) return;
    found->second.fixed = false;
    found->second.unanswered = 0;
    set_state(found->first, found->second, AdjacencyState::incomplete, Clock::now());
}

void Neighbours::set_state(const NextHop& next_hop, Entry& entry, AdjacencyState state,
                           Clock::time_point now) {
    entry.state = state;
    entry.changed = now;
    entry.used_before = dataplane_.neighbours().last_used(entry.adjacency);
    dataplane_.neighbours().set(entry.adjacency,
                                {.mac = entry.mac, .state = state, .egress = next_hop.egress});
}

void Neighbours::hold(rte_mbuf* packet, Clock::time_point now) {
    const dataplane::PuntNote& note = dataplane::punt_note(*packet);
    const NextHop next_hop{note.egress, note.next_hop};
    auto found = entries_.find(next_hop);
    if (found == entries_.end()) {
        std::size_t& unresolved = unresolved_[{next_hop.egress, next_hop.address.is_v4()}];
        const bool full = unresolved >= most_unresolved(next_hop.address);
        const auto id = full ? std::nullopt : dataplane_.neighbours().add(next_hop);
        if (!id) return drop(packet, Verdict::drop_hold_limited);
        ++unresolved;
        found = entries_.emplace(next_hop, Entry{}).first;
        found->second.adjacency = *id;
        found->second.changed = now;
    }
    Entry& entry = found->second;
    if (entry.state == AdjacencyState::reachable) {
        // The answer came while the packet was on its way here.
        dataplane_.control_counters().released.add(1);
        return send_to(packet, entry, next_hop.egress);
    }
    if (entry.state == AdjacencyState::failed) return drop(packet, Verdict::drop_neighbour_failed);
    std::size_t& held_here = held_[next_hop.egress];
    if (entry.held.size() >= kHeldPerNeighbour || held_here >= kHeldInAll / links_.size())
        return drop(packet, Verdict::drop_hold_limited);
    entry.held.push_back(packet);
    ++held_here;
    if (entry.unanswered == 0) ask(next_hop, entry, now);
}

void Neighbours::drop(rte_mbuf* packet, Verdict verdict) {
    dataplane_.control_counters().released.add(1);
    dataplane_.control_counters().count(verdict);
    rte_pktmbuf_free(packet);
}

void Neighbours::send_to(rte_mbuf* packet, const Entry& entry, LinkId egress) {
    const dataplane::PuntNote note = dataplane::punt_note(*packet);
    const dataplane::Link& link = dataplane_.links()[egress.value];
    auto* ip = rte_pktmbuf_mtod_offset(packet, std::uint8_t*, note.l3_offset);
    const std::uint16_t ether_type = ip[0] >> 4U == 4 ? RTE_ETHER_TYPE_IPV4 : RTE_ETHER_TYPE_IPV6;
    if (!dataplane::write_l2(*packet, ip, note.l3_bytes, link, entry.mac, ether_type)) {
        dataplane_.control_counters().count(Verdict::drop_no_headroom);
        rte_pktmbuf_free(packet);
    } else if (!dataplane_.send(packet, egress)) {
        dataplane_.control_counters().count(Verdict::drop_tx_full);
    }
}

void Neighbours::send_held(const NextHop& next_hop, Entry& entry) {
    for (rte_mbuf* packet : entry.held) {
        dataplane_.control_counters().released.add(1);
        send_to(packet, entry, next_hop.egress);
    }
    held_[next_hop.egress] -= entry.held.size();
    entry.held.clear();
}

void Neighbours::drop_held(const NextHop& next_hop, Entry& entry) {
    for (rte_mbuf* packet : entry.held) drop(packet, Verdict::drop_hold_expired);
    held_[next_hop.egress] -= entry.held.size();
    entry.held.clear();
}

void Neighbours::ask(const NextHop& next_hop, Entry& entry, Clock::time_point now) {
    if (!next_hop.address.is_v4()) {
        const dataplane::Link& link = dataplane_.links()[next_hop.egress.value];
        if (!link.has_ipv6()) return;
        const auto near = std::ranges::find_if(link.ipv6_addresses, [&](const auto& own) {
            return own.prefix().contains(next_hop.address) &&
                   !tentative_.contains({next_hop.egress, own.address});
        });
        const net::Ipv6Address& target = next_hop.address.v6();
        const net::Ipv6Address group = dataplane::solicited_node(target);
        const bool known = entry.state == AdjacencyState::reachable;
        send_nd(next_hop.egress, known ? entry.mac : dataplane::multicast_mac(group),
                {.solicitation = true,
                 .source = near != link.ipv6_addresses.end() ? near->address.v6() : link.link_local,
                 .destination = known ? target : group,
                 .target = target,
                 .link_layer = link.mac});
        ++entry.unanswered;
        entry.asked = now;
        return;
    }
    const auto& addresses = dataplane_.links()[next_hop.egress.value].addresses;
    if (addresses.empty()) {  // nobody to ask as: it counts as not answered
        ++entry.unanswered;
        entry.asked = now;
        return;
    }
    const auto near = std::ranges::find_if(
        addresses, [&](const auto& a) { return a.prefix().contains(next_hop.address.v4()); });
    const net::Ipv4Address sender = (near != addresses.end() ? near : addresses.begin())->address;
    // While the old answer may still be true it is enough to ask the one who gave it (RFC 1122,
    // section 2.3.2.1).
    const net::MacAddress to = entry.state == AdjacencyState::reachable ? entry.mac : net::kBroadcastMac;
    send_arp(next_hop.egress, RTE_ARP_OP_REQUEST, to, sender, {}, next_hop.address.v4());
    ++entry.unanswered;
    entry.asked = now;
}

void Neighbours::send_arp(LinkId link_id, std::uint16_t operation, net::MacAddress to,
                          net::Ipv4Address sender, net::MacAddress target_mac, net::Ipv4Address target) {
    rte_mbuf* packet = dataplane_.allocate();
    if (packet == nullptr) return;
    const dataplane::Link& link = dataplane_.links()[link_id.value];
    rte_arp_hdr arp{};
    arp.arp_hardware = net::be16::from_host(RTE_ARP_HRD_ETHER).wire();
    arp.arp_protocol = net::be16::from_host(RTE_ETHER_TYPE_IPV4).wire();
    arp.arp_hlen = 6;
    arp.arp_plen = 4;
    arp.arp_opcode = net::be16::from_host(operation).wire();
    arp.arp_data.arp_sha = to_arp(link.mac);
    arp.arp_data.arp_sip = sender.value.wire();
    arp.arp_data.arp_tha = to_arp(target_mac);
    arp.arp_data.arp_tip = target.value.wire();
    auto* l3 = rte_pktmbuf_mtod_offset(packet, std::uint8_t*, RTE_ETHER_HDR_LEN);
    std::memcpy(l3, &arp, sizeof arp);
    dataplane::write_l2(*packet, l3, sizeof arp, link, to, RTE_ETHER_TYPE_ARP);
    dataplane_.control_counters().originated.add(1);
    if (!dataplane_.send(packet, link_id)) dataplane_.control_counters().count(Verdict::drop_tx_full);
}

bool Neighbours::answers_for(LinkId link, net::IpAddress address) const {
    if (tentative_.contains({link, address})) return false;
    return dataplane_.links()[link.value].owns(address) || external_.contains({link, address});
}

void Neighbours::handle_arp(rte_mbuf* packet, Clock::time_point now) {
    const dataplane::PuntNote note = dataplane::punt_note(*packet);
    rte_arp_hdr arp;
    std::memcpy(&arp, rte_pktmbuf_mtod_offset(packet, std::uint8_t*, note.l3_offset), sizeof arp);
    rte_pktmbuf_free(packet);
    const LinkId link = note.ingress;
    const net::MacAddress sender_mac = from_arp(arp.arp_data.arp_sha);
    const net::Ipv4Address sender{net::be32::from_wire(arp.arp_data.arp_sip)};
    const net::Ipv4Address target{net::be32::from_wire(arp.arp_data.arp_tip)};
    if (sender_mac.is_multicast() || sender_mac == net::MacAddress{}) return;
    if (sender_mac == dataplane_.links()[link.value].mac) return;  // our own, come back
    if (answers_for(link, sender)) return note_conflict(link, sender_mac, sender, now);
    const bool asks_for_own =
        arp.arp_opcode == net::be16::from_host(RTE_ARP_OP_REQUEST).wire() && answers_for(link, target);
    asks_for_own ? meet({link, sender}, sender_mac, now) : learn({link, sender}, sender_mac, now);
    if (asks_for_own) {
        send_arp(link, RTE_ARP_OP_REPLY, sender_mac, target, sender_mac, sender);
    }
}

void Neighbours::note_conflict(LinkId link, net::MacAddress mac, net::IpAddress address,
                               Clock::time_point now) {
    if (now - conflict_logged_ <= 10s) return;
    spdlog::warn("{} on link {} says that it has {}, which is fwd's", to_text(mac), links_[link.value].name,
                 to_text(address));
    conflict_logged_ = now;
}

void Neighbours::learn(const NextHop& next_hop, net::MacAddress mac, Clock::time_point now) {
    const auto found = entries_.find(next_hop);
    if (found == entries_.end() || found->second.fixed) return;
    Entry& entry = found->second;
    entry.mac = mac;
    entry.unanswered = 0;
    send_held(found->first, entry);  // before workers send what has come after them
    set_state(found->first, entry, AdjacencyState::reachable, now);
}

void Neighbours::meet(const NextHop& next_hop, net::MacAddress mac, Clock::time_point now) {
    const dataplane::Link& link = dataplane_.links()[next_hop.egress.value];
    const net::IpAddress& address = next_hop.address;
    const bool is_here =
        address.is_v4()
            ? std::ranges::any_of(link.networks, [&](const auto& n) { return n.contains(address.v4()); })
            : std::ranges::any_of(link.ipv6_networks, [&](const auto& n) { return n.contains(address); });
    if (is_here && !entries_.contains(next_hop) && met_[next_hop.egress] < kMostMet) {
        if (const auto id = dataplane_.neighbours().add(next_hop)) {
            Entry& entry = entries_[next_hop];
            entry.adjacency = *id;
            entry.is_met = true;
            ++met_[next_hop.egress];
        }
    }
    learn(next_hop, mac, now);
}

void Neighbours::handle_nd(rte_mbuf* packet, Clock::time_point now) {
    const dataplane::PuntNote note = dataplane::punt_note(*packet);
    const auto* ip = rte_pktmbuf_mtod_offset(packet, const std::uint8_t*, note.l3_offset);
    const auto message = dataplane::parse_nd(ip, {.verdict = Verdict::forward,
                                                  .protocol = net::Protocol::icmpv6,
                                                  .l4_offset = note.l4_offset,
                                                  .ip_bytes = note.l3_bytes});
    const bool query = ip[note.l4_offset] == dataplane::kListenerQuery;
    net::MacAddress sender_mac;
    std::memcpy(sender_mac.bytes.data(), rte_pktmbuf_mtod_offset(packet, const std::uint8_t*, 6), 6);
    rte_pktmbuf_free(packet);
    const LinkId link = note.ingress;
    if (query) {
        asked_for_groups_.insert(link);  // tick() answers them all at once
        return;
    }
    const auto is_somebody_elses = [&](const net::MacAddress& mac) {
        const bool own = mac == dataplane_.links()[link.value].mac;  // what fwd has sent itself, come back
        return !own && !mac.is_multicast() && mac != net::MacAddress{};
    };
    if (!message || !is_somebody_elses(sender_mac)) return;
    if (message->link_layer) sender_mac = *message->link_layer;
    if (!is_somebody_elses(sender_mac)) return;
    if (answers_for(link, message->source)) return note_conflict(link, sender_mac, message->source, now);

    const bool probe = message->solicitation && message->source.is_unspecified();
    if (const auto own = tentative_.find({link, message->target}); own != tentative_.end()) {
        // Somebody has the address, or wants it at the same time (RFC 4862, section 5.4).
        if (message->solicitation && !probe) return;
        if (own->second != Clock::time_point::max()) {
            spdlog::error("{} on link {} has {} as well: fwd does not answer for it", to_text(sender_mac),
                          links_[link.value].name, to_text(message->target));
        }
        own->second = Clock::time_point::max();
        return;
    }
    if (!message->solicitation) return take_advertisement(link, *message, now);
    // A host of another link's network is not asked for by this one (requirement P5).
    if (const net::IpAddress source{message->source};
        !probe && !message->source.is_link_local() &&
        dataplane::check_addresses(dataplane_.links(), link, source, source) != Verdict::forward) {
        return;
    }
    const bool asks_for_own = answers_for(link, message->target);
    if (message->link_layer) {
        const NextHop source{link, message->source};
        asks_for_own ? meet(source, sender_mac, now) : learn(source, sender_mac, now);
    }
    if (!asks_for_own) return;
    // Who only finds out whether the address is free has none yet: everybody hears the answer.
    send_nd(link, probe ? dataplane::multicast_mac(dataplane::kAllNodes) : sender_mac,
            {.solicited = !probe,
             .overrides = true,
             .source = message->target,
             .destination = probe ? dataplane::kAllNodes : message->source,
             .target = message->target,
             .link_layer = dataplane_.links()[link.value].mac});
}

void Neighbours::take_advertisement(LinkId link, const dataplane::NdMessage& message, Clock::time_point now) {
    if (answers_for(link, message.target)) {
        return note_conflict(link, message.link_layer.value_or(net::MacAddress{}), message.target, now);
    }
    const NextHop next_hop{link, message.target};
    const auto found = entries_.find(next_hop);
    if (found == entries_.end()) return;
    const Entry& entry = found->second;
    const bool known = entry.state == AdjacencyState::reachable;
    // RFC 4861, section 7.2.5: what is known is replaced only by who says that it overrides, and an answer to
    // a question that was asked there need not repeat it.
    if (!message.link_layer) {
        if (known && message.solicited) learn(next_hop, entry.mac, now);
        return;
    }
    if (known && !message.overrides && entry.mac != *message.link_layer) return;
    learn(next_hop, *message.link_layer, now);
}

void Neighbours::send_nd(LinkId link_id, net::MacAddress to, const dataplane::NdMessage& message) {
    rte_mbuf* packet = dataplane_.allocate();
    if (packet == nullptr) return;
    const dataplane::Link& link = dataplane_.links()[link_id.value];
    auto* l3 = rte_pktmbuf_mtod_offset(packet, std::uint8_t*, RTE_ETHER_HDR_LEN);
    const std::uint16_t bytes = dataplane::write_nd(l3, message);
    dataplane::write_l2(*packet, l3, bytes, link, to, RTE_ETHER_TYPE_IPV6);
    dataplane_.control_counters().originated.add(1);
    if (!dataplane_.send(packet, link_id)) dataplane_.control_counters().count(Verdict::drop_tx_full);
}

void Neighbours::report_groups(LinkId link_id, bool joins) {
    const dataplane::Link& link = dataplane_.links()[link_id.value];
    if (!link.has_ipv6()) return;
    std::set<net::Ipv6Address> distinct{dataplane::solicited_node(link.link_local)};
    for (const auto& own : link.ipv6_addresses) distinct.insert(dataplane::solicited_node(own.address.v6()));
    for (auto it = external_.lower_bound({link_id, {}}); it != external_.end() && it->first == link_id;
         ++it) {
        const net::IpAddress& address = it->second;
        const auto has = [&](const auto& own) { return own.prefix().contains(address); };
        if (!address.is_v4() && std::ranges::any_of(link.ipv6_addresses, has))
            distinct.insert(dataplane::solicited_node(address.v6()));
    }
    // The kernel listens to them, and does not hear who asks.
    for (const auto& service : link.host) {
        const std::vector<net::Ipv6Address> its = groups_of(service);
        distinct.insert(its.begin(), its.end());
    }
    const std::vector<net::Ipv6Address> groups{distinct.begin(), distinct.end()};
    std::span<const net::Ipv6Address> rest{groups};
    while (!rest.empty()) {
        const auto some = rest.first(std::min(rest.size(), dataplane::kGroupsPerReport));
        rest = rest.subspan(some.size());
        rte_mbuf* packet = dataplane_.allocate();
        if (packet == nullptr) return;
        auto* l3 = rte_pktmbuf_mtod_offset(packet, std::uint8_t*, RTE_ETHER_HDR_LEN);
        const std::uint16_t bytes = dataplane::write_listener_report(l3, link.link_local, some, joins);
        const net::Ipv6Address to = net::load_ipv6(l3 + net::kIpv6DestinationOffset);
        dataplane::write_l2(*packet, l3, bytes, link, dataplane::multicast_mac(to), RTE_ETHER_TYPE_IPV6);
        dataplane_.control_counters().originated.add(1);
        if (!dataplane_.send(packet, link_id)) dataplane_.control_counters().count(Verdict::drop_tx_full);
    }
}

/// Whoever asks all the time gets one answer a second (RFC 3810, section 5.1.3: a host may take its time).
void Neighbours::answer_queries(Clock::time_point now) {
    if (asked_for_groups_.empty() || now < next_report_) return;
    for (const LinkId link : std::exchange(asked_for_groups_, {})) report_groups(link, false);
    next_report_ = now + kReportEvery;
}

void Neighbours::probe_own(LinkId link_id, Clock::time_point now) {
    const dataplane::Link& link = dataplane_.links()[link_id.value];
    if (!link.has_ipv6()) return;
    std::vector<net::IpAddress> own{link.link_local};
    // What the kernel has there is for the kernel to look after.
    for (const auto& address : links_[link_id.value].addresses) {
        if (!address.address.is_v4()) own.push_back(address.address);
    }
    for (const net::IpAddress& address : own) {
        tentative_[{link_id, address}] = now + kProbeTime;
        const net::Ipv6Address group = dataplane::solicited_node(address.v6());
        send_nd(link_id, dataplane::multicast_mac(group),
                {.solicitation = true, .source = {}, .destination = group, .target = address.v6()});
    }
}

void Neighbours::finish_probes(Clock::time_point now) {
    for (auto it = tentative_.begin(); it != tentative_.end();) {
        if (now < it->second) {
            ++it;
            continue;
        }
        const auto [link, address] = it->first;
        it = tentative_.erase(it);
        announce(link, address);
    }
}

bool Neighbours::is_in_use(const Entry& entry) const {
    return dataplane_.neighbours().last_used(entry.adjacency) != entry.used_before;
}

void Neighbours::tick(Clock::time_point now) {
    watch_links(now);
    finish_probes(now);
    answer_queries(now);
    send_announcements();
    const bool table_crowded = entries_.size() > kCrowd;
    const auto unresolved_before = std::exchange(unresolved_, {});
    met_.clear();
    for (auto it = entries_.begin(); it != entries_.end();) {
        auto& [next_hop, entry] = *it;
        const auto age = now - entry.changed;
        const std::pair family{next_hop.egress, next_hop.address.is_v4()};
        const auto before = unresolved_before.find(family);
        const bool crowded = table_crowded || (before != unresolved_before.end() &&
                                               before->second > most_unresolved(next_hop.address) * 3 / 4);
        bool forget = false;
        if (!entry.fixed) {
            switch (entry.state) {
                case AdjacencyState::reachable:
                    entry.is_met = entry.is_met && !is_in_use(entry);
                    forget = entry.is_met && age > kMetFor;
                    if (forget || age < kFreshFor) break;
                    forget = !is_in_use(entry);
                    if (forget || now - entry.asked < kAskAgain) break;
                    if (entry.unanswered < kQuestions) {
                        ask(next_hop, entry, now);
                    } else {
                        entry.unanswered = 0;
                        set_state(next_hop, entry, AdjacencyState::incomplete, now);
                    }
                    break;
                case AdjacencyState::failed:
                    forget = crowded;
                    if (forget || age < kFailedFor) break;
                    entry.unanswered = 0;
                    set_state(next_hop, entry, AdjacencyState::incomplete, now);
                    break;
                default:
                    if (crowded && age > kAnswersWithin) {
                        drop_held(next_hop, entry);
                        forget = true;
                    } else if (entry.unanswered == 0) {  // nobody waits
                        forget = age > kUnusedFor;
                    } else if (now - entry.asked >= kAskAgain) {
                        if (entry.unanswered < kQuestions) {
                            ask(next_hop, entry, now);
                        } else {
                            drop_held(next_hop, entry);
                            set_state(next_hop, entry, AdjacencyState::failed, now);
                        }
                    }
                    break;
            }
        }
        if (!forget && entry.state != AdjacencyState::reachable) ++unresolved_[family];
        if (!forget && entry.is_met) ++met_[next_hop.egress];
        if (forget) {
            drop_held(next_hop, entry);
            dataplane_.neighbours().remove(next_hop);
            removed_.push_back(entry.adjacency);
            it = entries_.erase(it);
        } else {
            ++it;
        }
    }
}

void Neighbours::release_removed() {
    for (const dataplane::AdjacencyId id : removed_) dataplane_.neighbours().release(id);
    removed_.clear();
}

void Neighbours::announce(LinkId link, net::IpAddress address) {
    const dataplane::Link& there = dataplane_.links()[link.value];
    const auto has = [&](const auto& network) { return net::IpPrefix{network}.contains(address); };
    if (std::ranges::any_of(there.networks, has) || std::ranges::any_of(there.ipv6_networks, has))
        to_announce_.emplace_back(link, address);
}

/// A frame that is sent before the link is up reaches nobody; and where it leads to after that may be new.
void Neighbours::watch_links(Clock::time_point now) {
    if (now < next_link_check_) return;
    next_link_check_ = now + kLinkCheck;
    for (std::size_t i = 0; i < is_up_.size(); ++i) {
        const LinkId link{static_cast<std::uint8_t>(i)};
        const dataplane::Port& port = dataplane_.port_of(link);
        rte_eth_link state{};
        // A device that does not tell counts as up.
        const bool up = !port.is_removed() && (rte_eth_link_get_nowait(port.ethdev(), &state) != 0 ||
                                               state.link_status == RTE_ETH_LINK_UP);
        const bool has_come_up = up && !is_up_[i];
        is_up_[i] = up;
        if (!has_come_up) continue;
        for (const auto& own : dataplane_.links()[i].addresses) announce(link, own.address);
        report_groups(link, true);
        probe_own(link, now);
        for (auto it = external_.lower_bound({link, {}}); it != external_.end() && it->first == link; ++it)
            announce(link, it->second);
    }
}

void Neighbours::send_announcements() {
    for (unsigned sent = 0; sent < kAnnouncedPerTick && !to_announce_.empty();) {
        const auto [link, address] = to_announce_.front();
        to_announce_.pop_front();
        if (!is_up_[link.value] || !answers_for(link, address)) continue;
        if (address.is_v4()) {
            send_arp(link, RTE_ARP_OP_REQUEST, net::kBroadcastMac, address.v4(), {}, address.v4());
        } else {
            send_nd(link, dataplane::multicast_mac(dataplane::kAllNodes),
                    {.overrides = true,
                     .source = address.v6(),
                     .destination = dataplane::kAllNodes,
                     .target = address.v6(),
                     .link_layer = dataplane_.links()[link.value].mac});
        }
        ++sent;
    }
}

void Neighbours::set_external_addresses(std::set<std::pair<LinkId, net::IpAddress>> addresses) {
    std::set<LinkId> listening;
    for (const auto& [link, address] : addresses) {
        if (!is_up_[link.value] || answers_for(link, address)) continue;
        announce(link, address);
        if (!address.is_v4()) listening.insert(link);
    }
    external_ = std::move(addresses);
    for (const LinkId link : listening) report_groups(link, true);
}

std::vector<Neighbours::Row> Neighbours::rows(Clock::time_point now) const {
    std::vector<Row> rows;
    for (const auto& [next_hop, entry] : entries_) {
        Row row{next_hop, std::nullopt, entry.fixed ? "static" : state_name(entry.state),
                std::chrono::duration_cast<std::chrono::seconds>(now - entry.changed)};
        if (entry.state == AdjacencyState::reachable) row.mac = entry.mac;
        rows.push_back(std::move(row));
    }
    return rows;
}

}  // namespace fwd::control
