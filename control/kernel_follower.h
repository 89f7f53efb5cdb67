// SPDX-License-Identifier: BSD-3-Clause
// What the kernel has on the links' interfaces, addresses and neighbours, becomes the data plane's.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "control/host_links.h"
#include "control/neighbours.h"
#include "control/settings.h"
#include "dataplane/dataplane.h"

namespace fwd::control {

class KernelFollower {
 public:
    /// All of them outlive it.
    KernelFollower(dataplane::Dataplane& dataplane, const Settings& settings, const HostLinks& host,
                   Neighbours& neighbours)
        : dataplane_{dataplane}, settings_{settings}, host_{host}, neighbours_{neighbours} {}

    struct Addresses {
        std::vector<std::vector<net::IpInterfaceAddress>> by_link;  ///< all that the links have now
        std::vector<net::IpAddress> lost;                           ///< which a link has no more
        bool have_changed = false;
    };
    /// Gives links the addresses that the kernel has there now, and neighbours their MAC addresses. What else
    /// hangs on addresses is the caller's.
    Addresses follow();

 private:
    void follow_neighbours();
    /// Whether an address that the kernel has on a link belongs to another link's network.
    /// @param before of the links before it, what they have now
    bool is_taken(dataplane::LinkId link, const net::IpInterfaceAddress& learnt,
                  const std::vector<std::vector<net::IpInterfaceAddress>>& before);

    dataplane::Dataplane& dataplane_;
    const Settings& settings_;
    const HostLinks& host_;
    Neighbours& neighbours_;
    std::vector<HostLinks::Neighbour> known_neighbours_;
    std::set<std::string> warned_;  ///< once each
};

}  // namespace fwd::control
