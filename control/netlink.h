// SPDX-License-Identifier: BSD-3-Clause
// Sockets on which the kernel tells of its interfaces, addresses and routes, and is told (rtnetlink).
#pragma once

#include <memory>
#include <string>

#include "control/error.h"

struct nl_sock;

namespace fwd::control {

struct CloseNetlink {
    void operator()(nl_sock* socket) const;
};
using NetlinkSocket = std::unique_ptr<nl_sock, CloseNetlink>;

Result<NetlinkSocket> connect_to_netlink();

/// "cannot do this: No such device", from what a function of libnl has returned.
tl::unexpected<Error> netlink_error(const std::string& what, int code);

}  // namespace fwd::control
