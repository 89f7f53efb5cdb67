// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/translation.h"

namespace fwd::dataplane {
Translation Translation::between(const FlowKey& arrives, net::Endpoint source,
                                 net::Endpoint destination) noexcept {
    Translation t;
    t.source = source.address;
    t.destination = destination.address;
    t.source_port = source.port;
    t.destination_port = destination.port;
    net::ChecksumDelta addresses;
    addresses.replace32(arrives.source.value.wire(), source.address.value.wire())
        .replace32(arrives.destination.value.wire(), destination.address.value.wire());
    t.l4 = addresses;
    t.l4.replace16(arrives.source_port.wire(), source.port.wire())
        .replace16(arrives.destination_port.wire(), destination.port.wire());
    t.l3 = addresses;
    // TTL is the high byte of its 16-bit word; going down by one changes the sum alike whatever its value.
    t.l3.replace16(net::be16::from_host(0x0100).wire(), 0);
    return t;
}

FlowKey Translation::reverse_key(LinkId egress, net::Protocol protocol) const noexcept {
    FlowKey key;
    key.ingress = egress;
    key.protocol = protocol;
    key.source = destination;
    key.destination = source;
    key.source_port = destination_port;
    key.destination_port = source_port;
    return key;
}

void rewrite_partial(std::uint8_t* ip, std::uint16_t ip_bytes, const Translation& translation,
                     bool marked_partial) noexcept {
    using net::load16, net::load32, net::kAddressesOffset, net::kIpv4Bytes;
    const std::uint8_t protocol = ip[net::kProtocolOffset];
    std::uint8_t* field = detail::l4_checksum(ip);
    const std::uint16_t l4_bytes = detail::is_udp(ip) ? net::load_host16(ip + net::kUdpLengthOffset)
                                                      : static_cast<std::uint16_t>(ip_bytes - kIpv4Bytes);
    const auto pseudo_header = [&] {
        return net::pseudo_header_sum(load32(ip + kAddressesOffset), load32(ip + net::kDestinationOffset),
                                      protocol, l4_bytes);
    };
    if (!marked_partial && load16(field) != net::fold_checksum(pseudo_header())) {
        rewrite(ip, translation);
        return;
    }
    detail::rewrite_headers(ip, translation);
    net::store16(field, 0);
    const std::uint16_t sum = net::checksum(ip + kIpv4Bytes, l4_bytes, pseudo_header());
    net::store16(field, detail::is_udp(ip) && sum == 0 ? 0xffff : sum);
}

}  // namespace fwd::dataplane
