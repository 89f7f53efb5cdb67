// SPDX-License-Identifier: BSD-3-Clause
// What fwd reads and changes of the options in a SYN (RFC 9293, section 3.1).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

namespace fwd::dataplane {

inline constexpr std::uint8_t kTcpOptionMss = 2, kTcpOptionWindowScale = 3;

/// Where the content of an option of this kind and length (kind and length included) begins, from the start
/// of a TCP header that is there as a whole; nullopt when it has none, or anything before it is malformed.
std::optional<std::size_t> find_tcp_option(const std::uint8_t* tcp, std::uint8_t kind,
                                           std::uint8_t bytes) noexcept;

/// Lowers the maximum segment size that a SYN announces, with its checksum; never raises it.
void clamp_tcp_mss(std::uint8_t* tcp, std::uint16_t greatest) noexcept;

/// By how many bits the sender of a SYN shifts its windows: 0 to 14 (RFC 7323, section 2.3).
unsigned tcp_window_shift(const std::uint8_t* tcp) noexcept;

}  // namespace fwd::dataplane
