"""Holds a backfill back, so that its channel stays short however long the file is."""

from __future__ import annotations

from collections.abc import Callable

from worker.errors import SubkeeperError

POLL = 0.2
"""Seconds between two looks at a channel that is full."""


class Stalled(SubkeeperError):
    """Nothing has moved for as long as was to be waited: no worker takes the backfill in."""


class BackPressure:
    """Lets messages through as long as `depth` (messages that wait in the channel) stays within `most`; 0: no bound.

    What was let through since the last look is counted as still there, so that `depth` is asked rarely. `wait` sleeps,
    `clock` is monotonic, both in seconds; `paused` is told the depth while it waits.
    """

    def __init__(
        self,
        depth: Callable[[], int],
        most: int,
        *,
        patience: float,
        clock: Callable[[], float],
        wait: Callable[[float], None],
        paused: Callable[[int], None],
    ) -> None:
        self._depth = depth
        self._most = most
        self._patience = patience
        self._clock = clock
        self._wait = wait
        self._paused = paused
        self._room = 0

    def admit(self, count: int) -> None:
        """Returns once `count` more fit. Raises `Stalled` if the depth hasn't fallen within `patience`, and what
        `depth` raises."""
        if not self._most:
            return
        if self._room < count:
            self._room = self._await_room(count)
        self._room -= count

    def _await_room(self, count: int) -> int:
        lowest, since = None, self._clock()
        while (depth := self._depth()) and depth + count > self._most:
            if lowest is None or depth < lowest:
                lowest, since = depth, self._clock()
            if self._clock() - since > self._patience:
                raise Stalled(f"{depth} messages wait in the channel, and for {self._patience:g} s none was taken")
            self._paused(depth)
            self._wait(POLL)
        return max(self._most - depth, count)
