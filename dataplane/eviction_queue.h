// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <bit>
#include <cstdint>
#include <memory>

#include "dataplane/flow_table.h"

namespace fwd::dataplane {

/// Sessions of one worker in the order in which they became unanswered (or closing): the oldest is the first
/// to make room. Entries go stale when their session moves on; whoever pops one looks.
class EvictionQueue {
 public:
    struct Entry {
        FlowPosition session;
        StateWord word;  ///< the session's when it was live
    };

    /// @param capacity how many entries are remembered; a newer one pushes out the oldest, which then just
    /// ages
    explicit EvictionQueue(std::uint32_t capacity)
        : mask_{std::bit_ceil(capacity) - 1}, entries_{std::make_unique<Entry[]>(std::size_t{mask_} + 1)} {}

    void push(Entry entry) noexcept {
        if (tail_ - head_ > mask_) ++head_;
        entries_[tail_++ & mask_] = entry;
    }
    bool empty() const noexcept { return head_ == tail_; }
    /// The entry so many places behind the oldest; nullptr when there is none.
    const Entry* peek(std::uint32_t behind) const noexcept {
        return tail_ - head_ > behind ? &entries_[(head_ + behind) & mask_] : nullptr;
    }
    Entry pop() noexcept { return entries_[head_++ & mask_]; }

 private:
    std::uint32_t mask_;
    std::uint32_t head_ = 0;
    std::uint32_t tail_ = 0;
    std::unique_ptr<Entry[]> entries_;
};

}  // namespace fwd::dataplane
