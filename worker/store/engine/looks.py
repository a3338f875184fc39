"""Looks at what may take long to count, as often as is cheap."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Generic, TypeVar

Found = TypeVar("Found")

SHARE = 0.01
"""Of the time, at most, that one of the looks takes: a million unfinished rows are counted in 0.4 s."""

LONGEST, LONGEST_AFTER_FAILURE = 300.0, 60.0
"""Seconds between two turns of a look at most, however long it takes."""


class Look(Generic[Found]):
    """Something that is asked for ever again, and answered from memory until its next turn: it takes at most `SHARE` of
    the time. `clock`: monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._due = float("-inf")
        self._found: Found | None = None

    def take(self, ask: Callable[[], Found]) -> Found | None:
        """What `ask` finds, or found when it last had its turn; None where it then failed. Raises what it raises."""
        began = self._clock()
        if began < self._due:
            return self._found
        self._found, longest = None, LONGEST_AFTER_FAILURE
        try:
            self._found, longest = ask(), LONGEST
        finally:
            ended = self._clock()
            self._due = ended + min((ended - began) / SHARE, longest)
        return self._found
