"""Calls Stripe for a command that somebody waits for: what passes is waited out."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from worker.domain.deadline import Deadline
from worker.errors import TryLater
from worker.events.read_meter import ReadMeter
from worker.stripe_api.errors import CursorGone

T = TypeVar("T")

CALL_SECONDS = 60.0
"""For one call, waits for the limiter included."""

PATIENCE = 300.0
"""Seconds for which Stripe may be away before the command is given up."""

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 15.0


class Patience:
    """Asks until there is an answer, pausing ever longer, for `PATIENCE` seconds; then raises the last `TryLater`."""

    def __init__(self, meter: ReadMeter, sleep: Callable[[float], None] = time.sleep) -> None:
        """`meter` counts each read."""
        self._meter = meter
        self.sleep = sleep

    def count_read(self) -> None:
        """One is sent by somebody else, for this command."""
        self._meter.spend()

    def __call__(self, ask: Callable[[Deadline], T]) -> T:
        until, pause = time.monotonic() + PATIENCE, FIRST_PAUSE
        while True:
            try:
                self._meter.spend()
                return ask(Deadline.after(CALL_SECONDS))
            except CursorGone:  # the same again finds nothing else
                raise
            except TryLater as later:
                if time.monotonic() > until:
                    raise
                self.sleep(max(later.after, pause))
                pause = min(2 * pause, LONGEST_PAUSE)
