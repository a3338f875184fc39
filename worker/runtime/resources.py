"""What a process has once, whatever it does: database, Stripe and the budget there, sealing keys, clocks."""

from __future__ import annotations

import random
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property

from worker.domain.clocks import Clocks, StripeClock
from worker.domain.lanes import Lane
from worker.errors import Misconfigured, SubkeeperError, Unavailable
from worker.runtime.budget import BUDGET_DATABASE, Budget
from worker.runtime.clocks import ClockWatch
from worker.runtime.outside import OUTSIDE, Outside
from worker.runtime.ownership import Ownership
from worker.runtime.sealing_keys import SealingKeys
from worker.settings.model import Settings
from worker.store.engine.access import require_grants
from worker.store.engine.revision import require_compatible
from worker.stripe_api.catalogue import Catalogue
from worker.stripe_api.errors import Unauthorized
from worker.stripe_api.gateway import StripeGateway
from worker.stripe_api.limiter.limiter import Limiter, limiter_for
from worker.stripe_api.reads import Reads
from worker.telemetry import Health, Metrics, Watchdog
from worker.telemetry.watchdog import PATIENCE


class Resources:
    """Connects to nothing until it is used. What needs a key is made once a job asks for it, since a relay needs none;
    that raises `Misconfigured` where there is none that can be used.

    `require_schema` and `require_deployment` come before anything else is asked of it.
    """

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        health: Health,
        rng: random.Random,
        outside: Outside = OUTSIDE,
    ) -> None:
        self.settings = settings
        self.metrics = metrics
        self.health = health
        self.rng = rng
        self.clock = outside.clock
        self._closing = ExitStack()
        self.database = outside.database(settings.database)
        self._closing.callback(self.database.close)
        self.watchdog = Watchdog(health, patience=max(PATIENCE, 2 * settings.settle.lease))
        self._outside = outside
        self._stripe_time = StripeClock(outside.clock)
        self.reads = Reads()
        self.clocks = Clocks(outside.local_time, self._stripe_time.known, outside.clock)
        self.clock_watch = ClockWatch(self.clocks, metrics, health, outside.clock)

    @cached_property
    def keys(self) -> SealingKeys:
        return SealingKeys(self.settings, self.health)

    @cached_property
    def _stripe(self) -> StripeSide:
        stripe = stripe_side(self.settings, self.metrics, self.rng, self._outside, self._stripe_time, self.reads)
        self._closing.callback(stripe.gateway.close)
        return stripe

    @property
    def limiter(self) -> Limiter:
        return self._stripe.limiter

    @property
    def gateway(self) -> StripeGateway:
        return self._stripe.gateway

    @property
    def catalogue(self) -> Catalogue:
        return self._stripe.catalogue

    @cached_property
    def budget(self) -> Budget:
        budget = Budget(
            self._outside.database(self.settings.database.model_copy(update=BUDGET_DATABASE)),
            self.limiter,
            self.metrics,
            self.health,
            longest_request=self.settings.stripe.request_timeout,
        )
        self._closing.callback(budget.close)
        return budget

    @cached_property
    def ownership(self) -> Ownership:
        return Ownership(self.settings, self.database, self.gateway)

    def require_schema(self) -> None:
        """Raises `Misconfigured` on a schema that this code can't work on or may not use, `Unavailable` while Postgres
        is away."""
        with self.database.connection() as connection:
            require_grants(connection)
            require_compatible(connection)
        self.clock_watch.ask_postgres(self.database)
        self.health.set("postgres", ok=True)

    def require_deployment(self, part: str = "stripe") -> None:
        """Raises `Misconfigured` where the database belongs to another Stripe account, mode or namespace.

        Where Stripe can't tell the account (it is away, or refuses the key) a database that was claimed before is
        enough to absorb, and settling makes up for the comparison; one that was not is refused with Stripe's reason.
        `part` tells of it.
        """
        recorded = self.ownership.is_recorded()
        self.health.set("postgres", ok=True)
        try:
            self.ownership.claim()
        except SubkeeperError as unknown:
            if not recorded or not _is_stripes_silence(unknown):
                raise
            self.health.away(part, unknown)

    def close(self) -> None:
        self._closing.close()


@dataclass(frozen=True, slots=True)
class StripeSide:
    """Stripe as one process speaks with it."""

    gateway: StripeGateway
    limiter: Limiter
    catalogue: Catalogue


def stripe_side(
    settings: Settings,
    metrics: Metrics,
    rng: random.Random,
    outside: Outside = OUTSIDE,
    stripe_time: StripeClock | None = None,
    reads: Reads | None = None,
) -> StripeSide:
    """`stripe_time` is told what Stripe's answers say, `reads` what is read. Raises `Misconfigured` without a usable
    key."""
    weights, connections = lane_weights(settings), settings.settle.threads + 2
    limiter = limiter_for(settings.stripe, _secret_key(settings), weights, metrics.limiter_wait, outside.clock)
    gateway = StripeGateway(
        settings.stripe,
        lambda: _secret_key(settings),
        limiter,
        rng=rng,
        observe=metrics,
        http=outside.stripe,
        connections=connections,
        clock=outside.clock,
        stripe_time=stripe_time,
        reads=reads,
        sleep=outside.sleep,
    )
    return StripeSide(gateway, limiter, Catalogue(gateway, settings.plans, settings.namespace, outside.clock))


def lane_weights(settings: Settings) -> dict[Lane, int]:
    settle = settings.settle
    return {
        Lane.LIVE: settle.live_weight,
        Lane.RETRY: settle.retry_weight,
        Lane.BACKFILL: settle.backfill_weight,
    }


def _secret_key(settings: Settings) -> str:
    key = settings.stripe_secret_key()
    if key is None:
        raise Misconfigured("STRIPE_SECRET_KEY", "is not set", "Give a secret or restricted key of your account.")
    return key


def _is_stripes_silence(unknown: SubkeeperError) -> bool:
    """Whether it is Stripe that doesn't tell whose key it is: waiting, or another key, mends that."""
    if isinstance(unknown, Unavailable):
        return unknown.dependency == "stripe"
    return not isinstance(unknown, Misconfigured) or isinstance(unknown, Unauthorized)
