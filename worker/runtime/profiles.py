"""The main job's parts, put together: profiles in, subscriptions out."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta

from worker.broker.consumer import Consumer
from worker.broker.reader import Reader, Subscription
from worker.domain.lanes import LaneSchedule
from worker.domain.provisioning import Lane
from worker.domain.trial import TrialPolicy
from worker.errors import Misconfigured, SubkeeperError, Unavailable
from worker.profiles.catalogue import UnusablePlan
from worker.profiles.customer_step import CustomerStep
from worker.profiles.halting import Halting
from worker.profiles.inbox import Freeze, ProfileInbox
from worker.profiles.ledger import Ledger
from worker.profiles.provisioner import Provisioner
from worker.profiles.settler import Settler
from worker.profiles.subscription_step import SubscriptionStep
from worker.profiles.terms import Terms
from worker.runtime.clocks import Clocks, local_time
from worker.runtime.operations import message_shape
from worker.runtime.ownership import Ownership
from worker.runtime.sealing_keys import SealingKeys
from worker.runtime.stripe_side import lane_weights, stripe_side
from worker.runtime.watch import Watch
from worker.sealing import Sealer
from worker.settings import NsqSettings, Settings
from worker.store import migrations
from worker.store.access import require_grants
from worker.store.database import Database
from worker.store.queues import Queues
from worker.stripe_api.errors import Unauthorized
from worker.telemetry import Health, Metrics, Watchdog
from worker.telemetry.watchdog import PATIENCE
from worker.threads import Threads


def topic_lanes(settings: NsqSettings) -> dict[str, Lane]:
    """The topics that are read, each with the lane that it feeds."""
    return {settings.profile_topic: Lane.LIVE, settings.backfill_topic: Lane.BACKFILL}


def profile_reader(settings: NsqSettings, rng: random.Random, metrics: Metrics) -> Reader:
    """Reads both topics, which subscribes our channel to them."""
    weights = {settings.profile_topic: settings.live_weight, settings.backfill_topic: settings.backfill_weight}
    subscriptions = [Subscription(topic, weight) for topic, weight in weights.items()]
    return Reader(settings, subscriptions, rng=rng, counts=metrics.broker)


class Profiles:
    """Connects to nothing until it is used. `require_schema` and `require_deployment` come before `start`.

    `local`: the machine's clock.
    """

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        health: Health,
        rng: random.Random,
        local: Callable[[], datetime] = local_time,
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._health = health
        self._stopping = threading.Event()
        self.database = Database(settings.database)
        self.stripe = stripe_side(settings, metrics, rng)
        keys = SealingKeys(settings, health)
        queues = Queues(openable=keys.openable)
        self._watchdog = Watchdog(health, patience=max(PATIENCE, 2 * settings.settle.lease))
        self._clocks = Clocks(local, self.stripe.gateway.known_now, metrics, health)
        self._watch = Watch(
            settings, self.database, self.stripe.limiter, queues, self._clocks, metrics, health, self._watchdog
        )
        self._ownership = Ownership(settings, self.database, self.stripe.gateway)
        ledger = Ledger(
            self.database,
            length=timedelta(seconds=settings.settle.lease),
            now=self.stripe.gateway.now,
            openable=keys.openable,
            progress=self._watchdog.progress,
        )
        self.settler = self._settler(ledger, keys.sealer, rng)
        self.inbox = self._inbox(keys.sealer)
        self.consumer = self._consumer(rng)

    def _settler(self, ledger: Ledger, sealer: Sealer, rng: random.Random) -> Settler:
        settings, gateway = self._settings, self.stripe.gateway
        terms = Terms(
            namespace=settings.namespace,
            trial=timedelta(days=settings.trial.days),
            missing_payment_method=settings.trial.missing_payment_method,
            billing_mode=settings.stripe.billing_mode,
            catalogue=self.stripe.catalogue,
        )
        provisioner = Provisioner(
            CustomerStep(gateway, ledger, sealer, terms),
            SubscriptionStep(gateway, ledger, terms),
            ledger,
            self._metrics,
            rng,
            may_blame=lambda: self._shared_problem() is None,
        )
        return Settler(
            ledger,
            provisioner,
            Halting(
                ledger,
                preflight=self._preflight,
                shared_problem=self._shared_problem,
                report=self._report_settling,
            ),
            LaneSchedule(settings.settle.threads, lane_weights(settings)),
            self._metrics,
            threads=settings.settle.threads,
            sweep_interval=settings.settle.sweep_interval,
            watchdog=self._watchdog,
        )

    def _inbox(self, sealer: Sealer) -> ProfileInbox:
        settings = self._settings
        trial = TrialPolicy(timedelta(days=settings.trial.days), timedelta(hours=settings.trial.max_lag_hours))
        return ProfileInbox(
            self.database,
            self.settler,
            sealer,
            self._metrics,
            shape=message_shape(settings),
            freeze=Freeze(settings.namespace, settings.pending_plan, trial),
            lanes=topic_lanes(settings.nsq),
            quarantine_for=timedelta(days=settings.quarantine.expiry_days),
            now=self._clocks.now,
            apart_within=settings.nsq.msg_timeout / 2,
        )

    def _consumer(self, rng: random.Random) -> Consumer:
        settings, health = self._settings, self._health
        return Consumer(
            profile_reader(settings.nsq, rng, self._metrics),
            self.inbox.prepare,
            self.inbox.absorb_apart,
            self._metrics,
            batch=settings.absorb.batch,
            rng=rng,
            report=lambda part, ok, detail: health.set(part, ok=ok, detail=detail),
            watchdog=self._watchdog,
        )

    # What must hold before anything is taken in

    def require_schema(self) -> None:
        """Raises `Misconfigured` on a schema that this code can't work on or may not use, `Unavailable` while Postgres
        is away."""
        with self.database.connection() as connection:
            require_grants(connection)
            migrations.require_compatible(connection)
        self._clocks.ask_postgres(self.database)
        self._health.set("postgres", ok=True)

    def require_deployment(self) -> None:
        """Raises `Misconfigured` where the database belongs to another Stripe account, mode or namespace.

        Where Stripe can't tell the account (it is away, or refuses the key) a database that was claimed before is
        enough to absorb, and settling makes up for the comparison; one that was not is refused with Stripe's reason.
        """
        recorded = self._ownership.is_recorded()
        self._health.set("postgres", ok=True)
        try:
            self._ownership.claim()
        except SubkeeperError as unknown:
            if not recorded or not _is_stripes_silence(unknown):
                raise
            self._health.away("stripe", unknown)

    def _preflight(self) -> None:
        """What must hold for any row to settle: a key of this database's account that works. The price of the plan that
        we give is looked at too, but rows of other plans, or with a frozen request, settle without it."""
        self.stripe.gateway.reload()
        self._ownership.require()
        with suppress(UnusablePlan):  # `_shared_problem` says so
            self.stripe.catalogue.refresh(self._settings.pending_plan)

    def _shared_problem(self) -> SubkeeperError | None:
        """What is known to be wrong with what every new row needs."""
        return self.stripe.catalogue.problem(self._settings.pending_plan)

    def _report_settling(self, halted: SubkeeperError | None) -> None:
        if halted is None:
            self._health.set("stripe", ok=True)
        else:
            self._health.away("stripe", halted)

    # Running

    def start(self, threads: Threads) -> None:
        self.settler.start(threads.spawn)
        threads.spawn("absorber", self.consumer.run)
        threads.spawn("watchdog", self._watchdog.run)
        threads.spawn("catalogue", lambda: self.stripe.catalogue.keep_fresh(self._stopping))
        threads.spawn("watcher", lambda: self._watch.run(threads.alive))

    def stop(self) -> None:
        """Takes no new work; the threads end once what they hold is finished or given back."""
        self._stopping.set()
        self._watch.stop()
        self._watchdog.stop()
        self.consumer.stop()
        self.settler.stop()

    def close(self) -> None:
        self.consumer.close()
        self.stripe.gateway.close()
        self.database.close()


def _is_stripes_silence(unknown: SubkeeperError) -> bool:
    """Whether it is Stripe that doesn't tell whose key it is: waiting, or another key, mends that."""
    if isinstance(unknown, Unavailable):
        return unknown.dependency == "stripe"
    return not isinstance(unknown, Misconfigured) or isinstance(unknown, Unauthorized)
