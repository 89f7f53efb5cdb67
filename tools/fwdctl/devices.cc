// SPDX-License-Identifier: BSD-3-Clause
#include "tools/fwdctl/devices.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <charconv>
#include <fstream>
#include <map>
#include <sstream>

#include "control/files.h"
#include "tools/fwdctl/table.h"

namespace fwd::fwdctl {
namespace {

using control::Error;
using control::ErrorKind;
using control::Json;
using control::Machine;
using control::Result;

constexpr std::string_view kDevices = "/sys/bus/pci/devices/";
constexpr std::string_view kDrivers = "/sys/bus/pci/drivers/";
constexpr std::string_view kNetworkClass = "0x02";  // of PCI, its first byte
constexpr unsigned kEstablished = 1;                // TCP_ESTABLISHED of the kernel
constexpr unsigned kSshPort = 22;

std::uint32_t hex(std::string_view text) {
    std::uint32_t value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value, 16);
    return value;
}

/// A route of the kernel, in the byte order in which /proc writes addresses.
struct Route {
    std::string interface;
    std::uint32_t destination;
    std::uint32_t mask;
};

std::vector<Route> routes(const Machine& machine) {
    std::ifstream file{machine.path("/proc/net/route")};
    std::string line;
    std::getline(file, line);  // titles
    std::vector<Route> routes;
    while (std::getline(file, line)) {
        std::istringstream fields{line};
        std::string interface, destination, gateway, flags, references, use, metric, mask;
        fields >> interface >> destination >> gateway >> flags >> references >> use >> metric >> mask;
        routes.push_back({interface, hex(destination), hex(mask)});
    }
    return routes;
}

/// The other ends of sessions with this machine's sshd, of IPv4, which sockets of IPv6 take as well.
std::vector<std::uint32_t> ssh_peers(const Machine& machine) {
    constexpr std::size_t kIpv4Digits = 8;
    constexpr std::string_view kMapped = "0000000000000000FFFF0000";
    std::vector<std::uint32_t> peers;
    for (const char* file : {"/proc/net/tcp", "/proc/net/tcp6"}) {
        std::ifstream tcp{machine.path(file)};
        for (std::string line; std::getline(tcp, line);) {
            std::istringstream fields{line};
            std::string number, local, remote, state;
            fields >> number >> local >> remote >> state;
            const std::size_t colon = local.find(':');
            if (hex(state) != kEstablished || colon == std::string::npos || remote.size() <= colon ||
                hex(std::string_view{local}.substr(colon + 1)) != kSshPort) {
                continue;
            }
            const std::string_view address = std::string_view{remote}.substr(0, colon);
            if (colon == kIpv4Digits || address.starts_with(kMapped))
                peers.push_back(hex(address.substr(colon - kIpv4Digits)));
        }
    }
    return peers;
}

/// What each interface is needed for by the machine itself.
std::map<std::string, std::string> uses(const Machine& machine) {
    std::map<std::string, std::string> uses;
    const std::vector<Route> all = routes(machine);
    for (const Route& route : all) {
        if (route.mask == 0) uses[route.interface] = "default route";
    }
    std::ifstream ipv6{machine.path("/proc/net/ipv6_route")};
    for (std::string line; std::getline(ipv6, line);) {
        std::istringstream fields{line};
        std::string destination, length, word, interface;
        fields >> destination >> length;
        while (fields >> word) interface = word;
        if (length == "00" && interface != "lo") uses[interface] = "default route";
    }
    // Sessions with this machine's sshd leave by the most specific route to the other end.
    for (const std::uint32_t peer : ssh_peers(machine)) {
        const Route* best = nullptr;
        for (const Route& route : all) {
            if ((peer & route.mask) != route.destination) continue;
            if (best == nullptr || std::popcount(route.mask) > std::popcount(best->mask)) best = &route;
        }
        if (best == nullptr) continue;
        std::string& use = uses[best->interface];
        if (use.find("ssh") == std::string::npos) use += use.empty() ? "ssh session" : ", ssh session";
    }
    // Bridges, bonds and VLANs take their packets to others.
    std::vector<std::string> above;
    for (const auto& [interface, use] : uses) above.push_back(interface);
    while (!above.empty()) {
        const std::string upper = above.back();
        above.pop_back();
        for (const std::string& name : machine.names("/sys/class/net/" + upper)) {
            if (!name.starts_with("lower_")) continue;
            const std::string lower = name.substr(6);
            if (uses.emplace(lower, uses.at(upper)).second) above.push_back(lower);
        }
    }
    return uses;
}

/// Also of a virtio card, whose interface is one level below.
std::vector<std::string> interfaces_of(const Machine& machine, const std::string& address) {
    const std::string device = std::string{kDevices} + address;
    std::vector<std::string> names = machine.names(device + "/net");
    for (const std::string& below : machine.names(device)) {
        if (!below.starts_with("virtio")) continue;
        for (const std::string& name : machine.names(fmt::format("{}/{}/net", device, below)))
            names.push_back(name);
    }
    return names;
}

Card card(const Machine& machine, const std::string& address,
          const std::map<std::string, std::string>& uses) {
    const std::string device = std::string{kDevices} + address;
    const auto id = [&](const char* file) {
        const std::string text = machine.line(device + file);
        return text.starts_with("0x") ? text.substr(2) : text;
    };
    Card card;
    card.address = address;
    card.id = id("/vendor") + ':' + id("/device");
    card.driver = machine.link(device + "/driver");
    card.interfaces = interfaces_of(machine, address);
    const std::string node = machine.line(device + "/numa_node");
    int number = 0;
    if (std::from_chars(node.data(), node.data() + node.size(), number).ec == std::errc{} && number >= 0)
        card.node = number;
    for (const std::string& interface : card.interfaces) {
        card.link = machine.line("/sys/class/net/" + interface + "/carrier") == "1" ? "up" : "down";
        if (const auto use = uses.find(interface); use != uses.end())
            card.used_by = fmt::format("{} of {}", use->second, interface);
    }
    return card;
}

std::string or_dash(const std::string& text) {
    return text.empty() ? "-" : text;
}

Result<Card> find_card(const Machine& machine, const std::string& address) {
    const std::vector<Card> all = cards(machine);
    const auto found = std::ranges::find(all, control::full_pci_address(address), &Card::address);
    if (found != all.end()) return *found;
    return control::not_found(
        "address", fmt::format("no network card {}: fwdctl devices shows those that there are", address));
}

Result<void> let_drivers_probe(const Machine& machine, const Card& card, const std::string& driver,
                               const WriteFile& write) {
    const std::string device = std::string{kDevices} + card.address;
    return write(machine.path(device + "/driver_override"), driver + '\n')
        .and_then([&]() -> Result<void> {
            if (card.driver.empty()) return {};
            return write(machine.path(fmt::format("{}{}/unbind", kDrivers, card.driver)), card.address);
        })
        .and_then([&] { return write(machine.path("/sys/bus/pci/drivers_probe"), card.address); });
}

}  // namespace

