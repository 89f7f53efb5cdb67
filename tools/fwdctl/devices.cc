// SPDX-License-Identifier: BSD-3-Clause
#include "tools/fwdctl/devices.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <utility>

#include "control/files.h"
#include "tools/fwdctl/table.h"

namespace fwd::fwdctl {
namespace {

using control::Error;
using control::ErrorKind;
using control::Json;
using control::Machine;
using control::Result;

constexpr std::string_view kDrivers = "/sys/bus/pci/drivers/";
constexpr unsigned kEstablished = 1;  // TCP_ESTABLISHED of the kernel
constexpr std::uint16_t kSshPort = 22;
constexpr unsigned kLinkScope = 0x20;  // IPV6_ADDR_LINKLOCAL of the kernel

/// IPv4's as IPv6 maps them.
using Address = std::array<std::uint8_t, 16>;
constexpr unsigned kMappedBits = 96;

std::uint32_t hex(std::string_view text) {
    std::uint32_t value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value, 16);
    return value;
}

/// As /proc writes those of IPv6: byte by byte.
Address address_of_bytes(std::string_view text) {
    Address address{};
    for (std::size_t i = 0; i < address.size() && 2 * i + 2 <= text.size(); ++i)
        address[i] = static_cast<std::uint8_t>(hex(text.substr(2 * i, 2)));
    return address;
}

Address mapped(std::uint32_t ipv4_of_kernel) {
    Address address{};
    address[10] = address[11] = 0xff;
    std::memcpy(&address[12], &ipv4_of_kernel, sizeof ipv4_of_kernel);
    return address;
}

/// As /proc writes those of sockets: words of this machine's byte order, one or four.
Address address_of_words(std::string_view text) {
    if (text.size() == 8) return mapped(hex(text));
    Address address{};
    for (std::size_t i = 0; i < 4 && 8 * i + 8 <= text.size(); ++i) {
        const std::uint32_t word = hex(text.substr(8 * i, 8));
        std::memcpy(&address[4 * i], &word, sizeof word);
    }
    return address;
}

std::optional<Address> parse_address(const std::string& text) {
    in_addr v4{};
    if (::inet_pton(AF_INET, text.c_str(), &v4) == 1) return mapped(v4.s_addr);
    Address v6{};
    // Without the interface of a link-local one.
    if (::inet_pton(AF_INET6, text.substr(0, text.find('%')).c_str(), v6.data()) == 1) return v6;
    return std::nullopt;
}

bool contains(const Address& network, unsigned bits, const Address& address) {
    for (unsigned i = 0; i < bits; ++i) {
        if (((network[i / 8] ^ address[i / 8]) & (0x80U >> i % 8)) != 0) return false;
    }
    return true;
}

/// Whether routes do not tell where packets to it go: link-local ones are on every interface, loopback on
/// none.
bool has_no_route(const Address& address) {
    const bool is_link_local = address[0] == 0xfe && (address[1] & 0xc0) == 0x80;
    Address loopback{};
    loopback.back() = 1;
    return is_link_local || address == loopback ||
           contains(mapped(::htonl(INADDR_LOOPBACK)), kMappedBits + 8, address);
}

/// A route of the kernel.
struct Route {
    std::string interface;
    Address network;
    unsigned bits;
    bool is_default;
    bool is_direct;  ///< no router is in between
};

std::vector<Route> routes(const Machine& machine) {
    std::vector<Route> routes;
    std::ifstream ipv4{machine.path("/proc/net/route")};
    std::string line;
    std::getline(ipv4, line);  // titles
    while (std::getline(ipv4, line)) {
        std::istringstream fields{line};
        std::string interface, destination, gateway, flags, references, use, metric, mask;
        fields >> interface >> destination >> gateway >> flags >> references >> use >> metric >> mask;
        const auto length = static_cast<unsigned>(std::popcount(hex(mask)));
        routes.push_back(
            {interface, mapped(hex(destination)), kMappedBits + length, length == 0, hex(gateway) == 0});
    }
    std::ifstream ipv6{machine.path("/proc/net/ipv6_route")};
    while (std::getline(ipv6, line)) {
        std::istringstream fields{line};
        std::string destination, length, source, source_length, gateway, word, interface;
        fields >> destination >> length >> source >> source_length >> gateway;
        while (fields >> word) interface = word;
        if (interface == "lo") continue;
        routes.push_back({interface, address_of_bytes(destination), std::min(hex(length), 128U),
                          hex(length) == 0, address_of_bytes(gateway) == Address{}});
    }
    return routes;
}

const Route* most_specific(const std::vector<Route>& routes, const Address& address) {
    const Route* best = nullptr;
    for (const Route& route : routes) {
        if (!contains(route.network, route.bits, address)) continue;
        if (best == nullptr || route.bits > best->bits) best = &route;
    }
    return best;
}

/// An address of the machine's own, and the interface that has it.
struct OwnAddress {
    Address address;
    std::string interface;
    bool is_link_local;
};

std::vector<OwnAddress> own_addresses(const Machine& machine, const std::vector<Route>& routes) {
    std::vector<OwnAddress> own;
    std::ifstream ipv6{machine.path("/proc/net/if_inet6")};
    for (std::string line; std::getline(ipv6, line);) {
        std::istringstream fields{line};
        std::string address, index, length, scope, flags, interface;
        fields >> address >> index >> length >> scope >> flags >> interface;
        if (interface != "lo")
            own.push_back({address_of_bytes(address), interface, hex(scope) == kLinkScope});
    }
    // Of IPv4 the kernel's files do not say which interface has them, but each brings a route to its network.
    for (const std::string& text : machine.own_addresses()) {
        const auto address = parse_address(text);
        if (!address || has_no_route(*address) || text.find(':') != std::string::npos) continue;
        const Route* route = most_specific(routes, *address);
        if (route != nullptr && route->is_direct) own.push_back({*address, route->interface, false});
    }
    return own;
}

/// What other programs have that matters here. Of those of others root alone learns it.
struct Programs {
    std::set<std::string> ssh_sockets;           ///< "socket:[4711]"
    std::map<std::string, std::string> devices;  ///< "/dev/vfio/7" -> "fwdd"
};

Programs programs(const Machine& machine) {
    Programs programs;
    for (const std::string& process : machine.names("/proc")) {
        if (process.find_first_not_of("0123456789") != std::string::npos) continue;
        const std::string name = machine.line(fmt::format("/proc/{}/comm", process));
        const bool is_sshd = name.starts_with("sshd") || name == "dropbear";
        for (const std::string& descriptor : machine.names(fmt::format("/proc/{}/fd", process))) {
            std::error_code code;
            const std::string file = std::filesystem::read_symlink(
                machine.path(fmt::format("/proc/{}/fd/{}", process, descriptor)), code);
            if (is_sshd && file.starts_with("socket:")) programs.ssh_sockets.insert(file);
            if (file.starts_with("/dev/vfio/") || file.starts_with("/dev/infiniband/"))
                programs.devices.emplace(file, name);
        }
    }
    return programs;
}

/// One that somebody is logged in by.
struct SshSession {
    Address local;
    Address remote;
};

std::vector<SshSession> ssh_sessions(const Machine& machine, const Programs& programs) {
    std::vector<SshSession> sessions;
    for (const char* file : {"/proc/net/tcp", "/proc/net/tcp6"}) {
        std::ifstream tcp{machine.path(file)};
        for (std::string line; std::getline(tcp, line);) {
            std::istringstream fields{line};
            std::string number, local, remote, state, queues, timer, retransmits, user, timeout, inode;
            fields >> number >> local >> remote >> state >> queues >> timer >> retransmits >> user >>
                timeout >> inode;
            const std::size_t colon = local.find(':');
            if (hex(state) != kEstablished || colon == std::string::npos || remote.size() <= colon) continue;
            if (hex(std::string_view{local}.substr(colon + 1)) != kSshPort &&
                !programs.ssh_sockets.contains(fmt::format("socket:[{}]", inode))) {
                continue;
            }
            sessions.push_back({address_of_words(std::string_view{local}.substr(0, colon)),
                                address_of_words(std::string_view{remote}.substr(0, colon))});
        }
    }
    // Of whoever asks, also where sshd runs outside of this container.
    if (const char* own = std::getenv("SSH_CONNECTION"); own != nullptr) {
        std::istringstream fields{own};
        std::string remote, remote_port, local;
        fields >> remote >> remote_port >> local;
        const auto from = parse_address(remote);
        const auto to = parse_address(local);
        if (from && to) sessions.push_back({*to, *from});
    }
    return sessions;
}

/// What an interface is needed for by the machine itself.
struct Uses {
    bool default_route = false;
    bool ssh = false;
    bool addresses = false;

