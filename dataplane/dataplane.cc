// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/dataplane.h"

#include <rte_errno.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_memzone.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <set>

#include "dataplane/grace_period.h"

namespace fwd::dataplane {
namespace {

constexpr unsigned kPuntRingPackets = 4096;
constexpr unsigned kMbufCache = 256;
constexpr std::uint16_t kOldestMtu = 1500;
constexpr unsigned kXdpHeadroom = 256;  // the kernel keeps XDP_PACKET_HEADROOM of each AF_XDP frame

std::uint32_t mbuf_count(unsigned ports, unsigned workers) noexcept {
    // Descriptors of both directions for every queue of every port, rings, held packets, caches, fragments.
    return ports * workers * 2 * 1024 + ports * 2048 + kPuntRingPackets + workers * 2 * kMbufCache + 4096 +
           workers * FragmentTable::kMostHeld;
}

std::uint16_t mbuf_data_bytes(std::uint16_t mtu) noexcept {
    const unsigned frame = std::max(mtu, kOldestMtu) + kEthernetBytes + kVlanTagBytes + 4;
    return static_cast<std::uint16_t>(std::max(RTE_PKTMBUF_HEADROOM + kXdpHeadroom + ((frame + 63U) & ~63U),
                                               unsigned{RTE_MBUF_DEFAULT_BUF_SIZE}));
}

void free_memzone(rte_mempool_memhdr* /*chunk*/, void* memzone) noexcept {
    rte_memzone_free(static_cast<const rte_memzone*>(memzone));
}

/// Puts all of a pool's objects back to back into one piece of memory.
/// @return false with rte_errno set when there is no memory
bool populate_in_one_piece(rte_mempool& pool) noexcept {
    const std::size_t bytes =
        std::size_t{rte_mempool_calc_obj_size(pool.elt_size, pool.flags, nullptr)} * pool.size;
    const rte_memzone* memory =
        rte_memzone_reserve_aligned(pool.name, bytes, SOCKET_ID_ANY, 0, RTE_CACHE_LINE_SIZE);
    if (memory == nullptr) return false;
    const int count = rte_mempool_populate_iova(&pool, static_cast<char*>(memory->addr), memory->iova,
                                                memory->len, free_memzone, const_cast<rte_memzone*>(memory));
    if (count == static_cast<int>(pool.size)) return true;
    if (count <= 0) rte_memzone_free(memory);  // otherwise it goes with the pool
    rte_errno = count < 0 ? -count : ENOBUFS;
    return false;
}

/// @return nullptr with rte_errno set when there is no memory
rte_mempool* create_mbuf_pool(const char* name, std::uint32_t count, std::uint16_t data_bytes) noexcept {
    // Whole cache lines: otherwise each small frame lies in two of them.
    constexpr unsigned kPrivate = RTE_ALIGN(sizeof(PuntNote), RTE_CACHE_LINE_SIZE);
    rte_pktmbuf_pool_private sizes{.mbuf_data_room_size = data_bytes, .mbuf_priv_size = kPrivate, .flags = 0};
    const unsigned object_bytes = sizeof(rte_mbuf) + kPrivate + data_bytes;
    if (rte_eal_iova_mode() != RTE_IOVA_VA) {
        return rte_mempool_create(name, count, object_bytes, kMbufCache, sizeof sizes, rte_pktmbuf_pool_init,
                                  &sizes, rte_pktmbuf_init, nullptr, SOCKET_ID_ANY, 0);
    }
    // Where devices use virtual addresses a buffer may cross pages. AF_XDP's driver even counts on it: it
    // registers count times size bytes of memory, and the kernel ignores buffers behind them. With that flag
    // DPDK's own way to populate a pool leaves buffers without addresses for devices: NICs would write to 0.
    rte_mempool* pool = rte_mempool_create_empty(name, count, object_bytes, kMbufCache, sizeof sizes,
                                                 SOCKET_ID_ANY, RTE_MEMPOOL_F_NO_IOVA_CONTIG);
    if (pool == nullptr) return nullptr;
    rte_pktmbuf_pool_init(pool, &sizes);
    if (!populate_in_one_piece(*pool)) {
        const int error = rte_errno;
        rte_mempool_free(pool);
        rte_errno = error;
        return nullptr;
    }
    // With NO_IOVA_CONTIG it would stay, and drivers that register memory (mlx5) would pass the pool over.
    pool->flags &= ~RTE_MEMPOOL_F_NON_IO;
    rte_mempool_obj_iter(pool, rte_pktmbuf_init, nullptr);
    return pool;
}

bool has_ipv6(const DataplaneConfig::LinkConfig& link) noexcept {
    return std::ranges::any_of(link.addresses, [](const auto& own) { return !own.address.is_v4(); });
}

}  // namespace

std::size_t Dataplane::memory_bytes(std::uint32_t sessions, std::uint32_t mappings, unsigned ports,
                                    unsigned workers, std::uint16_t mtu, bool ipv6) noexcept {
    return FlowTable::memory_bytes(sessions, ipv6) + MappingTable::memory_bytes(mappings, ipv6) +
           std::size_t{mbuf_count(ports, workers)} * (mbuf_data_bytes(mtu) + sizeof(rte_mbuf) + 128) +
           std::size_t{ports} * 1024 * 1024 + std::size_t{8} * 1024 * 1024;
}

Setup<std::unique_ptr<Dataplane>> Dataplane::create(const DataplaneConfig& config,
                                                    std::unique_ptr<const Policy> policy) {
    std::unique_ptr<Dataplane> self{new Dataplane};
    const auto workers = static_cast<unsigned>(config.worker_lcores.size());
    self->policy_owner_ = std::move(policy);
    self->policy_.store(self->policy_owner_.get(), std::memory_order_release);
    self->rule_counters_ = std::make_unique<RuleCounters>(config.rule_slots, config.sessions);
    self->evictions_ = std::make_unique<EvictionBoard>(workers);
    self->worker_lcores_ = config.worker_lcores;

    const FlowHash hash{config.secret};
    const bool ipv6 = std::ranges::any_of(config.links, has_ipv6);
    auto flows = FlowTable::create(config.sessions, hash, workers + 1, *self->rule_counters_, ipv6);
    if (!flows) return tl::unexpected(flows.error());
    self->flows_ = std::move(*flows);
    rte_rcu_qsbr_thread_register(self->flows_->qsbr(), workers);  // control's id
    auto mappings = MappingTable::create(config.mappings, hash, self->flows_->qsbr(), ipv6);
    if (!mappings) return tl::unexpected(mappings.error());
    self->mappings_ = std::move(*mappings);
    self->flows_->set_mappings(*self->mappings_);

    auto neighbours = NeighbourTable::create(hash);
    if (!neighbours) return tl::unexpected(neighbours.error());
    self->neighbours_ = std::move(*neighbours);

    static std::atomic<unsigned> instances{0};
    const unsigned instance = instances.fetch_add(1);
    std::array<char, 32> name{};
    std::snprintf(name.data(), name.size(), "fwd_punts_%u", instance);
    self->punts_ = rte_ring_create(name.data(), kPuntRingPackets, SOCKET_ID_ANY, RING_F_SC_DEQ);
    if (self->punts_ == nullptr) return tl::unexpected(SetupError{"no memory for the punt ring", rte_errno});

    std::uint16_t mtu = 0;
    std::set<std::uint16_t> ethdevs;  // several VLANs may share one
    for (const auto& link : config.links) {
        mtu = std::max(mtu, link.mtu);
        ethdevs.insert(link.ethdev);
    }
    const auto ports = static_cast<unsigned>(ethdevs.size());
    std::snprintf(name.data(), name.size(), "fwd_mbufs_%u", instance);
    self->pool_ = create_mbuf_pool(name.data(), mbuf_count(ports, workers), mbuf_data_bytes(mtu));
    if (self->pool_ == nullptr) return tl::unexpected(SetupError{"no memory for packet buffers", rte_errno});

    if (auto opened = self->open_ports(config); !opened) return tl::unexpected(opened.error());
    self->shared_.reset(new SharedTables{.flows = *self->flows_,
                                         .mappings = *self->mappings_,
                                         .neighbours = *self->neighbours_,
                                         .rule_counters = *self->rule_counters_,
                                         .evictions = *self->evictions_,
                                         .links = *self->links_,
                                         .ports = self->ports_,
                                         .policy = self->policy_,
                                         .punts = self->punts_,
                                         .control_bell = self->control_bell_,
                                         .host_flows = self->host_flows_,
                                         .masquerade_ports = config.masquerade_ports,
                                         .outbound_ports = config.outbound_ports,
                                         .worker_count = workers});
    self->create_workers(config);
    return self;
}

Setup<void> Dataplane::open_ports(const DataplaneConfig& config) {
    const auto workers = static_cast<unsigned>(config.worker_lcores.size());
    std::vector<Link> links;
    for (std::size_t i = 0; i < config.links.size(); ++i) {
        const auto& wanted = config.links[i];
        auto port = std::ranges::find_if(ports_, [&](const auto& p) { return p->ethdev() == wanted.ethdev; });
        if (port == ports_.end()) {
            Port::Config settings{.ethdev = wanted.ethdev,
                                  .max_mtu = 0,
                                  .workers = workers,
                                  .rx_interrupts = config.idle == IdleMode::adaptive,
                                  .multicast = false,
                                  .pool = pool_};
            for (const auto& other : config.links) {
                if (other.ethdev != wanted.ethdev) continue;
                // A tagged frame of that size must fit as well.
                settings.max_mtu = std::max(settings.max_mtu, other.mtu);
                settings.queues = std::max(settings.queues, other.queues);
                settings.multicast = settings.multicast || has_ipv6(other) || !other.host.empty();
            }
            auto opened = Port::open(settings);
            if (!opened) {
                SetupError error = opened.error();
                error.link = static_cast<int>(i);
                return tl::unexpected(error);
            }
            ports_.push_back(std::move(*opened));
            port = std::prev(ports_.end());
        }
        (*port)->addressing.link_of_vlan[wanted.vlan] = static_cast<std::uint8_t>(i);
        Link& link = links.emplace_back();
        link.port = PortIndex{static_cast<std::uint8_t>(port - ports_.begin())};
        link.vlan = wanted.vlan;
        if (link.vlan != 0) link.l2_bytes += kVlanTagBytes;
        link.mtu = wanted.mtu;
        link.mac = (*port)->mac();
        link.rx_checksum_partial = wanted.rx_checksum_partial;
        link.ping = wanted.ping;
        link.mss_clamp = wanted.mss_clamp;
        link.lowest_ipv6_mtu = wanted.lowest_ipv6_mtu;
        link.refuses_by_icmp = wanted.refuses_by_icmp;
        link.hides_hop = config.hide_hop;
        link.translates_with_care = link.rx_checksum_partial || link.hides_hop;
        link.host = wanted.host;
        link.floating = wanted.floating;
        link.set_addresses(wanted.addresses);
        link.link_local = net::link_local_of(link.mac);
        if (link.has_ipv6()) (*port)->addressing.ipv6_links |= std::uint32_t{1} << i;
    }
    links_ = std::make_unique<Links>(std::move(links));
    return {};
}

void Dataplane::create_workers(const DataplaneConfig& config) {
    const auto count = static_cast<unsigned>(config.worker_lcores.size());
    std::vector<Worker::Config> workers(count);
    unsigned next = 0;
    for (std::size_t p = 0; p < ports_.size(); ++p) {
        // A port with fewer queues than workers is served by some of them; the next port starts with the next
        // worker.
        for (std::uint16_t q = 0; q < ports_[p]->rx_queues(); ++q) {
            workers[next++ % count].rx_queues.push_back({PortIndex{static_cast<std::uint8_t>(p)}, q});
        }
        if (ports_[p]->rx_queues() == count) next = 0;
    }
    for (unsigned w = 0; w < count; ++w) {
        workers[w].index = w;
        workers[w].idle = config.idle;
        workers[w].tx_queues.assign(ports_.size(), TxBuffer::kNoQueue);
    }
    for (std::size_t p = 0; p < ports_.size(); ++p) {
        // Transmit queues go first to the workers that receive on the port.
        std::vector<unsigned> order;
        const auto receives = [&](unsigned w) {
            return std::ranges::any_of(workers[w].rx_queues,
                                       [&](const auto& rx) { return rx.port.value == p; });
        };
        for (unsigned w = 0; w < count; ++w) {
            if (receives(w)) order.push_back(w);
        }
        for (unsigned w = 0; w < count; ++w) {
            if (!receives(w)) order.push_back(w);
        }
        for (std::uint16_t q = 0; q < ports_[p]->tx_queues() && q < count; ++q)
            workers[order[q]].tx_queues[p] = q;
    }
    for (const Worker::Config& worker : workers)
        workers_.push_back(std::make_unique<Worker>(*shared_, worker));
    for (std::size_t p = 0; p < ports_.size(); ++p) {
        const auto drains = [p](const Worker::Config& worker) { return worker.tx_queues[p] == 0; };
        ports_[p]->set_outbox_bell(workers_[std::ranges::find_if(workers, drains)->index]->bell());
    }
}

Dataplane::~Dataplane() {
    stop();
    workers_.clear();
    ports_.clear();
    if (punts_ != nullptr) {
        std::array<rte_mbuf*, kBurst> rest{};
        while (const unsigned count = take_punts(rest)) rte_pktmbuf_free_bulk(rest.data(), count);
        rte_ring_free(punts_);
    }
    rte_mempool_free(pool_);
}

Setup<void> Dataplane::start() {
    stop_.store(false, std::memory_order_relaxed);
    for (std::size_t w = 0; w < workers_.size(); ++w) {
        struct Launch {
            Worker* worker;
            const std::atomic<bool>* stop;
            std::atomic<unsigned>* running;
        };
        auto* launch = new Launch{workers_[w].get(), &stop_, &running_};
        const auto run = [](void* argument) {
            const std::unique_ptr<Launch> own{static_cast<Launch*>(argument)};
            own->worker->run(*own->stop);
            own->running->fetch_sub(1, std::memory_order_release);
            return 0;
        };
        running_.fetch_add(1, std::memory_order_relaxed);
        if (const int rc = rte_eal_remote_launch(run, launch, worker_lcores_[w]); rc != 0) {
            delete launch;
            running_.fetch_sub(1, std::memory_order_relaxed);
            return tl::unexpected(SetupError{"a worker's lcore is busy", -rc});
        }
    }
    return {};
}

void Dataplane::stop() noexcept {
    if (running_.load(std::memory_order_relaxed) == 0) return;
    stop_.store(true, std::memory_order_relaxed);
    for (const unsigned lcore : worker_lcores_) rte_eal_wait_lcore(lcore);
    // They have ended; this is for ThreadSanitizer, which does not see how EAL waits.
    while (running_.load(std::memory_order_acquire) != 0) {
    }
}

Setup<bool> Dataplane::remove_device(LinkId link) {
    const PortIndex port = links()[link.value].port;
    // No worker looks before each burst whether its devices are still there: they are told while they rest.
    const bool run = running_.load(std::memory_order_relaxed) != 0;
    stop();
    for (const auto& worker : workers_) worker->stop_receiving(port);
    const bool given_back = ports_[port.value]->remove();
    if (run) {
        if (auto started = start(); !started) return tl::unexpected(started.error());
    }
    return given_back;
}

void Dataplane::publish(std::unique_ptr<const Policy> policy) noexcept {
    policy_.store(policy.get(), std::memory_order_release);
    wait_grace_period();
    policy_owner_ = std::move(policy);
}

void Dataplane::set_addresses(LinkId link, std::span<const net::IpInterfaceAddress> addresses) {
    std::vector<Link> links = this->links();
    links[link.value].set_addresses(addresses);
    const auto before = links_->replace(std::move(links));
    wait_grace_period();
}

void Dataplane::wait_grace_period() noexcept {
    dataplane::wait_grace_period(flows_->qsbr());
}

unsigned Dataplane::take_punts(std::span<rte_mbuf*> packets) noexcept {
    return rte_ring_dequeue_burst(punts_, reinterpret_cast<void**>(packets.data()),
                                  static_cast<unsigned>(packets.size()), nullptr);
}

bool Dataplane::send(rte_mbuf* packet, LinkId egress) noexcept {
    const Port& port = port_of(egress);
    const std::uint32_t frame_bytes = packet->data_len;  // afterwards the packet is a worker's
    if (rte_ring_enqueue(port.outbox(), packet) == 0) {
        port.notify_outbox();
        LinkCounters& link = control_counters_.links[egress.value];
        link.tx_packets.add(1);
        link.tx_bytes.add(frame_bytes);
        return true;
    }
    rte_pktmbuf_free(packet);
    return false;
}

Dataplane::ReadSection::ReadSection(Dataplane& dataplane) noexcept : dataplane_{dataplane} {
    rte_rcu_qsbr_thread_online(dataplane_.flows_->qsbr(), static_cast<unsigned>(dataplane_.workers_.size()));
}

Dataplane::ReadSection::~ReadSection() {
    rte_rcu_qsbr_thread_offline(dataplane_.flows_->qsbr(), static_cast<unsigned>(dataplane_.workers_.size()));
}

}  // namespace fwd::dataplane
