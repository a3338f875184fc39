"""Stripe's time, read off its answers, so that a wrong local clock changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from worker.domain.deadline import boot_time
from worker.errors import Misconfigured

SECOND = timedelta(seconds=1)


class StripeClock:
    """The last `Date` header and what has elapsed since; before any answer, the local UTC time."""

    def __init__(self) -> None:
        self._last: tuple[datetime, float] | None = None  # replaced as a whole: threads share it

    def now(self) -> datetime:
        return self.known() or datetime.now(UTC)

    def known(self) -> datetime | None:
        """Stripe's time; None before its first answer."""
        if (last := self._last) is None:
            return None
        date, at = last
        return date + timedelta(seconds=boot_time() - at)

    def read(self, headers: Mapping[str, str]) -> datetime | None:
        """Note an answer's `Date` (whole seconds); None where it has none that can be read."""
        try:
            date = parsedate_to_datetime(headers["date"])
        except (KeyError, ValueError):
            return None
        date = date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)
        self._last = date, boot_time()
        return date

    def seen(self, headers: Mapping[str, str], sent_at: float) -> tuple[datetime, datetime]:
        """The span of Stripe's time in which an answer was true, whose first request left at `sent_at` (boot time).

        The effect lies between sending and answering, and `Date` is cut to whole seconds.
        """
        date = self.read(headers)
        if date is None:
            fix = "Stripe dates its answers: look for a proxy that removes the header"
            raise Misconfigured("stripe.api_base", "its answers carry no Date header", fix)
        return date - timedelta(seconds=boot_time() - sent_at) - SECOND, date + SECOND
