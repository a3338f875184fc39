"""This process's part of the rate that Stripe grants the deployment (`worker.domain.budget`)."""

from __future__ import annotations

import threading
from contextlib import suppress
from datetime import timedelta

import structlog

from worker.domain import budget
from worker.domain.budget import Claim
from worker.errors import SubkeeperError, Unavailable
from worker.store import processes
from worker.store.engine.database import Database
from worker.stripe_api.limiter.limiter import Limiter
from worker.telemetry import Health, Metrics

LIFETIME, RENEWAL = timedelta(seconds=4), 1.0
"""How long a row lives that isn't renewed; seconds between two renewals."""


class Budget:
    """Keeps this process's row in `processes`, and tells the limiter what it may send.

    `join` comes before the first request to Stripe, `leave` after the last. In between, `run` renews the row until
    `stop`; where it can't, the limiter falls to the least rate by itself when the row expires.
    """

    def __init__(self, database: Database, limiter: Limiter, metrics: Metrics, health: Health, longest: float) -> None:
        """`longest`: seconds that a request to Stripe may take."""
        self._database = database
        self._limiter = limiter
        self._metrics = metrics
        self._health = health
        self._longest = timedelta(seconds=longest)
        self._log = structlog.get_logger(__name__)
        self._stopping = threading.Event()
        self._id: int | None = None
        self._rate = self._demand = budget.LEAST_RATE
        self._asked = self._until = limiter.clock()
        self._has_lapsed = False

    def join(self) -> None:
        """Says that this process lives. Raises what `Database.transaction` raises."""
        self._allow(budget.LEAST_RATE, self._until)
        self.renew()

    def run(self) -> None:
        while not self._stopping.wait(RENEWAL):
            try:
                self.renew()
            except SubkeeperError as error:
                self._tell_lapsed(error)

    def stop(self) -> None:
        """`run` ends."""
        self._stopping.set()

    def leave(self, *, drained: bool) -> None:
        """The process ends; `drained`: nothing that it sent is under way any more. The others may have its part."""
        if self._id is None or self._limiter.clock() >= self._until:  # no row, or one that has expired
            return
        self._limiter.allow(budget.LEAST_RATE, self._limiter.clock())
        with suppress(SubkeeperError), self._database.transaction() as tx:  # else the row expires by itself
            processes.leave(tx, self._id, drained=drained)

    def renew(self) -> None:
        """One turn: says what this process wants, and learns what it may send. Raises as `join`."""
        asked = self._limiter.clock()
        self._measure(asked)
        with self._database.transaction() as tx:
            may_grow = processes.may_grow(tx)
            if may_grow:
                processes.tidy(tx, LIFETIME)
            others = processes.claims(tx)
            before = others.pop(self._id, None) if self._id is not None else None
            if before is None or asked >= self._until:
                self._allow(budget.LEAST_RATE, self._until)
            own = Claim(self._rate, self._demand)
            rate = budget.next_rate(self._limiter.total, own, list(others.values()), may_grow=may_grow)
            if rate < self._rate:
                self._allow(rate, self._until)
            claim = Claim(rate, self._demand)
            if before is None or self._id is None:
                self._id = processes.join(tx, claim, LIFETIME, self._longest)
            else:
                processes.renew(tx, self._id, claim, LIFETIME)
        self._allow(rate, asked + LIFETIME.total_seconds())
        self._tell(1 + sum(each.lives for each in others.values()))

    def _measure(self, now: float) -> None:
        seconds, self._asked = max(now - self._asked, 0.001), now
        sent, waited = self._limiter.use()
        self._demand = budget.demand(self._limiter.total, sent / seconds, waited / seconds, self._demand)

    def _allow(self, rate: float, until: float) -> None:
        self._rate, self._until = rate, until
        self._limiter.allow(rate, until)

    def _tell(self, living: int) -> None:
        self._metrics.processes(living)
        self._health.set(
            "budget", ok=True, detail=f"{self._rate:.3g} requests/s of {self._limiter.total:g}; {living} live"
        )
        if self._has_lapsed:
            self._log.info("budget.renewed", rate=round(self._rate, 2))
        self._has_lapsed = False

    def _tell_lapsed(self, error: SubkeeperError) -> None:
        """Once the row has expired. That Postgres is away is told by its own part."""
        if self._has_lapsed or self._limiter.clock() < self._until:
            return
        self._has_lapsed = True
        self._log.error("budget.lapsed", rate=budget.LEAST_RATE)
        if not isinstance(error, Unavailable):
            self._health.set("budget", ok=False, detail=f"1 request/s: its row was not renewed: {error}", kind="lapsed")
