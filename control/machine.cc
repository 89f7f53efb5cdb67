// SPDX-License-Identifier: BSD-3-Clause
#include "control/machine.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <fstream>
#include <set>
#include <sstream>

namespace fwd::control {
namespace {

std::optional<unsigned> number(std::string_view text) {
    unsigned value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
    return value;
}

}  // namespace

bool is_pci_address(std::string_view device) {
    return device.find(':') != std::string_view::npos && device.find(',') == std::string_view::npos &&
           device.find_first_not_of("0123456789abcdefABCDEF:.") == std::string_view::npos;
}

std::string full_pci_address(std::string_view address) {
    const std::string text{address};
    return std::ranges::count(text, ':') == 1 ? "0000:" + text : text;
}

std::optional<std::string> kernel_interface(std::string_view device) {
    constexpr std::string_view kKey = ",iface=";
    const auto at = device.find(kKey);
    // A tap is made by DPDK itself.
    if (at == std::string_view::npos || device.starts_with("net_tap")) return std::nullopt;
    const std::string_view name = device.substr(at + kKey.size());
    return std::string{name.substr(0, name.find(','))};
}

bool Machine::exists(std::string_view absolute) const {
    std::error_code code;
    return std::filesystem::exists(path(absolute), code);
}

std::string Machine::line(std::string_view absolute) const {
    std::ifstream file{path(absolute)};
    std::string text;
    std::getline(file, text);
    return text;
}

std::string Machine::link(std::string_view absolute) const {
    std::error_code code;
    return std::filesystem::read_symlink(path(absolute), code).filename();
}

std::vector<std::string> Machine::names(std::string_view absolute) const {
    std::vector<std::string> names;
    std::error_code code;
    for (const auto& entry : std::filesystem::directory_iterator{path(absolute), code})
        names.push_back(entry.path().filename());
    std::ranges::sort(names);
    return names;
}

std::size_t Machine::meminfo(std::string_view key) const {
    std::ifstream file{path("/proc/meminfo")};
    std::string name;
    std::string unit;
    for (std::size_t value = 0; file >> name >> value; std::getline(file, unit)) {
        if (name == key) return value;
    }
    return 0;
}

bool Machine::is_network_card(std::string_view address) const {
    return line(fmt::format("{}{}/class", kPciDevices, address)).starts_with("0x02");
}

std::vector<Machine::GroupMember> Machine::hindering_in_group(std::string_view address) const {
    const std::string group = link(fmt::format("{}{}/iommu_group", kPciDevices, address));
    if (group.empty()) return {};
    std::vector<GroupMember> hindering;
    for (const std::string& other : names(fmt::format("/sys/kernel/iommu_groups/{}/devices", group))) {
        const std::string driver = link(fmt::format("{}{}/driver", kPciDevices, other));
        if (other == address || driver.empty() || driver == "vfio-pci" || driver == "pcieport") continue;
        hindering.push_back({other, driver,
                             is_network_card(other)
                                 ? fmt::format("fwdctl bind {}, or another slot for the card", other)
                                 : "another slot for the card"});
    }
    return hindering;
}

std::size_t Machine::hugepage_count() const {
    return meminfo("HugePages_Total:");
}

std::size_t Machine::hugepage_bytes() const {
    return meminfo("Hugepagesize:") * 1024;
}

std::size_t Machine::free_hugepage_bytes() const {
    return meminfo("HugePages_Free:") * hugepage_bytes();
}

std::vector<unsigned> Machine::cores(std::string_view absolute) const {
    std::vector<unsigned> cores;
    std::istringstream ranges{line(absolute)};
    for (std::string range; std::getline(ranges, range, ',');) {
        const auto dash = std::min(range.find('-'), range.size());
        const auto first = number(std::string_view{range}.substr(0, dash));
        const auto last = dash == range.size() ? first : number(std::string_view{range}.substr(dash + 1));
        if (!first || !last) continue;
        for (unsigned core = *first; core <= *last; ++core) cores.push_back(core);
    }
    return cores;
}

std::optional<unsigned> Machine::node_of_core(unsigned core) const {
    for (const std::string& name : names("/sys/devices/system/cpu/cpu" + std::to_string(core))) {
        if (!name.starts_with("node")) continue;
        if (const auto node = number(std::string_view{name}.substr(4))) return node;
    }
    return std::nullopt;
}

std::vector<std::string> Machine::own_addresses() const {
    // An address stands in a line of its own, "|-- 10.0.0.2", and the one below says what it is.
    std::set<std::string> addresses;
    std::ifstream trie{path("/proc/net/fib_trie")};
    std::string above;
    for (std::string line; std::getline(trie, line); above = line) {
        const auto begin = above.find("|-- ");
        if (line.find("/32 host LOCAL") != std::string::npos && begin != std::string::npos)
            addresses.insert(above.substr(begin + 4));
    }
    // 32 digits, then what does not matter here.
    std::ifstream inet6{path("/proc/net/if_inet6")};
    for (std::string line; std::getline(inet6, line);) {
        in6_addr address{};
        for (std::size_t i = 0; i < sizeof address.s6_addr && 2 * i + 2 <= line.size(); ++i)
            std::from_chars(&line[2 * i], &line[2 * i] + 2, address.s6_addr[i], 16);
        std::array<char, INET6_ADDRSTRLEN> text{};
        addresses.insert(inet_ntop(AF_INET6, &address, text.data(), text.size()));
    }
    return {addresses.begin(), addresses.end()};
}

std::optional<unsigned> Machine::group_id(std::string_view name) const {
    std::ifstream file{path("/etc/group")};
    for (std::string line; std::getline(file, line);) {
        std::istringstream fields{line};
        std::string group;
        std::string password;
        std::string id;
        std::getline(fields, group, ':');
        std::getline(fields, password, ':');
        std::getline(fields, id, ':');
        if (group == name) return number(id);
    }
    return std::nullopt;
}

}  // namespace fwd::control
