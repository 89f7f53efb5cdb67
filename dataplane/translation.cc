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

void complete_checksum(std::uint8_t* ip, std::uint16_t ip_bytes, bool marked_partial) noexcept {
    const std::size_t header_bytes = net::header_bytes(ip);
    const bool udp = detail::is_udp(ip);
    std::uint8_t* l4 = ip + header_bytes;
    std::uint8_t* field = detail::l4_checksum(l4 - net::kIpv4Bytes, udp);
    const auto l4_bytes = static_cast<std::uint16_t>(ip_bytes - header_bytes);
    const std::uint16_t covered = udp ? net::load_host16(l4 + 4) : l4_bytes;
    const std::uint64_t pseudo_header =
        net::pseudo_header_sum(net::load32(ip + net::kAddressesOffset),
                               net::load32(ip + net::kDestinationOffset), ip[net::kProtocolOffset], covered);
    if (!marked_partial && net::load16(field) != net::fold_checksum(pseudo_header)) return;
    net::store16(field, 0);
    const std::uint16_t sum = net::checksum(l4, covered, pseudo_header);
    net::store16(field, udp && sum == 0 ? 0xffff : sum);
}

void rewrite_unusual(std::uint8_t* ip, const Translation& translation) noexcept {
    if (!net::is_later_fragment(ip)) {
        std::uint8_t* l4 = ip + net::header_bytes(ip);
        const bool udp = detail::is_udp(ip);
        detail::update_l4_checksum(detail::l4_checksum(l4 - net::kIpv4Bytes, udp), udp, translation);
        std::memcpy(l4, &translation.source_port, 4);
    }
    detail::update_ip_header(ip, translation);
    std::memcpy(ip + net::kAddressesOffset, &translation, 8);
}

}  // namespace fwd::dataplane
