"""A Stripe account as a test sees it: the sandbox's or a real one in test mode, by the same requests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, Final, TypeVar

import pytest
import stripe

from worker.stripe_api.credentials import API_VERSION

STRIPE: Final = "https://api.stripe.com"
TEST_KEYS = ("sk_test_", "rk_test_")
"""What keys of test mode begin with; all others are refused before anything is sent."""

_REPETITIONS = 6  # of what met a limit
_SLACK = 60  # seconds before the first request in which an event may have been made by it: clocks differ

T = TypeVar("T")


class KeyRefused(Exception):
    """The key is none of test mode. It isn't quoted."""


class NotTold(Exception):
    """Stripe said nothing to what was asked: the key is unknown, a limit met, a 5xx. It is no answer that differs."""


@dataclass(frozen=True, slots=True)
class Terms:
    """Where an account is, and what differs between accounts other than what they answer.

    `patience`: seconds that something may take to show; `interval`: seconds between two looks. `deaf_url`: an address
    that never takes a delivery, of those that the account lets endpoints have.
    """

    url: str
    key: str = field(repr=False)
    patience: float
    interval: float
    deaf_url: str


def real(key: str, url: str = STRIPE) -> Terms:
    """An account in test mode. Raises `KeyRefused`."""
    if not key.startswith(TEST_KEYS):
        raise KeyRefused(f"it must begin with {' or '.join(TEST_KEYS)}: this creates, charges and deletes")
    return Terms(url, key, patience=300, interval=1, deaf_url="https://example.com/subkeeper-contract")


def sandbox(url: str, key: str) -> Terms:
    return Terms(url, key, patience=10, interval=0.02, deaf_url="http://127.0.0.1:9/")


@dataclass(frozen=True, slots=True)
class Answer:
    """`headers` by their names in lower case. `error`: Stripe's, else empty; `raised`: what the client made of it."""

    status: int
    headers: Mapping[str, str]
    body: Any
    raised: stripe.StripeError | None = None

    @property
    def error(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.body.get("error", {})
        return found

    @property
    def date(self) -> int:
        """Stripe's time of the answer, in whole seconds."""
        return int(parsedate_to_datetime(self.headers["date"]).timestamp())

    @property
    def replayed(self) -> bool:
        return self.headers.get("idempotent-replayed") == "true"


class Account:
    """Requests at the version that the worker pins. What the key may not do ends the test that asked for it as `not
    allowed`; a limit is waited out."""

    def __init__(self, terms: Terms, http: stripe.HTTPClient) -> None:
        self.terms = terms
        self._http = http
        self._client = self._with_key(terms.key)
        self._since = self.now() - _SLACK

    def _with_key(self, key: str) -> stripe.StripeClient:
        return stripe.StripeClient(
            key,
            stripe_version=API_VERSION,
            base_addresses={"api": self.terms.url},
            http_client=self._http,
            max_network_retries=2,
        )

    def ask(
        self,
        method: str,
        path: str,
        params: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
        version: str = API_VERSION,
        secret: str | None = None,
    ) -> Answer:
        """Whatever Stripe answers. `key`: the idempotency key; `secret`: another API key than the account's."""
        client = self._client if secret is None else self._with_key(secret)
        options: dict[str, Any] = {"stripe_version": version, **({"idempotency_key": key} if key else {})}
        answer = self._patiently(client, method, path, {**(params or {}), **options})
        if answer.status == 403:
            pytest.skip(f"{method.upper()} {path}")
        if answer.status == 429 or answer.status >= 500 or (answer.status == 401 and secret is None):
            raise NotTold(f"{method.upper()} {path}: {answer.status}")
        return answer

    def post(self, path: str, params: Mapping[str, Any] | None = None, *, key: str | None = None) -> dict[str, Any]:
        """The object; fails where Stripe refuses."""
        return _taken(self.ask("post", path, params, key=key))

    def get(self, path: str, params: Mapping[str, Any] | None = None, *, version: str = API_VERSION) -> dict[str, Any]:
        return _taken(self.ask("get", path, params, version=version))

    def delete(self, path: str) -> dict[str, Any]:
        return _taken(self.ask("delete", path))

    def all(self, path: str, params: Mapping[str, Any] | None = None) -> Iterator[dict[str, Any]]:
        """What a list holds, page after page."""
        cursor: dict[str, str] = {}
        while True:
            page = self.get(path, {"limit": 100, **(params or {}), **cursor})
            yield from page["data"]
            if not page["has_more"]:
                return
            cursor = {"starting_after": page["data"][-1]["id"]}

    def forget(self, method: str, path: str, params: Mapping[str, Any] | None = None) -> None:
        """Cleans up: what is gone already, or was never to be had, is no failure."""
        answer = self._patiently(self._client, method, path, dict(params or {}))
        if answer.status not in (200, 403, 404):
            raise NotTold(f"left behind: {method.upper()} {path}: {answer.status}")

    def _patiently(self, client: stripe.StripeClient, method: str, path: str, params: dict[str, Any]) -> Answer:
        answer = _sent(client, method, path, params)
        for attempt in range(_REPETITIONS):
            if answer.status != 429:
                break
            time.sleep(self.terms.interval * 2**attempt)
            answer = _sent(client, method, path, params)
        return answer

    def now(self) -> int:
        """Stripe's time, as its answers are dated: a refusal's, too."""
        answer = _sent(self._client, "get", "/v1/events", {"limit": 1})
        if answer.status == 401:
            raise NotTold("Stripe doesn't know the key")
        return answer.date

    def eventually(self, what: str, look: Callable[[], T | None]) -> T:
        """What `look` finds, as soon as that is true of anything; fails when patience is over."""
        until = time.monotonic() + self.terms.patience
        while not (found := look()):
            assert time.monotonic() < until, f"not within {self.terms.patience:g} s: {what}"
            time.sleep(self.terms.interval)
        return found

    def events(self, about: str, *types: str) -> list[dict[str, Any]]:
        """The events of these types about an object, as listed, once each type is there."""

        def look() -> list[dict[str, Any]] | None:
            window = {"created": {"gte": self._since}, "types": list(types)}
            found = [event for event in self.all("/v1/events", window) if event["data"]["object"]["id"] == about]
            return found if {event["type"] for event in found} == set(types) else None

        return self.eventually(f"{', '.join(types)} of {about}", look)

    def event(self, about: str, kind: str) -> dict[str, Any]:
        """The one event of that type about an object."""
        (found,) = self.events(about, kind)
        return found


def _sent(client: stripe.StripeClient, method: str, path: str, params: dict[str, Any]) -> Answer:
    try:
        response: Any = client.raw_request(method, path, **params)
    except stripe.StripeError as error:
        if error.http_status is None:
            raise
        body = error.json_body if isinstance(error.json_body, dict) else {}
        return Answer(error.http_status, _lower(error.headers or {}), body, error)
    return Answer(response.code, _lower(response.headers), response.data)


def _taken(answer: Answer) -> dict[str, Any]:
    said = {name: answer.error.get(name) for name in ("code", "param", "message")}
    assert answer.status == 200, f"refused with {answer.status}: {said}"
    body: dict[str, Any] = answer.body
    return body


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
