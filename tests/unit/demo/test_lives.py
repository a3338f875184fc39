"""The demo's people: each life is played, and some of each even among few."""

from __future__ import annotations

import random
from collections import Counter

from sandbox.demo.lives import LIVES, MOMENTS, Act, drawn

USERS = [f"user-{number}" for number in range(40)]


def test_whatever_somebody_does_is_done_on_a_day_that_comes() -> None:
    days = {moment.day for moment in MOMENTS}
    assert all(life.keys() <= days for _, life in LIVES)
    assert {act for _, life in LIVES for acts in life.values() for act in acts} == set(Act)


def test_of_twenty_people_so_many_lead_each_life_and_a_seed_repeats_who() -> None:
    lives = drawn(USERS, random.Random(5))
    counts = Counter(id(life) for life in lives.values())
    assert [counts[id(life)] for _, life in LIVES] == [2 * count for count, _ in LIVES]
    assert lives == drawn(USERS, random.Random(5))
    assert lives != drawn(USERS, random.Random(6))
