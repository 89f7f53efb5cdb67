// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>

#include "dataplane/counter.h"

namespace fwd::dataplane {

/// Adds packets of a burst up by link, in registers: most bursts come from one link and go to one.
class LinkTally {
 public:
    LinkTally(ThreadCounters& counters, Counter LinkCounters::*packets, Counter LinkCounters::*bytes) noexcept
        : counters_{counters}, packets_{packets}, bytes_{bytes} {}
    ~LinkTally() { settle(); }
    LinkTally(const LinkTally&) = delete;
    LinkTally& operator=(const LinkTally&) = delete;

    void add(LinkId link, std::uint32_t frame_bytes) noexcept {
        if (link != link_) [[unlikely]] {
            settle();
            link_ = link;
        }
        ++packet_count_;
        byte_count_ += frame_bytes;
    }

 private:
    void settle() noexcept {
        if (packet_count_ == 0) return;
        LinkCounters& link = counters_.links[link_.value];
        (link.*packets_).add(packet_count_);
        (link.*bytes_).add(byte_count_);
        packet_count_ = 0;
        byte_count_ = 0;
    }

    ThreadCounters& counters_;
    Counter LinkCounters::*packets_;
    Counter LinkCounters::*bytes_;
    LinkId link_{};
    std::uint64_t packet_count_ = 0;
    std::uint64_t byte_count_ = 0;
};

}  // namespace fwd::dataplane
