// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <rte_mbuf.h>
#include <rte_ring.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "dataplane/bell.h"
#include "dataplane/counter.h"
#include "dataplane/flow_key.h"
#include "dataplane/host_path.h"
#include "dataplane/net/address.h"
#include "dataplane/net/ipv4.h"
#include "dataplane/net/ipv6.h"
#include "dataplane/packet.h"
#include "dataplane/setup_error.h"

namespace fwd::dataplane {

inline constexpr unsigned kBurst = 64;
inline constexpr std::size_t kMaxOwnAddresses = 64;  ///< on one link

/// Index of a port (one DPDK device), 0 to kMaxLinks - 1.
struct PortIndex {
    std::uint8_t value = 0;
    friend constexpr auto operator<=>(PortIndex, PortIndex) noexcept = default;
};

/// A port's traffic of one VLAN, or its untagged traffic: what an operator calls a link.
struct Link {
    PortIndex port;
    std::uint16_t vlan = 0;                  ///< 0: untagged
    std::uint8_t l2_bytes = kEthernetBytes;  ///< of its frames' headers, with the tag
    std::uint16_t mtu = 1500;
    net::MacAddress mac;
    bool rx_checksum_partial = false;   ///< requirement P8
    bool hides_hop = false;             ///< packets from here keep their TTL (requirement I10)
    bool translates_with_care = false;  ///< either of these: what a link without them pays for is one look
    bool ping = false;
    bool refuses_by_icmp = false;  ///< requirements T4 and I8
    std::uint16_t mss_clamp = 0;   ///< TCP segments through the link are no bigger; 0: as the ends like
    std::uint16_t lowest_ipv6_mtu = net::kIpv6LeastMtu;  ///< of the IPv6 network behind it
    std::vector<net::InterfaceAddress> addresses;
    std::vector<net::Ipv4Prefix> networks;  ///< of the addresses, each once
    std::vector<net::IpInterfaceAddress> ipv6_addresses;
    std::vector<net::IpPrefix> ipv6_networks;
    net::Ipv6Address link_local;                 ///< from the MAC address (RFC 4291, appendix A)
    std::vector<HostService> host;               ///< what the kernel gets, beside answers to what it has sent
    std::vector<net::IpAddress> floating;        ///< addresses that are the source of nothing of fwd's own
    std::vector<net::InterfaceAddress> sources;  ///< the others
    std::vector<net::IpInterfaceAddress> ipv6_sources;
    std::uint8_t address_generation = 0;       ///< another one when an IPv4 address has gone
    std::uint8_t ipv6_address_generation = 0;  ///< the same of IPv6

    bool has_ipv6() const noexcept { return !ipv6_addresses.empty(); }
    /// The longest packet from IPv4 that needs not be cut: nobody tells its sender where it is too long (RFC
    /// 7915, section 4).
    std::uint16_t uncut_ipv6_bytes() const noexcept { return std::min(mtu, lowest_ipv6_mtu); }
    bool has_host() const noexcept { return !host.empty(); }
    /// Whether a port of its addresses is for a service of the kernel's.
    bool serves(net::Protocol protocol, net::be16 of) const noexcept;
    /// Whether fwd itself has the address there.
    bool owns(const net::IpAddress& address) const noexcept;

    /// Replaces all of its addresses.
    void set_addresses(std::span<const net::IpInterfaceAddress> own);

    /// Whether a packet from here has no hop left for fwd.
    bool ends_ttl(const std::uint8_t* ip) const noexcept { return ends_hops(ip[net::kTtlOffset]); }
    bool ends_hops(std::uint8_t left) const noexcept { return left <= (hides_hop ? 0 : 1); }
};

/// All links, by LinkId. Control may replace them while workers run: each look sees them as they were or as
/// they are, and what it has seen lives on until the worker reports quiescent.
class Links {
 public:
    explicit Links(std::vector<Link> links)
        : owned_{std::make_unique<const std::vector<Link>>(std::move(links))}, now_{owned_.get()} {}

    const std::vector<Link>& now() const noexcept { return *now_.load(std::memory_order_acquire); }
    const Link& operator[](std::size_t index) const noexcept { return now()[index]; }

    /// @return those before, for whom a grace period has to pass
    [[nodiscard]] std::unique_ptr<const std::vector<Link>> replace(std::vector<Link> links) {
        auto before = std::exchange(owned_, std::make_unique<const std::vector<Link>>(std::move(links)));
        now_.store(owned_.get(), std::memory_order_release);
        return before;
    }

 private:
    std::unique_ptr<const std::vector<Link>> owned_;
    std::atomic<const std::vector<Link>*> now_;
};

/// A DPDK device with its queues.
class Port {
 public:
    struct Config {
        std::uint16_t ethdev = 0;      ///< DPDK's port id
        std::uint16_t max_mtu = 1500;  ///< of the links on it
        std::uint16_t queues = 0;      ///< wanted; 0: one per worker
        unsigned workers = 1;
        bool rx_interrupts = false;   ///< wanted, where the driver has them
        bool multicast = false;       ///< wanted: neighbour discovery asks by it
        rte_mempool* pool = nullptr;  ///< packets are received into it
    };
    /// Configures and starts the device.
    static Setup<std::unique_ptr<Port>> open(const Config& config);
    ~Port();
    Port(const Port&) = delete;
    Port& operator=(const Port&) = delete;

