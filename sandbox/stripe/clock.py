"""The sandbox's own clock: real time plus an offset that jumps on demand; it can be stopped."""

from __future__ import annotations

from collections.abc import Callable
from email.utils import formatdate


class Clock:
    """Seconds since the epoch as this Stripe sees them; `source` is the real clock (`time.time`)."""

    def __init__(self, source: Callable[[], float]) -> None:
        self._source = source
        self.offset = 0.0
        self._frozen: float | None = None
        self._date: tuple[int, str] = (-1, "")

    def time(self) -> float:
        return self.real() + self.offset if self._frozen is None else self._frozen + self.offset

    def real(self) -> float:
        """The machine's time, whatever was done to this clock."""
        return self._source()

    def now(self) -> int:
        """Whole seconds, as in every timestamp of Stripe's."""
        return int(self.time())

    def jump(self, seconds: float) -> None:
        """Moves the clock ahead (or back, when negative)."""
        self.offset += seconds

    def freeze(self, *, frozen: bool) -> None:
        """Stops the clock (it still jumps), or lets it go on from where it would be if it had not been stopped."""
        self._frozen = self._source() if frozen else None

    def http_date(self) -> str:
        """The `Date` header; formatted once a second."""
        now = self.now()
        if self._date[0] != now:
            self._date = (now, formatdate(now, usegmt=True))
        return self._date[1]
