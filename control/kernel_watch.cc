// SPDX-License-Identifier: BSD-3-Clause
// Two things make this more than a copy of what the kernel tells. It says nothing when IPv4 routes go with
// their interface, with a shared next hop (`ip nexthop`) or, on older kernels, with the address that they are
// sent from: after such an event everything is asked for again. And when it could not tell all (ENOBUFS) it
// tells nothing more until the socket is empty: only what is asked for after that is right.
#include "control/kernel_watch.h"

#include <fmt/format.h>
#include <linux/lwtunnel.h>
#include <linux/nexthop.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/attr.h>
#include <netlink/errno.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "control/files.h"
#include "control/kernel_interface.h"

namespace fwd::control {
namespace {

/// No message of the kernel's is larger, but for one route of some thousand next hops.
constexpr std::size_t kMessageBytes = 65536;
/// Some ten thousand routes that come at once.
constexpr int kEventsBytes = 16 * 1024 * 1024;
constexpr unsigned kReadsAPoll = 4096;
/// When something changes in the middle of an answer the kernel says so, and is asked once more.
constexpr unsigned kAsks = 10;

template <typename T>
const T& body_of(const nlmsghdr& message) {
    return *static_cast<const T*>(nlmsg_data(&message));
}

/// The attributes behind a message's fixed part, by their numbers.
template <std::size_t Count>
class Attributes {
 public:
    Attributes(const nlmsghdr& message, std::size_t fixed_bytes)
        // libnl's functions take no const, and change nothing.
        : is_valid_{nlmsg_parse(const_cast<nlmsghdr*>(&message), static_cast<int>(fixed_bytes), at_.data(),
                                Count - 1, nullptr) >= 0} {}
    Attributes(const void* first, std::size_t bytes)
        : is_valid_{nla_parse(at_.data(), Count - 1, static_cast<nlattr*>(const_cast<void*>(first)),
                              static_cast<int>(bytes), nullptr) >= 0} {}

    bool is_valid() const { return is_valid_; }
    const nlattr* find(std::size_t type) const { return at_[type]; }
    std::uint32_t number(std::size_t type, std::uint32_t otherwise) const {
        return at_[type] != nullptr ? nla_get_u32(at_[type]) : otherwise;
    }

 private:
    std::array<nlattr*, Count> at_{};
    bool is_valid_;
};

std::optional<net::IpAddress> address_of(int family, const void* data, std::size_t bytes) {
    if (family == AF_INET && bytes >= sizeof(net::Ipv4Address)) {
        net::Ipv4Address v4;
        std::memcpy(&v4, data, sizeof v4);
        return v4;
    }
    if (family == AF_INET6 && bytes >= sizeof(net::Ipv6Address)) {
        net::Ipv6Address v6;
        std::memcpy(&v6, data, sizeof v6);
        // It would pass for an IPv4 one.
        if (!v6.is_v4_mapped()) return v6;
    }
    return std::nullopt;
}

std::optional<net::IpAddress> address_of(int family, const nlattr* attribute) {
    if (attribute == nullptr) return std::nullopt;
    return address_of(family, nla_data(attribute), static_cast<std::size_t>(nla_len(attribute)));
}

bool leads_nowhere(unsigned route_type) {
    return route_type == RTN_BLACKHOLE || route_type == RTN_UNREACHABLE || route_type == RTN_PROHIBIT ||
           route_type == RTN_THROW;
}

/// One datagram: messages, or 0 and errno.
std::size_t receive(nl_sock* socket, std::vector<std::uint8_t>& room, int flags) {
    ssize_t bytes = 0;
    do {
        bytes = ::recv(nl_socket_get_fd(socket), room.data(), room.size(), flags);
    } while (bytes < 0 && errno == EINTR);
    return bytes < 0 ? 0 : static_cast<std::size_t>(bytes);
}

/// Calls for each message until one returns false.
template <typename Take>
void for_each_message(std::vector<std::uint8_t>& room, std::size_t bytes, Take take) {
    auto left = static_cast<int>(bytes);
    for (auto* message = reinterpret_cast<nlmsghdr*>(room.data()); nlmsg_ok(message, left);
         message = nlmsg_next(message, &left)) {
        if (!take(*message)) return;
    }
}

}  // namespace

/// What a message about a route comes to.
struct KernelWatch::RouteMessage {
    net::IpPrefix prefix;
    std::uint32_t metric = 0;
    std::vector<Hop> hops;  ///< those that count here
};

Result<std::unique_ptr<KernelWatch>> KernelWatch::create(std::vector<unsigned> interfaces) {
    std::unique_ptr<KernelWatch> self{new KernelWatch};
    self->interfaces_ = std::move(interfaces);
    auto events = connect_to_netlink();
    if (!events) return tl::unexpected(events.error());
    self->events_ = std::move(*events);
    const int descriptor = self->descriptor();
    // The first takes CAP_NET_ADMIN, the second is bounded by net.core.rmem_max.
    if (::setsockopt(descriptor, SOL_SOCKET, SO_RCVBUFFORCE, &kEventsBytes, sizeof kEventsBytes) != 0)
        ::setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &kEventsBytes, sizeof kEventsBytes);
    for (const int group : {RTNLGRP_LINK, RTNLGRP_NEIGH, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV4_ROUTE,
                            RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV6_ROUTE, RTNLGRP_NEXTHOP}) {
        const int code = nl_socket_add_membership(self->events_.get(), group);
        // Kernels before 5.3 have no shared next hops to tell of.
        if (code < 0 && group != RTNLGRP_NEXTHOP)
            return netlink_error("cannot follow the kernel's addresses and routes", code);
    }
    // Last, so that nothing is missed in between.
    auto state = self->ask();
    if (!state) return tl::unexpected(state.error());
    self->state_ = std::move(*state);
    return self;
}

