# SPDX-License-Identifier: BSD-3-Clause
"""python3 -m unittest comparison.loss_free_test"""

import unittest
from collections import Counter

from .loss_free import find
from .round_trip import Trial


class Forwarder:
    """Loses what is above a rate. lost_attempts: so many first trials at each rate lose one more packet."""

    def __init__(self, mpps, generator_mpps=20, overloaded_mpps=None, lost_attempts=0, always_lost=0):
        self.mpps, self.generator_mpps = mpps, generator_mpps
        self.overloaded_mpps = overloaded_mpps or mpps
        self.lost_attempts, self.always_lost = lost_attempts, always_lost
        self.attempts = Counter()

    def trial(self, mpps):
        mpps = min(mpps, self.generator_mpps)
        through = mpps if mpps <= self.mpps else self.overloaded_mpps
        lost = round((mpps - through) * 1e6) + self.always_lost
        if mpps < self.generator_mpps:
            lost += self.attempts[mpps] < self.lost_attempts
        self.attempts[mpps] += 1
        return Trial(offered=round(mpps * 1e6), lost=lost, seconds=1, us={}, longest_pause_us=0)


class LossFree(unittest.TestCase):
    def assert_found(self, found, mpps, resolution=0.02):
        self.assertLessEqual(found.mpps, mpps + 1e-6)
        self.assertGreaterEqual(found.mpps, mpps * (1 - resolution))

    def test_finds_the_rate(self):
        for mpps in (0.1, 3.21, 7.5, 19.9):
            self.assert_found(find(Forwarder(mpps).trial, 0.02), mpps)

    def test_finds_it_where_less_gets_through_under_overload(self):
        self.assert_found(find(Forwarder(0.5, overloaded_mpps=0.1).trial, 0.02), 0.5)

    def test_says_when_the_generator_is_the_limit(self):
        found = find(Forwarder(30).trial, 0.02)
        self.assertTrue(found.sender_limited)
        self.assertEqual(found.mpps, 20)

    def test_repeats_a_trial_that_has_lost_packets(self):
        found = find(Forwarder(5, lost_attempts=2).trial, 0.02, retries=2)
        self.assert_found(found, 5)
        self.assertGreater(found.repeated, 0)

    def test_one_lost_packet_is_a_loss(self):
        self.assertEqual(find(Forwarder(5, always_lost=1).trial, 0.02).mpps, 0)

    def test_tolerates_what_it_is_told_to(self):
        self.assert_found(find(Forwarder(5, always_lost=1).trial, 0.02, tolerate_ppm=20), 5)


if __name__ == "__main__":
    unittest.main()
