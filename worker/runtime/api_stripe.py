"""Stripe as the API asks it, for what is only shown: with a part of the deployment's rate, as every process has one."""

from __future__ import annotations

import random
import threading
from contextlib import suppress

import structlog

from worker.domain.budget import LEAST_RATE
from worker.errors import Misconfigured, SubkeeperError
from worker.runtime.budget import BUDGET_DATABASE, Budget
from worker.runtime.ownership import Ownership
from worker.runtime.resources import stripe_side
from worker.settings.model import Settings
from worker.store import stripe_reads
from worker.store.engine.database import Database
from worker.stripe_api.reads import Reads
from worker.stripe_api.showing import Showing
from worker.telemetry import Health, Metrics
from worker.threads import Threads
from worker.version import VERSION


class ApiStripe:
    """Asks nothing until it is asked. Raises `Misconfigured` without a key that can be used."""

    def __init__(self, settings: Settings, database: Database, metrics: Metrics, rng: random.Random) -> None:
        self._database = database
        self._reads = Reads()
        stripe = stripe_side(settings, metrics, rng, reads=self._reads)
        stripe.limiter.allow(LEAST_RATE, stripe.limiter.clock())  # until the budget has its row
        self._gateway = stripe.gateway
        self._ownership = Ownership(settings, database, stripe.gateway)
        self._comparing = threading.Lock()
        self._refused: str | None = None
        self._log = structlog.get_logger(__name__)
        # Its row is one more beside that of the process's jobs, which tell of their own.
        self._budget = Budget(
            Database(settings.database.model_copy(update=BUDGET_DATABASE), "subkeeper api budget"),
            stripe.limiter,
            Metrics(VERSION),
            Health(),
            longest_request=settings.stripe.request_timeout,
        )

    def start(self, threads: Threads) -> None:
        threads.spawn("api-budget", self._keep_budget)

    def showing(self) -> Showing:
        """Raises `Misconfigured` where the key is another account's than the database, and as the gateway."""
        with self._comparing:
            try:
                self._ownership.require()
            except Misconfigured as refused:
                if str(refused) != self._refused:
                    self._log.error("api.stripe_refused", reason=str(refused))
                self._refused = str(refused)
                raise
            self._refused = None
        return self._gateway.showing

    def count_reads(self) -> None:
        """What was read is written down, of the month's allotment."""
        if not (sent := self._reads.take()):
            return
        try:
            with self._database.transaction() as tx:
                for purpose, reads in sorted(sent.items()):
                    stripe_reads.add(tx, purpose, reads)
        except SubkeeperError:
            self._reads.put_back(sent)

    def _keep_budget(self) -> None:
        with suppress(SubkeeperError):  # while Postgres is away: it joins once that is there
            self._budget.join()
        self._budget.run()

    def stop(self) -> None:
        self._budget.stop(drained=False)

    def close(self) -> None:
        self.stop()
        self.count_reads()
        self._budget.close()
        self._gateway.close()
