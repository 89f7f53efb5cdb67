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
    net::Ipv4Address next_hop{};  ///< hold_neighbour
};

inline PuntNote& punt_note(rte_mbuf& packet) noexcept {
    return *static_cast<PuntNote*>(rte_mbuf_to_priv(&packet));
}

/// The part of a port plan that full NAT draws its source ports from.
struct PortRange {
    std::uint16_t first = 1024;
    std::uint16_t last = 65535;
    std::uint32_t size() const noexcept { return std::uint32_t{last} - first + 1; }
};

/// What all workers and control share.
struct SharedTables {
    FlowTable& flows;
    NeighbourTable& neighbours;
    RuleCounters& rule_counters;
    EvictionBoard& evictions;
    const std::vector<Link>& links;
    const std::vector<std::unique_ptr<Port>>& ports;
    const std::atomic<const Policy*>& policy;
    rte_ring* punts = nullptr;  ///< workers to control, which they then ring for
    Bell& control_bell;
    PortRange masquerade_ports;
    unsigned worker_count = 1;
};

}  // namespace fwd::dataplane
