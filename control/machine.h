// SPDX-License-Identifier: BSD-3-Clause
// What the machine says of itself in /sys, /proc and /etc. `root` stands before these: a test has a tree of
// its own.
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fwd::control {

/// "0000:01:00.0", or without the domain.
bool is_pci_address(std::string_view device);
/// A PCI address in full, as EAL and sysfs name it.
std::string full_pci_address(std::string_view address);
/// A driver of the kernel's beside which DPDK drives the same card: it needs no VFIO.
constexpr bool is_bifurcated(std::string_view driver) {
    return driver == "mlx4_core" || driver == "mlx5_core";
}
/// Of a virtual device that uses one of the kernel's: "eth1" of "net_af_packet0,iface=eth1".
std::optional<std::string> kernel_interface(std::string_view device);

/// What the kernel knows of each PCI device, in a directory of its address.
inline constexpr std::string_view kPciDevices = "/sys/bus/pci/devices/";

class Machine {
 public:
    explicit Machine(std::filesystem::path root = "/") : root_{std::move(root)} {}

    std::filesystem::path path(std::string_view absolute) const { return root_ / absolute.substr(1); }
    bool exists(std::string_view absolute) const;
    /// The first line of a file; empty when there is none.
    std::string line(std::string_view absolute) const;
    /// What a symbolic link points to, without directories; empty when there is none.
    std::string link(std::string_view absolute) const;
    /// Names in a directory, sorted.
    std::vector<std::string> names(std::string_view absolute) const;

    /// A device that the kernel's driver has in a card's IOMMU group: until it is taken from it, nobody gets
    /// the card.
    struct GroupMember {
        std::string address;
        std::string driver;
        std::string remedy;
    };
    /// @param address in full
    std::vector<GroupMember> hindering_in_group(std::string_view address) const;
    bool is_network_card(std::string_view address) const;

    std::size_t hugepage_count() const;  ///< reserved, in use or not
    std::size_t free_hugepage_bytes() const;
    std::size_t hugepage_bytes() const;  ///< of one
    /// A list of cores as the kernel writes it: "0-2,5".
    std::vector<unsigned> cores(std::string_view absolute) const;
    std::optional<unsigned> node_of_core(unsigned core) const;
    /// Of the kernel itself, on all of its interfaces.
    std::vector<std::string> own_addresses() const;
    std::optional<unsigned> group_id(std::string_view name) const;

 private:
    std::size_t meminfo(std::string_view key) const;

    std::filesystem::path root_;
};

}  // namespace fwd::control
