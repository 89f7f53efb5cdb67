// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/session_log.h"

#include <rte_errno.h>
#include <rte_memory.h>
#include <rte_ring_elem.h>

#include <cstdio>

namespace fwd::dataplane {
namespace {

// What a million sessions a second begin and end while control is away for 30 ms.
constexpr unsigned kEvents = 1U << 16U;

}  // namespace

SessionLog::~SessionLog() {
    rte_ring_free(ring_);
}

Setup<void> SessionLog::turn_on() {
    if (ring_ == nullptr) {
        static std::atomic<unsigned> logs{0};
        char name[RTE_RING_NAMESIZE];
        std::snprintf(name, sizeof name, "fwd_events_%u", logs.fetch_add(1));
        // Workers that write at the same time don't wait for each other's last step.
        ring_ = rte_ring_create_elem(name, sizeof(SessionEvent), kEvents, SOCKET_ID_ANY,
                                     RING_F_MP_RTS_ENQ | RING_F_SC_DEQ);
        if (ring_ == nullptr)
            return tl::unexpected(SetupError{"no memory for the log of translations", rte_errno});
        rte_ring_set_prod_htd_max(ring_, rte_ring_get_capacity(ring_));
    }
    on_.store(true, std::memory_order_release);
    return {};
}

void SessionLog::write(const SessionEvent& event) noexcept {
    if (rte_ring_enqueue_elem(ring_, const_cast<SessionEvent*>(&event), sizeof event) != 0)
        lost_.fetch_add(1, std::memory_order_relaxed);
}

unsigned SessionLog::take(std::span<SessionEvent> events) noexcept {
    if (ring_ == nullptr) return 0;
    return rte_ring_dequeue_burst_elem(ring_, events.data(), sizeof(SessionEvent),
                                       static_cast<unsigned>(events.size()), nullptr);
}

}  // namespace fwd::dataplane
