"""Never two customers, never two subscriptions, never none: whatever happens between two workers, in any order."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from tests.interleavings.machine import Interleavings
from tests.interleavings.playing import play
from tests.interleavings.world import World

EXAMPLES = int(os.environ.get("SUBKEEPER_EXAMPLES") or 50)
STEPS = 60


@pytest.mark.timeout(600 if EXAMPLES <= 100 else 0)  # 30 s; up to 5 minutes more to make a failure small
def test_two_workers_give_a_user_one_customer_and_one_subscription_whatever_happens(
    new_world: Callable[[], World], seed: int
) -> None:
    play(lambda: Interleavings(new_world), seed, examples=EXAMPLES, steps=STEPS)
