"""What is counted of charging in order."""

from __future__ import annotations

from collections.abc import Sequence

from worker.telemetry import labels
from worker.telemetry.registry import Registry


class Charges:
    """A part of `Metrics`. The readings are of the table, which all processes share. `buckets`: of the seconds."""

    def __init__(self, registry: Registry, buckets: Sequence[float]) -> None:
        outcomes = {"outcome": labels.CHARGE_OUTCOMES}
        text = "From leasing an invoice whose payment failed to what came of it"
        self._seconds = registry.histogram("charge_seconds", text, buckets, outcomes)
        self._waiting = registry.reading("charges_waiting", "Invoices whose payment failed that are to be looked at")
        text = "Age of the oldest mark of such an invoice; 0: none"
        self._oldest = registry.reading("charges_oldest_age_seconds", text)

    def ended(self, outcome: str, seconds: float) -> None:
        """The lease of one ended as `outcome` (`labels.CHARGE_OUTCOMES`) after `seconds`."""
        self._seconds.labels(outcome).observe(seconds)

    def standing(self, waiting: int, oldest_seconds: float) -> None:
        """So many wait, the oldest for `oldest_seconds` (0: none)."""
        self._waiting.set(waiting)
        self._oldest.set(oldest_seconds)

    def forget(self) -> None:
        """None of it can be read."""
        self._waiting.forget()
        self._oldest.forget()
