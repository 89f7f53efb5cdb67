// SPDX-License-Identifier: BSD-3-Clause
// Which devices have gone: cards that are pulled out, unbound or taken from a virtual machine, and interfaces
// of the kernel's that are deleted, or moved to another namespace, under a device that uses them.
//
// Three ways to hear of it, since no driver of DPDK 22.11 has all:
// - VFIO asks for a card that it is to give back; EAL hands that on as RTE_DEV_EVENT_REMOVE. Until the card
//   is closed, or the process ends, whoever wants it waits, and it works.
// - Drivers that share a card with the kernel (mlx5, netvsc) say RTE_ETH_EVENT_INTR_RMV.
// - af_packet, af_xdp and tap say nothing, but know the interface's index, which the kernel has no more.
// EAL's handler of SIGBUS stays off: for a card behind VFIO it would come back to the same access for ever.
#pragma once

#include <rte_dev.h>
#include <rte_ethdev.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace fwd::control {

class DeviceWatch {
 public:
    /// @param ethdevs DPDK's port ids; one may be there several times
    explicit DeviceWatch(const std::vector<std::uint16_t>& ethdevs);
    ~DeviceWatch();
    DeviceWatch(const DeviceWatch&) = delete;
    DeviceWatch& operator=(const DeviceWatch&) = delete;

    /// Those that have gone since the last call. Cheap enough for several times a second.
    std::vector<std::uint16_t> take_gone();

 private:
    struct Device {
        std::uint16_t ethdev = 0;
        std::string name;          ///< EAL's
        unsigned interface = 0;    ///< the kernel's index; 0: it has none
        std::atomic<bool> gone{};  ///< as DPDK has said, on a thread of its own
        bool is_taken = false;
    };
    static void on_device_event(const char* device, rte_dev_event_type event, void* self);
    static int on_port_event(std::uint16_t ethdev, rte_eth_event_type event, void* self, void* result);

    std::vector<std::unique_ptr<Device>> devices_;  ///< the same ones from beginning to end
};

}  // namespace fwd::control
