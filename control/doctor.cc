// SPDX-License-Identifier: BSD-3-Clause
#include "control/doctor.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <set>
#include <system_error>
#include <utility>

#include "control/files.h"
#include "control/rule_book.h"
#include "control/rule_store.h"
#include "control/text.h"
#include "control/topology.h"

namespace fwd::control {
namespace {

using Findings = std::vector<Finding>;

std::string_view text_of(Health health) {
    switch (health) {
        case Health::ok:
            return "ok";
        case Health::warning:
            return "warning";
        case Health::error:
            return "error";
    }
    return "";
}

std::set<std::string> devices_of(const Settings& settings) {
    std::set<std::string> devices;
    for (const LinkSettings& link : settings.links)
        devices.insert(is_pci_address(link.device) ? full_pci_address(link.device) : link.device);
    return devices;
}

void check_hugepages(const Settings& settings, const Needs& needs, const Machine& machine,
                     Findings& findings) {
    const std::size_t mb = needs.hugepage_bytes >> 20U;
    if (!settings.hugepages) {
        findings.push_back({"hugepages",
                            {},
                            Health::warning,
                            "the configuration wants none: packets cost more time",
                            "hugepages = true;"});
        return;
    }
    const std::size_t free = machine.free_hugepage_bytes();
    Finding finding{
        "hugepages", {}, Health::ok, fmt::format("{} MB are free, {} MB wanted", free >> 20U, mb), {}};
    if (free < needs.hugepage_bytes) {
        const std::size_t page = std::max<std::size_t>(machine.hugepage_bytes(), std::size_t{1} << 20U);
        finding.health = Health::warning;
        finding.found += ": fwdd would use ordinary memory, which is slower (or a running one has them)";
        finding.remedy = fmt::format("echo vm.nr_hugepages={} >/etc/sysctl.d/fwd.conf && sysctl --system",
                                     needs.hugepage_bytes / page + 1);
    }
    findings.push_back(std::move(finding));
}

Finding check_driver(const std::string& device, const std::string& driver) {
    Finding finding{"driver", device, Health::ok, driver, {}};
    if (driver == "vfio-pci" || is_bifurcated(driver)) return finding;
    if (driver == "igb_uio" || driver == "uio_pci_generic") {
        finding.health = Health::warning;
        finding.found += ": without an IOMMU, and for root alone";
    } else if (driver.empty()) {
        finding.health = Health::error;
        finding.found = "none";
    } else {
        finding.health = Health::error;
        finding.found += ": the kernel has this card";
    }
    finding.remedy = fmt::format("fwdctl bind {0}; for every boot: systemctl enable fwd-bind@{0}", device);
    return finding;
}

/// Whether a card's memory accesses are kept within what is fwdd's.
Finding check_iommu(const std::string& device, const Machine& machine) {
    Finding finding{"iommu", device, Health::ok, {}, {}};
    const std::string group = machine.link(fmt::format("{}{}/iommu_group", kPciDevices, device));
    if (group.empty()) {
        const bool unsafe = machine.line("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode") == "Y";
        finding.health = unsafe ? Health::warning : Health::error;
        finding.found = unsafe ? "none, and vfio is told to do without: the card can write to all memory"
                               : "none: vfio-pci takes no card without";
        finding.remedy =
            "switch VT-d or AMD-Vi on in the firmware; intel_iommu=on iommu=pt on the kernel's command line";
        return finding;
    }
    finding.found = "group " + group;
    for (const Machine::GroupMember& other : machine.hindering_in_group(device)) {
        finding.health = Health::error;
        finding.found += fmt::format(", which {} is in with driver {}", other.address, other.driver);
        finding.remedy += (finding.remedy.empty() ? "" : "; ") + other.remedy;
    }
    return finding;
}

void check_numa(const std::string& device, const Needs& needs, const Machine& machine, Findings& findings) {
    const std::string text = machine.line(fmt::format("{}{}/numa_node", kPciDevices, device));
    std::vector<unsigned> far;
    for (const unsigned core : needs.worker_cores) {
        const auto node = machine.node_of_core(core);
        if (node && !text.starts_with('-') && !text.empty() && std::to_string(*node) != text)
            far.push_back(core);
    }
    Finding finding{
        "numa", device, Health::ok, text.empty() || text.starts_with('-') ? "one node" : "node " + text, {}};
    if (!far.empty()) {
        finding.health = Health::warning;
        finding.found += fmt::format(", and worker core(s) {} are not", fmt::join(far, ", "));
        finding.remedy =
            fmt::format("workers = [ ... ]; with cores of /sys/devices/system/node/node{}/cpulist", text);
    }
    findings.push_back(std::move(finding));
}

void check_devices(const Settings& settings, const Needs& needs, const Machine& machine, Findings& findings) {
    for (const std::string& device : devices_of(settings)) {
        if (is_pci_address(device)) {
            if (!machine.exists(fmt::format("{}{}", kPciDevices, device))) {
                findings.push_back({"driver", device, Health::error, "no such card",
                                    "lspci -D shows the addresses of those that there are"});
                continue;
            }
            const std::string driver = machine.link(fmt::format("{}{}/driver", kPciDevices, device));
            findings.push_back(check_driver(device, driver));
            if (!is_bifurcated(driver)) findings.push_back(check_iommu(device, machine));
            check_numa(device, needs, machine, findings);
            continue;
        }
        const auto interface = kernel_interface(device);
        if (!interface) {
            findings.push_back({"driver", device, Health::ok, "a virtual device", {}});
            continue;
        }
        const std::string flags = machine.line("/sys/class/net/" + *interface + "/flags");
        const bool up = !flags.empty() && (std::stoul(flags, nullptr, 16) & 1U) != 0;
        if (flags.empty()) {
            findings.push_back({"driver", device, Health::error, "the kernel has no interface " + *interface,
                                "ip link shows those that there are"});
        } else if (!up) {
            findings.push_back({"driver", device, Health::warning, *interface + " is down",
                                fmt::format("ip link set {} up", *interface)});
        } else {
            findings.push_back({"driver", device, Health::ok, *interface + " is up", {}});
        }
    }
}

void check_cores(const Needs& needs, const Machine& machine, Findings& findings) {
    const std::vector<unsigned> isolated = machine.cores("/sys/devices/system/cpu/isolated");
    for (const unsigned core : needs.worker_cores) {
        const std::string subject = fmt::format("core {}", core);
        const bool alone = std::ranges::find(isolated, core) != isolated.end();
        findings.push_back(
            {"isolation", subject, alone ? Health::ok : Health::warning,
             alone ? "only for its worker" : "the kernel runs other things there, too",
             alone ? std::string{}
                   : fmt::format("isolcpus={0} nohz_full={0} rcu_nocbs={0} on the kernel's command line",
                                 fmt::join(needs.worker_cores, ","))});
        const std::string governor =
            machine.line(fmt::format("/sys/devices/system/cpu/cpu{}/cpufreq/scaling_governor", core));
        const bool fast = governor.empty() || governor == "performance";
        findings.push_back(
            {"governor", subject, fast ? Health::ok : Health::warning,
             governor.empty() ? "the kernel changes no clock here" : governor,
             fast ? std::string{}
                  : fmt::format("cpupower --cpu {} frequency-set --governor performance", core)});
    }
}

void check_socket(const Settings& settings, const Machine& machine, Findings& findings) {
    const std::string path = settings.socket.string();
    const auto group = machine.group_id("fwd");
    if (!group) {
        findings.push_back({"socket", path, Health::warning,
                            "there is no group fwd: fwdctl is for root and fwdd's user",
                            "groupadd --system fwd"});
        return;
    }
    struct stat status {};
    if (::stat(machine.path(path).c_str(), &status) != 0) {
        findings.push_back({"socket", path, Health::ok, "not there yet; it will be of group fwd", {}});
        return;
    }
    const unsigned mode = status.st_mode & 07777U;
    const bool good = S_ISSOCK(status.st_mode) && status.st_gid == *group && mode == 0660;
    Finding finding{
        "socket",
        path,
        good ? Health::ok : Health::warning,
        fmt::format("mode {:04o}, {}", mode, status.st_gid == *group ? "group fwd" : "not of group fwd"),
        {}};
    if (!S_ISSOCK(status.st_mode)) {
        finding.health = Health::error;
        finding.found = "not a socket";
        finding.remedy = fmt::format("rm {}", path);
    } else if (!good) {
        finding.remedy = fmt::format("chgrp fwd {0} && chmod 660 {0}", path);
    }
    findings.push_back(std::move(finding));
}

/// What the kernel needs for its part of a link.
void check_host(const Settings& settings, const Machine& machine, Findings& findings) {
    const auto has_host = [](const LinkSettings& link) { return !link.host.empty(); };
    if (std::ranges::none_of(settings.links, has_host)) return;
    const bool tun = machine.exists("/dev/net/tun");
    findings.push_back({"host-interface", "/dev/net/tun", tun ? Health::ok : Health::error,
                        tun ? "there" : "missing: the kernel can have no interface on a link",
                        tun ? std::string{} : "modprobe tun"});
    const std::string range = machine.line("/proc/sys/net/ipv4/ip_local_port_range");
    unsigned first = 0;
    unsigned last = 0;
    if (std::sscanf(range.c_str(), "%u %u", &first, &last) == 2) {
        const bool apart = last < settings.outbound_port_first || first > settings.outbound_port_last;
        const bool below = settings.outbound_port_first > 16384;
        findings.push_back(
            {"host-ports",
             {},
             apart ? Health::ok : Health::warning,
             fmt::format("the kernel opens connections from {} to {}, masquerades from {} to {}", first, last,
                         settings.outbound_port_first, settings.outbound_port_last),
             apart ? std::string{}
             : settings.outbound_port_first <= 16384 && settings.outbound_port_last > 60000
                 ? std::string{"outbound_ports = \"32768-65535\"; in the configuration, and look again"}
                 : fmt::format("sysctl -w net.ipv4.ip_local_port_range='{} {}'",
                               below ? 10240 : settings.outbound_port_last + 1,
                               below ? settings.outbound_port_first - 1 : 65535)});
    }
    for (const LinkSettings& link : settings.links) {
        const auto interface = kernel_interface(link.device);
        if (!has_host(link) || !link.device.starts_with("net_af_packet") || !interface) continue;
        findings.push_back(
            {"host-device", *interface, Health::warning,
             fmt::format("the kernel takes what comes for link {} there as well, listed or not", link.name),
             fmt::format(
                 "nft add table netdev fwd && nft 'add chain netdev fwd {0} {{ type filter hook ingress "
                 "device {0} priority 0; policy drop; }}', if nothing does it yet",
                 *interface)});
    }
}

/// What fwdctl has added, and is none of the configuration's.
struct Durable {
    std::vector<Rule> rules;
    std::vector<Masquerade> masquerades;
    std::string misfit;  ///< why fwdd would not start with them; empty: it would
};

/// Gone with this object.
struct ScratchDirectory {
    std::filesystem::path path;

