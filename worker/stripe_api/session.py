"""The `stripe` client of the present secret key, and its change while the process runs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import cast

import stripe
import structlog

from worker.domain.provisioning import Lane
from worker.domain.stripe_facts import AccountFact
from worker.errors import Misconfigured
from worker.settings import StripeSettings
from worker.stripe_api.answers import account_fact
from worker.stripe_api.call import Call, Reply
from worker.stripe_api.deadline import Deadline
from worker.stripe_api.errors import Unauthorized
from worker.stripe_api.limiter import LIVE_PREFIXES
from worker.stripe_api.transport import Transport

API_VERSION = "2026-10-28.endive"
"""Pinned: the shape of what we send and read. Raised on purpose, with the tests that read Stripe's OpenAPI."""


class Session:
    """Holds one client at a time; a request keeps the client that it began with."""

    def __init__(self, settings: StripeSettings, secret_key: Callable[[], str], connections: int) -> None:
        """`secret_key` reads the key from where it is configured, anew at each call."""
        stripe.enable_telemetry = False  # no timings of ours to Stripe, no identifier of this machine
        self._settings = settings
        self._secret_key = secret_key
        self._lock = threading.Lock()
        self._transport = Transport(settings.api_base.rstrip("/"), connections)
        self._account: AccountFact | None = None
        self._key = secret_key()
        self.client = self._client(self._key)

    @property
    def peer(self) -> str:
        """Whom requests are sent to, as a URL."""
        return self._settings.api_base

    @property
    def livemode(self) -> bool:
        return self._key.startswith(LIVE_PREFIXES)

    def request(self, client: stripe.StripeClient, call: Call) -> stripe.StripeResponse:
        """Send once.

        `raw_request` and not `client.v1`: for a subscription's answer of 5 kB, plain JSON took 0.6 ms of CPU all in
        all, and typed objects 1.9 ms (CPython 3.11). The facts check what the types would have promised.
        """
        self._transport.limit(call.deadline.timeout(self._settings.request_timeout))
        options = {"idempotency_key": call.key} if call.key else {}
        try:
            raw = client.raw_request(call.method, call.path, **call.params, **options)
        except AttributeError as error:  # `stripe` takes "error" for an object: in a proxy's JSON it is often a text
            raise stripe.APIError("no answer of Stripe's") from error
        return cast("stripe.StripeResponse", raw)

    def opened_on(self, account: AccountFact) -> None:
        """Remember whose key it is: a new key must belong to the same account."""
        self._account = account

    def reload(self, send: Callable[[stripe.StripeClient, Call], Reply]) -> stripe.StripeClient:
        """Read the key anew, and take it if it has changed. Returns the client that is in force now.

        Raises `Misconfigured`, and keeps the old key, if the new one is of the other mode or of another account.
        """
        with self._lock:
            key = self._secret_key()
            if key != self._key:
                client = self._client(key)
                self._check_account(client, send)
                self._key, self.client = key, client
                structlog.get_logger().info("stripe_key.changed")
            return self.client

    def close(self) -> None:
        self._transport.close()

    def _client(self, key: str) -> stripe.StripeClient:
        if key.startswith(LIVE_PREFIXES) != self._settings.livemode:
            fix = "Set stripe.livemode to match the key, or give the other key"
            raise Misconfigured("STRIPE_SECRET_KEY", "its mode isn't that of stripe.livemode", fix)
        return stripe.StripeClient(
            key,
            stripe_version=API_VERSION,
            base_addresses={"api": self._settings.api_base.rstrip("/")},
            http_client=self._transport,
            max_network_retries=0,
        )

    def _check_account(self, client: stripe.StripeClient, send: Callable[[stripe.StripeClient, Call], Reply]) -> None:
        if self._account is None:
            return
        deadline = Deadline.after(self._settings.request_timeout)
        found = find_account(lambda call: send(client, call), deadline, livemode=self._settings.livemode)
        if found.id != self._account.id:
            problem = f"the new key belongs to another Stripe account ({found.id!r}, not {self._account.id!r})"
            fix = "Give a key of the account that this deployment was set up with"
            raise Misconfigured("STRIPE_SECRET_KEY", problem, fix)


def find_account(send: Callable[[Call], Reply], deadline: Deadline, *, livemode: bool) -> AccountFact:
    """The account behind the key with which `send` sends.

    A restricted key may not be able to read it, whatever it is granted; then Stripe's refusal names the account
    (https://github.com/stripe/stripe-node/issues/2246). Raises `Unauthorized` where it doesn't.
    """
    call = Call("account.retrieve", "get", "/v1/account", {}, Lane.LIVE, deadline)
    try:
        return account_fact(send(call).data, livemode=livemode)
    except Unauthorized as refusal:
        if refusal.failure.status != 403 or refusal.failure.account is None:
            raise
        return AccountFact(refusal.failure.account, livemode)