std::vector<Card> cards(const Machine& machine) {
    std::vector<Card> cards;
    const auto used = uses(machine);
    for (const std::string& address : machine.names(kDevices)) {
        const std::string type = machine.line(fmt::format("{}{}/class", kDevices, address));
        const bool is_virtio = !interfaces_of(machine, address).empty();
        if (type.starts_with(kNetworkClass) || is_virtio) cards.push_back(card(machine, address, used));
    }
    return cards;
}

std::string cards_text(const std::vector<Card>& cards) {
    Table table{{{"ADDRESS"},
                 {"ID"},
                 {"DRIVER"},
                 {"INTERFACE"},
                 {"LINK"},
                 {"NODE", Table::Align::right},
                 {"USED FOR"}}};
    for (const Card& card : cards) {
        table.add({card.address, card.id, or_dash(card.driver),
                   or_dash(fmt::format("{}", fmt::join(card.interfaces, ","))), or_dash(card.link),
                   card.node ? std::to_string(*card.node) : "-", or_dash(card.used_by)});
    }
    return table.take_text();
}

Json cards_json(const std::vector<Card>& cards) {
    Json rows = Json::array();
    for (const Card& card : cards) {
        rows.push_back({{"address", card.address},
                        {"id", card.id},
                        {"driver", card.driver.empty() ? Json{} : Json(card.driver)},
                        {"interfaces", card.interfaces},
                        {"link", card.link.empty() ? Json{} : Json(card.link)},
                        {"numa_node", card.node ? Json(*card.node) : Json{}},
                        {"used_for", card.used_by.empty() ? Json{} : Json(card.used_by)}});
    }
    return {{"devices", std::move(rows)}};
}

