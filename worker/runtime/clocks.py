"""The machine's clock, Postgres's and Stripe's: what they agree on, and whether they do."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import structlog

from worker.domain.clocks import CLOCKS_AGREE, time_by_majority
from worker.domain.deadline import boot_time
from worker.store.engine.clock import clock_time
from worker.store.engine.database import Database
from worker.telemetry import Health, Metrics


def local_time() -> datetime:
    """The machine's clock (UTC)."""
    return datetime.now(UTC)


class Clocks:
    """Any thread may ask. `local` and `stripe` tell the time (UTC; None: not known yet).

    Postgres is asked every few seconds, and its time goes on by the time since boot, which nobody sets.
    """

    def __init__(
        self,
        local: Callable[[], datetime],
        stripe: Callable[[], datetime | None],
        metrics: Metrics,
        health: Health,
    ) -> None:
        self._local = local
        self._stripe = stripe
        self._metrics = metrics
        self._health = health
        self._heard: tuple[datetime, float] | None = None  # replaced as a whole: threads share it
        self._apart: set[str] = set()

    def now(self) -> datetime:
        """The time (UTC) that is frozen as a profile's first sight: what most of the clocks tell."""
        return time_by_majority(self._local(), self._postgres(), self._stripe())

    def ask_postgres(self, database: Database) -> None:
        """Reads Postgres's clock. Raises what `Database.transaction` raises."""
        with database.transaction() as tx:
            asked = boot_time()
            moment = clock_time(tx)
            self._heard = moment, (asked + boot_time()) / 2

    def compare(self) -> None:
        """Shows how far each clock is from what most of them tell; says so loudly, once, where that is too far."""
        told = {"local": self._local(), "postgres": self._postgres(), "stripe": self._stripe()}
        now = self.now()
        ahead = {name: time - now for name, time in told.items() if time is not None}
        for name, by in ahead.items():
            self._metrics.clock_skew(name, by.total_seconds())
        self._tell({name: by for name, by in ahead.items() if abs(by) > CLOCKS_AGREE})

    def _postgres(self) -> datetime | None:
        if (heard := self._heard) is None:
            return None
        moment, at = heard
        return moment + timedelta(seconds=boot_time() - at)

    def _tell(self, apart: dict[str, timedelta]) -> None:
        log = structlog.get_logger(__name__)
        for name in sorted(apart.keys() - self._apart):
            log.error("clock.drifted", clock=name, seconds=round(apart[name].total_seconds()))
        for name in sorted(self._apart - apart.keys()):
            log.info("clock.agreed", clock=name)
        self._apart = set(apart)
        said = [f"{name} is {_said(by)} the others" for name, by in sorted(apart.items())]
        self._health.set("clocks", ok=True, detail="; ".join(said))


def _said(by: timedelta) -> str:
    return f"{abs(by).total_seconds():.0f} s {'ahead of' if by > timedelta(0) else 'behind'}"
