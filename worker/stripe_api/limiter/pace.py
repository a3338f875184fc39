"""How fast requests may leave: the rules of the limiter without threads or clocks. `now` is in seconds, any origin.

Stripe's limits (https://docs.stripe.com/rate-limits): so many requests a second for the account, and for each endpoint.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

GUARD = 0.015
"""How much longer than a second our window is. Requests that leave evenly arrive with jitter, and Stripe's second must
not see one too many. Measured with 32 threads
against a local server on two cores: up to 3 ms, and 12 ms while other programs ran. It costs 1.5 % of the rate."""

TOLERANCE = 0.03
"""Seconds by which a request may be early in the pace, so that a thread that wakes late costs no throughput."""

CUT, RECOVERY, LEAST = 0.7, 0.02, 0.05
"""On a 429 the rate is multiplied by CUT, then grows by RECOVERY of the configured rate per second (15 s from one cut
back to full), and never falls under LEAST of it."""

CUT_INTERVAL = 1.0
"""Seconds in which many 429s count once: they were all sent at the old rate."""

CAP_RECOVERY = 1.0
"""By how much a cap on requests in flight grows per second."""


@dataclass(eq=False, slots=True)
class Stamp:
    """When a permit was given; moved on by a thread that woke late, as its request leaves only then."""

    at: float


class Pace:
    """A rate that adapts: evenly spaced, and never more than `rate` permits (rounded up) in any second."""

    def __init__(self, rate: float, now: float) -> None:
        """`rate`: permits per second, the most that will ever be given."""
        self.configured = rate
        self._rate = rate
        self._rate_at = now
        self._cut_at = float("-inf")
        self._due = now
        self._given: deque[Stamp] = deque(maxlen=math.ceil(rate))

    def configure(self, rate: float, now: float) -> None:
        """Another `rate`, from now on; what it was cut by stays."""
        cut = self.rate(now) / self.configured
        self.configured, self._rate, self._rate_at = rate, rate * cut, now
        self._due = min(self._due, now + (1 + GUARD) / self._rate)
        self._given = deque(self._given, maxlen=math.ceil(rate))

    def rate(self, now: float) -> float:
        """The present rate, in permits per second."""
        grown = self._rate + max(0.0, now - self._rate_at) * RECOVERY * self.configured
        return min(self.configured, grown)

    def free_at(self, now: float) -> float:
        """The earliest time at which the next permit may be given, as seen from `now`."""
        rate = self.rate(now)
        most = math.ceil(rate)
        full_until = self._given[-most].at + most / rate * (1 + GUARD) if len(self._given) >= most else now
        return max(now, self._due - TOLERANCE, full_until)

    def take(self, stamp: Stamp) -> None:
        """Count a permit that is given now."""
        self._due = max(self._due, stamp.at) + (1 + GUARD) / self.rate(stamp.at)
        self._given.append(stamp)

    def cut(self, now: float) -> None:
        """Slow down, at most once in `CUT_INTERVAL`."""
        if now - self._cut_at < CUT_INTERVAL:
            return
        self._rate = max(self.configured * LEAST, self.rate(now) * CUT)
        self._rate_at = self._cut_at = now


class Cap:
    """How many requests may be in flight: unlimited until Stripe complains, then fewer, then more again."""

    def __init__(self) -> None:
        self.in_flight = 0
        self._cap: float | None = None
        self._cap_at = 0.0
        self._lifted_at = 0.0
        self._cut_at = float("-inf")

    def limit(self, now: float) -> float | None:
        """The present cap; None where there is none. It goes once it is twice what was in flight at the last cut."""
        if self._cap is None:
            return None
        grown = self._cap + (now - self._cap_at) * CAP_RECOVERY
        if grown >= self._lifted_at:
            self._cap = None
            return None
        return grown

    def free(self, now: float) -> bool:
        limit = self.limit(now)
        return limit is None or self.in_flight < int(limit)

    def cut(self, now: float) -> None:
        if now - self._cut_at < CUT_INTERVAL:
            return
        held = max(1, self.in_flight)
        self._cap, self._cap_at, self._cut_at = max(1.0, held * CUT), now, now
        self._lifted_at = 2.0 * held + 1


class Bucket:
    """One of Stripe's budgets: the account's or an endpoint's."""

    def __init__(self, rate: float, now: float) -> None:
        self.pace = Pace(rate, now)
        self.cap = Cap()

    def free_at(self, now: float) -> float | None:
        """When a permit may be given; None where a request in flight must end first."""
        return self.pace.free_at(now) if self.cap.free(now) else None

    def take(self, stamp: Stamp) -> None:
        self.pace.take(stamp)
        self.cap.in_flight += 1
