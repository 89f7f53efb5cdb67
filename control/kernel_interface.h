// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "control/error.h"
#include "control/files.h"
#include "control/netlink.h"
#include "dataplane/net/address.h"

namespace fwd::control {

/// Of routes that fwd gives the kernel: `ip route` shows it as "proto 102".
inline constexpr std::uint8_t kRouteProtocol = 0x66;
/// Theirs as well: those that the machine has by other ways, or gets from a DHCP client, come first.
inline constexpr std::uint32_t kRouteMetric = 4096;

/// A link as the kernel sees it: an Ethernet interface (a TAP) whose other end is this object. It is gone
/// with it.
class KernelInterface {
 public:
    struct Config {
        std::string name;  ///< at most 15 bytes, and not in use
        net::MacAddress mac;
        std::uint16_t mtu = 1500;
        bool ipv6 = false;  ///< gives it the link-local address of its MAC address, as the link's own
    };

    /// Up, in the network namespace of the caller. It takes CAP_NET_ADMIN. Without `ipv6` and without an IPv6
    /// address the kernel sends nothing on it by itself.
    static Result<std::unique_ptr<KernelInterface>> create(const Config& config);

    /// Readable when the kernel has sent something.
    int descriptor() const { return device_.get(); }
    unsigned index() const { return index_; }
    const std::string& name() const { return name_; }

    /// The next Ethernet frame that the kernel has sent, its checksums complete; 0: there is none. What does
    /// not fit is cut off: the longest has the MTU, 14 bytes and a VLAN's 4.
    std::size_t read(std::span<std::uint8_t> room);
    /// An Ethernet frame comes in. False when the kernel has not taken it: the interface is down, or no
    /// memory.
    bool write(std::span<const std::uint8_t> frame);
    /// Somebody has deleted the interface, as the last read() found.
    bool is_gone() const { return gone_; }
    /// Whether its cable is in, as the kernel sees it.
    void set_carrier(bool is_in);
    /// Gives it the MAC address of its Config again. udev may give another one to whatever is new, at any
    /// time within some milliseconds; the kernel takes nothing that comes for the link's then.
    /// @return the address that it had instead, if it had one and has its own again
    std::optional<net::MacAddress> keep_mac();

    /// It may be used at once: whether somebody else has it is for fwd to find out.
    Result<void> add_address(net::IpInterfaceAddress address);
    /// With kRouteProtocol and kRouteMetric. `via` is on one of the interface's networks.
    Result<void> add_route(net::IpPrefix prefix, net::IpAddress via);
    /// Adds those of them again that the kernel has dropped: it does so when the interface goes down.
    Result<void> add_again();

 private:
    KernelInterface() = default;
    Result<void> set_up(const Config& config);
    Result<void> put(net::IpInterfaceAddress address);
    Result<void> put(net::IpPrefix prefix, net::IpAddress via, int if_it_is_there);

    FileDescriptor device_;
    NetlinkSocket netlink_;
    std::string name_;
    net::MacAddress mac_;
    unsigned index_ = 0;
    std::vector<net::IpInterfaceAddress> addresses_;
    std::vector<std::pair<net::IpPrefix, net::IpAddress>> routes_;
    bool gone_ = false;
};

}  // namespace fwd::control
