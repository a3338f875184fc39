"""Which time it is, where clocks disagree."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from statistics import median_high

from worker.domain.deadline import Clock, boot_time
from worker.errors import Misconfigured

CLOCKS_AGREE = timedelta(minutes=1)
"""What two clocks may differ by and still tell the same time; beyond it one of them is wrong."""

SAME_MOMENT = timedelta(seconds=1)
"""Stripe's `Date` has whole seconds: nearer than this no clock is better than another."""


def time_by_majority(local: datetime, postgres: datetime | None, stripe: datetime | None) -> datetime:
    """Now (UTC): the median of three clocks, so that one that is wrong changes nothing; the later of two, as what is
    too late is mended before a request is frozen (`capped_trial_end`), while what is too early shortens a trial.

    Within a second of that the local clock counts: `Date` would put a profile that was just created into the future.
    `postgres` and `stripe`: None where they are not known.
    """
    middle = median_high([clock for clock in (local, postgres, stripe) if clock is not None])
    return local if abs(middle - local) <= SAME_MOMENT else middle


def local_time() -> datetime:
    """The machine's clock (UTC)."""
    return datetime.now(UTC)


class ToldTime:
    """A time that somebody told, going on by the time since boot, which nobody sets. Threads share it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._told: tuple[datetime, float] | None = None  # replaced as a whole

    def tell(self, moment: datetime, at: float) -> None:
        """It was `moment` (UTC) at `at` (by the clock)."""
        self._told = moment, at

    def now(self) -> datetime | None:
        """None: nobody has told it yet."""
        if (told := self._told) is None:
            return None
        moment, at = told
        return moment + timedelta(seconds=self._clock() - at)


class Clocks:
    """The machine's clock, Postgres's and Stripe's, to any thread that asks. `local` and `stripe` tell the time (UTC;
    None: not known yet); `postgres` is told every few seconds."""

    def __init__(
        self, local: Callable[[], datetime], stripe: Callable[[], datetime | None], clock: Clock = boot_time
    ) -> None:
        self._local = local
        self._stripe = stripe
        self.postgres = ToldTime(clock)

    def now(self) -> datetime:
        """The time (UTC) that is frozen as a profile's first sight: what most of the clocks tell."""
        return time_by_majority(self._local(), self.postgres.now(), self._stripe())

    def apart(self) -> dict[str, timedelta]:
        """How far each clock that is known is ahead of what most of them tell."""
        now = self.now()
        told = {"local": self._local(), "postgres": self.postgres.now(), "stripe": self._stripe()}
        return {name: time - now for name, time in told.items() if time is not None}


class StripeClock:
    """The last `Date` header and what has elapsed since; before any answer, the local UTC time."""

    def __init__(self, clock: Clock = boot_time) -> None:
        self._clock = clock
        self._last = ToldTime(clock)

    def now(self) -> datetime:
        return self.known() or local_time()

    def known(self) -> datetime | None:
        """Stripe's time; None before its first answer."""
        return self._last.now()

    def read(self, headers: Mapping[str, str]) -> datetime | None:
        """Note an answer's `Date` (whole seconds); None where it has none that can be read."""
        try:
            date = parsedate_to_datetime(headers["date"])
        except (KeyError, ValueError):
            return None
        date = date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)
        self._last.tell(date, self._clock())
        return date

    def seen(self, headers: Mapping[str, str], sent_at: float) -> tuple[datetime, datetime]:
        """The span of Stripe's time in which an answer was true, whose first request left at `sent_at` (by the clock).

        The effect lies between sending and answering, and `Date` is cut to whole seconds.
        """
        date = self.read(headers)
        if date is None:
            fix = "Stripe dates its answers: look for a proxy that removes the header"
            raise Misconfigured("stripe.api_base", "its answers carry no Date header", fix)
        return date - timedelta(seconds=self._clock() - sent_at) - SAME_MOMENT, date + SAME_MOMENT
