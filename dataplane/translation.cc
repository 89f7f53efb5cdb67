// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/translation.h"

#include <cstring>

#include "dataplane/packet.h"

namespace fwd::dataplane {
namespace {

constexpr std::size_t kTtlOffset = 8;
constexpr std::size_t kProtocolOffset = 9;
constexpr std::size_t kIpChecksumOffset = 10;
constexpr std::size_t kAddressesOffset = 12;
constexpr std::size_t kTcpChecksumOffset = kIpv4Bytes + 16;
constexpr std::size_t kUdpChecksumOffset = kIpv4Bytes + 6;
constexpr std::size_t kTupleBytes = 12;  // both addresses and, without options right behind them, both ports

std::uint16_t load16(const std::uint8_t* at) noexcept {
    std::uint16_t value;
    std::memcpy(&value, at, sizeof value);
    return value;
}
std::uint32_t load32(const std::uint8_t* at) noexcept {
    std::uint32_t value;
    std::memcpy(&value, at, sizeof value);
    return value;
}
void store16(std::uint8_t* at, std::uint16_t value) noexcept {
    std::memcpy(at, &value, sizeof value);
}

bool is_udp(const std::uint8_t* ip) noexcept {
    return ip[kProtocolOffset] == static_cast<std::uint8_t>(net::Protocol::udp);
}

std::uint8_t* l4_checksum(std::uint8_t* ip) noexcept {
    return ip + (is_udp(ip) ? kUdpChecksumOffset : kTcpChecksumOffset);
}

void rewrite_headers(std::uint8_t* ip, const Translation& translation) noexcept {
    --ip[kTtlOffset];
    store16(ip + kIpChecksumOffset, translation.l3.apply(load16(ip + kIpChecksumOffset)));
    std::memcpy(ip + kAddressesOffset, &translation, kTupleBytes);
}

}  // namespace

static_assert(offsetof(Translation, l3) == kTupleBytes);

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

void rewrite(std::uint8_t* ip, const Translation& translation) noexcept {
    const bool udp = is_udp(ip);
    std::uint8_t* field = l4_checksum(ip);
    const std::uint16_t before = load16(field);
    if (!udp) {
        store16(field, translation.l4.apply(before));
    } else if (before != 0) {
        const std::uint16_t after = translation.l4.apply(before);
        store16(field, after == 0 ? 0xffff : after);
    }
    rewrite_headers(ip, translation);
}

void rewrite_partial(std::uint8_t* ip, std::uint16_t ip_bytes, const Translation& translation,
                     bool marked_partial) noexcept {
    const std::uint8_t protocol = ip[kProtocolOffset];
    std::uint8_t* field = l4_checksum(ip);
    const std::uint16_t l4_bytes = is_udp(ip) ? net::be16::from_wire(load16(ip + kIpv4Bytes + 4)).host()
                                              : static_cast<std::uint16_t>(ip_bytes - kIpv4Bytes);
    const std::uint16_t pseudo = net::fold_checksum(net::pseudo_header_sum(
        load32(ip + kAddressesOffset), load32(ip + kAddressesOffset + 4), protocol, l4_bytes));
    if (!marked_partial && load16(field) != pseudo) {
        rewrite(ip, translation);
        return;
    }
    rewrite_headers(ip, translation);
    store16(field, 0);
    const std::uint16_t sum =
        net::checksum(ip + kIpv4Bytes, l4_bytes,
                      net::pseudo_header_sum(load32(ip + kAddressesOffset), load32(ip + kAddressesOffset + 4),
                                             protocol, l4_bytes));
    store16(field, is_udp(ip) && sum == 0 ? 0xffff : sum);
}

}  // namespace fwd::dataplane
