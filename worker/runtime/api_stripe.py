"""Stripe as the API's side of the web process asks it, once for all that it does there: with a part of the deployment's
rate, as every process has one, and once it is known whose key it is.
"""

from __future__ import annotations

import random
import threading
from contextlib import suppress

import structlog

from worker.domain.budget import LEAST_RATE
from worker.errors import Misconfigured, SubkeeperError
from worker.runtime.outside import OUTSIDE, Outside
from worker.runtime.resources import Resources
from worker.settings.model import Settings
from worker.store import stripe_reads
from worker.stripe_api.showing import Showing
from worker.telemetry import Health, Metrics
from worker.threads import Threads


class ApiStripe:
    """Asks nothing until it is asked. Raises `Misconfigured` without a key that can be used.

    `resources` are for what is done beside answering, with connections of their own: `pool_size` at most.
    """

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        health: Health,
        rng: random.Random,
        pool_size: int,
        outside: Outside = OUTSIDE,
    ) -> None:
        own = settings.database.model_copy(update={"pool_size": pool_size})
        self.resources = Resources(settings.model_copy(update={"database": own}), metrics, health, rng, outside)
        limiter = self.resources.limiter
        limiter.allow(LEAST_RATE, limiter.clock())  # until the budget has its row
        self._comparing = threading.Lock()
        self._refused: str | None = None
        self._log = structlog.get_logger(__name__)

    def start(self, threads: Threads) -> None:
        threads.spawn("api-budget", self._keep_budget)

    def require(self) -> None:
        """Raises `Misconfigured` where the key is another account's than the database, and as the gateway."""
        with self._comparing:
            self.resources.ownership.require()

    def showing(self) -> Showing:
        """Raises as `require`."""
        try:
            self.require()
        except Misconfigured as refused:
            if str(refused) != self._refused:
                self._log.error("api.stripe_refused", reason=str(refused))
            self._refused = str(refused)
            raise
        self._refused = None
        return self.resources.gateway.showing

    def count_reads(self) -> None:
        """What was read is written down, of the month's allotment."""
        if not (sent := self.resources.reads.take()):
            return
        try:
            with self.resources.database.transaction() as tx:
                for purpose, reads in sorted(sent.items()):
                    stripe_reads.add(tx, purpose, reads)
        except SubkeeperError:
            self.resources.reads.put_back(sent)

    def _keep_budget(self) -> None:
        with suppress(SubkeeperError):  # while Postgres is away: it joins once that is there
            self.resources.budget.join()
        self.resources.budget.run()

    def stop(self) -> None:
        self.resources.budget.stop(drained=False)

    def close(self) -> None:
        self.stop()
        self.count_reads()
        self.resources.close()
