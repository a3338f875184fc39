"""Never two customers, never two subscriptions, never none: whatever happens between two workers, in any order."""

from __future__ import annotations

import os
from collections.abc import Callable

import hypothesis
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.interleavings.machine import Interleavings
from tests.interleavings.world import World

EXAMPLES = int(os.environ.get("SUBKEEPER_EXAMPLES") or 100)
STEPS = 60


@pytest.mark.timeout(600 if EXAMPLES <= 100 else 0)  # 30 s; up to 5 minutes more to make a failure small
def test_two_workers_give_a_user_one_customer_and_one_subscription_whatever_happens(
    new_world: Callable[[], World], seed: int
) -> None:
    @hypothesis.seed(seed)
    def machine() -> Interleavings:
        return Interleavings(new_world)

    run_state_machine_as_test(
        machine,  # type: ignore[arg-type]  # any callable that makes one will do
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
