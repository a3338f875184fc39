"""The secret key in force, with its `stripe` client, and the one that may take its place while the process runs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import stripe
import structlog

from worker.domain.stripe_facts import AccountFact
from worker.errors import Misconfigured, SubkeeperError
from worker.settings.sections import StripeSettings
from worker.stripe_api.http_client import HttpClient
from worker.stripe_api.limiter.limiter import LIVE_PREFIXES

API_VERSION = "2026-08-26.dahlia"
"""Pinned: the shape of what we send and read, of the events that we take and of our webhook endpoint.

The newest that Stripe's OpenAPI description is had for, so that tests hold all of it to that; by itself the `stripe`
package sends a newer one. Raised on purpose; a test fails where pin, description and sandbox differ.
"""


@dataclass(frozen=True, slots=True, eq=False)
class KeyedClient:
    """A key and the client that sends under it. A request keeps the one that it began with."""

    key: str
    stripe: stripe.StripeClient


class Credentials:
    """One client at a time; all share `http`."""

    def __init__(self, settings: StripeSettings, secret_key: Callable[[], str], http: HttpClient) -> None:
        """`secret_key` reads the key from where it is configured, anew at each call.

        Raises `Misconfigured` where the key's mode isn't `settings.livemode`.
        """
        stripe.enable_telemetry = False  # no timings of ours to Stripe, no identifier of this machine
        self._settings = settings
        self._secret_key = secret_key
        self._http = http
        self._account: AccountFact | None = None
        self.client = self._client(secret_key())

    def opened_on(self, account: AccountFact) -> None:
        """Remember whose key it is: a new key must belong to the same account."""
        self._account = account

    def configured(self) -> str | None:
        """The key that is configured now; None where it can't be read, of which `candidate` tells."""
        with suppress(SubkeeperError):
            return self._secret_key()
        return None

    def candidate(self) -> KeyedClient | None:
        """The client of the key that is configured now, where that has changed. Raises `Misconfigured` for a key of the
        other mode."""
        key = self._secret_key()
        return self._client(key) if key != self.client.key else None

    def replace(self, candidate: KeyedClient, account: Callable[[], AccountFact]) -> None:
        """Takes `candidate`, whose `account` is asked for. Raises `Misconfigured`, and keeps the old key, if that is
        another one than was opened on."""
        if self._account is not None and (found := account()).id != self._account.id:
            problem = f"the new key belongs to another Stripe account ({found.id!r}, not {self._account.id!r})"
            fix = "Give a key of the account that this deployment was set up with"
            raise Misconfigured("STRIPE_SECRET_KEY", problem, fix)
        self.client = candidate
        structlog.get_logger().info("stripe_key.changed")

    def _client(self, key: str) -> KeyedClient:
        if key.startswith(LIVE_PREFIXES) != self._settings.livemode:
            fix = "Set stripe.livemode to match the key, or give the other key"
            raise Misconfigured("STRIPE_SECRET_KEY", "its mode isn't that of stripe.livemode", fix)
        client = stripe.StripeClient(
            key,
            stripe_version=API_VERSION,
            base_addresses={"api": self._settings.api_base.rstrip("/")},
            http_client=self._http,
            max_network_retries=0,
        )
        return KeyedClient(key, client)
