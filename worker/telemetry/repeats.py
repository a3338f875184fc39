"""The same thing said again and again: once a minute is enough."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable

from worker.telemetry.stream import LOSSES, Losses

EVERY = 60.0
"""Seconds between two lines that say the same."""

MOST_KEYS = 1000
"""So many different lines are remembered; a library that invents ever new ones is forgotten, not kept."""


class Repeats:
    """Says what is to be left out. Safe from any thread."""

    def __init__(self, clock: Callable[[], float], losses: Losses = LOSSES) -> None:
        self._clock = clock
        self._losses = losses
        self._lock = threading.Lock()
        self._said: dict[Hashable, tuple[float, int]] = {}

    def since_last(self, key: Hashable) -> int | None:
        """None while `key` was said within the minute; else how often it was left out since it was."""
        now = self._clock()
        with self._lock:
            at, left_out = self._said.get(key, (now - EVERY, 0))
            if now - at < EVERY:
                self._said[key] = at, left_out + 1
                self._losses.repeated += 1
                return None
            if len(self._said) >= MOST_KEYS:
                self._said.clear()
            self._said[key] = now, 0
            return left_out
