// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "control/host_links.h"
#include "control/neighbours.h"
#include "control/refused_syns.h"
#include "dataplane/dataplane.h"

namespace fwd::control {

/// Works off what the workers hand to control: ARP, neighbour discovery and packets that wait for a neighbour
/// go to Neighbours; pings of own addresses, packets whose TTL ran out and packets too big for their next
/// link are answered here (RFC 792, RFC 1191).
class Punts {
 public:
    /// @param host nullptr: the kernel has no part in any link
    Punts(dataplane::Dataplane& dataplane, Neighbours& neighbours, HostLinks* host = nullptr)
        : dataplane_{dataplane}, neighbours_{neighbours}, host_{host} {}

    /// Handles what is there, at most a few hundred packets; returns how many.
    unsigned poll(Neighbours::Clock::time_point now);

 private:
    void answer_echo(rte_mbuf* packet);
    void keep_syn(rte_mbuf* packet, Neighbours::Clock::time_point now);
    void answer_syns(Neighbours::Clock::time_point now);
    /// A received packet that an ICMP error is about.
    struct About {
        dataplane::LinkId ingress;
        net::MacAddress sender;
        const std::uint8_t* ip;
        std::uint16_t ip_bytes;
    };
    /// @param rest the last 32 bits of the ICMP header, host order: the next link's MTU in a "fragmentation
    /// needed"
    void send_error(const About& about, std::uint8_t type, std::uint8_t code, std::uint32_t rest);
    /// The same, and frees the packet.
    void send_error(rte_mbuf* about, std::uint8_t type, std::uint8_t code, std::uint32_t rest);
    void answer_ipv6_echo(rte_mbuf* packet);
    /// The same of IPv6.
    void send_ipv6_error(const About& about, std::uint8_t type, std::uint8_t code, std::uint32_t rest);
    void send_ipv6_error(rte_mbuf* about, std::uint8_t type, std::uint8_t code, std::uint32_t rest);

    dataplane::Dataplane& dataplane_;
    Neighbours& neighbours_;
    HostLinks* host_;
    RefusedSyns syns_;
};

}  // namespace fwd::control
