// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/packet.h"

#include "dataplane/ip_options.h"

namespace fwd::dataplane::detail {

ParsedPacket unusual(ParsedPacket packet, const std::uint8_t* ip) noexcept {
    const std::size_t header_bytes = net::header_bytes(ip);
    if (const Verdict bad = check_ip_options(ip); bad != Verdict::forward)
        return dropped(bad, packet.link.value);
    const auto protocol = static_cast<net::Protocol>(ip[net::kProtocolOffset]);
    const bool known =
        protocol == net::Protocol::tcp || protocol == net::Protocol::udp || protocol == net::Protocol::icmp;
    if (!known) {
        // Neither options nor being a fragment are in the way of new addresses.
        if (!is_passed_by_address(protocol))
            return dropped(Verdict::drop_unsupported_protocol, packet.link.value);
        packet.kind = PacketKind::portless;
        return packet;
    }
    if (!net::is_fragment(ip)) {
        const Verdict l4 = check_l4(protocol, ip + header_bytes, packet.ip_bytes - header_bytes);
        if (l4 != Verdict::forward) return dropped(l4, packet.link.value);
    }
    packet.kind = PacketKind::unusual;
    return packet;
}

}  // namespace fwd::dataplane::detail
