"""Changes that users and admins ask for, put together: taken in by the API, made on threads beside it."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

import structlog

from worker.accounts.asking import Asking
from worker.accounts.erasing import Erasing
from worker.accounts.erasure_rows import ErasureRows
from worker.accounts.leases import ChangeLease, ChangeLeases
from worker.accounts.steps import Steps
from worker.accounts.waiting import Waiting
from worker.accounts.working import ChangeWorker
from worker.domain.account_changes import Wish
from worker.domain.deadline import Clock, boot_time
from worker.domain.lanes import Lane, LaneSchedule
from worker.domain.profile import ProfileCreated
from worker.domain.stripe_facts import SubscriptionFact
from worker.domain.trial import TrialPolicy
from worker.errors import AccessRefused, Misconfigured, SubkeeperError, Unavailable
from worker.provisioning.inbox import Freezing
from worker.runtime import pages
from worker.runtime.api_stripe import ApiStripe
from worker.runtime.resources import lane_weights
from worker.sealing import Sealer
from worker.settings.model import Settings
from worker.store import checkouts, erasures, told_changes
from worker.store.engine.access import require_grants
from worker.store.engine.database import Database
from worker.store.engine.revision import require_compatible
from worker.store.provisioning.insert import NewProvisioning
from worker.store.told_changes import ToldChange
from worker.stripe_api.catalogue import Catalogue
from worker.stripe_api.gateway import StripeGateway
from worker.telemetry import Health, Metrics, Watchdog
from worker.threads import Threads
from worker.work.dispatcher import Dispatcher
from worker.work.halting import Halting

PART, THREADS_PART, ERASURES_PART = "accounts", "account_threads", "erasures"
"""Parts of the process's health: whether changes can be made, whether their threads get on, and whether users who are
to be erased are."""

CHANGE_THREADS = 8
"""Of a process: a change takes a second of Stripe's time, and nobody makes many."""

WATCH_SECONDS, PRUNE_EVERY, PRUNED_AT_ONCE = 5.0, 720, 1000
"""Between two looks at what waits; in every so many of them, what ended long ago is deleted."""

TOLD_FOR = timedelta(days=1)
"""For so long an alert stands that a payment is to be given back."""

ERASED_WITHIN = timedelta(hours=2)
"""After which an erasure that waits is told as trouble: longer than a page of the portal's lasts."""

KEPT = timedelta(days=30)
"""For so long an Idempotency-Key is remembered, and what came of a change is told."""


def asking(
    settings: Settings, database: Database, sealer: Sealer, now: Callable[[], datetime], clock: Clock = boot_time
) -> Asking:
    """Where changes are taken in; new users are frozen as their messages would be."""
    max_lag = timedelta(hours=settings.trial.max_lag_hours)

    def freeze(user_id: str, plan: str, email: str | None) -> NewProvisioning:
        seen, trial = now(), TrialPolicy(settings.trial_lengths.of(plan), max_lag)
        freezing = Freezing(sealer, settings.namespace, trial, settings.stripe.test_clock)
        return freezing.row(ProfileCreated(user_id, email, None, seen), plan, Lane.LIVE, seen)

    lease = timedelta(seconds=settings.settle.lease)
    return Asking(database, sealer, freeze, lease=lease, now=now, clock=clock)


def leases(
    settings: Settings,
    database: Database,
    catalogue: Catalogue,
    openable: Callable[[], list[bytes]],
    clock: Clock = boot_time,
) -> ChangeLeases:
    def plan_name(fact: SubscriptionFact) -> str:
        return catalogue.plan_of(fact.price_lookup_key) or fact.price_lookup_key or fact.price_id

    return ChangeLeases(database, plan_name, openable, length=timedelta(seconds=settings.settle.lease), clock=clock)


def steps(
    settings: Settings,
    database: Database,
    held: ChangeLeases,
    gateway: StripeGateway,
    catalogue: Catalogue,
    sealer: Sealer,
) -> Steps:
    opening = pages.opening(settings, held, gateway, catalogue, sealer)
    rows = ErasureRows(database, sealer)
    return Steps(
        held,
        gateway.accounts,
        sealer,
        namespace=settings.namespace,
        price_id=catalogue.price_id,
        proration=settings.api.proration_behavior,
        opening=opening,
        completing=pages.completing(settings, held, gateway),
        erasing=Erasing(held, rows, gateway, opening, namespace=settings.namespace),
    )


