// SPDX-License-Identifier: BSD-3-Clause
// The data plane as control sees it: set up once, given policies, asked for counters, and a source and a sink
// of the packets that control itself handles.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "dataplane/counter.h"
#include "dataplane/shared_tables.h"
#include "dataplane/worker.h"

namespace fwd::dataplane {

struct DataplaneConfig {
    struct LinkConfig {
        std::uint16_t ethdev = 0;  ///< DPDK's port id; links with different VLANs may share it
        std::uint16_t vlan = 0;
        std::uint16_t mtu = 1500;
        std::uint16_t queues = 0;
        bool rx_checksum_partial = false;
        bool ping = false;
        std::uint16_t mss_clamp = 0;
        std::uint16_t lowest_ipv6_mtu = net::kIpv6LeastMtu;
        bool refuses_by_icmp = false;
        std::vector<net::IpInterfaceAddress> addresses;
        std::vector<HostService> host{};         ///< what the kernel gets
        std::vector<net::IpAddress> floating{};  ///< addresses that may come and go, and are no source
    };
    std::vector<LinkConfig> links;
    std::uint32_t sessions = 65536;
    std::uint32_t mappings = 16384;
    std::uint32_t rule_slots = 131072;
    std::vector<unsigned> worker_lcores;  ///< one worker each
    IdleMode idle = IdleMode::adaptive;
    PortRange masquerade_ports;
    bool hide_hop = false;  ///< no TTL goes down
    PortRange outbound_ports{32768, 65535};
    FlowHash::Secret secret{};
};

class Dataplane {
 public:
    /// Memory that create() takes from EAL's heap, bytes.
    static std::size_t memory_bytes(std::uint32_t sessions, std::uint32_t mappings, unsigned ports,
                                    unsigned workers, std::uint16_t mtu, bool ipv6) noexcept;

    /// `policy` is in force from the start.
    static Setup<std::unique_ptr<Dataplane>> create(const DataplaneConfig& config,
                                                    std::unique_ptr<const Policy> policy);
    ~Dataplane();
    Dataplane(const Dataplane&) = delete;
    Dataplane& operator=(const Dataplane&) = delete;

    /// Starts the workers on their lcores, which have to wait for it (rte_eal_remote_launch).
    Setup<void> start();
    /// Stops the workers and waits for them.
    void stop() noexcept;

    /// Puts a policy in force. When this returns, no worker uses the one before.
    void publish(std::unique_ptr<const Policy> policy) noexcept;
    const Policy& policy() const noexcept { return *policy_owner_; }

    const FlowHash& hash() const noexcept { return flows_->hash(); }
    FlowTable& flows() noexcept { return *flows_; }
    MappingTable& mappings() noexcept { return *mappings_; }
    NeighbourTable& neighbours() noexcept { return *neighbours_; }
    RuleCounters& rule_counters() noexcept { return *rule_counters_; }
    const std::vector<Link>& links() const noexcept { return links_->now(); }
    /// Gives a link other own addresses. When this returns, no worker sees those before.
    void set_addresses(LinkId link, std::span<const net::IpInterfaceAddress> addresses);
    /// Goes on without the device of a link, and so without all links on it, and gives it back. Workers pause
    /// for some milliseconds, sessions stay.
    /// @return false when DPDK does not let go of it before the process ends
    Setup<bool> remove_device(LinkId link);
    const Port& port_of(LinkId link) const noexcept { return *ports_[links()[link.value].port.value]; }
    std::span<const std::unique_ptr<Worker>> workers() const noexcept { return workers_; }
    HostFlows& host_flows() noexcept { return host_flows_; }
    const SharedTables& shared() const noexcept { return *shared_; }

    /// Rings when there are packets for control.
    Bell& control_bell() noexcept { return control_bell_; }
    bool has_punts() const noexcept { return rte_ring_empty(punts_) == 0; }
    /// Packets for control; the caller owns them afterwards.
    unsigned take_punts(std::span<rte_mbuf*> packets) noexcept;
    /// A buffer for a packet of control's own; nullptr when there is none.
    rte_mbuf* allocate() noexcept { return rte_pktmbuf_alloc(pool_); }
    /// Packet buffers that are neither free nor in some thread's cache.
    unsigned buffers_in_use() const noexcept { return rte_mempool_in_use_count(pool_); }
    /// Hands a finished frame to the link's port; frees it and returns false when there is no room.
    bool send(rte_mbuf* packet, LinkId egress) noexcept;
    /// Control's own counters.
    ThreadCounters& control_counters() noexcept { return control_counters_; }

    /// While one of these lives, positions that are live stay what they are, so control may look at records.
    class ReadSection {
     public:
        explicit ReadSection(Dataplane& dataplane) noexcept;
        ~ReadSection();
        ReadSection(const ReadSection&) = delete;
        ReadSection& operator=(const ReadSection&) = delete;

     private:
        Dataplane& dataplane_;
    };

    /// Waits until every worker has finished what it was doing.
    void wait_grace_period() noexcept;

 private:
    Dataplane() = default;
    Setup<void> open_ports(const DataplaneConfig& config);
    void create_workers(const DataplaneConfig& config);

    rte_mempool* pool_ = nullptr;
    rte_ring* punts_ = nullptr;
    std::unique_ptr<RuleCounters> rule_counters_;
    std::unique_ptr<EvictionBoard> evictions_;
    std::unique_ptr<FlowTable> flows_;
    std::unique_ptr<MappingTable> mappings_;
    std::unique_ptr<NeighbourTable> neighbours_;
    std::unique_ptr<Links> links_;
    HostFlows host_flows_;
    std::vector<std::unique_ptr<Port>> ports_;
    std::unique_ptr<const Policy> policy_owner_;
    std::atomic<const Policy*> policy_{nullptr};
    std::unique_ptr<const SharedTables> shared_;
    std::vector<std::unique_ptr<Worker>> workers_;
    std::vector<unsigned> worker_lcores_;
    ThreadCounters control_counters_;
    Bell control_bell_;
    std::atomic<bool> stop_{false};
    std::atomic<unsigned> running_{0};  ///< workers
};

}  // namespace fwd::dataplane
