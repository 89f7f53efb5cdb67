// SPDX-License-Identifier: BSD-3-Clause
#include "control/kernel_interface.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netlink/addr.h>
#include <netlink/errno.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/link/inet6.h>
#include <netlink/route/nexthop.h>
#include <netlink/route/route.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstring>
#include <new>

#include "control/text.h"

namespace fwd::control {
namespace {

constexpr const char* kDevice = "/dev/net/tun";

template <auto Put>
struct PutBack {
    void operator()(auto* object) const { Put(object); }
};
using NetlinkAddress = std::unique_ptr<nl_addr, PutBack<nl_addr_put>>;
using NetlinkLink = std::unique_ptr<rtnl_link, PutBack<rtnl_link_put>>;
using NetlinkOwnAddress = std::unique_ptr<rtnl_addr, PutBack<rtnl_addr_put>>;
using NetlinkRoute = std::unique_ptr<rtnl_route, PutBack<rtnl_route_put>>;

/// libnl has no object only when there is no memory.
template <typename Owner>
Owner made(typename Owner::pointer object) {
    if (object == nullptr) throw std::bad_alloc{};
    return Owner{object};
}

NetlinkAddress to_netlink(net::IpAddress address, int length) {
    const auto v4 = address.v4();
    auto built = address.is_v4() ? made<NetlinkAddress>(nl_addr_build(AF_INET, &v4.value, sizeof v4.value))
                                 : made<NetlinkAddress>(nl_addr_build(AF_INET6, address.v6().bytes.data(),
                                                                      sizeof(net::Ipv6Address)));
    nl_addr_set_prefixlen(built.get(), length);
    return built;
}

tl::unexpected<Error> cannot_open(int code) {
    switch (code) {
        case ENOENT:
        case ENODEV:
        case ENXIO:
            return unavailable(fmt::format(
                "there is no {}: load the kernel's module (modprobe tun), or give the container the device",
                kDevice));
        case EACCES:
        case EPERM:
            return unavailable(
                fmt::format("may not open {}: its mode, or the unit's DeviceAllow, forbids it", kDevice));
        default:
            return system_error(fmt::format("cannot open {}", kDevice), code);
    }
}

tl::unexpected<Error> cannot_make(const std::string& name, int code) {
    const std::string what = fmt::format("cannot make the kernel's interface {}", name);
    switch (code) {
        case EPERM:
            return unavailable(what + ": that takes CAP_NET_ADMIN, which root and fwd's unit have");
        case EBUSY:
            return refused(
                {}, fmt::format("the kernel has an interface {0} already: choose another name, or remove "
                                "that one (ip link delete {0})",
                                name));
        default:
            return system_error(what, code);
    }
}

}  // namespace

Result<std::unique_ptr<KernelInterface>> KernelInterface::create(const Config& config) {
    if (config.name.empty() || config.name.size() >= IFNAMSIZ) {
        return invalid({}, fmt::format("got {}, want an interface's name of 1 to {} characters",
                                       in_quotes(config.name), IFNAMSIZ - 1));
    }
    std::unique_ptr<KernelInterface> self{new KernelInterface};
    self->device_ = FileDescriptor{::open(kDevice, O_RDWR | O_NONBLOCK | O_CLOEXEC)};
    if (!self->device_.valid()) return cannot_open(errno);
    ifreq request{};
    config.name.copy(request.ifr_name, IFNAMSIZ - 1);
    // EXCL: one that somebody else has made, and left, is not ours to take.
    request.ifr_flags = static_cast<short>(IFF_TAP | IFF_NO_PI | IFF_TUN_EXCL);
    if (::ioctl(self->device_.get(), TUNSETIFF, &request) != 0) return cannot_make(config.name, errno);
    self->name_ = config.name;
    self->mac_ = config.mac;
    self->index_ = ::if_nametoindex(config.name.c_str());
    if (self->index_ == 0)
        return system_error(fmt::format("cannot find the kernel's interface {}", config.name));
    auto netlink = connect_to_netlink();
    if (!netlink) return tl::unexpected(netlink.error());
    self->netlink_ = std::move(*netlink);
    return self->set_up(config).map([&] { return std::move(self); });
}

Result<void> KernelInterface::set_up(const Config& config) {
    const auto unchanged = made<NetlinkLink>(rtnl_link_alloc());
    rtnl_link_set_ifindex(unchanged.get(), static_cast<int>(index_));
    const auto change = [&](const NetlinkLink& to) {
        return rtnl_link_change(netlink_.get(), unchanged.get(), to.get(), 0);
    };

    // In a request of its own: it has to be in force when the interface comes up.
    const auto quiet = made<NetlinkLink>(rtnl_link_alloc());
    rtnl_link_inet6_set_addr_gen_mode(quiet.get(), IN6_ADDR_GEN_MODE_NONE);
    // A kernel without IPv6 is quiet anyway.
    if (const int code = change(quiet); code < 0 && config.ipv6)
        return netlink_error(fmt::format("cannot use IPv6 on the kernel's interface {}", name_), code);

    const auto link = made<NetlinkLink>(rtnl_link_alloc());
    const auto mac =
        made<NetlinkAddress>(nl_addr_build(AF_LLC, config.mac.bytes.data(), config.mac.bytes.size()));
    rtnl_link_set_addr(link.get(), mac.get());
    rtnl_link_set_mtu(link.get(), config.mtu);
    rtnl_link_set_flags(link.get(), IFF_UP);
    if (const int code = change(link); code < 0)
        return netlink_error(fmt::format("cannot set up the kernel's interface {}", name_), code);
    return config.ipv6 ? add_address({net::link_local_of(config.mac), 64}) : Result<void>{};
}

std::size_t KernelInterface::read(std::span<std::uint8_t> room) {
    const ssize_t bytes = ::read(device_.get(), room.data(), room.size());
    if (bytes < 0 && errno == EBADFD) gone_ = true;
    return bytes < 0 ? 0 : static_cast<std::size_t>(bytes);
}

void KernelInterface::set_carrier(bool is_in) {
    unsigned carrier = is_in ? 1 : 0;
    ::ioctl(device_.get(), TUNSETCARRIER, &carrier);
}

std::optional<net::MacAddress> KernelInterface::keep_mac() {
    ifreq request{};
    if (::ioctl(device_.get(), SIOCGIFHWADDR, &request) != 0) return std::nullopt;  // it is gone
    net::MacAddress now;
    std::memcpy(&now, request.ifr_hwaddr.sa_data, sizeof now);
    if (now == mac_) return std::nullopt;
    std::memcpy(request.ifr_hwaddr.sa_data, &mac_, sizeof mac_);
    if (::ioctl(device_.get(), SIOCSIFHWADDR, &request) != 0) return std::nullopt;
    return now;
}

bool KernelInterface::write(std::span<const std::uint8_t> frame) {
    return ::write(device_.get(), frame.data(), frame.size()) == static_cast<ssize_t>(frame.size());
}

Result<void> KernelInterface::add_address(net::IpInterfaceAddress address) {
    auto done = put(address);
    if (done) addresses_.push_back(address);
    return done;
}

Result<void> KernelInterface::add_route(net::IpPrefix prefix, net::IpAddress via) {
    auto done = put(prefix, via, NLM_F_EXCL);
    if (done) routes_.emplace_back(prefix, via);
    return done;
}

Result<void> KernelInterface::add_again() {
    // One that the kernel refuses takes none of the others with it.
    Result<void> done;
    const auto note = [&](Result<void> one) {
        if (done) done = std::move(one);
    };
    for (const net::IpInterfaceAddress& address : addresses_) note(put(address));
    for (const auto& [prefix, via] : routes_) note(put(prefix, via, NLM_F_REPLACE));
    return done;
}

Result<void> KernelInterface::put(net::IpInterfaceAddress address) {
    const auto own = made<NetlinkOwnAddress>(rtnl_addr_alloc());
    rtnl_addr_set_ifindex(own.get(), static_cast<int>(index_));
    rtnl_addr_set_local(own.get(), to_netlink(address.address, address.length).get());
    if (!address.address.is_v4()) rtnl_addr_set_flags(own.get(), IFA_F_NODAD);
    if (const int code = rtnl_addr_add(netlink_.get(), own.get(), NLM_F_REPLACE); code < 0)
        return netlink_error(
            fmt::format("cannot give {} to the kernel's interface {}", to_text(address), name_), code);
    return {};
}

Result<void> KernelInterface::put(net::IpPrefix prefix, net::IpAddress via, int if_it_is_there) {
    const auto route = made<NetlinkRoute>(rtnl_route_alloc());
    rtnl_route_set_family(route.get(), prefix.address.is_v4() ? AF_INET : AF_INET6);
    rtnl_route_set_table(route.get(), RT_TABLE_MAIN);
    rtnl_route_set_scope(route.get(), RT_SCOPE_UNIVERSE);
    rtnl_route_set_protocol(route.get(), kRouteProtocol);
    rtnl_route_set_priority(route.get(), kRouteMetric);
    rtnl_route_set_dst(route.get(), to_netlink(prefix.address, prefix.length).get());
    rtnl_nexthop* hop = rtnl_route_nh_alloc();
    if (hop == nullptr) throw std::bad_alloc{};
    rtnl_route_nh_set_ifindex(hop, static_cast<int>(index_));
    rtnl_route_nh_set_gateway(hop, to_netlink(via, via.is_v4() ? 32 : 128).get());
    rtnl_route_add_nexthop(route.get(), hop);  // which owns it now
    const int code = rtnl_route_add(netlink_.get(), route.get(), if_it_is_there);
    if (code >= 0) return {};
    const std::string what = fmt::format("cannot give the kernel the route to {} via {} by {}",
                                         to_text(prefix), to_text(via), name_);
    // What libnl has no name for: the network is unreachable.
    if (code == -NLE_FAILURE)
        return unavailable(what + ": the next hop is on none of the interface's networks");
    return netlink_error(what, code);
}

}  // namespace fwd::control
