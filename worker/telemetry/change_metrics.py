"""What is counted of the way of changes to other services."""

from __future__ import annotations

from worker.telemetry.readings import Reading
from worker.telemetry.registry import Registry

_UP_TO_A_DAY = (0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 86400)


class ChangeMetrics:
    """That part of `Metrics`."""

    registry: Registry

    def _about_changes(self) -> None:
        r = self.registry
        text = "From a change of a subscription to nsqd's OK for its message"
        self._changes_sent = r.histogram("change_to_sent_seconds", text, _UP_TO_A_DAY)
        self._unsent = r.reading("changes_unsent", "Changes of subscriptions that wait to be published")
        self._unsent_age = r.reading("changes_oldest_unsent_seconds", "Age of the oldest of them; 0: none")
        self._refused = r.reading("changes_refused", "Changes that nsqd refuses for their size")

    @property
    def _of_the_outbox(self) -> tuple[Reading, ...]:
        return self._unsent, self._unsent_age, self._refused

    def change_sent(self, seconds: float) -> None:
        """nsqd had a change `seconds` after the beginning of the transaction that made it."""
        self._changes_sent.observe(max(0.0, seconds))

    def changes_waiting(self, unsent: int, oldest_seconds: float, refused: int) -> None:
        """`unsent` changes wait, the oldest for so long (0: none); beside them, nsqd has refused `refused`."""
        self._unsent.set(unsent)
        self._unsent_age.set(oldest_seconds)
        self._refused.set(refused)
