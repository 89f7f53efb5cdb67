// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace fwd::bench {

/// Counts values in buckets whose width doubles with every power of two, 64 of them to each: so a percentile
/// is at most 1.6 % above the value that it stands for, at any size, and counting costs one addition.
class Histogram {
 public:
    void add(std::uint64_t value) noexcept {
        ++counts_[bucket_of(value)];
        ++count_;
        max_ = std::max(max_, value);
    }
    std::uint64_t count() const noexcept { return count_; }
    std::uint64_t max() const noexcept { return max_; }

    /// The smallest value, but for the bucket's width, that `share` of all values do not exceed; 0 without
    /// any.
    std::uint64_t percentile(double share) const noexcept {
        const auto wanted = static_cast<std::uint64_t>(std::ceil(share * static_cast<double>(count_)));
        std::uint64_t passed = 0;
        for (std::size_t bucket = 0; bucket < counts_.size(); ++bucket) {
            passed += counts_[bucket];
            if (passed != 0 && passed >= wanted) return std::min(largest_in(bucket), max_);
        }
        return 0;
    }

 private:
    static constexpr unsigned kBits = 6;  ///< 2^6 buckets to a power of two
    static constexpr unsigned kMostShift = 64 - kBits - 1;

    // Values below 128 have a bucket each; of greater ones the first seven bits count.
    static constexpr std::size_t bucket_of(std::uint64_t value) noexcept {
        const auto bits = static_cast<unsigned>(std::bit_width(value));
        const unsigned shift = bits > kBits + 1 ? bits - kBits - 1 : 0;
        return (std::size_t{shift} << kBits) + static_cast<std::size_t>(value >> shift);
    }
    static constexpr std::uint64_t largest_in(std::size_t bucket) noexcept {
        if (bucket < std::size_t{2} << kBits) return bucket;
        const std::size_t shift = (bucket >> kBits) - 1;
        return ((std::uint64_t{bucket} - (shift << kBits) + 1) << shift) - 1;
    }

    std::array<std::uint64_t, (std::size_t{kMostShift + 2} << kBits)> counts_{};
    std::uint64_t count_ = 0, max_ = 0;
};

}  // namespace fwd::bench
