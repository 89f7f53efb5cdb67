// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/tcp_options.h"

#include <rte_tcp.h>

#include <algorithm>

#include "dataplane/net/checksum.h"
#include "dataplane/net/ipv4.h"

namespace fwd::dataplane {
namespace {

constexpr std::uint8_t kEnd = 0, kNothing = 1;
constexpr std::size_t kDataOffset = 12;
constexpr std::uint8_t kWindowScaleBytes = 3, kMssBytes = 4;
constexpr unsigned kGreatestShift = 14;

}  // namespace

std::optional<std::size_t> find_tcp_option(const std::uint8_t* tcp, std::uint8_t kind,
                                           std::uint8_t bytes) noexcept {
    const std::size_t end = (tcp[kDataOffset] >> 4U) * std::size_t{4};
    for (std::size_t at = sizeof(rte_tcp_hdr); at < end;) {
        if (tcp[at] == kEnd) break;
        if (tcp[at] == kNothing) {
            ++at;
            continue;
        }
        if (end - at < 2 || tcp[at + 1] < 2 || tcp[at + 1] > end - at) break;
        if (tcp[at] == kind) return tcp[at + 1] == bytes ? std::optional{at + 2} : std::nullopt;
        at += tcp[at + 1];
    }
    return std::nullopt;
}

void clamp_tcp_mss(std::uint8_t* tcp, std::uint16_t greatest) noexcept {
    const auto at = find_tcp_option(tcp, kTcpOptionMss, kMssBytes);
    if (!at || net::load_host16(tcp + *at) <= greatest) return;
    std::uint16_t before = net::load16(tcp + *at);
    std::uint16_t after = net::be16::from_host(greatest).wire();
    net::store16(tcp + *at, after);
    if (*at % 2 != 0) {  // across two words of the sum
        before = __builtin_bswap16(before);
        after = __builtin_bswap16(after);
    }
    net::ChecksumDelta change;
    change.replace16(before, after);
    std::uint8_t* checksum = tcp + offsetof(rte_tcp_hdr, cksum);
    net::store16(checksum, change.apply(net::load16(checksum)));
}

unsigned tcp_window_shift(const std::uint8_t* tcp) noexcept {
    const auto at = find_tcp_option(tcp, kTcpOptionWindowScale, kWindowScaleBytes);
    return at ? std::min<unsigned>(tcp[*at], kGreatestShift) : 0;
}

}  // namespace fwd::dataplane