int KernelWatch::descriptor() const {
    return nl_socket_get_fd(events_.get());
}

bool KernelWatch::poll() {
    std::vector<std::uint8_t> room(kMessageBytes);
    bool has_changed = false;
    for (unsigned reads = 0; reads < kReadsAPoll; ++reads) {
        const std::size_t bytes = receive(events_.get(), room, MSG_DONTWAIT);
        if (bytes == 0 && errno == ENOBUFS) {
            is_stale_ = true;
            restarted_.insert(interfaces_.begin(), interfaces_.end());
            // One may be down as well, and is to be given its own when it comes up.
            down_.insert(interfaces_.begin(), interfaces_.end());
        } else if (bytes == 0) {
            if (!is_stale_) return has_changed;
            auto state = ask();
            if (!state) return has_changed;  // and tries again with the next event
            is_stale_ = false;
            has_changed = has_changed || *state != state_;
            state_ = std::move(*state);
            return has_changed;
        }
        for_each_message(room, bytes, [&](const nlmsghdr& message) {
            note_restart(message);
            if (is_stale_) return true;
            const Effect effect = take(message, state_);
            is_stale_ = effect == Effect::ask_again;
            has_changed = has_changed || effect == Effect::changed;
            return true;
        });
    }
    return has_changed;
}

std::vector<net::IpInterfaceAddress> KernelWatch::addresses(unsigned interface) const {
    std::vector<net::IpInterfaceAddress> addresses;
    for (const OwnAddress& own : state_.addresses) {
        if (own.interface == interface) addresses.push_back(own.address);
    }
    return addresses;
}

std::vector<KernelWatch::Route> KernelWatch::routes() const {
    std::vector<Route> routes;
    routes.reserve(state_.routes.size());
    for (const auto& [prefix, hops] : state_.routes) {
        const auto hop = std::ranges::find(hops, Way::plain, &Hop::way);
        if (hop != hops.end())
            routes.push_back({.prefix = prefix, .via = hop->via, .interface = hop->interface});
    }
    return routes;
}

std::vector<KernelWatch::Unfollowed> KernelWatch::unfollowed() const {
    using enum Unfollowed::Why;
    std::vector<Unfollowed> unfollowed;
    for (const auto& [prefix, hops] : state_.routes) {
        const auto first = std::ranges::find(hops, Way::plain, &Hop::way);
        const auto shares = [&](const Hop& hop) {
            return hop.way == Way::plain && hop.metric == first->metric;
        };
        if (std::ranges::find(hops, Way::nowhere, &Hop::way) != hops.end())
            unfollowed.push_back({prefix, nowhere});
        if (std::ranges::find(hops, Way::wrapped, &Hop::way) != hops.end())
            unfollowed.push_back({prefix, wrapped});
        if (std::ranges::count_if(hops, shares) > 1) unfollowed.push_back({prefix, several});
    }
    return unfollowed;
}

