"""The one clock of a test's world."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

START = datetime(2026, 1, 1, tzinfo=UTC).timestamp()


class Time:
    """Seconds since boot, to the workers; and the time of day, to them, Stripe and the database."""

    def __init__(self) -> None:
        self._seconds = 1000.0

    def __call__(self) -> float:
        return self._seconds

    def at_stripe(self) -> float:
        """Seconds since 1970."""
        return START + self._seconds

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.at_stripe(), UTC)

    def go_on(self, span: timedelta) -> None:
        self._seconds += span.total_seconds()
