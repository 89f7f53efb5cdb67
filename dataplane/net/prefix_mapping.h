// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "dataplane/net/address.h"
#include "dataplane/net/checksum.h"

namespace fwd::net {

/// One network of IPv6 under the addresses of another (NPTv6, RFC 6296): the prefix is replaced, and a word
/// behind it takes up what that would change in the address's sum. So each address has one counterpart, and
/// checksums stay what they are.
class PrefixMapping {
 public:
    static constexpr std::uint8_t kLongest = 64;

    /// Two prefixes of the same length, at most kLongest.
    constexpr PrefixMapping(const IpPrefix& inside, const IpPrefix& external) noexcept
        : inside_{inside}, external_{external} {}

    constexpr const IpPrefix& inside() const noexcept { return inside_; }
    constexpr const IpPrefix& external() const noexcept { return external_; }
    /// The counterpart of an address in the inside prefix; nullopt of one that has none, since the word is
    /// all ones (RFC 6296, sections 3.4 and 3.5).
    constexpr std::optional<IpAddress> to_external(const IpAddress& address) const noexcept {
        return map(address, inside_, external_);
    }
    constexpr std::optional<IpAddress> to_inside(const IpAddress& address) const noexcept {
        return map(address, external_, inside_);
    }

 private:
    static constexpr std::size_t kWords = 8;
    static constexpr std::uint16_t word_at(uint128 number, std::size_t word) noexcept {
        return static_cast<std::uint16_t>(number >> (16 * (kWords - 1 - word)));
    }
    static constexpr std::uint64_t sum_of(uint128 number) noexcept {
        std::uint64_t sum = 0;
        for (std::size_t word = 0; word < kWords; ++word) sum += word_at(number, word);
        return sum;
    }
    static constexpr std::optional<IpAddress> map(const IpAddress& address, const IpPrefix& from,
                                                  const IpPrefix& to) noexcept {
        const uint128 number = address.number();
        // The subnet, or of a longer prefix the first word of the interface's identifier that can be it.
        std::size_t word = from.length <= 48 ? 3 : 4;
        while (from.length > 48 && word < kWords - 1 && word_at(number, word) == 0xffff) ++word;
        const std::uint16_t before = word_at(number, word);
        if (before == 0xffff) return std::nullopt;
        const std::uint16_t lost = fold_checksum(sum_of(to.address.number()));
        std::uint16_t after =
            fold_checksum(before + sum_of(from.address.number()) + static_cast<std::uint16_t>(~lost));
        if (after == 0xffff) after = 0;
        const unsigned shift = static_cast<unsigned>(16 * (kWords - 1 - word));
        uint128 made = to.address.number() | (number & ~from.mask());
        made = (made & ~(uint128{0xffff} << shift)) | uint128{after} << shift;
        return IpAddress::from_number(made);
    }

    IpPrefix inside_;
    IpPrefix external_;
};

}  // namespace fwd::net