void KernelWatch::note_restart(const nlmsghdr& message) {
    if (message.nlmsg_type != RTM_NEWLINK || nlmsg_valid_hdr(&message, sizeof(ifinfomsg)) == 0) return;
    const auto& body = body_of<ifinfomsg>(message);
    const auto interface = static_cast<unsigned>(body.ifi_index);
    if (!watches(interface)) return;
    if ((body.ifi_flags & IFF_UP) == 0) {
        down_.insert(interface);
    } else if (down_.erase(interface) != 0) {
        restarted_.insert(interface);
    }
}

bool KernelWatch::watches(unsigned interface) const {
    return std::ranges::find(interfaces_, interface) != interfaces_.end();
}

Result<KernelWatch::State> KernelWatch::ask() const {
    const auto failed = [](int code) {
        return netlink_error("cannot read the kernel's addresses and routes", code);
    };
    auto socket = connect_to_netlink();
    if (!socket) return tl::unexpected(socket.error());
    std::vector<std::uint8_t> room(kMessageBytes);
    for (unsigned asks = 0; asks < kAsks; ++asks) {
        State state;
        bool is_whole = true;
        for (const int type : {RTM_GETADDR, RTM_GETNEIGH, RTM_GETROUTE}) {
            for (const int family : {AF_INET, AF_INET6}) {
                // As long as any of the three, which all begin with the family.
                rtmsg body{};
                body.rtm_family = static_cast<unsigned char>(family);
                if (const int code = nl_send_simple(socket->get(), type, NLM_F_DUMP, &body, sizeof body);
                    code < 0)
                    return failed(code);
                for (bool is_done = false; !is_done;) {
                    const std::size_t bytes = receive(socket->get(), room, 0);
                    if (bytes == 0) return system_error("cannot read the kernel's addresses and routes");
                    int error = 0;
                    for_each_message(room, bytes, [&](const nlmsghdr& message) {
                        is_whole = is_whole && (message.nlmsg_flags & NLM_F_DUMP_INTR) == 0;
                        is_done = message.nlmsg_type == NLMSG_DONE || message.nlmsg_type == NLMSG_ERROR;
                        if (message.nlmsg_type == NLMSG_ERROR) error = body_of<nlmsgerr>(message).error;
                        if (!is_done) take(message, state);
                        return !is_done;
                    });
                    if (error != 0) return failed(-nl_syserr2nlerr(error));
                }
            }
        }
        if (is_whole) return state;
    }
    return unavailable("cannot read the kernel's addresses and routes: they change all the time");
}

KernelWatch::Effect KernelWatch::take(const nlmsghdr& message, State& state) const {
    switch (message.nlmsg_type) {
        case RTM_NEWADDR:
        case RTM_DELADDR:
            return take_address(message, state);
        case RTM_NEWNEIGH:
        case RTM_DELNEIGH:
            return take_neighbour(message, state);
        case RTM_NEWROUTE:
        case RTM_DELROUTE:
            return take_route(message, state);
        case RTM_NEWLINK:
        case RTM_DELLINK:
            return nlmsg_valid_hdr(&message, sizeof(ifinfomsg)) != 0 &&
                           watches(static_cast<unsigned>(body_of<ifinfomsg>(message).ifi_index))
                       ? Effect::ask_again
                       : Effect::none;
        case RTM_NEWNEXTHOP:
        case RTM_DELNEXTHOP: {
            const Attributes<NHA_ID + 1> attributes{message, sizeof(nhmsg)};
            const std::uint32_t object = attributes.number(NHA_ID, 0);
            const bool is_used = std::ranges::any_of(state.routes, [&](const auto& route) {
                return std::ranges::find(route.second, object, &Hop::object) != route.second.end();
            });
            return object != 0 && is_used ? Effect::ask_again : Effect::none;
        }
        default:
            return Effect::none;
    }
}