    void add(const Uses& other) {
        default_route = default_route || other.default_route;
        ssh = ssh || other.ssh;
        addresses = addresses || other.addresses;
    }
    friend bool operator==(const Uses&, const Uses&) = default;
};

std::map<std::string, Uses> uses_of_interfaces(const Machine& machine, const Programs& programs) {
    std::map<std::string, Uses> uses;
    const std::vector<Route> all = routes(machine);
    for (const Route& route : all) {
        if (route.is_default) uses[route.interface].default_route = true;
    }
    const std::vector<OwnAddress> own = own_addresses(machine, all);
    for (const OwnAddress& address : own) {
        if (!address.is_link_local) uses[address.interface].addresses = true;
    }
    // A session ends with its own address, and with the way to the other end.
    for (const SshSession& session : ssh_sessions(machine, programs)) {
        const auto at = std::ranges::find(own, session.local, &OwnAddress::address);
        if (at != own.end()) uses[at->interface].ssh = true;
        const Route* route = has_no_route(session.remote) ? nullptr : most_specific(all, session.remote);
        if (route != nullptr) uses[route->interface].ssh = true;
    }
    // Bridges, bonds and VLANs take their packets to others.
    std::vector<std::string> above;
    above.reserve(uses.size());
    for (const auto& [interface, use] : uses) above.push_back(interface);
    while (!above.empty()) {
        const std::string upper = above.back();
        above.pop_back();
        for (const std::string& name : machine.names("/sys/class/net/" + upper)) {
            if (!name.starts_with("lower_")) continue;
            Uses& lower = uses[name.substr(6)];
            const Uses before = lower;
            lower.add(uses.at(upper));
            if (lower != before) above.push_back(name.substr(6));
        }
    }
    return uses;
}

/// The machine as a card's row needs it.
struct Picture {
    Programs programs;
    std::map<std::string, Uses> interfaces;
};

/// Also of a virtio card, whose interface is one level below.
std::vector<std::string> interfaces_of(const Machine& machine, const std::string& address) {
    const std::string device = std::string{control::kPciDevices} + address;
    std::vector<std::string> names = machine.names(device + "/net");
    for (const std::string& below : machine.names(device)) {
        if (!below.starts_with("virtio")) continue;
        for (const std::string& name : machine.names(fmt::format("{}/{}/net", device, below)))
            names.push_back(name);
    }
    return names;
}

std::string iommu_group(const Machine& machine, const std::string& address) {
    return machine.link(fmt::format("{}{}/iommu_group", control::kPciDevices, address));
}

/// The program that drives a card by DPDK; empty: none.
std::string holder(const Machine& machine, const std::string& address, const Programs& programs) {
    std::vector<std::string> files;
    if (const std::string group = iommu_group(machine, address); !group.empty()) {
        files.push_back("/dev/vfio/" + group);
        files.push_back("/dev/vfio/noiommu-" + group);
    }
    for (const std::string& name :
         machine.names(fmt::format("{}{}/infiniband_verbs", control::kPciDevices, address)))
        files.push_back("/dev/infiniband/" + name);
    for (const std::string& file : files) {
        if (const auto found = programs.devices.find(file); found != programs.devices.end())
            return found->second;
    }
    return {};
}

void add_uses(const Machine& machine, const Picture& picture, Card& card) {
    Uses uses;
    std::vector<std::string> all;
    for (const std::string& interface : card.interfaces) {
        if (const auto found = picture.interfaces.find(interface); found != picture.interfaces.end())
            uses.add(found->second);
    }
    if (uses.default_route) all.emplace_back("default route");
    if (uses.ssh) all.emplace_back("ssh session");
    card.ends = fmt::format("{}", fmt::join(all, ", "));
    if (uses.addresses) all.emplace_back("addresses");
    for (const std::string& interface : card.interfaces) {
        const std::string master = machine.link(fmt::format("/sys/class/net/{}/master", interface));
        if (!master.empty()) all.push_back("member of " + master);
    }
    if (std::string program = holder(machine, card.address, picture.programs); !program.empty())
        all.push_back(std::move(program));
    card.used_by = fmt::format("{}", fmt::join(all, ", "));
}

Card card(const Machine& machine, const std::string& address, const Picture& picture) {
    const std::string device = std::string{control::kPciDevices} + address;
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
    for (const std::string& interface : card.interfaces)
        card.link = machine.line("/sys/class/net/" + interface + "/carrier") == "1" ? "up" : "down";
    add_uses(machine, picture, card);
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
    const std::string device = std::string{control::kPciDevices} + card.address;
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
    Picture picture;
    picture.programs = programs(machine);
    picture.interfaces = uses_of_interfaces(machine, picture.programs);
    for (const std::string& address : machine.names(control::kPciDevices)) {
        const bool has_interface = !interfaces_of(machine, address).empty();
        if (machine.is_network_card(address) || has_interface)
            cards.push_back(card(machine, address, picture));
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
    if (!card->ends.empty() && in_use == InUse::refuse) {
        return control::refused(
            card->address,
            fmt::format("it carries the {}, which would end: --force takes it anyway", card->ends));
    }
    if (control::is_bifurcated(card->driver) && driver == "vfio-pci") {
        return control::refused(
            card->address,
            fmt::format("it needs no other driver: DPDK works beside {}, so its address as the `device` of a "
                        "link is enough, and behind vfio-pci DPDK would not drive it",
                        card->driver));
    }
    if (driver.empty() || driver.front() == '.' || driver.find('/') != std::string::npos)
        return control::invalid("driver", fmt::format("got '{}', want a driver such as vfio-pci", driver));
    if (!machine.exists(std::string{kDrivers} + driver)) {
        return control::refused("driver",
                                fmt::format("the kernel has no driver {0} now: modprobe {0}", driver));
    }
    if (driver == "vfio-pci" && iommu_group(machine, card->address).empty() &&
        machine.line("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode") != "Y") {
        return control::refused(
            card->address,
            "it is in no IOMMU group, without which vfio-pci takes no card: switch VT-d or AMD-Vi "
            "on in the firmware, and intel_iommu=on iommu=pt on the kernel's command line");
    }
    const auto done = let_drivers_probe(machine, *card, driver, write);
    const auto driver_now = [&] {
        return machine.link(fmt::format("{}{}/driver", control::kPciDevices, card->address));
    };
    if (done && driver_now() == driver) return {};
    // Better with the driver that it had than with none.
    const auto back = let_drivers_probe(machine, Card{.address = card->address}, "", write);
    if (!done) return done;
    if (!back) return back;
    const std::string now = driver_now();
    return control::unavailable(fmt::format("{}: {} has not taken it, it has {} now; dmesg may say why",
                                            card->address, driver, now.empty() ? "no driver" : now));
}

std::vector<std::string> lacking(const Machine& machine, const std::string& address) {
    std::vector<std::string> lines;
    if (machine.hugepage_count() == 0) {
        lines.emplace_back(
            "no hugepages are reserved, so fwdd would use ordinary memory, which is slower: sysctl "
            "vm.nr_hugepages=512, and for every boot vm.nr_hugepages = 512 in a file of /etc/sysctl.d");
    }
    for (const Machine::GroupMember& other : machine.hindering_in_group(control::full_pci_address(address))) {
        lines.push_back(
            fmt::format("{} is in the same IOMMU group with driver {}, and has to move as well before "
                        "fwdd gets either: {}",
                        other.address, other.driver, other.remedy));
    }
    return lines;
}

Result<void> unbind_card(const Machine& machine, const std::string& address, const WriteFile& write) {
    constexpr std::array<std::string_view, 3> kForUserSpace{"vfio-pci", "igb_uio", "uio_pci_generic"};
    return find_card(machine, address).and_then([&](const Card& card) -> Result<void> {
        // What the kernel's own driver has would lose its addresses and routes.
        if (!card.driver.empty() && std::ranges::find(kForUserSpace, card.driver) == kForUserSpace.end())
            return {};
        if (auto done = let_drivers_probe(machine, card, "", write); !done) return done;
        if (!machine.link(fmt::format("{}{}/driver", control::kPciDevices, card.address)).empty()) return {};
        return control::unavailable(fmt::format(
            "{}: no driver of the kernel has taken it; modprobe the one that it needs", card.address));
    });
}

}  // namespace fwd::fwdctl
