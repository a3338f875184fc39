"""What is counted of changes that users and admins ask for."""

from __future__ import annotations

from collections.abc import Sequence

from worker.telemetry import labels
from worker.telemetry.registry import Registry


class AccountChanges:
    """A part of `Metrics`. The readings are of the table, which all processes share. `buckets`: of the seconds."""

    def __init__(self, registry: Registry, buckets: Sequence[float]) -> None:
        outcomes = {"outcome": labels.ACCOUNT_CHANGE_OUTCOMES}
        text = "From leasing a change that was asked for to what came of it"
        self._seconds = registry.histogram("account_change_seconds", text, buckets, outcomes)
        self._waiting = registry.reading("account_changes_waiting", "Changes that were asked for and haven't ended")
        text = "Age of the oldest change that hasn't ended; 0: none"
        self._oldest = registry.reading("account_changes_oldest_age_seconds", text)
        text = "Changes whose email is sealed under a key that is not ours"
        self._unopenable = registry.reading("account_changes_unopenable", text)
        text = "Second subscriptions that a checkout began and that were canceled within a day: a person gives back"
        self._to_refund = registry.reading("checkouts_to_refund", text)

    def ended(self, outcome: str, seconds: float) -> None:
        """The lease of one ended as `outcome` (`labels.ACCOUNT_CHANGE_OUTCOMES`) after `seconds`."""
        self._seconds.labels(outcome).observe(seconds)

    def standing(self, waiting: int, oldest_seconds: float, unopenable: int, to_refund: int) -> None:
        """So many wait, the oldest for `oldest_seconds` (0: none), `unopenable` of them for a process that has their
        key; `to_refund`: payments of second subscriptions."""
        self._waiting.set(waiting)
        self._oldest.set(oldest_seconds)
        self._unopenable.set(unopenable)
        self._to_refund.set(to_refund)

    def forget(self) -> None:
        """None of it can be read."""
        self._waiting.forget()
        self._oldest.forget()
        self._unopenable.forget()
        self._to_refund.forget()
