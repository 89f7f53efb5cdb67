// SPDX-License-Identifier: BSD-3-Clause
// Where the keys of live flows probably are, in front of rte_hash: a hint is checked against the record that
// it names, so a wrong one costs time and nothing else, and nobody has to take care of it.
//
// Before a packet reads its flow's own line, rte_hash reads three lines of memory (two buckets, the key), a
// hint half of one. Among a million sessions nothing costs a packet more than lines that are not in the
// cache.
//
//     hash:  tag ....... set            hint:  tag | position         a set has eight hints
//
// Any worker reads and writes any hint without order: values are single words.
#pragma once

#include <emmintrin.h>
#include <rte_cycles.h>

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "dataplane/flow_position.h"

namespace fwd::dataplane {

class FlowHints {
 public:
    FlowHints() = default;
    /// How many bytes of zeros, aligned to a cache line, hints for that many keys take.
    static std::size_t memory_bytes(std::uint32_t keys) noexcept {
        return std::size_t{std::bit_ceil(keys)} * sizeof(std::uint32_t);
    }
    /// @param memory of memory_bytes(keys); stays the caller's
    /// @param positions are all below this
    FlowHints(void* memory, std::uint32_t keys, std::uint32_t positions) noexcept
        : sets_{static_cast<Set*>(memory)},
          set_mask_{std::bit_ceil(keys) / kWays - 1},
          tag_mask_{static_cast<std::uint32_t>(~std::uint64_t{0} << std::bit_width(positions))} {}

    void prefetch(std::uint32_t hash) const noexcept { __builtin_prefetch(&set(hash)); }

    /// Where the key with this hash may be; position 0 when nothing is known.
    FlowPosition find(std::uint32_t hash) const noexcept {
        const Set& ways = set(hash);
        const unsigned hit = ways.with_tag(hash & tag_mask_, tag_mask_);
        if (hit == 0) [[unlikely]]
            return {};
        return {ways.load(static_cast<unsigned>(std::countr_zero(hit))) & ~tag_mask_};
    }

    /// Notes where a live flow is, in place of one with the same tag, of none, or of any other.
    void note(std::uint32_t hash, FlowPosition position) noexcept {
        Set& ways = set(hash);
        unsigned candidates = ways.with_tag(hash & tag_mask_, tag_mask_);
        if (candidates == 0) candidates = ways.with_tag(0, ~0U);
        // Any other: flows that share a set must not chase one another from the same place for ever.
        if (candidates == 0) candidates = 1U << (rte_rdtsc() >> 4U) % kWays;
        ways.store(static_cast<unsigned>(std::countr_zero(candidates)), (hash & tag_mask_) | position.value);
    }

 private:
    static constexpr std::uint32_t kWays = 8;
    struct alignas(32) Set {
        std::atomic<std::uint64_t> pairs[kWays / 2];

        std::uint32_t load(unsigned way) const noexcept {
            return static_cast<std::uint32_t>(pairs[way / 2].load(std::memory_order_relaxed) >> shift(way));
        }
        /// The neighbour in the same word may get its value of before back, or go: it is a hint.
        void store(unsigned way, std::uint32_t hint) noexcept {
            std::uint64_t pair = pairs[way / 2].load(std::memory_order_relaxed);
            pair = (pair & ~(std::uint64_t{0xffffffff} << shift(way))) | std::uint64_t{hint} << shift(way);
            pairs[way / 2].store(pair, std::memory_order_relaxed);
        }
        /// A bit for each way whose value has these bits under the mask.
        unsigned with_tag(std::uint32_t tag, std::uint32_t mask) const noexcept {
            const __m128i tags = _mm_set1_epi32(static_cast<int>(tag));
            const __m128i masks = _mm_set1_epi32(static_cast<int>(mask));
            const auto half = [&](unsigned first) {
                const auto low = pairs[first].load(std::memory_order_relaxed);
                const auto high = pairs[first + 1].load(std::memory_order_relaxed);
                const __m128i hints =
                    _mm_set_epi64x(static_cast<std::int64_t>(high), static_cast<std::int64_t>(low));
                const __m128i equal = _mm_cmpeq_epi32(_mm_and_si128(hints, masks), tags);
                return static_cast<unsigned>(_mm_movemask_ps(_mm_castsi128_ps(equal)));
            };
            return half(0) | half(2) << 4U;
        }
        static constexpr unsigned shift(unsigned way) noexcept { return way % 2 * 32; }
    };
    Set& set(std::uint32_t hash) const noexcept { return sets_[hash & set_mask_]; }

    Set* sets_ = nullptr;
    std::uint32_t set_mask_ = 0;
    std::uint32_t tag_mask_ = 0;
};

}  // namespace fwd::dataplane
