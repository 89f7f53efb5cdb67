// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/ip_options.h"

#include <cstring>

#include "dataplane/net/checksum.h"
#include "dataplane/net/ipv4.h"

namespace fwd::dataplane {
namespace {

constexpr std::uint8_t kEnd = 0, kNothing = 1, kLooseSourceRoute = 131, kStrictSourceRoute = 137;

}  // namespace

Verdict check_ip_options(const std::uint8_t* ip) noexcept {
    const std::size_t end = net::header_bytes(ip);
    for (std::size_t at = net::kIpv4Bytes; at < end;) {
        const std::uint8_t type = ip[at];
        if (type == kEnd) break;
        if (type == kNothing) {
            ++at;
            continue;
        }
        if (end - at < 2 || ip[at + 1] < 2 || ip[at + 1] > end - at) return Verdict::drop_bad_ip_options;
        if (type == kLooseSourceRoute || type == kStrictSourceRoute) return Verdict::drop_source_route;
        at += ip[at + 1];
    }
    return Verdict::forward;
}

std::uint8_t* remove_ip_options(std::uint8_t* ip) noexcept {
    const std::size_t options = net::header_bytes(ip) - net::kIpv4Bytes;
    const auto total = static_cast<std::uint16_t>(net::load_host16(ip + net::kTotalLengthOffset) - options);
    std::uint8_t* begin = ip + options;
    std::memmove(begin, ip, net::kIpv4Bytes);
    begin[0] = 0x45;
    net::store16(begin + net::kTotalLengthOffset, net::be16::from_host(total).wire());
    net::store16(begin + net::kIpChecksumOffset, 0);
    net::store16(begin + net::kIpChecksumOffset, net::checksum(begin, net::kIpv4Bytes));
    return begin;
}

}  // namespace fwd::dataplane
