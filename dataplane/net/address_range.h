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
    IpAddress first;
    IpAddress last;
    friend constexpr auto operator<=>(const AddressRange&, const AddressRange&) noexcept = default;
};

/// Whether an address is in one of sorted, disjoint ranges; true when there are none.
inline bool is_in(std::span<const AddressRange> ranges, const IpAddress& address) noexcept {
    if (ranges.empty()) return true;
    const auto behind = std::ranges::upper_bound(ranges, address, {}, &AddressRange::first);
    return behind != ranges.begin() && address <= std::prev(behind)->last;
}

/// Prefixes as sorted, disjoint ranges.
inline std::vector<AddressRange> to_ranges(std::span<const IpPrefix> prefixes) {
    std::vector<AddressRange> ranges;
    ranges.reserve(prefixes.size());
    for (const IpPrefix& prefix : prefixes) ranges.push_back({prefix.address, prefix.last()});
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

/// What is in `allowed` (in `everybody` when that is empty) and not in `denied`, as sorted, disjoint ranges.
/// Nothing denied and nothing named: empty, for everybody. Everybody denied: empty as well, which control
/// refuses.
inline std::vector<AddressRange> allowed_sources(std::span<const IpPrefix> allowed,
                                                 std::span<const IpPrefix> denied,
                                                 const IpPrefix& everybody = kAnyIpv4) {
    if (denied.empty()) return to_ranges(allowed);
    std::vector<AddressRange> left;
    const std::vector<AddressRange> gaps = to_ranges(denied);
    for (AddressRange range : to_ranges(allowed.empty() ? std::span{&everybody, 1} : allowed)) {
        bool is_empty = false;
        auto gap = std::ranges::lower_bound(gaps, range.first, {}, &AddressRange::last);
        for (; !is_empty && gap != gaps.end() && gap->first <= range.last; ++gap) {
            if (range.first < gap->first)
                left.push_back({range.first, IpAddress::from_number(gap->first.number() - 1)});
            is_empty = gap->last >= range.last;
            if (!is_empty) range.first = IpAddress::from_number(gap->last.number() + 1);
        }
        if (!is_empty) left.push_back(range);
    }
    return left;
}

}  // namespace fwd::net
