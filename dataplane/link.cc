// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/link.h"

#include <rte_bus.h>
#include <rte_dev.h>
#include <rte_errno.h>
#include <rte_ethdev.h>

#include <algorithm>
#include <cstdio>
#include <string_view>

#include "dataplane/rx_queues.h"

namespace fwd::dataplane {
namespace {

constexpr unsigned kOutboxPackets = 2048;
constexpr std::uint16_t kRxDescriptors = 1024;
constexpr std::uint16_t kTxDescriptors = 1024;
constexpr int kTransmitTries = 4;

/// Of virtual devices and virtio. DPDK's hardware is on other buses.
bool is_spread_by_others(const rte_eth_dev_info& device) noexcept {
    return std::string_view{rte_bus_name(rte_dev_bus(device.device))} == "vdev" ||
           std::string_view{device.driver_name} == "net_virtio";
}

}  // namespace

bool Link::owns(const net::IpAddress& address) const noexcept {
    if (address.is_v4()) {
        return std::ranges::any_of(addresses, [&](const auto& own) { return own.address == address.v4(); });
    }
    return has_ipv6() &&
           (address == net::IpAddress{link_local} ||
            std::ranges::any_of(ipv6_addresses, [&](const auto& own) { return own.address == address; }));
}

bool Link::serves(net::Protocol protocol, net::be16 of) const noexcept {
    return std::ranges::any_of(host, [&](const HostService& service) {
        return service.protocol == protocol && of.host() >= service.first_port &&
               of.host() <= service.last_port;
    });
}

void Link::set_addresses(std::span<const net::IpInterfaceAddress> own) {
    const auto stays = [&](const auto& had) {
        return std::ranges::find(own, net::IpAddress{had.address}, &net::IpInterfaceAddress::address) !=
               own.end();
    };
    if (!std::ranges::all_of(addresses, stays)) ++address_generation;
    if (!std::ranges::all_of(ipv6_addresses, stays)) ++ipv6_address_generation;
    sources.clear();
    ipv6_sources.clear();
    addresses.clear();
    networks.clear();
    ipv6_addresses.clear();
    ipv6_networks.clear();
    for (const net::IpInterfaceAddress& one : own) {
        const bool is_source = std::ranges::find(floating, one.address) == floating.end();
        if (is_source && one.address.is_v4()) sources.push_back(one.v4());
        if (is_source && !one.address.is_v4()) ipv6_sources.push_back(one);
        if (one.address.is_v4()) {
            addresses.push_back(one.v4());
            networks.push_back(one.v4().prefix());
        } else {
            ipv6_addresses.push_back(one);
            ipv6_networks.push_back(one.prefix());
        }
    }
    std::ranges::sort(networks);
    // Not std::ranges::unique(): clang 14 does not take libstdc++'s.
    networks.erase(std::unique(networks.begin(), networks.end()), networks.end());
}

Setup<std::unique_ptr<Port>> Port::open(const Config& config) {
    std::unique_ptr<Port> port{new Port};
    port->ethdev_ = config.ethdev;
    // A driver without interrupts says so by refusing to be configured or to start.
    auto started = port->start(config, config.rx_interrupts);
    if (!started && config.rx_interrupts) started = port->start(config, false);
    if (!started) return tl::unexpected(started.error());
    return port;
}

Setup<void> Port::start(const Config& config, bool rx_interrupts) {
    const auto fail = [](const char* what, int code) {
        return tl::unexpected(SetupError{what, code < 0 ? -code : code});
    };
    rte_eth_dev_info info{};
    if (const int rc = rte_eth_dev_info_get(config.ethdev, &info); rc != 0)
        return fail("can't ask the device", rc);
    const unsigned wanted =
        config.queues != 0 ? std::min<unsigned>(config.queues, config.workers) : config.workers;
    const RxQueues rx = choose_rx_queues(info, wanted, is_spread_by_others(info));
    rx_queues_ = rx.count;
    lacks_rss_ = rx.lacks_rss;
    tx_queues_ =
        static_cast<std::uint16_t>(std::clamp(config.workers, 1U, std::max<unsigned>(info.max_tx_queues, 1)));

    rte_eth_conf conf{};
    if (rx.rss != 0) {
        conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
        conf.rx_adv_conf.rss_conf.rss_hf = rx.rss;
    }
    conf.rxmode.offloads = info.rx_offload_capa & RTE_ETH_RX_OFFLOAD_IPV4_CKSUM;
    conf.intr_conf.rxq = rx_interrupts ? 1 : 0;
    if (config.max_mtu > 1500) conf.rxmode.mtu = config.max_mtu;
    if (const int rc = rte_eth_dev_configure(config.ethdev, rx_queues_, tx_queues_, &conf); rc != 0)
        return fail("can't configure the device", rc);
    std::uint16_t rx_descriptors = kRxDescriptors;
    std::uint16_t tx_descriptors = kTxDescriptors;
    rte_eth_dev_adjust_nb_rx_tx_desc(config.ethdev, &rx_descriptors, &tx_descriptors);
    const int socket = rte_eth_dev_socket_id(config.ethdev);
    for (std::uint16_t q = 0; q < rx_queues_; ++q) {
        if (const int rc =
                rte_eth_rx_queue_setup(config.ethdev, q, rx_descriptors, socket, nullptr, config.pool);
            rc != 0) {
            return fail("can't set up a receive queue", rc);
        }
    }
    for (std::uint16_t q = 0; q < tx_queues_; ++q) {
        if (const int rc = rte_eth_tx_queue_setup(config.ethdev, q, tx_descriptors, socket, nullptr); rc != 0)
            return fail("can't set up a transmit queue", rc);
    }
    if (config.max_mtu != 1500) {
        const int rc = rte_eth_dev_set_mtu(config.ethdev, config.max_mtu);
        if (rc != 0 && rc != -ENOTSUP) return fail("the device does not take the mtu", rc);
    }
    rte_ether_addr mac{};
    if (const int rc = rte_eth_macaddr_get(config.ethdev, &mac); rc != 0)
        return fail("the device has no MAC address", rc);
    std::copy_n(mac.addr_bytes, 6, addressing.mac.bytes.begin());

    if (outbox_ == nullptr) {
        char name[RTE_RING_NAMESIZE];
        std::snprintf(name, sizeof name, "fwd_outbox_%u", config.ethdev);
        outbox_ = rte_ring_create(name, kOutboxPackets, SOCKET_ID_ANY, RING_F_SC_DEQ);
        if (outbox_ == nullptr) return fail("no memory for an outbox", rte_errno);
    }
    if (const int rc = rte_eth_dev_start(config.ethdev); rc != 0) return fail("can't start the device", rc);
    started_ = true;
    has_rx_interrupts_ = rx_interrupts && find_rx_interrupts();
    // External addresses are answered for with the port's own MAC address, so it need not see anybody else's
    // frames.
    rte_eth_promiscuous_disable(config.ethdev);
    // A driver that knows no difference hands multicast over anyway.
    if (config.multicast && rte_eth_allmulticast_enable(config.ethdev) != 0)
        rte_eth_promiscuous_enable(config.ethdev);
    return {};
}

bool Port::find_rx_interrupts() const noexcept {
    // ethdev calls it an error when a driver has none.
    const int log_level = rte_log_get_level(static_cast<std::uint32_t>(rte_eth_dev_logtype));
    rte_log_set_level(static_cast<std::uint32_t>(rte_eth_dev_logtype), RTE_LOG_CRIT);
    bool found = true;
    for (std::uint16_t q = 0; q < rx_queues_ && found; ++q)
        found = rte_eth_dev_rx_intr_ctl_q_get_fd(ethdev_, q) >= 0;
    rte_log_set_level(static_cast<std::uint32_t>(rte_eth_dev_logtype), static_cast<std::uint32_t>(log_level));
    return found;
}

bool Port::remove() noexcept {
    is_removed_ = true;
    started_ = false;
    rte_eth_dev_info info{};
    if (rte_eth_dev_info_get(ethdev_, &info) != 0) return false;
    rte_eth_dev_stop(ethdev_);
    // The whole device: closing the port alone would leave VFIO's descriptor open, and the kernel waits for
    // that.
    return rte_dev_remove(info.device) == 0;
}

Port::~Port() {
    if (started_) {
        rte_eth_dev_stop(ethdev_);
        rte_eth_dev_close(ethdev_);
    }
    if (outbox_ != nullptr) {
        void* packet = nullptr;
        while (rte_ring_dequeue(outbox_, &packet) == 0) rte_pktmbuf_free(static_cast<rte_mbuf*>(packet));
        rte_ring_free(outbox_);
    }
}

void TxBuffer::flush(ThreadCounters& counters) noexcept {
    const std::span<rte_mbuf*> packets{packets_.data(), count_};
    std::size_t gone = 0;
    Verdict why = Verdict::drop_tx_full;
    if (queue_ == kNoQueue) {
        gone = rte_ring_enqueue_burst(port_->outbox(), reinterpret_cast<void* const*>(packets.data()), count_,
                                      nullptr);
        port_->notify_outbox();
    } else if (port_->is_removed()) [[unlikely]] {
        why = Verdict::drop_link_removed;
    } else {
        for (int tries = 0; tries < kTransmitTries && gone < count_; ++tries) {
            gone += rte_eth_tx_burst(port_->ethdev(), queue_, packets.data() + gone,
                                     static_cast<std::uint16_t>(count_ - gone));
        }
        for (const rte_mbuf* unsent : packets.subspan(gone)) bytes_ -= unsent->data_len;
        counters.sent.add(gone);
        counters.sent_bytes.add(bytes_);
    }
    if (gone != count_) [[unlikely]]
        drop(packets.subspan(gone), why, counters);
    count_ = 0;
    bytes_ = 0;
}

void TxBuffer::drop(std::span<rte_mbuf*> packets, Verdict why, ThreadCounters& counters) noexcept {
    counters.count(why, packets.size());
    for (const rte_mbuf* packet : packets) {
        const auto* frame = rte_pktmbuf_mtod(packet, const std::uint8_t*);
        const bool tagged = net::load_host16(frame + 12) == RTE_ETHER_TYPE_VLAN;
        const std::uint16_t vlan = tagged ? net::load_host16(frame + kEthernetBytes) & 0xfffU : 0;
        LinkCounters& link = counters.links[port_->addressing.link_of_vlan[vlan]];
        link.tx_packets.take_back(1);
        link.tx_bytes.take_back(packet->data_len);
        link.dropped.add(1);
    }
    rte_pktmbuf_free_bulk(packets.data(), static_cast<unsigned>(packets.size()));
}

void TxBuffer::take_from_outbox() noexcept {
    const unsigned room = static_cast<unsigned>(packets_.size()) - count_;
    const unsigned taken = rte_ring_dequeue_burst(
        port_->outbox(), reinterpret_cast<void**>(packets_.data() + count_), room, nullptr);
    for (unsigned i = 0; i < taken; ++i) bytes_ += packets_[count_ + i]->data_len;
    count_ += taken;
}

}  // namespace fwd::dataplane
