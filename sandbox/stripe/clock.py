"""The sandbox's own clock: real time plus an offset that jumps on demand."""

from __future__ import annotations

from collections.abc import Callable
from email.utils import formatdate


class Clock:
    """Seconds since the epoch as this Stripe sees them; `source` is the real clock (`time.time`)."""

    def __init__(self, source: Callable[[], float]) -> None:
        self._source = source
        self.offset = 0.0
        self._date: tuple[int, str] = (-1, "")

    def time(self) -> float:
        return self._source() + self.offset

    def now(self) -> int:
        """Whole seconds, as in every timestamp of Stripe's."""
        return int(self.time())

    def jump(self, seconds: float) -> None:
        """Moves the clock ahead (or back, when negative)."""
        self.offset += seconds

    def http_date(self) -> str:
        """The `Date` header; formatted once a second."""
        now = self.now()
        if self._date[0] != now:
            self._date = (now, formatdate(now, usegmt=True))
        return self._date[1]
