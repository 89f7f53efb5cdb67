// SPDX-License-Identifier: BSD-3-Clause
#include "control/host_services.h"

#include <fmt/format.h>

#include <algorithm>

#include "control/text.h"

namespace fwd::control {
namespace {

using dataplane::HostService;
using To = HostService::To;

struct Known {
    std::string_view name;
    HostService service;  ///< of several rows of one name: all of them
};

// Protocols without ports by their numbers: IANA, "Assigned Internet Protocol Numbers".
constexpr auto kOspf = net::Protocol{89};
constexpr auto kVrrp = net::Protocol{112};

HostService ports(net::Protocol protocol, std::uint16_t port, To to = To::own,
                  std::uint16_t source_port = 0) {
    return {.protocol = protocol,
            .first_port = port,
            .last_port = port,
            .source_port = source_port,
            .to = to,
            .from = {}};
}

HostService portless(net::Protocol protocol, To to) {
    return ports(protocol, 0, to);
}

const std::vector<Known>& known_services() {
    using enum net::Protocol;
    static const std::vector<Known> known{
        {"ping", portless(icmp, To::own)},
        {"ssh", ports(tcp, 22)},
        {"dhcp-client", ports(udp, 68, To::any, 67)},
        {"dhcp-client", ports(udp, 546, To::own, 547)},
        {"dhcp-server", ports(udp, 67, To::any)},
        {"dns", ports(udp, 53)},
        {"dns", ports(tcp, 53)},
        {"bgp", ports(tcp, 179)},
        {"bfd", ports(udp, 3784)},  // RFC 5881
        {"bfd", ports(udp, 3785)},
        {"bfd", ports(udp, 4784)},  // RFC 5883
        {"ospf", portless(kOspf, To::group)},
        {"vrrp", portless(kVrrp, To::group)},
        {"snmp", ports(udp, 161)},
    };
    return known;
}

}  // namespace

Result<std::vector<HostService>> host_service(std::string_view name) {
    std::vector<HostService> services;
    for (const Known& one : known_services()) {
        if (one.name == name) services.push_back(one.service);
    }
    if (!services.empty()) return services;
    std::vector<std::string_view> names;
    for (const Known& one : known_services()) {
        if (names.empty() || names.back() != one.name) names.push_back(one.name);
    }
    return invalid({}, fmt::format("got {}, want {}, or a group with protocol and port", in_quotes(name),
                                   fmt::join(names, ", ")));
}

std::vector<net::Ipv6Address> groups_of(const HostService& service) {
    const auto group = [](std::uint8_t last) {
        return net::Ipv6Address{{0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last}};
    };
    if (service.protocol == kOspf) return {group(5), group(6)};  // RFC 5340, appendix A.1
    if (service.protocol == kVrrp) return {group(0x12)};         // RFC 5798, section 5.1.2.2
    return {};
}

bool finds_addresses(std::string_view service) {
    return service == "dhcp-client";
}

}  // namespace fwd::control
