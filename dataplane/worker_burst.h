// SPDX-License-Identifier: BSD-3-Clause
// What worker.cc and worker_ipv6.cc share.
#pragma once

#include <array>
#include <cstdint>

#include "dataplane/worker.h"

namespace fwd::dataplane {

inline constexpr unsigned kNeighbourUseShift = 8;  // ticks to about 2 seconds

/// TCP and UDP packets of a burst that are IPv6.
struct Worker::WideBurst {
    unsigned count = 0;
    std::array<WideParsed, kBurst> parsed;
    std::array<WideKey, kBurst> keys;
    std::array<std::uint32_t, kBurst> hashes;
};

}  // namespace fwd::dataplane
