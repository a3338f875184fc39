"""Users and admins change, pay for and remove a subscription, or have a user erased, while its events are taken in and
Stripe is asked for it: three processes, interleaved in any order, on the real tables.

Rows end as Stripe has them and never go back, each version of them is told once, a key of its caller's has one result,
what was removed stays so, and nothing is left waiting.

A failure names the schedules that went wrong, each by its number; the same are played again with the seed that the test
printed (`SUBKEEPER_TEST_SEED`), and more of them with `SUBKEEPER_EXAMPLES`, of which the first ones are the same.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator

import pytest

from tests.interleavings.account_story import play_account
from tests.interleavings.world import World
from worker.domain.account_changes import Kind

SCHEDULES = int(os.environ.get("SUBKEEPER_EXAMPLES") or 8)
STEPS = 200
ENDINGS: tuple[tuple[Kind, ...], ...] = ((), (Kind.DELETE,), (Kind.ERASE,), (Kind.DELETE, Kind.ERASE))


def wrongs(new_world: Callable[[], World], rng: random.Random) -> Iterator[str]:
    for number in range(SCHEDULES):
        world, seed = new_world(), rng.getrandbits(32)
        try:
            if wrong := play_account(world, random.Random(seed), ENDINGS[number % len(ENDINGS)], STEPS):
                yield f"{number} {seed}: {wrong}"
        finally:
            world.stop()


@pytest.mark.timeout(600 if SCHEDULES <= 100 else 0)
def test_whatever_is_asked_for_rows_end_as_stripe_has_them_and_all_is_done_once(
    new_world: Callable[[], World], rng: random.Random
) -> None:
    assert list(wrongs(new_world, rng)) == []