class AccountWork:
    """Threads of the web process that make changes, whoever took them in. Connects to nothing before `start`.

    `api_database`: where the API's own requests are written. Raises `Misconfigured` without keys that can be used.
    """

    def __init__(
        self,
        settings: Settings,
        stripe: ApiStripe,
        metrics: Metrics,
        health: Health,
        rng: random.Random,
        api_database: Database,
    ) -> None:
        self._stripe = stripe
        self._resources = resources = stripe.resources
        self._metrics = metrics
        self._health = health
        self._watchdog = Watchdog(health, patience=max(60.0, 2 * settings.settle.lease), part=THREADS_PART)
        self._stopping = threading.Event()
        self._log = structlog.get_logger(__name__)
        self._waiting = Waiting()
        self._unopenable = 0
        self._asking = asking(settings, api_database, resources.keys.sealer, resources.clocks.now, resources.clock)
        held = leases(settings, resources.database, resources.catalogue, resources.keys.openable, resources.clock)
        taken = steps(settings, resources.database, held, resources.gateway, resources.catalogue, resources.keys.sealer)
        worker = ChangeWorker(held, taken, ended=self._waiting.ended, rng=rng)
        self._halting = Halting(
            worker,
            preflight=self._preflight,
            shared_problem=lambda: None,
            report=self._report,
            key=resources.gateway.configured_key,
            clock=resources.clock,
        )
        self.dispatcher: Dispatcher[ChangeLease] = Dispatcher(
            worker,
            self._halting,
            LaneSchedule(CHANGE_THREADS, lane_weights(settings)),
            observe=lambda _lane, outcome, seconds: metrics.account_changes.ended(outcome, seconds),
            threads=CHANGE_THREADS,
            sweep_interval=settings.settle.sweep_interval,
            watchdog=self._watchdog,
            clock=resources.clock,
            name="accounts",
        )
        self.expect = self._waiting.expect
        self.find = self._asking.find
        self.page = partial(pages.opened, resources.keys.sealer)
        self._portal = pages.PortalWatch(settings, resources.gateway, health)

    def ask(self, wish: Wish) -> ToldChange | None:
        """Raises `Unavailable` while nothing can be asked of Stripe, for the reason that the health tells."""
        if self._halting.halted:
            raise Unavailable(PART, "changes can't be made now")
        return self._asking.ask(wish, self.dispatcher)

    def start(self, threads: Threads) -> None:
        self.dispatcher.start(threads.spawn)
        threads.spawn("accounts-watcher", self._watch)
        threads.spawn("accounts-watchdog", self._watchdog.run)
        threads.spawn("accounts-catalogue", lambda: self._resources.catalogue.keep_fresh(self._stopping))

    def stop(self) -> None:
        """Takes no more work; what is under way is finished."""
        self._stopping.set()
        self.dispatcher.stop()
        self._watchdog.stop()

    # What must hold before anything is asked

    def _preflight(self) -> None:
        """A schema that this code knows, and a key of this database's account that works."""
        resources = self._resources
        with resources.database.connection() as connection:
            require_grants(connection)
            require_compatible(connection)
        resources.gateway.reload()
        self._stripe.require()

    def _report(self, halted: SubkeeperError | None) -> None:
        if halted is None:
            self._health.set(PART, ok=True)
            return
        failing = isinstance(halted, (Misconfigured, AccessRefused))
        self._health.set(PART, ok=False, detail=str(halted), failing=failing, kind=type(halted).__name__)

    # Beside it

    def _watch(self) -> None:
        turn = 0
        while not self._stopping.is_set():
            try:
                self._look()
                if not self._halting.halted:
                    self._portal.look()
                if turn % PRUNE_EVERY == 0:
                    self._prune()
            except SubkeeperError:  # Postgres: the sweeper tells of it
                self._metrics.account_changes.forget()
            turn += 1
            self._stopping.wait(WATCH_SECONDS)

    def _look(self) -> None:
        openable = self._resources.keys.openable()
        with self._resources.database.question() as tx:
            backlog, to_refund = told_changes.backlog(tx, openable), checkouts.to_refund(tx, TOLD_FOR)
            erasing = erasures.backlog(tx)
        unopenable = backlog.unopenable or 0
        self._metrics.account_changes.standing(backlog.waiting, backlog.oldest, unopenable, to_refund)
        if unopenable > self._unopenable:
            self._log.error("account_changes.sealed", changes=unopenable)
        self._unopenable = unopenable
        self._metrics.account_changes.erasing(erasing.waiting, erasing.oldest)
        waits = erasing.oldest > ERASED_WITHIN.total_seconds()
        detail = f"{erasing.waiting} wait, the first for {erasing.oldest:.0f} s ({erasing.waits_for})" if waits else ""
        self._health.set(ERASURES_PART, ok=not waits, detail=detail, kind=erasing.waits_for if waits else "")

    def _prune(self) -> None:
        pruned, at_once = 0, PRUNED_AT_ONCE
        while at_once == PRUNED_AT_ONCE and not self._stopping.is_set():
            with self._resources.database.transaction() as tx:
                at_once = told_changes.prune(tx, KEPT, PRUNED_AT_ONCE)
                checkouts.prune(tx, KEPT, PRUNED_AT_ONCE)
            pruned += at_once
        if pruned:
            self._log.info("account_changes.pruned", changes=pruned)
