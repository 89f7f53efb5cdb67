// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "control/kernel_interface.h"
#include "control/kernel_watch.h"
#include "control/settings.h"
#include "dataplane/dataplane.h"

namespace fwd::control {

/// The kernel's own traffic on links that have `host`: packets for its services go to an interface of its,
/// and what it sends there leaves by the link. What it learns there, addresses and routes, is followed.
class HostLinks {
 public:
    using Clock = dataplane::HostFlows::Clock;

    /// Makes the interfaces and gives them what the configuration says. Both arguments outlive it.
    static Result<std::unique_ptr<HostLinks>> create(dataplane::Dataplane& dataplane,
                                                     const Settings& settings);
    HostLinks(const HostLinks&) = delete;
    HostLinks& operator=(const HostLinks&) = delete;

    /// Readable when poll() has something to do.
    std::vector<int> descriptors() const;
    /// Takes a packet for one of the kernel's services (Verdict::punt_host).
    void deliver(rte_mbuf* packet);
    /// Lets the kernel see an ARP or neighbour discovery packet: it resolves its neighbours itself.
    void show(rte_mbuf& packet);
    /// Sends what the kernel wants to send, at most some hundred frames; returns how many.
    unsigned poll(Clock::time_point now);
    /// Gives an interface that somebody has taken down and up its addresses and routes again.
    /// @return whether the kernel has other addresses, routes or neighbours than at the last call
    bool catch_up();
    /// Which of the kernel's routes fwd does not follow, or in part: a sentence each, once, and not for ever
    /// more of them.
    std::vector<std::string> tell_unfollowed();

    /// Whether no interface has been taken away, after which the kernel is cut off for good.
    bool is_complete() const;
    /// Lets the kernel see whether the link's cable is in.
    void show_cable(dataplane::LinkId link, bool is_in);

    /// A link's addresses: those of the configuration, and what else the kernel has there.
    std::vector<net::IpInterfaceAddress> addresses(dataplane::LinkId link) const;
    /// Routes that others than fwd have given the kernel.
    std::vector<dataplane::Route> routes() const;
    struct Neighbour {
        dataplane::LinkId link;
        net::IpAddress address;
        net::MacAddress mac;
        friend bool operator==(const Neighbour&, const Neighbour&) noexcept = default;
    };
    /// Those that the kernel has for good.
    std::vector<Neighbour> neighbours() const;

    struct Counts {
        std::uint64_t to_kernel = 0;
        std::uint64_t lost = 0;  ///< which the kernel did not take
        std::uint64_t from_kernel = 0;
        std::uint64_t refused = 0;  ///< which fwd did not send: too big, of another MAC address, or no room
    };
    /// nullptr of a link without an interface.
    const Counts* counts(dataplane::LinkId link) const;

 private:
    struct Entry {
        dataplane::LinkId link;
        std::unique_ptr<KernelInterface> interface;
        Counts counts;
        bool cable_is_in = true;
        bool has_told_of_mac = false;  ///< that it is given its own again
    };

    HostLinks(dataplane::Dataplane& dataplane, const Settings& settings)
        : dataplane_{dataplane}, settings_{settings} {}
    Result<void> add(dataplane::LinkId link);
    Entry* find(dataplane::LinkId link);
    std::optional<dataplane::LinkId> link_of(unsigned interface) const;
    /// Why a route's next hop is of no use on a link.
    std::optional<std::string> why_not(const KernelWatch::Route& route, dataplane::LinkId link) const;
    /// @param bytes of the packet behind its Ethernet header
    void write(Entry& entry, const std::uint8_t* l3, std::size_t bytes, const rte_mbuf& packet);
    bool send(dataplane::LinkId link, std::span<const std::uint8_t> frame, Clock::time_point now);
    /// What is due once a second.
    void keep_up(Clock::time_point now);
    /// Lets answers to a packet of the kernel's in.
    void expect_answers(dataplane::LinkId link, std::span<const std::uint8_t> frame, Clock::time_point now);

    dataplane::Dataplane& dataplane_;
    const Settings& settings_;
    std::vector<Entry> entries_;
    std::unique_ptr<KernelWatch> watch_;
    Clock::time_point next_upkeep_{};
    std::set<std::string> told_;
};

}  // namespace fwd::control
