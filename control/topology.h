// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "control/settings.h"

namespace fwd::control {

/// Why no single host can have the address, wherever it is ("a multicast address"); empty when one can.
std::string not_a_host(net::IpAddress address);
/// The same for an address on a segment with this prefix, whose first and last address are not hosts'.
std::string not_a_host(net::IpAddress address, net::IpPrefix segment);

/// Where addresses lie, as the configuration says: what a rule is checked against.
class Topology {
 public:
    Topology(std::vector<LinkSettings> links, std::vector<RouteSettings> routes,
             const std::vector<NeighbourSettings>& neighbours = {});

    const LinkSettings* find_link(std::string_view name) const;
    /// The error, with an empty field, names the links there are.
    Result<void> check_link(std::string_view name) const;
    /// The link through which an address is reached, by longest prefix; nullptr when there is no route.
    const LinkSettings* egress(net::IpAddress address) const;
    /// The links by which parts of a prefix are reached, default routes left out.
    std::vector<const LinkSettings*> links_to(net::IpPrefix prefix) const;
    /// The link that has the address in a connected prefix, by longest prefix; nullptr when none has.
    const LinkSettings* connected(net::IpAddress address) const;
    /// The link that has this very address as its own; nullptr when none has.
    const LinkSettings* owner(net::IpAddress address) const;
    bool has_ipv6() const;
    /// Whether there are addresses and routes that the kernel learns beside those of the configuration.
    bool follows_kernel() const;
    /// Whether a default route, of either family, leaves by a link.
    bool has_default_route(std::string_view link) const;
    /// Why no single host can have the address ("a multicast address"), connected prefixes considered; empty
    /// when one can.
    std::string not_a_host(net::IpAddress address) const;
    /// What the configuration says of the host that has the address: "the gateway of 0.0.0.0/0"; empty when
    /// it names none.
    std::string named_host(net::IpAddress address) const;
    /// What a rule's `auto` has become, from where its packets come in and where its target is: "masquerade",
    /// "preserve", or "preserve, masquerade from link lan" where packets may come in by any link.
    std::string effective_source(const Rule& rule) const;
    const std::vector<LinkSettings>& links() const { return links_; }

 private:
    std::vector<LinkSettings> links_;
    std::vector<RouteSettings> routes_;
    std::map<net::IpAddress, std::string> named_hosts_;
};

}  // namespace fwd::control
