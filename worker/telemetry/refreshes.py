"""What is counted of asking Stripe for subscriptions."""

from __future__ import annotations

from collections.abc import Sequence

from worker.telemetry import labels
from worker.telemetry.registry import Registry


class Refreshes:
    """A part of `Metrics`. The readings are of the marks, which all processes share. `buckets`: of the seconds."""

    def __init__(self, registry: Registry, buckets: Sequence[float]) -> None:
        outcomes = {"outcome": labels.REFRESH_OUTCOMES}
        text = "From leasing a refresh to its commit"
        self._seconds = registry.histogram("refresh_seconds", text, buckets, outcomes)
        self._waiting = registry.reading("refreshes_waiting", "Subscriptions that Stripe is to be asked for")
        text = "Age of the oldest mark for a refresh; 0: none"
        self._oldest = registry.reading("refreshes_oldest_age_seconds", text)
        self._missing = registry.reading("subscriptions_missing", "Subscriptions of ours that Stripe no longer has")

    def ended(self, outcome: str, seconds: float) -> None:
        """A leased one ended as `outcome` (`labels.REFRESH_OUTCOMES`) after `seconds`."""
        self._seconds.labels(outcome).observe(seconds)

    def standing(self, waiting: int, oldest_seconds: float, missing: int) -> None:
        """So many are marked, the oldest `oldest_seconds` ago (0: none); `missing` are at Stripe no more."""
        self._waiting.set(waiting)
        self._oldest.set(oldest_seconds)
        self._missing.set(missing)

    def forget(self) -> None:
        """None of it can be read."""
        for each in (self._waiting, self._oldest, self._missing):
            each.forget()