KernelWatch::Effect KernelWatch::take_address(const nlmsghdr& message, State& state) const {
    const Attributes<IFA_MAX + 1> attributes{message, sizeof(ifaddrmsg)};
    if (!attributes.is_valid()) return Effect::none;
    const auto& body = body_of<ifaddrmsg>(message);
    if (!watches(body.ifa_index)) return Effect::none;
    // Routes that are sent from it are gone as well. It stays in `state` until the answer comes, which would
    // otherwise hold nothing new.
    if (message.nlmsg_type == RTM_DELADDR) return Effect::ask_again;
    // IFA_ADDRESS is the other end's where there is one, and IFA_LOCAL then says which one is here.
    const auto there = address_of(body.ifa_family, attributes.find(IFA_ADDRESS));
    const auto local = address_of(body.ifa_family, attributes.find(IFA_LOCAL));
    const auto address = local ? local : there;
    if (!address || (!address->is_v4() && address->v6().is_link_local())) return Effect::none;
    const auto whole = static_cast<std::uint8_t>(address->is_v4() ? 32 : 128);
    const bool has_network = !there || *there == *address;
    const OwnAddress own{body.ifa_index, {*address, has_network ? body.ifa_prefixlen : whole}};

    const auto at = std::ranges::find(state.addresses, own);
    const bool was_there = at != state.addresses.end();
    const std::uint32_t flags = attributes.number(IFA_FLAGS, body.ifa_flags);
    const bool is_there = (flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED)) == 0;
    if (is_there && !was_there) state.addresses.push_back(own);
    if (!is_there && was_there) state.addresses.erase(at);
    return is_there != was_there ? Effect::changed : Effect::none;
}

KernelWatch::Effect KernelWatch::take_neighbour(const nlmsghdr& message, State& state) const {
    const Attributes<NDA_LLADDR + 1> attributes{message, sizeof(ndmsg)};
    if (!attributes.is_valid()) return Effect::none;
    const auto& body = body_of<ndmsg>(message);
    const auto interface = static_cast<unsigned>(body.ndm_ifindex);
    const auto address = address_of(body.ndm_family, attributes.find(NDA_DST));
    if (!watches(interface) || !address) return Effect::none;

    const nlattr* mac = attributes.find(NDA_LLADDR);
    const bool is_there = message.nlmsg_type == RTM_NEWNEIGH && (body.ndm_state & NUD_PERMANENT) != 0 &&
                          mac != nullptr && nla_len(mac) == sizeof(net::MacAddress);
    Neighbour neighbour{.address = *address, .mac = {}, .interface = interface};
    if (is_there) std::memcpy(&neighbour.mac, nla_data(mac), sizeof neighbour.mac);
    const auto at = std::ranges::find_if(state.neighbours, [&](const Neighbour& known) {
        return known.address == neighbour.address && known.interface == interface;
    });
    if (at == state.neighbours.end()) {
        if (!is_there) return Effect::none;
        state.neighbours.push_back(neighbour);
    } else if (!is_there) {
        state.neighbours.erase(at);
    } else if (*at == neighbour) {
        return Effect::none;
    } else {
        *at = neighbour;
    }
    return Effect::changed;
}

