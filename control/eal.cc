// SPDX-License-Identifier: BSD-3-Clause
#include "control/eal.h"

#include <fmt/format.h>
#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <sched.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <set>

#include "control/machine.h"
#include "dataplane/dataplane.h"

namespace fwd::control {
namespace {

/// The cores that this process may run on.
std::vector<unsigned> allowed_cores() {
    cpu_set_t set;
    CPU_ZERO(&set);
    std::vector<unsigned> cores;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return {0};
    for (unsigned core = 0; core < CPU_SETSIZE; ++core) {
        if (CPU_ISSET(core, &set)) cores.push_back(core);
    }
    return cores;
}

Result<std::vector<unsigned>> choose_worker_cores(const Settings& settings,
                                                  const std::vector<unsigned>& allowed) {
    if (const auto* named = std::get_if<std::vector<unsigned>>(&settings.workers)) {
        for (const unsigned core : *named) {
            if (std::ranges::find(allowed, core) == allowed.end()) {
                return invalid("workers", fmt::format("got core {}, want cores that fwdd may run on: {}",
                                                      core, fmt::join(allowed, ", ")));
            }
        }
        return *named;
    }
    // From the last core down: the first ones tend to serve interrupts.
    const unsigned count = std::get<unsigned>(settings.workers);
    if (count > allowed.size()) {
        return invalid("workers",
                       fmt::format("got {}, want at most one for each core that fwdd may run on: {}", count,
                                   allowed.size()));
    }
    return std::vector<unsigned>(allowed.end() - count, allowed.end());
}

/// "net_tap0,iface=t0" -> "net_tap0"; a PCI address in full, as EAL names it.
std::string ethdev_name(const std::string& device) {
    return is_pci_address(device) ? full_pci_address(device) : device.substr(0, device.find(','));
}

/// What keeps EAL from finding a device, if it is not there at all: ", which no card has".
std::string absence_of(const std::string& device, const Machine& machine) {
    if (is_pci_address(device)) {
        const bool there = machine.exists("/sys/bus/pci/devices/" + full_pci_address(device));
        return there ? "" : ", which no card has (fwdctl devices shows those that there are)";
    }
    const auto interface = kernel_interface(device);
    const bool there = !interface || machine.exists("/sys/class/net/" + *interface);
    return there ? "" : fmt::format(", and the kernel has no interface {}", *interface);
}

std::set<std::string> devices_of(const Settings& settings) {
    std::set<std::string> devices;
    for (const LinkSettings& link : settings.links) devices.insert(link.device);
    return devices;
}

}  // namespace

Result<Needs> needs_of(const Settings& settings) {
    auto cores = choose_worker_cores(settings, allowed_cores());
    if (!cores) return tl::unexpected(cores.error());
    std::uint16_t mtu = 0;
    bool ipv6 = false;
    for (const LinkSettings& link : settings.links) {
        mtu = std::max(mtu, link.mtu);
        for (const auto& own : link.addresses) ipv6 = ipv6 || !own.address.is_v4();
    }
    const auto ports = static_cast<unsigned>(devices_of(settings).size());
    const auto workers = static_cast<unsigned>(cores->size());
    const std::size_t bytes =
        dataplane::Dataplane::memory_bytes(settings.sessions, settings.mappings, ports, workers, mtu, ipv6);
    // EAL's allocator needs room to align and to keep its own books.
    return Needs{.worker_cores = std::move(*cores),
                 .memory_bytes = bytes,
                 .hugepage_bytes = bytes + bytes / 8 + (std::size_t{64} << 20U)};
}

Result<Eal> start_eal(const Settings& settings) {
    const auto needs = needs_of(settings);
    if (!needs) return tl::unexpected(needs.error());
    if (__builtin_cpu_supports("aes") == 0)
        return unavailable("this CPU has no AES instructions, which fwd needs");

    Eal eal;
    eal.worker_cores = needs->worker_cores;
    eal.memory_bytes = needs->memory_bytes;
    const std::size_t wanted = needs->hugepage_bytes;
    const std::size_t free = Machine{}.free_hugepage_bytes();
    eal.hugepages = settings.hugepages && free >= wanted;
    if (settings.hugepages && !eal.hugepages) {
        spdlog::warn(
            "{} MB of free hugepages wanted, {} MB are there: using ordinary memory, which is slower "
            "(sysctl vm.nr_hugepages={} would do)",
            wanted >> 20U, free >> 20U, (wanted >> 21U) + 1);
    }

    // Lcore 0 is control and floats over all cores, so it can share one with a worker.
    std::string lcores = fmt::format("0@({})", fmt::join(allowed_cores(), ","));
    for (unsigned w = 0; w < eal.worker_cores.size(); ++w) {
        lcores += fmt::format(",{}@{}", w + 1, eal.worker_cores[w]);
        eal.worker_lcores.push_back(w + 1);
    }
    std::vector<std::string> arguments{"fwdd",           "--lcores",           lcores, "--main-lcore", "0",
                                       "--no-telemetry", "--log-level=warning"};
    if (eal.hugepages) {
        arguments.insert(arguments.end(), {"--in-memory", "--single-file-segments"});
    } else {
        arguments.insert(arguments.end(), {"--no-huge", "--no-shconf", "-m",
                                           std::to_string((wanted >> 20U) + 1), "--file-prefix", "fwd"});
    }
    bool pci = false;
    for (const std::string& device : devices_of(settings)) {
        pci = pci || is_pci_address(device);
        arguments.insert(arguments.end(), {is_pci_address(device) ? "--allow" : "--vdev", device});
    }
    if (!pci) arguments.emplace_back("--no-pci");

    std::vector<char*> argv;
    argv.reserve(arguments.size());
    for (std::string& argument : arguments) argv.push_back(argument.data());
    if (rte_eal_init(static_cast<int>(argv.size()), argv.data()) < 0) {
        return unavailable(
            fmt::format("DPDK does not start: {} (its own messages stand above; arguments: {})",
                        rte_strerror(rte_errno), fmt::join(arguments, " ")));
    }
    for (std::size_t i = 0; i < settings.links.size(); ++i) {
        const LinkSettings& link = settings.links[i];
        std::uint16_t id = 0;
        if (rte_eth_dev_get_port_by_name(ethdev_name(link.device).c_str(), &id) != 0) {
            return invalid(
                fmt::format("links[{}].device", i),
                fmt::format(
                    "got '{}'{}, want the PCI address of a NIC that is bound to DPDK, or a vdev string "
                    "such as 'net_af_packet0,iface=eth1'",
                    link.device, absence_of(link.device, Machine{})));
        }
        eal.ethdevs.push_back(id);
    }
    return eal;
}

std::vector<std::string> drivers_in_use() {
    std::vector<std::string> drivers;
    for (std::uint16_t id = rte_eth_find_next(0); id < RTE_MAX_ETHPORTS; id = rte_eth_find_next(id + 1)) {
        rte_eth_dev_info device{};
        if (rte_eth_dev_info_get(id, &device) == 0 && device.driver_name != nullptr)
            drivers.emplace_back(device.driver_name);
    }
    return drivers;
}

bool uses_physical_addresses() {
    return rte_eal_has_hugepages() != 0 && rte_eal_iova_mode() == RTE_IOVA_PA;
}

void stop_eal() {
    rte_eal_cleanup();
}

}  // namespace fwd::control
