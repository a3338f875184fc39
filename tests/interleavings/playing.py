"""Plays a state machine's rules in any order."""

from __future__ import annotations

from collections.abc import Callable

import hypothesis
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test


def play(new_machine: Callable[[], RuleBasedStateMachine], seed: int, *, examples: int, steps: int) -> None:
    """So many examples of up to so many steps, drawn from `seed`; a failure is made small and printed."""

    @hypothesis.seed(seed)
    def machine() -> RuleBasedStateMachine:
        return new_machine()

    run_state_machine_as_test(
        machine,  # type: ignore[arg-type]  # any callable that makes one will do
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
