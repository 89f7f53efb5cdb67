// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <rte_mbuf.h>
#include <rte_ring.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "dataplane/bell.h"
#include "dataplane/eviction_board.h"
#include "dataplane/flow_table.h"
#include "dataplane/link.h"
#include "dataplane/mapping_table.h"
#include "dataplane/neighbour_table.h"
#include "dataplane/policy.h"
#include "dataplane/rule_counters.h"
#include "dataplane/verdict.h"

namespace fwd::dataplane {

/// What a worker tells control about a packet that it hands over; lies in the packet buffer's private area.
struct PuntNote {
    Verdict why = Verdict::punt_arp;
    LinkId ingress{};
    LinkId egress{};              ///< hold_neighbour, punt_too_big
    std::uint16_t l3_offset = 0;  ///< from the start of the frame
    std::uint16_t l3_bytes = 0;
    std::uint16_t l4_offset = 0;  ///< of IPv6: from the IP header on
    std::uint16_t mtu = 0;  ///< punt_too_big, where it is not the egress link's: the packet's family changes
    net::IpAddress next_hop{};         ///< hold_neighbour
    HostShare host_share{};            ///< punt_host
    bool checksum_is_partial = false;  ///< punt_host: so the device says
};

inline PuntNote& punt_note(rte_mbuf& packet) noexcept {
    return *static_cast<PuntNote*>(rte_mbuf_to_priv(&packet));
}

/// A part of a port plan.
struct PortRange {
    std::uint16_t first = 1024;
    std::uint16_t last = 65535;
    std::uint32_t size() const noexcept { return std::uint32_t{last} - first + 1; }
    bool has(net::be16 port) const noexcept { return port.host() >= first && port.host() <= last; }
};

/// What all workers and control share.
struct SharedTables {
    FlowTable& flows;
    MappingTable& mappings;
    NeighbourTable& neighbours;
    RuleCounters& rule_counters;
    EvictionBoard& evictions;
    const Links& links;
    const std::vector<std::unique_ptr<Port>>& ports;
    const std::atomic<const Policy*>& policy;
    rte_ring* punts = nullptr;  ///< workers to control, which they then ring for
    Bell& control_bell;
    const HostFlows& host_flows;
    PortRange masquerade_ports;  ///< of full NAT
    PortRange outbound_ports;    ///< of masquerades with links' own addresses
    unsigned worker_count = 1;

    /// Whether a port of an own address is for masquerades: where both ranges have it, it belongs to the one
    /// that lies within the other, else to masquerades.
    bool is_outbound(net::be16 port) const noexcept {
        const bool is_within =
            outbound_ports.first <= masquerade_ports.first && masquerade_ports.last <= outbound_ports.last;
        return outbound_ports.has(port) && !(is_within && masquerade_ports.has(port));
    }
};

}  // namespace fwd::dataplane
