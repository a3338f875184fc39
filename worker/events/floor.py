"""From which id on the relay looks for what is unsent."""

from __future__ import annotations

import time
from collections.abc import Callable

SETTLING = 10.0
"""Seconds for which ids below those that were sent are looked at each time: so late may a change be committed."""

WHOLE_INTERVAL = 5.0
"""Seconds between two looks at everything: at what was committed later still, what another relay left, what nsqd had
refused."""

SHARE = 0.01
"""Of the time, at most, that such looks take."""


class Floor:
    """Spares a look what was sent long ago: while a long transaction is open (a dump), Postgres keeps what was in the
    index of unsent changes, and 200,000 such entries cost each look 45 ms. `clock`: monotonic, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._settled = self._settling = self._newest = 0
        self._settles_at = self._whole_at = clock()

    def next(self) -> int:
        """The id above which the next look looks; 0: at everything."""
        now = self._clock()
        if now >= self._settles_at:
            self._settled, self._settling, self._settles_at = self._settling, self._newest, now + SETTLING
        return 0 if now >= self._whole_at else self._settled

    def nothing_waits(self, newest: int, seconds: float) -> None:
        """A look at everything found nothing, up to this id, and took so long."""
        self.was_sent(newest)
        self._whole_at = self._clock() + max(WHOLE_INTERVAL, seconds / SHARE)

    def was_sent(self, newest: int) -> None:
        """All up to this id are sent, but for what comes late."""
        self._newest = max(self._newest, newest)

    def forget(self) -> None:
        """Something went wrong: the next look is at everything."""
        self._whole_at = self._clock()
