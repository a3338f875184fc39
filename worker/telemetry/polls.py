"""What is counted of polling Stripe for events."""

from __future__ import annotations

from worker.telemetry import labels
from worker.telemetry.registry import Registry


class Polls:
    """A part of `Metrics`. The readings are of the one cursor; each process shows them, whoever polls."""

    def __init__(self, registry: Registry) -> None:
        text = "Events that polls found and nobody had processed, by what became of them"
        self._events = registry.counter("polled_events", text, {"outcome": labels.POLLED_OUTCOMES})
        text = "For how long it isn't known whether all of Stripe's events are processed"
        self.behind_seconds = registry.reading("events_behind_seconds", text)
        text = "Days until events that were missed can't be had from Stripe any more"
        self.days_left = registry.reading("events_days_left", text)
        text = "The time of which events could not be had any more, until verify --repair has healed it; 0: none"
        self.gap_seconds = registry.reading("events_gap_seconds", text)
        text = "Reads of Stripe that polls have left this month"
        self.reads_left = registry.reading("poll_reads_left", text)

    def event(self, outcome: str, count: int = 1) -> None:
        """`count` events were published, or refused (`labels.POLLED_OUTCOMES`)."""
        self._events.labels(outcome).inc(count)

    def standing(self, *, behind: float, left: float, gap: float, reads_left: int) -> None:
        """How far behind events are, until when they can be had, and of which time they can't; in seconds."""
        self.behind_seconds.set(behind)
        self.days_left.set(left / 86_400)
        self.gap_seconds.set(gap)
        self.reads_left.set(reads_left)

    def forget(self) -> None:
        """None of it can be read."""
        for each in (self.behind_seconds, self.days_left, self.gap_seconds, self.reads_left):
            each.forget()
