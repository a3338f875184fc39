"""The API's side of the web process: callers, a few connections to Postgres of its own, and whether it can answer."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from http import HTTPStatus
from uuid import UUID

from worker.accounts.callers import Callers, Issuer
from worker.accounts.cards import Cards
from worker.accounts.jwks import fetcher
from worker.accounts.keys import JwksKeys, Keys, SharedSecret
from worker.accounts.listing import Listing
from worker.accounts.sharing import Sharing
from worker.domain.account_changes import Wish
from worker.domain.erasure import Erasure
from worker.domain.subscription import Subscription
from worker.errors import AccessRefused, Misconfigured, SubkeeperError, Unavailable
from worker.runtime.accounts import CHANGE_THREADS, AccountWork
from worker.runtime.accounts import PART as CHANGES
from worker.runtime.api_stripe import ApiStripe
from worker.runtime.counting import counted
from worker.settings.model import Settings
from worker.store import checkouts, erasures, subscriptions, told_changes
from worker.store.checkouts import ToldCheckout
from worker.store.engine.access import require_grants
from worker.store.engine.database import Database
from worker.store.engine.revision import require_compatible
from worker.store.told_changes import ToldChange
from worker.stripe_api.showing import Showing
from worker.telemetry import Health, Metrics
from worker.threads import Threads
from worker.version import VERSION
from worker.web.api.app import Api
from worker.web.api.billing import Billing
from worker.web.api.changes import Changes, Desk
from worker.web.api.customers import Customers
from worker.web.api.detaching import Detaching
from worker.web.api.erasures import Erasures
from worker.web.api.gathered import Gathered
from worker.web.api.openapi import describing
from worker.web.api.operations import Refused
from worker.web.api.owners import Owners
from worker.web.api.payment_methods import PaymentMethods
from worker.web.api.stats import counting
from worker.web.api.subscription_list import SubscriptionLists
from worker.web.api.subscriptions import Subscriptions

API, KEYS = "api", "api_keys"
"""Parts of the process's health: Postgres as the API needs it, and the keys that JWTs are verified by."""

READERS = 4
"""Threads, each with a connection, that share the processor anyway: neither two nor eight answered more requests."""

ASKERS = 4
"""Threads that may wait for Stripe, beside those."""

API_DATABASE = {
    "pool_size": READERS + ASKERS + 1,
    "connect_timeout": 3.0,
    "statement_timeout": 4.0,
    "lock_timeout": 2.0,
}
"""A read takes milliseconds, or whoever asked has left: within these times its thread is free again."""

DISABLED = "disabled: STRIPE_SECRET_KEY, or SUBKEEPER_SECRET_KEY, is not set; subscriptions are only read"

CHECK_SECONDS = 5.0
"""Between two looks at Postgres."""


