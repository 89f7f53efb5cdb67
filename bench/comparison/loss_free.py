# SPDX-License-Identifier: BSD-3-Clause
"""The highest rate at which nothing is lost: RFC 2544, section 26.1, with short trials."""

from dataclasses import dataclass

MORE_THAN_ANYBODY_CAN = 50  # Mpps
STEP_UP = 1.1
GIVE_UP = 100  # times less than what gets through under overload


@dataclass
class LossFree:
    mpps: float  # 0: packets were lost at every rate
    trials: int = 0
    repeated: int = 0  # trials that were needed because others had lost packets at the same rate
    sender_limited: bool = False  # nothing was lost at the highest rate that the generator has


def find(trial, resolution, tolerate_ppm=0, retries=0):
    """trial(mpps) gives a round_trip.Trial. resolution: of the result, as a share of it.

    A rate counts if one of 1 + retries trials loses at most tolerate_ppm packets of a million. The result is what has
    been offered then, which may be less than was wanted.
    """
    result = LossFree(0)

    def passes(mpps):
        for attempt in range(1 + retries):
            done = trial(mpps)
            result.trials += 1
            result.repeated += attempt > 0
            if done.lost <= done.offered * tolerate_ppm / 1e6:
                result.mpps = max(result.mpps, done.offered_mpps)
                return True
        return False

    flood = trial(MORE_THAN_ANYBODY_CAN)
    result.trials += 1
    if flood.lost == 0:
        return LossFree(flood.offered_mpps, result.trials, 0, sender_limited=True)
    # What gets through under overload is near what is looked for, and may be on either side of it.
    low, high = 0, flood.returned_mpps
    while passes(high) and high < flood.offered_mpps:
        low, high = high, high * STEP_UP
    least = flood.returned_mpps / GIVE_UP
    while high - low > resolution * high and high > least:
        middle = (low + high) / 2
        if passes(middle):
            low = middle
        else:
            high = middle
    return result
