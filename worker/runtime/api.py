"""The API's side of the web process: callers, a few connections to Postgres of its own, and whether it can answer."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from worker.accounts.callers import Callers, Issuer
from worker.accounts.cards import Cards
from worker.accounts.jwks import fetcher
from worker.accounts.keys import JwksKeys, Keys, SharedSecret
from worker.domain.subscription import Subscription
from worker.errors import AccessRefused, Misconfigured, SubkeeperError, Unavailable
from worker.runtime.api_stripe import ApiStripe
from worker.settings.model import Settings
from worker.store import subscriptions
from worker.store.engine.access import require_grants
from worker.store.engine.database import Database
from worker.store.engine.revision import require_compatible
from worker.stripe_api.showing import Showing
from worker.telemetry import Health, Metrics
from worker.threads import Threads
from worker.version import VERSION
from worker.web.api.app import Api
from worker.web.api.billing import Billing
from worker.web.api.openapi import describing
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

CHECK_SECONDS = 5.0
"""Between two looks at Postgres."""


class ApiSide:
    """Connects to nothing until it is asked, or `follow` is called. Raises `Misconfigured`."""

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
            self._stripe = ApiStripe(settings, self._database, metrics, rng)
            self._closing.callback(self._stripe.close)
        self._keys = _keys(settings)
        self._check_at = 0.0
        operations = [
            *Subscriptions(self._current, settings.pending_plan).operations,
            *Billing(Cards(self._database, self._showing)).operations,
        ]
        callers = Callers(settings.api.admin_tokens, _issuer(settings, self._keys))
        self.app = Api([*operations, describing(operations, VERSION)], callers.find, executor, asking)

    def start(self, threads: Threads) -> None:
        if self._stripe is not None:
            self._stripe.start(threads)

    def follow(self) -> None:
        """Called every second or so, on a thread that may wait."""
        if self._keys is not None:
            self._follow_keys(self._keys)
        if time.monotonic() >= self._check_at:
            self._check_at = time.monotonic() + CHECK_SECONDS
            self._look_at_postgres()
            if self._stripe is not None:
                self._stripe.count_reads()

    def stop(self) -> None:
        if self._stripe is not None:
            self._stripe.stop()

    def close(self) -> None:
        self._closing.close()

    def _showing(self) -> Showing | None:
        return None if self._stripe is None else self._stripe.showing()

    def _current(self, user_ids: Sequence[str]) -> list[Subscription]:
        with self._database.question() as tx:
            return subscriptions.current(tx, user_ids)

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


def _keys(settings: Settings) -> Keys | None:
    if settings.api.jwks_url is not None:
        return JwksKeys(fetcher(settings.api.jwks_url), time.monotonic)
    return SharedSecret(lambda: settings.jwt_secret() or "") if settings.api.has_secret else None


def _issuer(settings: Settings, keys: Keys | None) -> Issuer | None:
    if keys is None:
        return None
    return Issuer(keys, issuer=settings.api.jwt_issuer or "", audience=settings.api.jwt_audience or "")
