// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/packet.h"

#include "dataplane/ip_options.h"

namespace fwd::dataplane {

Verdict check_unusual(const std::uint8_t* ip, std::uint16_t ip_bytes) noexcept {
    if (const Verdict bad = check_ip_options(ip); bad != Verdict::forward) return bad;
    const auto protocol = static_cast<net::Protocol>(ip[net::kProtocolOffset]);
    const std::size_t header_bytes = net::header_bytes(ip);
    // Neither options nor being a fragment are in the way of new addresses.
    if (net::is_fragment(ip) && detail::has_l4_header(protocol)) return Verdict::forward;
    return detail::check_l4(protocol, ip + header_bytes, ip_bytes - header_bytes);
}

bool first_fragment_has_its_headers(net::Protocol protocol, const std::uint8_t* l4,
                                    std::size_t l4_bytes) noexcept {
    switch (protocol) {
        case net::Protocol::tcp:
            return detail::check_l4(protocol, l4, l4_bytes) == Verdict::forward;
        case net::Protocol::udp:  // the datagram is longer than this part of it
            return l4_bytes >= sizeof(rte_udp_hdr) && net::load_host16(l4 + 4) > l4_bytes &&
                   net::load16(l4) != 0 && net::load16(l4 + 2) != 0;
        default:
            return l4_bytes >= sizeof(rte_icmp_hdr);
    }
}

}  // namespace fwd::dataplane
