// SPDX-License-Identifier: BSD-3-Clause
#include "control/netlink.h"

#include <fmt/format.h>
#include <netlink/errno.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>

#include <new>

namespace fwd::control {

void CloseNetlink::operator()(nl_sock* socket) const {
    nl_socket_free(socket);
}

Result<NetlinkSocket> connect_to_netlink() {
    NetlinkSocket socket{nl_socket_alloc()};
    if (!socket) throw std::bad_alloc{};
    if (const int code = nl_connect(socket.get(), NETLINK_ROUTE); code < 0)
        return netlink_error("cannot ask the kernel about its interfaces", code);
    return socket;
}

tl::unexpected<Error> netlink_error(const std::string& what, int code) {
    const bool is_forbidden = code == -NLE_PERM;
    return unavailable(fmt::format(
        "{}: {}", what,
        is_forbidden ? "that takes CAP_NET_ADMIN, which root and fwd's unit have" : nl_geterror(code)));
}

}  // namespace fwd::control
