// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstdint>
#include <memory>

#include "dataplane/net/address.h"

namespace fwd::dataplane {

/// How many live sessions each client has by each rule that limits them (requirement R5). Without locks: an
/// entry is one word.
///
///     entry:  of rule's slot and client's address, mixed (49 bits) | sessions (15)
///
/// With one rule no two clients have the same mixed bits; two of different rules that do share a limit.
/// A client's entry lies in one of two cache lines. Where both are full of other clients it is not counted,
/// and so not limited: at twice as many entries as sessions that is next to never. Two workers that see a
/// client's first two sessions at once may give it two entries, and it may then have up to twice its limit.
class SourceCounts {
 public:
    static constexpr std::uint32_t kMostSessions = (1U << 15U) - 1;
    static constexpr std::uint32_t kMostSlots = 1U << 20U;

    /// @param sessions that there can be at most
    explicit SourceCounts(std::uint32_t sessions)
        : line_mask_{std::bit_ceil(std::max(2 * sessions / kPerLine, 2U)) - 1},
          lines_{std::make_unique<Line[]>(std::size_t{line_mask_} + 1)} {}

    enum class Taken : std::uint8_t {
        counted,      ///< give_back() has to follow
        not_counted,  ///< no room to count it
        refused,      ///< the client has as many as it may have
    };
    Taken take(std::uint32_t slot, net::Ipv4Address client, std::uint32_t limit) noexcept {
        const std::uint64_t key = key_of(slot, client);
        const std::array<Line*, 2> both = lines_of(key);
        for (Line* line : both) {
            for (auto& entry : *line) {
                std::uint64_t seen = entry.load(std::memory_order_relaxed);
                while (seen >> kCountBits == key && (seen & kCountMask) != 0) {
                    if ((seen & kCountMask) >= limit) return Taken::refused;
                    if (entry.compare_exchange_weak(seen, seen + 1, std::memory_order_relaxed))
                        return Taken::counted;
                }
            }
        }
        for (Line* line : both) {
            for (auto& entry : *line) {
                std::uint64_t seen = entry.load(std::memory_order_relaxed);
                while ((seen & kCountMask) == 0) {
                    if (entry.compare_exchange_weak(seen, key << kCountBits | 1U, std::memory_order_relaxed))
                        return Taken::counted;
                }
            }
        }
        return Taken::not_counted;
    }
    void give_back(std::uint32_t slot, net::Ipv4Address client) noexcept {
        const std::uint64_t key = key_of(slot, client);
        for (Line* line : lines_of(key)) {
            for (auto& entry : *line) {
                std::uint64_t seen = entry.load(std::memory_order_relaxed);
                while (seen >> kCountBits == key && (seen & kCountMask) != 0) {
                    if (entry.compare_exchange_weak(seen, seen - 1, std::memory_order_relaxed)) return;
                }
            }
        }
    }

 private:
    static constexpr unsigned kPerLine = 8, kCountBits = 15;
    static constexpr std::uint64_t kCountMask = kMostSessions;
    struct alignas(64) Line : std::array<std::atomic<std::uint64_t>, kPerLine> {};

    /// 2^64 by the golden ratio: its multiples by less than 2^32 lie more than 2^25 apart, so what is left of
    /// the product still tells all clients of a rule apart.
    static std::uint64_t key_of(std::uint32_t slot, net::Ipv4Address client) noexcept {
        return (std::uint64_t{slot} << 32U | client.value.host()) * 0x9e3779b97f4a7c15U >> kCountBits;
    }
    /// Who is counted is somebody that a rule forwards: choosing addresses that share a line gains a client
    /// nothing but sessions of its own, so this need not be keyed.
    std::array<Line*, 2> lines_of(std::uint64_t key) noexcept {
        return {&lines_[key >> 17U & line_mask_], &lines_[(key ^ key >> 23U) & line_mask_]};
    }

    std::uint32_t line_mask_;
    std::unique_ptr<Line[]> lines_;
};

}  // namespace fwd::dataplane
