// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>
#include <vector>

#include "dataplane/session.h"
#include "dataplane/tsc.h"

namespace fwd::dataplane {

/// What workers tell one another about the sessions that they could evict: a flood may arrive at one worker
/// and clients at another, which then has nothing that is old enough. Each evicts from its own queue alone.
class EvictionBoard {
 public:
    explicit EvictionBoard(unsigned workers) : places_(workers) {}

    /// When this worker's oldest session of a kind was opened; nullopt when it has none.
    void show(unsigned worker, Evictable kind, std::optional<Tick> oldest) noexcept {
        const std::uint32_t value = oldest ? oldest->value | kSome : 0;
        std::atomic<std::uint32_t>& shown = places_[worker].oldest[static_cast<std::size_t>(kind)];
        if (shown.load(std::memory_order_relaxed) != value) shown.store(value, std::memory_order_relaxed);
    }

    /// Another worker that has an older one than `own`: the one with the oldest of all.
    std::optional<unsigned> find_older(unsigned worker, Evictable kind,
                                       std::optional<Tick> own) const noexcept {
        std::optional<unsigned> found;
        for (unsigned other = 0; other < places_.size(); ++other) {
            const std::uint32_t value =
                places_[other].oldest[static_cast<std::size_t>(kind)].load(std::memory_order_relaxed);
            if (other == worker || value == 0) continue;
            const Tick theirs{value};
            if (own && !theirs.before(Tick{own->value | kSome})) continue;
            own = theirs;
            found = other;
        }
        return found;
    }

    /// Asks a worker to end one of its sessions.
    void ask(unsigned worker) noexcept { places_[worker].wanted.fetch_add(1, std::memory_order_relaxed); }
    void ask_all_but(unsigned worker) noexcept {
        for (unsigned other = 0; other < places_.size(); ++other) {
            if (other != worker) ask(other);
        }
    }
    /// How many this worker has been asked for since the last time.
    std::uint32_t take_wanted(unsigned worker) noexcept {
        std::atomic<std::uint32_t>& wanted = places_[worker].wanted;
        return wanted.load(std::memory_order_relaxed) == 0 ? 0
                                                           : wanted.exchange(0, std::memory_order_relaxed);
    }

 private:
    static constexpr std::uint32_t kSome = 1;  // makes every tick that is shown odd

    struct alignas(64) Place {
        std::array<std::atomic<std::uint32_t>, kEvictableCount> oldest{};
        std::atomic<std::uint32_t> wanted{0};
    };
    std::vector<Place> places_;
};

}  // namespace fwd::dataplane
