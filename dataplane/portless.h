// SPDX-License-Identifier: BSD-3-Clause
// Packets of protocols without ports (GRE, ESP and the like): known by addresses and protocol alone, and only
// their addresses are translated.
#pragma once

#include <cstdint>
#include <cstring>

#include "dataplane/flow_key.h"
#include "dataplane/net/ipv4.h"
#include "dataplane/translation.h"

namespace fwd::dataplane {

/// The key of a packet that has passed parse(); both ports are 0.
inline FlowKey portless_key(LinkId ingress, const std::uint8_t* ip) noexcept {
    FlowKey key;
    key.ingress = ingress;
    key.protocol = static_cast<net::Protocol>(ip[net::kProtocolOffset]);
    key.source.value = net::be32::from_wire(net::load32(ip + net::kAddressesOffset));
    key.destination.value = net::be32::from_wire(net::load32(ip + net::kDestinationOffset));
    return key;
}

/// Rewrites addresses, TTL and the header's checksum; TTL above 1.
inline void rewrite_addresses(std::uint8_t* ip, const Translation& translation) noexcept {
    --ip[net::kTtlOffset];
    std::uint8_t* field = ip + net::kIpChecksumOffset;
    net::store16(field, translation.l3.apply(net::load16(field)));
    std::memcpy(ip + net::kAddressesOffset, &translation.source, sizeof translation.source);
    std::memcpy(ip + net::kDestinationOffset, &translation.destination, sizeof translation.destination);
}

}  // namespace fwd::dataplane