class ApiSide:
    """Connects to nothing until it is asked, `follow` is called, or it is started. Raises `Misconfigured`."""

    def __init__(self, settings: Settings, metrics: Metrics, health: Health, rng: random.Random) -> None:
        self._health = health
        self._closing = ExitStack()
        self._database = Database(settings.database.model_copy(update=API_DATABASE), "subkeeper api")
        self._closing.callback(self._database.close)
        executor = ThreadPoolExecutor(READERS, thread_name_prefix=API)
        self._closing.callback(executor.shutdown, wait=False, cancel_futures=True)
        asking = ThreadPoolExecutor(ASKERS, thread_name_prefix=f"{API}-stripe")
        self._closing.callback(asking.shutdown, wait=False, cancel_futures=True)
        self._stripe = None
        if settings.stripe_secret_key() is not None:
            self._stripe = ApiStripe(settings, metrics, health, rng, CHANGE_THREADS + 4)
            self._closing.callback(self._stripe.close)
        self._keys = _keys(settings)
        self._check_at = 0.0
        self._changes = self._account_work(settings, metrics, rng)
        operations = [
            *Subscriptions(Gathered(self._current, executor).find, settings.pending_plan).operations,
            *SubscriptionLists(self._current, Listing(self._database), settings.pending_plan).operations,
            *Changes(desk := self._desk(), settings.plans, settings.pending_plan).operations,
            *PaymentMethods(Cards(self._database, self._showing)).operations,
            *Customers(desk).operations,
            *Owners(Sharing(self._database), settings.namespace).operations,
            *Detaching(desk).operations,
            *Billing(
                desk,
                settings.plans,
                find=self._find_checkout,
                page=self._changes.page if self._changes is not None else lambda *_: None,
                origins=settings.api.return_origins,
            ).operations,
            *Erasures(desk, self._find_erasure).operations,
            counting(lambda: counted(self._database)),
        ]
        callers = Callers(settings.api.admin_tokens, _issuer(settings, self._keys))
        self.app = Api([*operations, describing(operations, VERSION)], callers.find, executor, asking)

    def _account_work(self, settings: Settings, metrics: Metrics, rng: random.Random) -> AccountWork | None:
        """None: nothing can be changed, as there is no key for Stripe, or none to seal with."""
        if self._stripe is None or not settings.has_secret_key:
            return None
        return AccountWork(settings, self._stripe, metrics, self._health, rng, self._database)

    def _desk(self) -> Desk:
        if (work := self._changes) is None:
            return Desk(_refuse, self._find_change, lambda _: Future())
        return Desk(work.ask, work.find, work.expect)

    def start(self, threads: Threads) -> None:
        if self._stripe is not None:
            self._stripe.start(threads)
        if self._changes is None:
            self._health.set(CHANGES, ok=True, detail=DISABLED)
        else:
            self._changes.start(threads)

    def stop(self) -> None:
        """Once nobody asks any more."""
        if self._changes is not None:
            self._changes.stop()
        if self._stripe is not None:
            self._stripe.stop()

    def follow(self) -> None:
        """Called every second or so, on a thread that may wait."""
        if self._keys is not None:
            self._follow_keys(self._keys)
        if time.monotonic() >= self._check_at:
            self._check_at = time.monotonic() + CHECK_SECONDS
            self._look_at_postgres()
            if self._stripe is not None:
                self._stripe.count_reads()

    def close(self) -> None:
        self._closing.close()

    def _showing(self) -> Showing | None:
        return None if self._stripe is None else self._stripe.showing()

    def _current(self, user_ids: Sequence[str]) -> list[Subscription]:
        with self._database.question() as tx:
            return subscriptions.current(tx, user_ids)

    def _find_change(self, identifier: UUID) -> ToldChange | None:
        with self._database.question() as tx:
            return told_changes.find(tx, identifier)

    def _find_erasure(self, user_id: str) -> Erasure | None:
        with self._database.question() as tx:
            return erasures.find(tx, user_id)

    def _find_checkout(self, named: UUID | str) -> ToldCheckout | None:
        with self._database.question() as tx:
            return checkouts.find(tx, named)

    def _look_at_postgres(self) -> None:
        try:
            with self._database.connection() as connection:
                require_grants(connection)
                require_compatible(connection)
        except SubkeeperError as away:
            self._away(API, away)
        else:
            self._health.set(API, ok=True)

    def _follow_keys(self, keys: Keys) -> None:
        """What was had once stays in force while nothing newer can be had: it is all well for a minute."""
        try:
            if keys.follow():
                self._health.set(KEYS, ok=True)
        except SubkeeperError as away:
            if keys.are_known and isinstance(away, Unavailable):
                self._health.unanswered(KEYS)
            else:
                self._away(KEYS, away)

    def _away(self, part: str, away: SubkeeperError) -> None:
        failing = isinstance(away, (Misconfigured, AccessRefused))
        self._health.set(part, ok=False, detail=str(away), failing=failing, kind=type(away).__name__)


def _refuse(_wish: Wish) -> ToldChange | None:
    raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "billing-disabled", DISABLED)


def _keys(settings: Settings) -> Keys | None:
    if settings.api.jwks_url is not None:
        return JwksKeys(fetcher(settings.api.jwks_url), time.monotonic)
    return SharedSecret(lambda: settings.jwt_secret() or "") if settings.api.has_secret else None


def _issuer(settings: Settings, keys: Keys | None) -> Issuer | None:
    if keys is None:
        return None
    return Issuer(keys, issuer=settings.api.jwt_issuer or "", audience=settings.api.jwt_audience or "")
