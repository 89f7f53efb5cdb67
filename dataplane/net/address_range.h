// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <span>
#include <vector>

#include "dataplane/net/address.h"

namespace fwd::net {

/// The first and the last address of a block.
struct AddressRange {
    Ipv4Address first;
    Ipv4Address last;
    friend constexpr auto operator<=>(const AddressRange&, const AddressRange&) noexcept = default;
};

/// Whether an address is in one of sorted, disjoint ranges; true when there are none.
inline bool is_in(std::span<const AddressRange> ranges, Ipv4Address address) noexcept {
    if (ranges.empty()) return true;
    const auto behind = std::ranges::upper_bound(ranges, address, {}, &AddressRange::first);
    return behind != ranges.begin() && address <= std::prev(behind)->last;
}

/// Prefixes as sorted, disjoint ranges.
inline std::vector<AddressRange> to_ranges(std::span<const Ipv4Prefix> prefixes) {
    std::vector<AddressRange> ranges;
    ranges.reserve(prefixes.size());
    for (const Ipv4Prefix& prefix : prefixes) {
        const std::uint32_t first = prefix.address.value.host();
        ranges.push_back({prefix.address, Ipv4Address::from_host(first | ~prefix.mask())});
    }
    std::ranges::sort(ranges);
    std::vector<AddressRange> disjoint;
    for (const AddressRange& range : ranges) {
        if (!disjoint.empty() && range.first <= disjoint.back().last) {
            disjoint.back().last = std::max(disjoint.back().last, range.last);
        } else {
            disjoint.push_back(range);
        }
    }
    return disjoint;
}

/// What is in `allowed` (everybody when that is empty) and not in `denied`, as sorted, disjoint ranges.
/// Nothing denied and nothing named: empty, for everybody. Everybody denied: empty as well, which control
/// refuses.
inline std::vector<AddressRange> allowed_sources(std::span<const Ipv4Prefix> allowed,
                                                 std::span<const Ipv4Prefix> denied) {
    if (denied.empty()) return to_ranges(allowed);
    const Ipv4Prefix everybody{};
    std::vector<AddressRange> left;
    const std::vector<AddressRange> gaps = to_ranges(denied);
    for (const AddressRange& range : to_ranges(allowed.empty() ? std::span{&everybody, 1} : allowed)) {
        std::uint64_t first = range.first.value.host();
        const std::uint64_t last = range.last.value.host();
        const auto keep = [&](std::uint64_t end) {
            if (first < end)
                left.push_back({Ipv4Address::from_host(static_cast<std::uint32_t>(first)),
                                Ipv4Address::from_host(static_cast<std::uint32_t>(end - 1))});
        };
        auto gap = std::ranges::lower_bound(gaps, range.first, {}, &AddressRange::last);
        for (; gap != gaps.end() && gap->first.value.host() <= last; ++gap) {
            keep(gap->first.value.host());
            first = std::uint64_t{gap->last.value.host()} + 1;
        }
        keep(last + 1);
    }
    return left;
}

}  // namespace fwd::net
