// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/tcp_options.h"

#include <rte_tcp.h>

#include <algorithm>

namespace fwd::dataplane {
namespace {

constexpr std::uint8_t kEnd = 0, kNothing = 1;
constexpr std::size_t kDataOffset = 12;
constexpr std::uint8_t kWindowScaleBytes = 3;
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

unsigned tcp_window_shift(const std::uint8_t* tcp) noexcept {
    const auto at = find_tcp_option(tcp, kTcpOptionWindowScale, kWindowScaleBytes);
    return at ? std::min<unsigned>(tcp[*at], kGreatestShift) : 0;
}

}  // namespace fwd::dataplane
