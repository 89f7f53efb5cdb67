// SPDX-License-Identifier: BSD-3-Clause
#define ALLOW_EXPERIMENTAL_API  // rte_dev_event_callback_register() is, since DPDK 18.08
#include "control/device_watch.h"

#include <net/if.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <set>

namespace fwd::control {
namespace {

bool has_gone(unsigned interface) {
    std::array<char, IF_NAMESIZE> name{};
    return interface != 0 && if_indextoname(interface, name.data()) == nullptr && errno == ENXIO;
}

}  // namespace

DeviceWatch::DeviceWatch(const std::vector<std::uint16_t>& ethdevs) {
    for (const std::uint16_t ethdev : std::set(ethdevs.begin(), ethdevs.end())) {
        auto device = std::make_unique<Device>();
        device->ethdev = ethdev;
        rte_eth_dev_info info{};
        if (rte_eth_dev_info_get(ethdev, &info) == 0) {
            // In a container it may be another namespace's from the beginning.
            if (!has_gone(info.if_index)) device->interface = info.if_index;
            if (info.device != nullptr) device->name = rte_dev_name(info.device);
        }
        devices_.push_back(std::move(device));
    }
    // For all devices: to unregister one by its name takes those of all others away with it (DPDK 22.11).
    if (rte_dev_event_callback_register(nullptr, on_device_event, this) != 0 ||
        rte_eth_dev_callback_register(RTE_ETH_ALL, RTE_ETH_EVENT_INTR_RMV, on_port_event, this) != 0)
        spdlog::error("no memory to watch for cards that are removed");
}

DeviceWatch::~DeviceWatch() {
    // One that is just being called is not unregistered.
    while (rte_dev_event_callback_unregister(nullptr, on_device_event, this) == -EAGAIN) {
    }
    while (rte_eth_dev_callback_unregister(RTE_ETH_ALL, RTE_ETH_EVENT_INTR_RMV, on_port_event, this) ==
           -EAGAIN) {
    }
}

std::vector<std::uint16_t> DeviceWatch::take_gone() {
    std::vector<std::uint16_t> gone;
    for (const auto& device : devices_) {
        if (device->is_taken) continue;
        device->is_taken = device->gone.load(std::memory_order_relaxed) || has_gone(device->interface);
        if (device->is_taken) gone.push_back(device->ethdev);
    }
    return gone;
}

void DeviceWatch::on_device_event(const char* name, rte_dev_event_type event, void* self) {
    if (event != RTE_DEV_EVENT_REMOVE || name == nullptr) return;
    for (const auto& device : static_cast<DeviceWatch*>(self)->devices_) {
        if (device->name == name) device->gone.store(true, std::memory_order_relaxed);
    }
}

int DeviceWatch::on_port_event(std::uint16_t ethdev, rte_eth_event_type /*event*/, void* self,
                               void* /*result*/) {
    for (const auto& device : static_cast<DeviceWatch*>(self)->devices_) {
        if (device->ethdev == ethdev) device->gone.store(true, std::memory_order_relaxed);
    }
    return 0;
}

}  // namespace fwd::control
