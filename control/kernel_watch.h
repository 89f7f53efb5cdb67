// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "control/error.h"
#include "control/netlink.h"
#include "dataplane/net/address.h"

struct nlmsghdr;

namespace fwd::control {

/// What the kernel has on some of its interfaces, whoever gave it: a DHCP client, a routing daemon, an
/// operator. The kernel tells of what changes (rtnetlink); where it tells too little or too much, everything
/// is asked for again.
class KernelWatch {
 public:
    struct Route {
        net::IpPrefix prefix;
        std::optional<net::IpAddress>
            via;  ///< of the other family too (RFC 8950); none: all of it is on the link
        unsigned interface = 0;
        friend bool operator==(const Route&, const Route&) = default;
    };
    /// One that does not age, and is not asked for: `ip neighbour add ... nud permanent`.
    struct Neighbour {
        net::IpAddress address;
        net::MacAddress mac;
        unsigned interface = 0;
        friend bool operator==(const Neighbour&, const Neighbour&) = default;
    };

    /// A route of the kernel's that routes() lacks, or has less of.
    struct Unfollowed {
        enum class Why : std::uint8_t {
            nowhere,  ///< it drops or refuses packets: blackhole, unreachable, prohibit, throw
            wrapped,  ///< it puts packets into something: a tunnel, MPLS
            several,  ///< it has more next hops than the first
        };
        net::IpPrefix prefix;
        Why why = Why::nowhere;
        friend bool operator==(const Unfollowed&, const Unfollowed&) = default;
    };

    /// Of the interfaces with these indices in the network namespace of the caller. Needs no capability.
    static Result<std::unique_ptr<KernelWatch>> create(std::vector<unsigned> interfaces);

    /// Readable when the kernel has told something: it is time to poll().
    int descriptor() const;
    /// Takes in what has been told, without waiting; true when something is different now. Under a flood it
    /// returns before the end: the descriptor stays readable.
    bool poll();

    /// The usable ones, of both families: none that is a link-local IPv6 one, tentative, or somebody else's
    /// as duplicate detection found.
    std::vector<net::IpInterfaceAddress> addresses(unsigned interface) const;
    /// Unicast ones of the main table that leave by one of the interfaces, but for fwd's own (kRouteProtocol)
    /// and those that go with an address. For each prefix one: of the least metric among them, and of several
    /// next hops the first.
    std::vector<Route> routes() const;
    /// Of the main table too; those that lead nowhere, by whatever interface.
    std::vector<Unfollowed> unfollowed() const;
    std::vector<Neighbour> neighbours() const { return state_.neighbours; }
    /// Interfaces that have been down and are up again since the last call, as far as poll() has heard: their
    /// IPv6 addresses and all their routes are gone. When the kernel could not tell all, each of them.
    std::set<unsigned> take_restarted() { return std::exchange(restarted_, {}); }

 private:
    enum class Effect { none, changed, ask_again };

    /// What it takes to follow a next hop.
    enum class Way : std::uint8_t { plain, wrapped, nowhere };
    struct Hop {
        Way way = Way::plain;
        std::uint32_t metric = 0;
        std::uint32_t object = 0;  ///< the number that `ip nexthop` gives it; 0: it is the route's alone
        std::optional<net::IpAddress> via;
        unsigned interface = 0;
        friend bool operator==(const Hop&, const Hop&) = default;
    };
    struct OwnAddress {
        unsigned interface = 0;
        net::IpInterfaceAddress address;
        friend bool operator==(const OwnAddress&, const OwnAddress&) = default;
    };
    struct State {
        std::vector<OwnAddress> addresses;
        std::vector<Neighbour> neighbours;
        /// None is empty; next hops of less metric come first, then as the kernel has them.
        std::map<net::IpPrefix, std::vector<Hop>> routes;
        friend bool operator==(const State&, const State&) = default;
    };
    struct RouteMessage;

    KernelWatch() = default;
    bool watches(unsigned interface) const;
    void note_restart(const nlmsghdr& message);
    /// All that there is, by a socket of its own.
    Result<State> ask() const;
    Effect take(const nlmsghdr& message, State& state) const;
    Effect take_address(const nlmsghdr& message, State& state) const;
    Effect take_neighbour(const nlmsghdr& message, State& state) const;
    Effect take_route(const nlmsghdr& message, State& state) const;
    std::optional<RouteMessage> parse_route(const nlmsghdr& message) const;

    std::vector<unsigned> interfaces_;
    NetlinkSocket events_;
    State state_;
    std::set<unsigned> down_, restarted_;
    bool is_stale_ = false;  ///< `state_` lacks something that was told
};

}  // namespace fwd::control
