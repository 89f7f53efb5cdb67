// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <rte_pause.h>
#include <rte_rcu_qsbr.h>

#include <cstdint>

namespace fwd::dataplane {

/// Whether every thread has been quiescent, or offline, since rte_rcu_qsbr_start() gave `token`. Never waits.
///
/// This is rte_rcu_qsbr_check() without its memory. That one notes the least token that the threads it has
/// found online had acknowledged, and believes it from then on; but one that was offline when it was looked
/// at may come online before the last one is, with a token that is older than what is noted.
inline bool grace_period_is_over(const rte_rcu_qsbr* qsbr, std::uint64_t token) noexcept {
    for (std::uint32_t thread = 0; thread < qsbr->max_threads; ++thread) {
        const std::uint64_t seen = __atomic_load_n(&qsbr->qsbr_cnt[thread].cnt, __ATOMIC_ACQUIRE);
        if (seen != __RTE_QSBR_CNT_THR_OFFLINE && seen < token) return false;
    }
    return true;
}

/// Starts a grace period and spins until it is over. The caller is offline itself.
inline void wait_grace_period(rte_rcu_qsbr* qsbr) noexcept {
    const std::uint64_t token = rte_rcu_qsbr_start(qsbr);
    while (!grace_period_is_over(qsbr, token)) rte_pause();
}

}  // namespace fwd::dataplane
