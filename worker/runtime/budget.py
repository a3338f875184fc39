"""This process's part of the rate that Stripe grants the deployment (`worker.domain.budget`)."""

from __future__ import annotations

import threading
from contextlib import suppress
from datetime import timedelta
from uuid import uuid4

import structlog

from worker.domain import budget
from worker.domain.budget import Claim
from worker.errors import SubkeeperError
from worker.store import processes
from worker.store.engine.database import Database
from worker.stripe_api.limiter.limiter import Limiter
from worker.telemetry import Health, Metrics

LIFETIME, RENEWAL = timedelta(seconds=4), 1.0
"""How long a row lives that isn't renewed; seconds between two renewals."""

BUDGET_DATABASE = {"pool_size": 1, "lock_timeout": 1.0, "statement_timeout": 2.0, "connect_timeout": 2.0}
"""Settings of its connection: whoever settles or waits for a lock doesn't hold it up, and it is soon tried again."""


class Budget:
    """Keeps this process's row in `processes`, and tells the limiter what it may send.

    `join` comes before the first request to Stripe. Then `run` renews the row until `stop`, and takes it back; where it
    can't, the limiter falls to the least rate by itself when the row expires.
    """

    def __init__(
        self, database: Database, limiter: Limiter, metrics: Metrics, health: Health, *, longest_request: float
    ) -> None:
        """`longest_request`: seconds that one to Stripe may take."""
        self._database = database
        self._limiter = limiter
        self._metrics = metrics
        self._health = health
        self._longest = timedelta(seconds=longest_request)
        self._log = structlog.get_logger(__name__)
        self._stopping = threading.Event()
        self._drained = False
        self._id = uuid4()
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
        self._leave()

    def stop(self, *, drained: bool) -> None:
        """`run` ends, and the row with it; `drained`: nothing that this process sent is under way any more."""
        self._drained = drained
        self._stopping.set()

    def close(self) -> None:
        self._database.close()

    def renew(self) -> None:
        """One turn: says what this process wants, and learns what it may send. Raises as `join`."""
        asked = self._limiter.clock()
        self._measure(asked)
        with self._database.transaction() as tx:
            may_grow = processes.may_grow(tx)
            if may_grow:
                processes.cut(tx, LIFETIME)
            others = processes.claims(tx)
            before = others.pop(self._id, None)
            if before is None or not before.lives or asked >= self._until:
                self._allow(budget.LEAST_RATE, self._until)
            rate = budget.next_rate(self._claim(self._rate), list(others.values()), may_grow=may_grow)
            if rate < self._rate:
                self._allow(rate, self._until)
            if before is None:
                processes.join(tx, self._id, self._claim(rate), LIFETIME, self._longest)
            else:
                processes.renew(tx, self._id, self._claim(rate), LIFETIME)
        if before is not None and self._limiter.clock() >= self._until:  # meanwhile the others may have taken its part
            rate = min(rate, budget.LEAST_RATE)
        self._allow(rate, asked + LIFETIME.total_seconds())
        self._tell(1 + sum(each.lives for each in others.values()))

    def _claim(self, rate: float) -> Claim:
        return Claim(rate, self._demand, self._limiter.total)

    def _measure(self, now: float) -> None:
        seconds, self._asked = max(now - self._asked, 0.001), now
        sent, waited = self._limiter.use()
        self._demand = budget.demand(self._limiter.total, sent / seconds, waited / seconds, self._demand)

    def _allow(self, rate: float, until: float) -> None:
        self._rate, self._until = rate, until
        self._limiter.allow(rate, until)

    def _leave(self) -> None:
        if self._limiter.clock() >= self._until:  # no row, or one that has expired
            return
        self._allow(budget.LEAST_RATE, self._until)
        with suppress(SubkeeperError), self._database.transaction() as tx:  # else the row expires by itself
            processes.leave(tx, self._id, drained=self._drained)

    def _tell(self, living: int) -> None:
        self._metrics.processes(living)
        detail = f"{self._rate:.3g} requests/s of {self._limiter.total:g}; {living} live"
        self._health.set("budget", ok=True, detail=detail)
        if self._has_lapsed:
            self._log.info("budget.renewed", rate=round(self._rate, 2))
        self._has_lapsed = False

    def _tell_lapsed(self, error: SubkeeperError) -> None:
        """Once the row has expired."""
        if self._limiter.clock() < self._until:
            return
        self._metrics.forget_processes()
        detail = f"{budget.LEAST_RATE:g} request/s, as its row can't be renewed: {error}"
        self._health.set("budget", ok=False, detail=detail, kind=type(error).__name__)
        if not self._has_lapsed:
            self._log.error("budget.lapsed", rate=budget.LEAST_RATE, reason=str(error))
        self._has_lapsed = True
