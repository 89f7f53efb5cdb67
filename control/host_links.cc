// SPDX-License-Identifier: BSD-3-Clause
#include "control/host_links.h"

#include <fmt/format.h>
#include <rte_ether.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "control/text.h"
#include "dataplane/translation.h"
#include "dataplane/wide_translation.h"

namespace fwd::control {
namespace {

using dataplane::LinkId;

constexpr unsigned kFramesAtOnce = 64;  // of one interface
constexpr std::size_t kLongestFrame = 9600 + dataplane::kEthernetBytes + dataplane::kVlanTagBytes;
constexpr std::chrono::seconds kUpkeepTime{1};
constexpr std::size_t kMostTold = 50;

bool has_ipv6(const LinkSettings& link) {
    return std::ranges::any_of(link.addresses, [](const auto& own) { return !own.address.is_v4(); });
}

}  // namespace

Result<std::unique_ptr<HostLinks>> HostLinks::create(dataplane::Dataplane& dataplane,
                                                     const Settings& settings) {
    std::unique_ptr<HostLinks> self{new HostLinks{dataplane, settings}};
    std::vector<unsigned> interfaces;
    for (std::size_t i = 0; i < settings.links.size(); ++i) {
        if (settings.links[i].host.empty()) continue;
        if (auto ok = self->add(LinkId{static_cast<std::uint8_t>(i)}); !ok) return tl::unexpected(ok.error());
        interfaces.push_back(self->entries_.back().interface->index());
    }
    auto watch = KernelWatch::create(std::move(interfaces));
    if (!watch) return tl::unexpected(watch.error());
    self->watch_ = std::move(*watch);
    return self;
}

Result<void> HostLinks::add(LinkId link) {
    const LinkSettings& settings = settings_.links[link.value];
    auto made = KernelInterface::create({.name = settings.host_interface,
                                         .mac = dataplane_.links()[link.value].mac,
                                         .mtu = settings.mtu,
                                         .ipv6 = has_ipv6(settings)});
    if (!made) return tl::unexpected(made.error());
    for (const net::IpInterfaceAddress& own : settings.addresses) {
        if (auto ok = (*made)->add_address(own); !ok) return ok;
    }
    for (const RouteSettings& route : settings_.routes) {
        if (route.link != settings.name) continue;
        if (auto ok = (*made)->add_route(route.prefix, route.via); !ok) return ok;
    }
    entries_.push_back({link, std::move(*made), {}});
    return {};
}

HostLinks::Entry* HostLinks::find(LinkId link) {
    const auto found = std::ranges::find(entries_, link, &Entry::link);
    return found == entries_.end() ? nullptr : &*found;
}

const HostLinks::Counts* HostLinks::counts(LinkId link) const {
    const auto found = std::ranges::find(entries_, link, &Entry::link);
    return found == entries_.end() ? nullptr : &found->counts;
}

std::optional<LinkId> HostLinks::link_of(unsigned interface) const {
    const auto found =
        std::ranges::find_if(entries_, [&](const Entry& e) { return e.interface->index() == interface; });
    return found == entries_.end() ? std::nullopt : std::optional{found->link};
}

std::vector<int> HostLinks::descriptors() const {
    std::vector<int> descriptors;
    for (const Entry& entry : entries_) descriptors.push_back(entry.interface->descriptor());
    return descriptors;
}

void HostLinks::write(Entry& entry, const std::uint8_t* l3, std::size_t bytes, const rte_mbuf& packet) {
    std::array<std::uint8_t, kLongestFrame> frame;
    const auto* header = rte_pktmbuf_mtod(&packet, const std::uint8_t*);
    const std::size_t total = dataplane::kEthernetBytes + bytes;
    if (total > frame.size()) return;
    // Without the link's VLAN tag: the interface is the link.
    std::memcpy(frame.data(), header, 12);
    std::memcpy(frame.data() + 12, l3 - 2, 2);
    std::memcpy(frame.data() + dataplane::kEthernetBytes, l3, bytes);
    ++(entry.interface->write(std::span{frame}.first(total)) ? entry.counts.to_kernel : entry.counts.lost);
}

void HostLinks::deliver(rte_mbuf* packet) {
    const dataplane::PuntNote& note = dataplane::punt_note(*packet);
    Entry* entry = find(note.ingress);
    if (entry != nullptr) {
        auto* ip = rte_pktmbuf_mtod_offset(packet, std::uint8_t*, note.l3_offset);
        if (dataplane_.links()[note.ingress.value].rx_checksum_partial) {
            // Of TCP and UDP: nothing else is left to a receiver.
            if (const auto protocol = static_cast<net::Protocol>(ip[net::kProtocolOffset]); *ip >> 4U == 4) {
                if (protocol == net::Protocol::tcp || protocol == net::Protocol::udp)
                    dataplane::complete_checksum(ip, note.l3_bytes, note.checksum_is_partial);
            } else if (const auto v6 = dataplane::parse_ipv6(ip, note.l3_bytes);
                       v6.verdict == dataplane::Verdict::forward) {
                dataplane::complete_ipv6_checksum(ip, v6, note.checksum_is_partial);
            }
        }
        write(*entry, ip, note.l3_bytes, *packet);
    }
    rte_pktmbuf_free(packet);
}

void HostLinks::show(rte_mbuf& packet) {
    const dataplane::PuntNote& note = dataplane::punt_note(packet);
    if (Entry* entry = find(note.ingress))
        write(*entry, rte_pktmbuf_mtod_offset(&packet, const std::uint8_t*, note.l3_offset), note.l3_bytes,
              packet);
}

unsigned HostLinks::poll(Clock::time_point now) {
    unsigned count = 0;
    std::array<std::uint8_t, kLongestFrame> frame;
    for (Entry& entry : entries_) {
        for (unsigned i = 0; i < kFramesAtOnce; ++i) {
            const std::size_t bytes = entry.interface->read(frame);
            if (bytes == 0) break;
            ++(send(entry.link, std::span{frame}.first(bytes), now) ? entry.counts.from_kernel
                                                                    : entry.counts.refused);
            ++count;
        }
    }
    if (now >= next_upkeep_) {
        next_upkeep_ = now + kUpkeepTime;
        keep_up(now);
    }
    return count;
}

void HostLinks::keep_up(Clock::time_point now) {
    dataplane_.host_flows().expire(now);
    for (Entry& entry : entries_) {
        const auto other = entry.interface->keep_mac();
        if (!other || std::exchange(entry.has_told_of_mac, true)) continue;
        spdlog::info(
            "somebody has given the kernel's interface {} the MAC address {}: it has its link's again, and "
            "will, without a word",
            entry.interface->name(), to_text(*other));
    }
}

bool HostLinks::send(LinkId link_id, std::span<const std::uint8_t> frame, Clock::time_point now) {
    const dataplane::Link& link = dataplane_.links()[link_id.value];
    if (frame.size() <= dataplane::kEthernetBytes) return false;
    net::MacAddress to, from;
    std::memcpy(&to, frame.data(), sizeof to);
    std::memcpy(&from, frame.data() + 6, sizeof from);
    const std::uint16_t ether_type = net::load_host16(frame.data() + 12);
    const std::size_t bytes = frame.size() - dataplane::kEthernetBytes;
    const bool known = ether_type == RTE_ETHER_TYPE_IPV4 || ether_type == RTE_ETHER_TYPE_ARP ||
                       (ether_type == RTE_ETHER_TYPE_IPV6 && link.has_ipv6());
    if (!known || from != link.mac || bytes > link.mtu) return false;
    rte_mbuf* packet = dataplane_.allocate();
    if (packet == nullptr) return false;
    auto* l3 = rte_pktmbuf_mtod_offset(packet, std::uint8_t*, link.l2_bytes);
    if (rte_pktmbuf_tailroom(packet) < link.l2_bytes + bytes) {
        rte_pktmbuf_free(packet);
        return false;
    }
    std::memcpy(l3, frame.data() + dataplane::kEthernetBytes, bytes);
    dataplane::write_l2(*packet, l3, static_cast<std::uint16_t>(bytes), link, to, ether_type);
    expect_answers(link_id, frame, now);
    dataplane_.control_counters().originated.add(1);
    if (dataplane_.send(packet, link_id)) return true;
    dataplane_.control_counters().count(dataplane::Verdict::drop_tx_full);
    return false;
}

void HostLinks::expect_answers(LinkId link, std::span<const std::uint8_t> frame, Clock::time_point now) {
    const auto packet = dataplane::parse_for_host(frame.data(), frame.size(), link);
    if (!packet || packet->is_error) return;  // which is not answered
    const dataplane::WideKey answer = packet->key.turned();
    // What comes for a service is let in by that, from where the operator says.
    if (std::ranges::any_of(dataplane_.links()[link.value].host,
                            [&](const auto& service) { return service.takes(answer); }))
        return;
    const auto patience =
        answer.protocol == net::Protocol::tcp ? settings_.timeouts.tcp_established : settings_.timeouts.udp;
    dataplane_.host_flows().note(dataplane_.hash().tag(answer), now + patience);
}

bool HostLinks::catch_up() {
    const bool has_learnt = watch_->poll();
    for (const unsigned interface : watch_->take_restarted()) {
        const auto entry =
            std::ranges::find(entries_, interface, [](const Entry& e) { return e.interface->index(); });
        if (auto ok = entry->interface->add_again(); !ok) {
            spdlog::error(ok.error().text());
        } else {
            spdlog::info("the kernel's interface {} has fwd's addresses and routes again",
                         entry->interface->name());
        }
    }
    return has_learnt;
}

bool HostLinks::is_complete() const {
    return std::ranges::none_of(entries_, [](const Entry& entry) { return entry.interface->is_gone(); });
}

void HostLinks::show_cable(LinkId link, bool is_in) {
    Entry* entry = find(link);
    if (entry == nullptr || entry->cable_is_in == is_in) return;
    entry->interface->set_carrier(is_in);
    entry->cable_is_in = is_in;
}

std::vector<net::IpInterfaceAddress> HostLinks::addresses(LinkId link) const {
    const LinkSettings& settings = settings_.links[link.value];
    std::vector<net::IpInterfaceAddress> addresses = settings.addresses;
    const auto entry = std::ranges::find(entries_, link, &Entry::link);
    if (entry == entries_.end()) return addresses;
    for (const net::IpInterfaceAddress& learnt : watch_->addresses(entry->interface->index())) {
        const bool known =
            std::ranges::any_of(addresses, [&](const auto& own) { return own.address == learnt.address; });
        const bool usable = learnt.address.is_v4() || has_ipv6(settings);
        if (!known && usable && addresses.size() < dataplane::kMaxOwnAddresses) addresses.push_back(learnt);
    }
    return addresses;
}

std::vector<dataplane::Route> HostLinks::routes() const {
    std::vector<dataplane::Route> routes;
    for (const KernelWatch::Route& route : watch_->routes()) {
        const auto link = link_of(route.interface);
        if (link && !why_not(route, *link)) routes.push_back({route.prefix, *link, route.via});
    }
    return routes;
}

std::optional<std::string> HostLinks::why_not(const KernelWatch::Route& route, LinkId link) const {
    if (route.via && route.via->is_v4() != route.prefix.address.is_v4())
        return fmt::format("its next hop {} is of the other family", to_text(*route.via));
    if (!route.prefix.address.is_v4() && !dataplane_.links()[link.value].has_ipv6())
        return fmt::format("link {} has no IPv6 address", settings_.links[link.value].name);
    return std::nullopt;
}

std::vector<std::string> HostLinks::tell_unfollowed() {
    std::vector<std::string> lines;
    if (told_.size() > kMostTold) return lines;
    const auto tell = [&](const net::IpPrefix& prefix, std::string_view why) {
        const std::string line = fmt::format("the kernel's route to {}: {}", to_text(prefix), why);
        if (told_.size() > kMostTold || !told_.insert(line).second) return;
        lines.push_back(told_.size() <= kMostTold
                            ? line
                            : "more of the kernel's routes are not followed: no more of them are named");
    };
    for (const KernelWatch::Unfollowed& route : watch_->unfollowed()) {
        using enum KernelWatch::Unfollowed::Why;
        switch (route.why) {
            case nowhere:
                tell(route.prefix, "it drops or refuses packets, and fwd does not follow it");
                break;
            case wrapped:
                tell(route.prefix, "it wraps packets into something, and fwd does not follow it");
                break;
            case several:
                tell(route.prefix, "fwd uses the first of its next hops alone");
                break;
        }
    }
    for (const KernelWatch::Route& route : watch_->routes()) {
        const auto link = link_of(route.interface);
        if (!link) continue;
        if (const auto why = why_not(route, *link)) tell(route.prefix, *why + ", and fwd does not follow it");
    }
    return lines;
}

std::vector<HostLinks::Neighbour> HostLinks::neighbours() const {
    std::vector<Neighbour> neighbours;
    for (const KernelWatch::Neighbour& neighbour : watch_->neighbours()) {
        if (const auto link = link_of(neighbour.interface))
            neighbours.push_back({*link, neighbour.address, neighbour.mac});
    }
    return neighbours;
}

}  // namespace fwd::control
