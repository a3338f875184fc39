"""How long a request to Stripe may take: always less than the lease it is made under."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from worker.errors import TryLater

FLOOR = 0.25
"""Seconds that must remain before a request is sent: less would rarely bring an answer (Stripe takes 0.1 to 0.5)."""

MARGIN = 0.1
"""Seconds kept free between a request's own timeout and the deadline, to read and translate its end."""


Clock = Callable[[], float]
"""Seconds since some moment. It never jumps."""


def boot_time() -> float:
    """Seconds on a clock that never jumps and counts the time in which the machine was suspended, where there is one
    (Linux); elsewhere the monotonic clock."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class OutOfTime(TryLater):
    """The lease leaves no time for another request; nothing is wrong with the row."""

    sent = True
    """Whether an earlier attempt of the same request may have left."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """The point in time `at`, as `clock` tells it, after which nothing may be sent any more."""

    at: float
    clock: Clock = boot_time

    @classmethod
    def after(cls, seconds: float, clock: Clock = boot_time) -> Deadline:
        return cls(clock() + seconds, clock)

    def remaining(self) -> float:
        """Seconds left; negative once it has passed."""
        return self.at - self.clock()

    def check(self, floor: float = FLOOR) -> None:
        """Raise `OutOfTime` unless at least `floor` seconds remain."""
        if self.remaining() < floor:
            raise OutOfTime("deadline_near")

    def timeout(self, longest: float) -> float:
        """How long a request that is sent now may take (seconds), at most `longest`.

        Raises `OutOfTime` where no time is left: whoever checked may have been held since.
        """
        left = self.remaining() - MARGIN
        if left <= 0:
            raise OutOfTime("deadline_near")
        return min(longest, left)