std::optional<KernelWatch::RouteMessage> KernelWatch::parse_route(const nlmsghdr& message) const {
    const Attributes<RTA_MAX + 1> attributes{message, sizeof(rtmsg)};
    if (!attributes.is_valid()) return std::nullopt;
    const auto& body = body_of<rtmsg>(message);
    // Those that depend on more than the destination are not for everybody's packets.
    if (attributes.number(RTA_TABLE, body.rtm_table) != RT_TABLE_MAIN || body.rtm_tos != 0 ||
        body.rtm_src_len != 0 || (body.rtm_flags & RTM_F_CLONED) != 0)
        return std::nullopt;
    const bool is_v4 = body.rtm_family == AF_INET;
    if (!is_v4 && body.rtm_family != AF_INET6) return std::nullopt;
    net::IpPrefix prefix = is_v4 ? net::kAnyIpv4 : net::kAnyIpv6;
    if (const nlattr* destination = attributes.find(RTA_DST); destination != nullptr) {
        const auto address = address_of(body.rtm_family, destination);
        if (!address) return std::nullopt;
        prefix = {*address, body.rtm_dst_len};
    }

    RouteMessage route{.prefix = prefix, .metric = attributes.number(RTA_PRIORITY, 0), .hops = {}};
    const std::uint32_t object = attributes.number(RTA_NH_ID, 0);
    // It may still have taken the place of one that counted.
    if (body.rtm_protocol == RTPROT_KERNEL || body.rtm_protocol == kRouteProtocol) return route;
    if (leads_nowhere(body.rtm_type))
        route.hops.push_back(
            {.way = Way::nowhere, .metric = route.metric, .object = object, .via = {}, .interface = 0});
    if (body.rtm_type != RTN_UNICAST) return route;
    const auto add_hop = [&](const auto& of, unsigned interface, unsigned flags) {
        if (!watches(interface) || (flags & RTNH_F_DEAD) != 0) return;
        const nlattr* wrap = of.find(RTA_ENCAP_TYPE);
        const bool is_wrapped = wrap != nullptr && nla_get_u16(wrap) != LWTUNNEL_ENCAP_NONE;
        Hop hop{.way = is_wrapped ? Way::wrapped : Way::plain,
                .metric = route.metric,
                .object = object,
                .via = address_of(body.rtm_family, of.find(RTA_GATEWAY)),
                .interface = interface};
        if (const nlattr* via = of.find(RTA_VIA);
            via != nullptr && nla_len(via) >= static_cast<int>(sizeof(rtvia))) {
            const auto& other = *static_cast<const rtvia*>(nla_data(via));
            hop.via = address_of(other.rtvia_family, &other.rtvia_addr,
                                 static_cast<std::size_t>(nla_len(via)) - sizeof(rtvia));
            if (!hop.via) return;
        }
        route.hops.push_back(hop);
    };
    const nlattr* several = attributes.find(RTA_MULTIPATH);
    if (several == nullptr) {
        add_hop(attributes, attributes.number(RTA_OIF, 0), body.rtm_flags);
        return route;
    }
    auto left = nla_len(several);
    for (auto* at = static_cast<const rtnexthop*>(nla_data(several)); RTNH_OK(at, left);
         left -= static_cast<int>(RTNH_ALIGN(at->rtnh_len)), at = RTNH_NEXT(at)) {
        const Attributes<RTA_MAX + 1> of_hop{RTNH_DATA(at), at->rtnh_len - sizeof(rtnexthop)};
        if (of_hop.is_valid()) add_hop(of_hop, static_cast<unsigned>(at->rtnh_ifindex), at->rtnh_flags);
    }
    return route;
}

KernelWatch::Effect KernelWatch::take_route(const nlmsghdr& message, State& state) const {
    const auto route = parse_route(message);
    if (!route) return Effect::none;
    const auto known = state.routes.find(route->prefix);
    if (known == state.routes.end() && (route->hops.empty() || message.nlmsg_type == RTM_DELROUTE))
        return Effect::none;
    auto& hops = known != state.routes.end() ? known->second : state.routes[route->prefix];
    const auto before = hops;

    if (message.nlmsg_type == RTM_DELROUTE) {
        for (const Hop& gone : route->hops) std::erase(hops, gone);
    } else {
        const bool replaces = (message.nlmsg_flags & NLM_F_REPLACE) != 0;
        std::erase_if(hops, [&](const Hop& hop) { return replaces && hop.metric == route->metric; });
        // Among those of one metric an IPv4 route is put in front unless it is appended, as is what is asked
        // for.
        const bool is_in_front =
            route->prefix.address.is_v4() && (message.nlmsg_flags & (NLM_F_APPEND | NLM_F_MULTI)) == 0;
        auto at = is_in_front ? std::ranges::lower_bound(hops, route->metric, {}, &Hop::metric)
                              : std::ranges::upper_bound(hops, route->metric, {}, &Hop::metric);
        for (const Hop& hop : route->hops) {
            if (std::ranges::find(hops, hop) == hops.end()) at = std::next(hops.insert(at, hop));
        }
    }
    const bool has_changed = hops != before;
    if (hops.empty()) state.routes.erase(route->prefix);
    return has_changed ? Effect::changed : Effect::none;
}

}  // namespace fwd::control