    ScratchDirectory() = default;
    ScratchDirectory(const ScratchDirectory&) = delete;
    ScratchDirectory& operator=(const ScratchDirectory&) = delete;
    ~ScratchDirectory() {
        std::error_code ignored;
        if (!path.empty()) std::filesystem::remove_all(path, ignored);
    }
    Result<void> make() {
        std::error_code code;
        std::string name = std::filesystem::temp_directory_path(code) / "fwd-check-XXXXXX";
        if (::mkdtemp(name.data()) == nullptr) return system_error("cannot make the directory " + name);
        path = name;
        return {};
    }
};

/// Of a copy, since a running fwdd has the database for itself, and nothing is to be changed here.
Result<Durable> read_durable(const Settings& settings, const std::filesystem::path& directory) {
    const std::filesystem::path file = directory / "rules.db";
    std::error_code code;
    if (!std::filesystem::exists(file, code)) {
        if (code) return system_error("cannot look at it", code.value());
        return Durable{};
    }
    ScratchDirectory copy;
    if (auto ok = copy.make(); !ok) return tl::unexpected(ok.error());
    // The log first: what gets from there into the database meanwhile does no harm twice. (If a new log has
    // begun as well, rules may be looked at as they were before.)
    const std::filesystem::path log = file.string() + "-wal";
    if (std::filesystem::exists(log, code)) std::filesystem::copy_file(log, copy.path / log.filename(), code);
    if (!code) std::filesystem::copy_file(file, copy.path / file.filename(), code);
    if (code) return system_error("cannot read it", code.value());
    auto store = RuleStore::open(copy.path);
    if (!store) return unavailable(store.error().message);
    Durable durable;
    return (*store)
        ->load()
        .and_then([&](std::vector<Rule> rules) {
            durable.rules = std::move(rules);
            return (*store)->load_masquerades();
        })
        .map([&](std::vector<Masquerade> masquerades) {
            durable.masquerades = std::move(masquerades);
            const auto book = RuleBook::open(Topology{settings.links, settings.routes, settings.neighbours},
                                             std::move(*store), settings.rules, settings.masquerades);
            if (!book) durable.misfit = book.error().message;
            if (const auto at = durable.misfit.find(copy.path.string()); at != std::string::npos)
                durable.misfit.replace(at, copy.path.string().size(), directory.string());
            return std::move(durable);
        });
}

/// An address that the kernel has as well is answered twice: by fwd and by the kernel.
void check_addresses(const Settings& settings, const Machine& machine, Findings& findings) {
    const std::vector<std::string> kernels = machine.own_addresses();
    std::set<std::pair<std::string, std::string>> clashes;
    const auto look = [&](const std::string& address, const std::string& what) {
        if (std::ranges::binary_search(kernels, address)) clashes.emplace(address, what);
    };
    const auto look_at_all = [&](const std::vector<Rule>& rules, const std::vector<Masquerade>& masquerades) {
        for (const Rule& rule : rules)
            look(to_text(rule.external.address), "the external address of rule " + rule.name);
        for (const Masquerade& masquerade : masquerades) {
            for (const auto& address : masquerade.pool)
                look(to_text(address), "in the pool of masquerade " + masquerade.name);
        }
    };
    for (const LinkSettings& link : settings.links) {
        if (!link.host.empty()) continue;  // the kernel is to have them
        for (const auto& own : link.addresses)
            look(to_text(own.address), "an own address of link " + link.name);
    }
    look_at_all(settings.rules, settings.masquerades);
    const auto durable = read_durable(settings, machine.path(settings.state_directory.string()));
    if (durable) {
        look_at_all(durable->rules, durable->masquerades);
        if (!durable->misfit.empty())
            findings.push_back(
                {"rules", {}, Health::error, durable->misfit, "either of these, before fwd starts"});
    } else {
        findings.push_back(
            {"addresses", (settings.state_directory / "rules.db").string(), Health::warning,
             "the addresses of rules that fwdctl has added are unknown: " + durable.error().text(),
             "have a look as root, or as the user that fwdd runs as"});
    }
    for (const auto& [address, what] : clashes) {
        findings.push_back(
            {"addresses", address, Health::error, what + ", and the kernel's as well",
             fmt::format("another address for fwd, or: ip address delete {} dev ...", address)});
    }
    if (clashes.empty() && durable)
        findings.push_back({"addresses", {}, Health::ok, "none is the kernel's", {}});
}

}  // namespace

std::vector<Finding> examine(const Settings& settings, const Needs& needs, const Machine& machine) {
    Findings findings;
    check_hugepages(settings, needs, machine, findings);
    check_devices(settings, needs, machine, findings);
    check_cores(needs, machine, findings);
    check_socket(settings, machine, findings);
    check_addresses(settings, machine, findings);
    check_host(settings, machine, findings);
    return findings;
}

bool has_error(const std::vector<Finding>& findings) {
    return std::ranges::find(findings, Health::error, &Finding::health) != findings.end();
}

std::string to_text(const std::vector<Finding>& findings) {
    std::string text;
    for (const Finding& finding : findings) {
        const std::string subject = finding.subject.empty() ? "" : ' ' + finding.subject;
        text +=
            fmt::format("{:<7}  {}{}: {}\n", text_of(finding.health), finding.check, subject, finding.found);
        if (!finding.remedy.empty()) text += fmt::format("{:<7}    remedy: {}\n", "", finding.remedy);
    }
    return text;
}

nlohmann::json to_json(const std::vector<Finding>& findings) {
    nlohmann::json rows = nlohmann::json::array();
    for (const Finding& finding : findings) {
        rows.push_back({{"check", finding.check},
                        {"subject", finding.subject},
                        {"status", text_of(finding.health)},
                        {"found", finding.found},
                        {"remedy", finding.remedy}});
    }
    return {{"checks", std::move(rows)}, {"error", has_error(findings)}};
}

}  // namespace fwd::control
