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
#include <fstream>
#include <set>

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

std::size_t free_hugepage_bytes() {
    std::ifstream meminfo{"/proc/meminfo"};
    std::string key;
    std::string unit;
    std::size_t value = 0;
    std::size_t pages = 0;
    std::size_t page_kb = 0;
    while (meminfo >> key >> value) {
        std::getline(meminfo, unit);
        if (key == "HugePages_Free:") pages = value;
        if (key == "Hugepagesize:") page_kb = value;
    }
    return pages * page_kb * 1024;
}

bool is_pci_address(const std::string& device) {
    return device.find(':') != std::string::npos && device.find(',') == std::string::npos &&
           device.find_first_not_of("0123456789abcdefABCDEF:.") == std::string::npos;
}

/// "net_tap0,iface=t0" -> "net_tap0"; a PCI address in full, as EAL names it.
std::string ethdev_name(const std::string& device) {
    if (!is_pci_address(device)) return device.substr(0, device.find(','));
    return std::ranges::count(device, ':') == 1 ? "0000:" + device : device;
}

}  // namespace

Result<Eal> start_eal(const Settings& settings) {
    const std::vector<unsigned> allowed = allowed_cores();
    auto cores = choose_worker_cores(settings, allowed);
    if (!cores) return tl::unexpected(cores.error());
    if (__builtin_cpu_supports("aes") == 0)
        return unavailable("this CPU has no AES instructions, which fwd needs");

    Eal eal;
    eal.worker_cores = *cores;
    std::uint16_t mtu = 0;
    bool ipv6 = false;
    std::set<std::string> devices;
    for (const LinkSettings& link : settings.links) {
        mtu = std::max(mtu, link.mtu);
        for (const auto& own : link.addresses) ipv6 = ipv6 || !own.address.is_v4();
        devices.insert(link.device);
    }
    const auto ports = static_cast<unsigned>(devices.size());
    const auto workers = static_cast<unsigned>(cores->size());
    eal.memory_bytes =
        dataplane::Dataplane::memory_bytes(settings.sessions, settings.mappings, ports, workers, mtu, ipv6);
    // EAL's allocator needs room to align and to keep its own books.
    const std::size_t wanted = eal.memory_bytes + eal.memory_bytes / 8 + (std::size_t{64} << 20U);
    eal.hugepages = settings.hugepages && free_hugepage_bytes() >= wanted;
    if (settings.hugepages && !eal.hugepages) {
        spdlog::warn(
            "{} MB of free hugepages wanted, {} MB are there: using ordinary memory, which is slower "
            "(sysctl vm.nr_hugepages={} would do)",
            wanted >> 20U, free_hugepage_bytes() >> 20U, (wanted >> 21U) + 1);
    }

    // Lcore 0 is control and floats over all cores, so it can share one with a worker.
    std::string lcores = fmt::format("0@({})", fmt::join(allowed, ","));
    for (unsigned w = 0; w < workers; ++w) {
        lcores += fmt::format(",{}@{}", w + 1, (*cores)[w]);
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
    for (const std::string& device : devices) {
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
                fmt::format("got '{}', want the PCI address of a NIC that is bound to DPDK, or a vdev string "
                            "such as 'net_af_packet0,iface=eth1'",
                            link.device));
        }
        eal.ethdevs.push_back(id);
    }
    return eal;
}

void stop_eal() {
    rte_eal_cleanup();
}

}  // namespace fwd::control
