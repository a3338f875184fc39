"""How long a request to Stripe may take: always less than the lease it is made under."""

from __future__ import annotations

import time
from dataclasses import dataclass

from worker.errors import TryLater

FLOOR = 0.25
"""Seconds that must remain before a request is sent: less would rarely bring an answer (Stripe takes 0.1 to 0.5)."""

MARGIN = 0.1
"""Seconds kept free between a request's own timeout and the deadline, to read and translate its end."""


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
    """The point in time `at` (`boot_time`), after which nothing may be sent any more."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        return cls(boot_time() + seconds)

    def remaining(self) -> float:
        """Seconds left; negative once it has passed."""
        return self.at - boot_time()

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
