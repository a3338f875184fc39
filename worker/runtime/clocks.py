"""The clocks that are asked and compared: the machine's, Postgres's and Stripe's."""

from __future__ import annotations

from datetime import timedelta

import structlog

from worker.domain.clocks import CLOCKS_AGREE, Clocks
from worker.domain.deadline import Clock
from worker.store.engine.clock import clock_time
from worker.store.engine.database import Database
from worker.telemetry import Health, Metrics


class ClockWatch:
    """Asks Postgres, and shows how far the `clocks` are apart."""

    def __init__(self, clocks: Clocks, metrics: Metrics, health: Health, clock: Clock) -> None:
        self._clock = clock
        self._clocks = clocks
        self._metrics = metrics
        self._health = health
        self._apart: set[str] = set()

    def ask_postgres(self, database: Database) -> None:
        """Reads Postgres's clock. Raises what `Database.transaction` raises."""
        with database.transaction() as tx:
            asked = self._clock()
            moment = clock_time(tx)
            self._clocks.postgres.tell(moment, (asked + self._clock()) / 2)

    def compare(self) -> None:
        """Shows how far each clock is from what most of them tell; says so loudly, once, where that is too far."""
        ahead = self._clocks.apart()
        for name, by in ahead.items():
            self._metrics.clock_skew(name, by.total_seconds())
        self._tell({name: by for name, by in ahead.items() if abs(by) > CLOCKS_AGREE})

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