    /// Gives back a device that has gone, or is about to: whoever takes it away may wait for that. No thread
    /// may be at it, and afterwards none may ask DPDK about it. What is sent there is dropped.
    /// @return false when DPDK does not let go of it before the process ends
    bool remove() noexcept;
    bool is_removed() const noexcept { return is_removed_; }

    std::uint16_t ethdev() const noexcept { return ethdev_; }
    std::uint16_t rx_queues() const noexcept { return rx_queues_; }
    std::uint16_t tx_queues() const noexcept { return tx_queues_; }
    net::MacAddress mac() const noexcept { return addressing.mac; }
    bool has_rx_interrupts() const noexcept { return has_rx_interrupts_; }
    /// Whether it has one receive queue only because it would not use more.
    bool lacks_rss() const noexcept { return lacks_rss_; }

    /// Packets from threads without a transmit queue of their own; drained by the worker of queue 0, which
    /// has to be told by notify_outbox().
    rte_ring* outbox() const noexcept { return outbox_; }
    void notify_outbox() const noexcept {
        if (outbox_bell_ != nullptr) outbox_bell_->ring();
    }
    /// @param bell of the worker of queue 0
    void set_outbox_bell(Bell& bell) noexcept { outbox_bell_ = &bell; }

    PortAddressing addressing;

 private:
    Port() = default;
    Setup<void> start(const Config& config, bool rx_interrupts);
    /// Whether every receive queue has a descriptor that tells of packets.
    bool find_rx_interrupts() const noexcept;

    std::uint16_t ethdev_ = 0;
    std::uint16_t rx_queues_ = 0;
    std::uint16_t tx_queues_ = 0;
    rte_ring* outbox_ = nullptr;
    Bell* outbox_bell_ = nullptr;
    bool has_rx_interrupts_ = false;
    bool lacks_rss_ = false;
    bool started_ = false;
    bool is_removed_ = false;
};

/// Puts the Ethernet header (and the link's VLAN tag) in front of an IP or ARP packet and cuts off what lies
/// behind it.
/// @param l3 where the packet begins, inside the buffer
/// @return false when the buffer has no room in front
inline bool write_l2(rte_mbuf& packet, std::uint8_t* l3, std::uint16_t l3_bytes, const Link& egress,
                     net::MacAddress destination, std::uint16_t ether_type) noexcept {
    const std::size_t l2_bytes = egress.l2_bytes;
    const auto room = static_cast<std::size_t>(l3 - static_cast<std::uint8_t*>(packet.buf_addr));
    if (room < l2_bytes) [[unlikely]]
        return false;
    std::uint8_t* frame = l3 - l2_bytes;
    std::memcpy(frame, destination.bytes.data(), 6);
    std::memcpy(frame + 6, egress.mac.bytes.data(), 6);
    std::uint8_t* at = frame + 12;
    const auto put = [&at](std::uint16_t value) {
        net::store16(at, net::be16::from_host(value).wire());
        at += sizeof value;
    };
    if (egress.vlan != 0) [[unlikely]] {
        put(RTE_ETHER_TYPE_VLAN);
        put(egress.vlan);
    }
    put(ether_type);
    packet.data_off = static_cast<std::uint16_t>(room - l2_bytes);
    packet.data_len = static_cast<std::uint16_t>(l2_bytes + l3_bytes);
    packet.pkt_len = packet.data_len;
    // What the receiving device said of the packet is no longer true, and must not look like a wish to the
    // sending one.
    packet.ol_flags &= RTE_MBUF_F_EXTERNAL | RTE_MBUF_F_INDIRECT;
    return true;
}

/// Packets for one port that a worker has gathered.
class TxBuffer {
 public:
    /// @param queue the worker's own transmit queue; kNoQueue: packets go through the port's outbox
    TxBuffer(const Port& port, std::uint16_t queue) noexcept : port_{&port}, queue_{queue} {}
    static constexpr std::uint16_t kNoQueue = 0xffff;

    bool full() const noexcept { return count_ == packets_.size(); }
    bool empty() const noexcept { return count_ == 0; }
    void push(rte_mbuf* packet, std::uint32_t frame_bytes) noexcept {
        bytes_ += frame_bytes;
        packets_[count_++] = packet;
    }
    /// Transmits everything and counts it; what the device or the outbox does not take is freed and counted
    /// as dropped. Packets that went to the outbox are counted as sent by the worker that sends them.
    void flush(ThreadCounters& counters) noexcept;
    /// Fills up with packets from the port's outbox; only the worker of queue 0.
    void take_from_outbox() noexcept;

 private:
    /// Frees packets that were counted for their links as if they had been sent.
    void drop(std::span<rte_mbuf*> packets, Verdict why, ThreadCounters& counters) noexcept;

    const Port* port_;
    std::uint16_t queue_;
    unsigned count_ = 0;
    std::uint64_t bytes_ = 0;
    std::array<rte_mbuf*, std::size_t{2} * kBurst> packets_{};
};

}  // namespace fwd::dataplane