Result<void> write_to_kernel(const std::filesystem::path& file, const std::string& text) {
    const control::FileDescriptor out{::open(file.c_str(), O_WRONLY | O_CLOEXEC)};
    if (!out.valid()) {
        if (errno == EACCES) return control::refused(file.string(), "only root may write there");
        return control::system_error("cannot open " + file.string());
    }
    if (::write(out.get(), text.data(), text.size()) < 0)
        return control::system_error("cannot write to " + file.string());
    return {};
}

Result<void> bind_card(const Machine& machine, const std::string& address, const std::string& driver,
                       InUse in_use, const WriteFile& write) {
    const auto card = find_card(machine, address);
    if (!card) return tl::unexpected(card.error());
    if (card->driver == driver) return {};
    if (!card->used_by.empty() && in_use == InUse::refuse) {
        return control::refused(
            card->address,
            fmt::format("it carries the {}, which would end: --force takes it anyway", card->used_by));
    }
    if (control::is_bifurcated(card->driver) && in_use == InUse::refuse) {
        return control::refused(
            card->address,
            fmt::format("it needs no other driver: DPDK works beside {}, so its address as the `device` of a "
                        "link is enough; --force takes it anyway",
                        card->driver));
    }
    if (driver.empty() || driver.front() == '.' || driver.find('/') != std::string::npos)
        return control::invalid("driver", fmt::format("got '{}', want a driver such as vfio-pci", driver));
    if (!machine.exists(std::string{kDrivers} + driver)) {
        return control::refused("driver",
                                fmt::format("the kernel has no driver {0} now: modprobe {0}", driver));
    }
    if (driver == "vfio-pci" &&
        machine.link(fmt::format("{}{}/iommu_group", kDevices, card->address)).empty() &&
        machine.line("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode") != "Y") {
        return control::refused(
            card->address,
            "it is in no IOMMU group, without which vfio-pci takes no card: switch VT-d or AMD-Vi "
            "on in the firmware, and intel_iommu=on iommu=pt on the kernel's command line");
    }
    if (auto done = let_drivers_probe(machine, *card, driver, write); !done) return done;
    const auto driver_now = [&] { return machine.link(fmt::format("{}{}/driver", kDevices, card->address)); };
    if (driver_now() == driver) return {};
    // Better with the driver that it had than with none.
    if (auto done = let_drivers_probe(machine, Card{.address = card->address}, "", write); !done) return done;
    const std::string now = driver_now();
    return control::unavailable(fmt::format("{}: {} has not taken it, it has {} now; dmesg may say why",
                                            card->address, driver, now.empty() ? "no driver" : now));
}

Result<void> unbind_card(const Machine& machine, const std::string& address, const WriteFile& write) {
    constexpr std::array<std::string_view, 3> kForUserSpace{"vfio-pci", "igb_uio", "uio_pci_generic"};
    return find_card(machine, address).and_then([&](const Card& card) -> Result<void> {
        // What the kernel's own driver has would lose its addresses and routes.
        if (!card.driver.empty() && std::ranges::find(kForUserSpace, card.driver) == kForUserSpace.end())
            return {};
        if (auto done = let_drivers_probe(machine, card, "", write); !done) return done;
        if (!machine.link(fmt::format("{}{}/driver", kDevices, card.address)).empty()) return {};
        return control::unavailable(fmt::format(
            "{}: no driver of the kernel has taken it; modprobe the one that it needs", card.address));
    });
}

}  // namespace fwd::fwdctl
