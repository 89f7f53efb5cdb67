// SPDX-License-Identifier: BSD-3-Clause
// The Internet checksum (RFC 1071) and its incremental update (RFC 1624). Values are those that stand in
// memory: the sum does not depend on byte order (RFC 1071, section 2(B)), so nothing is swapped.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace fwd::net {

/// Folds carries back until 16 bits are left. Non-zero stays non-zero.
constexpr std::uint16_t fold_checksum(std::uint64_t sum) noexcept {
    sum = (sum & 0xffffffffU) + (sum >> 32U);
    sum = (sum & 0xffffffffU) + (sum >> 32U);
    sum = (sum & 0xffffU) + (sum >> 16U);
    sum = (sum & 0xffffU) + (sum >> 16U);
    return static_cast<std::uint16_t>(sum);
}

/// What a set of changed header words does to a checksum, prepared once for all packets of a flow.
/// It is the term (~m + m') of RFC 1624 eqn. 3, so it adds up over several words.
class ChecksumDelta {
 public:
    constexpr ChecksumDelta() = default;

    /// A 16-bit word of the covered data changes; wire values.
    constexpr ChecksumDelta& replace16(std::uint16_t from, std::uint16_t to) noexcept {
        sum_ = fold_checksum(std::uint64_t{sum_} + static_cast<std::uint16_t>(~from) + to);
        return *this;
    }
    /// A 32-bit word of the covered data changes; wire values.
    constexpr ChecksumDelta& replace32(std::uint32_t from, std::uint32_t to) noexcept {
        return replace16(static_cast<std::uint16_t>(from), static_cast<std::uint16_t>(to))
            .replace16(static_cast<std::uint16_t>(from >> 16U), static_cast<std::uint16_t>(to >> 16U));
    }

    /// The new checksum: ~(~HC + ~m + m'). A checksum of 0xffff, which only data of all zeros can have, never
    /// comes out.
    constexpr std::uint16_t apply(std::uint16_t checksum) const noexcept {
        std::uint32_t sum = std::uint32_t{static_cast<std::uint16_t>(~checksum)} + sum_;
        sum = (sum & 0xffffU) + (sum >> 16U);
        return static_cast<std::uint16_t>(~sum);
    }

 private:
    // Non-zero for every change, in one's complement another name for 0: see apply().
    std::uint16_t sum_ = 0xffff;
};

/// The one's complement sum of a buffer, not yet folded; an odd last byte is padded with 0 (RFC 1071).
inline std::uint64_t checksum_sum(const std::uint8_t* data, std::size_t bytes,
                                  std::uint64_t sum = 0) noexcept {
    for (; bytes >= 4; data += 4, bytes -= 4) {
        std::uint32_t word;
        std::memcpy(&word, data, 4);
        sum += word;
    }
    if (bytes >= 2) {
        std::uint16_t word;
        std::memcpy(&word, data, 2);
        sum += word;
        data += 2;
        bytes -= 2;
    }
    if (bytes == 1) sum += *data;  // little endian: the byte is the high one on the wire
    return sum;
}

/// The checksum of a buffer in which the checksum field itself is 0, as it has to stand in memory.
inline std::uint16_t checksum(const std::uint8_t* data, std::size_t bytes, std::uint64_t sum = 0) noexcept {
    return static_cast<std::uint16_t>(~fold_checksum(checksum_sum(data, bytes, sum)));
}

/// Whether a header of 20 bytes has the checksum that its other bytes ask for. Unrolled: every packet is
/// asked.
inline bool has_good_checksum20(const std::uint8_t* header) noexcept {
    std::uint64_t sum = 0;
    for (std::size_t at = 0; at < 20; at += 4) {
        std::uint32_t word;
        std::memcpy(&word, header + at, 4);
        sum += word;
    }
    // Less than 2^35, and not 0: two more steps leave 0xffff, or something else.
    sum = (sum & 0xffffffffU) + (sum >> 32U);
    sum = (sum & 0xffffU) + (sum >> 16U);
    return (sum & 0xffffU) + (sum >> 16U) == 0xffffU;
}

/// The sum of the pseudo-header of TCP and UDP over IPv4 (RFC 9293, section 3.1); addresses as they stand on
/// the wire, `l4_bytes` in host order.
constexpr std::uint64_t pseudo_header_sum(std::uint32_t source, std::uint32_t destination,
                                          std::uint8_t protocol, std::uint16_t l4_bytes) noexcept {
    return std::uint64_t{source} + destination + (std::uint32_t{protocol} << 8U) +
           static_cast<std::uint16_t>((l4_bytes << 8U) | (l4_bytes >> 8U));
}

}  // namespace fwd::net
