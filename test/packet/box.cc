// SPDX-License-Identifier: BSD-3-Clause
#include "test/packet/box.h"

#include <gtest/gtest.h>
#include <rte_dev.h>
#include <rte_errno.h>
#include <rte_log.h>
#include <rte_mbuf.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <fstream>
#include <map>
#include <stdexcept>

#include "control/settings.h"
#include "test/support/guarded_bytes.h"

namespace fwd::test {
namespace {

constexpr auto kStep = std::chrono::milliseconds{100};

[[noreturn]] void fail(const std::string& what) {
    throw std::runtime_error{what};
}

control::Settings load(const std::string& config) {
    std::array<char, 32> name{"/tmp/fwd-box-XXXXXX"};
    const int fd = mkstemp(name.data());
    if (fd < 0) fail("no temporary file");
    close(fd);
    std::ofstream{name.data()} << config;
    auto settings = control::load_settings(name.data());
    unlink(name.data());
    if (!settings) fail(settings.error().text());
    return std::move(*settings);
}

/// A frame's memory, for as long as its buffer lives.
struct External {
    GuardedBytes bytes;
    rte_mbuf_ext_shared_info shared{};

    explicit External(const Bytes& frame) : bytes{frame, RTE_PKTMBUF_HEADROOM} {
        shared.free_cb = [](void*, void* self) { delete static_cast<External*>(self); };
        shared.fcb_opaque = this;
        rte_mbuf_ext_refcnt_set(&shared, 1);
    }
};

std::uint16_t tag_of(const Bytes& frame) {
    if (frame.size() < 18 || frame[12] != 0x81 || frame[13] != 0) return 0;
    return static_cast<std::uint16_t>((frame[14] << 8U | frame[15]) & 0xfffU);
}

}  // namespace

Box::Box(const std::string& config, unsigned workers, std::uint32_t rule_slots) : settings_{load(config)} {
    dataplane::DataplaneConfig dp;
    std::vector<std::string> seen;
    for (const control::LinkSettings& link : settings_.links) {
        const auto known = std::ranges::find(seen, link.device);
        const auto index = static_cast<std::size_t>(known - seen.begin());
        if (known == seen.end()) {
            static unsigned boxes = 0;
            seen.push_back(link.device);
            auto device = std::make_unique<Device>();
            device->name = "net_null" + std::to_string(boxes++);
            if (rte_eal_hotplug_add("vdev", device->name.c_str(), "no-rx=1") != 0 ||
                rte_eth_dev_get_port_by_name(device->name.c_str(), &device->ethdev) != 0) {
                fail("no device " + device->name);
            }
            devices_.push_back(std::move(device));
        }
        device_of_link_.push_back(devices_[index].get());
        dp.links.push_back({.ethdev = devices_[index]->ethdev,
                            .vlan = link.vlan.value_or(0),
                            .mtu = link.mtu,
                            .queues = link.queues,
                            .rx_checksum_partial = link.rx_checksum == control::RxChecksum::partial,
                            .ping = link.ping,
                            .mss_clamp = link.greatest_mss(),
                            .lowest_ipv6_mtu = link.lowest_ipv6_mtu,
                            .refuses_by_icmp = link.refuse == control::Refusal::icmp,
                            .addresses = link.addresses,
                            .host = link.host,
                            .floating = link.floating});
    }
    dp.sessions = settings_.sessions;
    dp.rule_slots = rule_slots;
    dp.hide_hop = settings_.hide_hop;
    dp.mappings = settings_.mappings;
    dp.outbound_ports = {settings_.outbound_port_first, settings_.outbound_port_last};
    dp.masquerade_ports = {settings_.masquerade_port_first, settings_.masquerade_port_last};
    for (unsigned w = 0; w < workers; ++w) dp.worker_lcores.push_back(w + 1);
    std::ranges::fill(dp.secret.bytes, std::uint8_t{0x5a});

    policies_.emplace(settings_, dp.rule_slots);
    auto policy = policies_->initial(dataplane::FlowHash{dp.secret});
    if (!policy) fail(policy.error().text());
    auto made = dataplane::Dataplane::create(dp, std::move(*policy));
    if (!made) fail(std::string{made.error().what} + ": " + rte_strerror(made.error().code));
    dataplane_ = std::move(*made);
    for (const auto& device : devices_) {
        const auto& port = *std::ranges::find_if(
            dataplane_->shared().ports, [&](const auto& p) { return p->ethdev() == device->ethdev; });
        device->rx.resize(port->rx_queues());
        for (std::uint16_t q = 0; q < port->rx_queues(); ++q) {
            device->rx_callbacks.push_back(rte_eth_add_rx_callback(device->ethdev, q, receive, device.get()));
        }
        for (std::uint16_t q = 0; q < port->tx_queues(); ++q) {
            device->tx_callbacks.push_back(
                rte_eth_add_tx_callback(device->ethdev, q, transmit, device.get()));
        }
    }
    neighbours_ = std::make_unique<control::Neighbours>(*dataplane_, settings_.links);
    punts_ = std::make_unique<control::Punts>(*dataplane_, *neighbours_);
    for (const control::NeighbourSettings& neighbour : settings_.neighbours) {
        neighbours_->add_static(dataplane::LinkId{static_cast<std::uint8_t>(link_index(neighbour.link))},
                                neighbour.address, neighbour.mac);
    }
    for (unsigned w = 0; w < workers; ++w) rte_rcu_qsbr_thread_register(dataplane_->flows().qsbr(), w);
    set_rules(control::format_rules(settings_.rules) + control::format_masquerades(settings_.masquerades));
    settle();
    for (const auto& device : devices_) device->tx.clear();  // announcements
}

Box::~Box() {
    neighbours_.reset();
    for (const auto& device : devices_) {
        remove_callbacks(*device);
        for (auto& queue : device->rx)
            for (rte_mbuf* packet : queue) rte_pktmbuf_free(packet);
    }
    dataplane_.reset();
    for (const auto& device : devices_) {
        if (!device->is_removed) rte_eal_hotplug_remove("vdev", device->name.c_str());
    }
}

void Box::remove_callbacks(Device& device) {
    for (std::size_t q = 0; q < device.rx_callbacks.size(); ++q)
        rte_eth_remove_rx_callback(device.ethdev, static_cast<std::uint16_t>(q), device.rx_callbacks[q]);
    for (std::size_t q = 0; q < device.tx_callbacks.size(); ++q)
        rte_eth_remove_tx_callback(device.ethdev, static_cast<std::uint16_t>(q), device.tx_callbacks[q]);
    device.rx_callbacks.clear();
    device.tx_callbacks.clear();
}

void Box::remove_device(const std::string& link) {
    Device& device = device_of(link);
    // DPDK would keep them for the next device with this port id.
    remove_callbacks(device);
    device.is_removed = true;
    const dataplane::LinkId id{static_cast<std::uint8_t>(link_index(link))};
    EXPECT_TRUE(dataplane_->remove_device(id).value_or(false));
}

std::size_t Box::link_index(const std::string& link) const {
    const auto found = std::ranges::find(settings_.links, link, &control::LinkSettings::name);
    if (found == settings_.links.end()) fail("no link " + link);
    return static_cast<std::size_t>(found - settings_.links.begin());
}

Box::Device& Box::device_of(const std::string& link) {
    return *device_of_link_[link_index(link)];
}

net::MacAddress Box::mac_of(const std::string& link) const {
    return dataplane_->links()[link_index(link)].mac;
}

std::optional<std::uint16_t> Box::vlan_of(const std::string& link) const {
    return settings_.links[link_index(link)].vlan;
}

PacketBuilder Box::to(const std::string& link) const {
    PacketBuilder frame = packet().to(mac_of(link));
    if (const auto vlan = vlan_of(link)) frame.vlan(*vlan);
    return frame;
}

std::uint16_t Box::receive(std::uint16_t, std::uint16_t queue, rte_mbuf** packets, std::uint16_t count,
                           std::uint16_t room, void* device) {
    auto& self = *static_cast<Device*>(device);
    if (self.feed) return self.feed(queue, packets, room);
    auto& waiting = self.rx[queue];
    while (count < room && !waiting.empty()) {
        packets[count++] = waiting.front();
        waiting.pop_front();
    }
    return count;
}

std::uint16_t Box::transmit(std::uint16_t, std::uint16_t queue, rte_mbuf** packets, std::uint16_t count,
                            void* device) {
    auto& self = *static_cast<Device*>(device);
    if (self.refusing != 0) {
        self.refusing -= std::min<unsigned>(self.refusing, count);
        return 0;
    }
    for (std::uint16_t i = 0; i < count; ++i) {
        const auto* data = rte_pktmbuf_mtod(packets[i], const std::uint8_t*);
        if (self.watch) {
            self.watch(queue, data);
            continue;
        }
        EXPECT_EQ(packets[i]->nb_segs, 1);
        EXPECT_EQ(packets[i]->pkt_len, packets[i]->data_len);
        Bytes bytes{data, data + packets[i]->data_len};
        const std::uint16_t vlan = tag_of(bytes);
        self.tx.push_back({vlan, Frame{std::move(bytes)}});
    }
    return count;
}

void Box::put(const std::string& link, const Bytes& frame, unsigned worker) {
    Device& device = device_of(link);
    rte_mbuf* packet = dataplane_->allocate();
    if (packet == nullptr) fail("no packet buffer left");
    auto* external = new External{frame};
    const auto buffer_bytes = static_cast<std::uint16_t>(external->bytes.buffer_bytes());
    rte_pktmbuf_attach_extbuf(packet, external->bytes.buffer(), RTE_BAD_IOVA, buffer_bytes,
                              &external->shared);
    packet->data_off = static_cast<std::uint16_t>(buffer_bytes - external->bytes.size());
    packet->data_len = static_cast<std::uint16_t>(external->bytes.size());
    packet->pkt_len = packet->data_len;
    device.rx[std::min<std::size_t>(worker, device.rx.size() - 1)].push_back(packet);
}

void Box::put_many(const std::string& link, const PacketBuilder& frame) {
    const Bytes bytes = frame.bytes();
    rte_mbuf* packet = dataplane_->allocate();
    if (packet == nullptr) fail("no packet buffer left");
    std::ranges::copy(bytes, rte_pktmbuf_append(packet, static_cast<std::uint16_t>(bytes.size())));
    device_of(link).rx.front().push_back(packet);
}

void Box::poll(unsigned worker) {
    rte_rcu_qsbr* qsbr = dataplane_->flows().qsbr();
    rte_rcu_qsbr_thread_online(qsbr, worker);
    dataplane_->workers()[worker]->poll(now_);
    rte_rcu_qsbr_quiescent(qsbr, worker);
    rte_rcu_qsbr_thread_offline(qsbr, worker);
}

void Box::run_control() {
    while (punts_->poll(clock_) != 0) {
    }
    neighbours_->tick(clock_);
    if (neighbours_->has_removed()) {
        policies_->renew_next_hops(*dataplane_);
        neighbours_->release_removed();
    }
}

void Box::settle() {
    const auto busy = [this] {
        return rte_ring_empty(dataplane_->shared().punts) == 0 ||
               std::ranges::any_of(dataplane_->shared().ports,
                                   [](const auto& p) { return rte_ring_empty(p->outbox()) == 0; }) ||
               std::ranges::any_of(devices_, [](const auto& d) {
                   return std::ranges::any_of(d->rx, [](const auto& queue) { return !queue.empty(); });
               });
    };
    do {
        for (unsigned w = 0; w < dataplane_->workers().size(); ++w) poll(w);
        run_control();
    } while (busy());
}

std::vector<Frame> Box::exchange(const std::string& in, const PacketBuilder& frame, const std::string& out,
                                 unsigned worker) {
    put(in, frame, worker);
    settle();
    return take(out);
}

std::vector<Frame> Box::take(const std::string& link) {
    const std::uint16_t vlan = vlan_of(link).value_or(0);
    auto& tx = device_of(link).tx;
    std::vector<Frame> taken;
    std::erase_if(tx, [&](Device::Sent& sent) {
        if (sent.vlan != vlan) return false;
        taken.push_back(std::move(sent.frame));
        return true;
    });
    return taken;
}

void Box::watch_transmit(const std::string& link, Watch watch) {
    device_of(link).watch = std::move(watch);
}

void Box::feed_receive(const std::string& link, Feed feed) {
    device_of(link).feed = std::move(feed);
}

void Box::start() {
    // These devices have no interrupts, and workers ask.
    rte_log_set_level_pattern("lib.ethdev", RTE_LOG_CRIT);
    if (const auto started = dataplane_->start(); !started) fail(started.error().what);
}

void Box::stop() {
    dataplane_->stop();
    rte_rcu_qsbr* qsbr = dataplane_->flows().qsbr();
    for (unsigned w = 0; w < dataplane_->workers().size(); ++w) {
        // What EAL does to wait for a worker is hidden from ThreadSanitizer; that it went offline is not.
        EXPECT_EQ(__atomic_load_n(&qsbr->qsbr_cnt[w].cnt, __ATOMIC_ACQUIRE), 0);
        rte_rcu_qsbr_thread_register(qsbr, w);
    }
    now_.cycles = std::max(now_.cycles, dataplane::Tsc::read().cycles);
}

void Box::refuse_transmit(const std::string& link, unsigned packets) {
    device_of(link).refusing = packets;
}

void Box::pass(std::chrono::milliseconds time, std::optional<unsigned> sleeping_worker) {
    for (auto left = time; left.count() > 0; left -= kStep) {
        const auto step = std::min(left, kStep);
        clock_ += step;
        now_.cycles += rte_get_tsc_hz() / 1000 * static_cast<std::uint64_t>(step.count());
        // A worker in poll mode makes many rounds in that time; housekeeping shares its work among them.
        for (unsigned w = 0; w < dataplane_->workers().size(); ++w) {
            if (w == sleeping_worker) continue;
            for (int round = 0; round < 64; ++round) poll(w);
        }
        run_control();
    }
}

void Box::unplug(const std::string& link) {
    rte_eth_dev_stop(device_of(link).ethdev);
    look_at_links();
}

void Box::plug(const std::string& link) {
    rte_eth_dev_start(device_of(link).ethdev);
    look_at_links();
    settle();
}

void Box::look_at_links() {
    clock_ += std::chrono::seconds{1};
    neighbours_->tick(clock_);
}

void Box::set_timeouts(const control::TimeoutSettings& timeouts) {
    policies_->publish_timeouts(*dataplane_, timeouts);
}

void Box::set_rules(const std::string& text) {
    auto both = control::parse_rules_and_masquerades(text, "rules");
    if (!both) fail(both.error().text());
    // The same rule keeps its id, as in the rule book.
    std::map<std::string, control::RuleId> known;
    for (const auto& [id, rule] : rules_) known.emplace(control::format_rules({rule}), id);
    control::Policies::Rules next;
    for (control::Rule& rule : both->rules) {
        const auto same = known.find(control::format_rules({rule}));
        next.emplace(same != known.end() ? same->second : next_rule_++, std::move(rule));
    }
    rules_ = std::move(next);
    control::Policies::Masquerades masquerades;
    for (control::Masquerade& masquerade : both->masquerades) {
        const auto same = std::ranges::find_if(
            masquerades_, [&](const auto& row) { return is_same(row.second, masquerade); });
        masquerades.emplace(same != masquerades_.end() ? same->first : next_rule_++, std::move(masquerade));
    }
    masquerades_ = std::move(masquerades);
    if (auto ready = policies_->prepare_rules(*dataplane_, rules_, masquerades_); !ready)
        fail(ready.error().text());
    policies_->publish_rules(*dataplane_);
    neighbours_->set_external_addresses(policies_->external_addresses(rules_, masquerades_));
}

void Box::clear_sessions() {
    dataplane::FlowTable& flows = dataplane_->flows();
    const dataplane::Dataplane::ReadSection section{*dataplane_};
    for (std::uint32_t at = 0; at < flows.position_count(); ++at) {
        const dataplane::FlowPosition id{at};
        if (flows.deadline(id).load() != dataplane::kNoSession)
            flows.condemn(id, flows.flow(id).load_state());
    }
}

std::uint64_t Box::count(Verdict verdict) const {
    const auto index = static_cast<std::size_t>(verdict);
    std::uint64_t sum = dataplane_->control_counters().verdicts[index].get();
    for (const auto& worker : dataplane_->workers()) sum += worker->counters().verdicts[index].get();
    return sum;
}

std::uint64_t Box::total(dataplane::Counter dataplane::ThreadCounters::*counter) const {
    std::uint64_t sum = (dataplane_->control_counters().*counter).get();
    for (const auto& worker : dataplane_->workers()) sum += (worker->counters().*counter).get();
    return sum;
}

void Box::expect_every_packet_accounted_for() const {
    using Counters = dataplane::ThreadCounters;
    std::uint64_t ended = total(&Counters::sent);
    for (std::size_t v = 0; v < dataplane::kVerdictCount; ++v) {
        const auto verdict = static_cast<Verdict>(v);
        if (verdict != Verdict::forward && verdict != Verdict::hold_neighbour) ended += count(verdict);
    }
    const std::uint64_t held = total(&Counters::held) - total(&Counters::released);
    EXPECT_EQ(total(&Counters::received) + total(&Counters::originated), ended + held);
    EXPECT_EQ(dataplane_->buffers_in_use(), held);
}

void Box::end_sessions() {
    clear_sessions();
    for (int seconds = 0; seconds < 60 && sessions() != 0; ++seconds) pass(std::chrono::seconds{1});
    EXPECT_EQ(sessions(), 0);
    pass(std::chrono::seconds{1});
}

void Box::expect_no_record_lost() {
    dataplane::FlowTable& flows = dataplane_->flows();
    std::uint32_t live = 0;
    std::array<std::uint32_t, dataplane::kEvictableCount> evictable{};
    for (std::uint32_t at = 0; at < flows.position_count(); ++at) {
        const dataplane::FlowPosition position{at};
        const dataplane::Flow& flow = flows.flow(position);
        const auto state = flow.load_state().state();
        if (state == dataplane::RecordState::free) continue;
        ASSERT_EQ(state, dataplane::RecordState::live) << "position " << at;
        ++live;
        if (flow.direction == dataplane::Direction::forward) {
            EXPECT_EQ(flow.session, position);
            const dataplane::Session& session = flows.session(position);
            EXPECT_EQ(flows.flow(session.reverse).session, position);
            if (const auto kind = evictable_as(session.state.load()))
                ++evictable[static_cast<std::size_t>(*kind)];
        }
    }
    EXPECT_EQ(live, flows.session_count() * 2);
    for (std::size_t kind = 0; kind < evictable.size(); ++kind)
        EXPECT_EQ(evictable[kind], flows.evictable_count(static_cast<dataplane::Evictable>(kind)));
    EXPECT_EQ(flows.key_count_in_use(), live);
}

}  // namespace fwd::test
