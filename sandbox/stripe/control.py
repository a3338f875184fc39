"""Controls a running sandbox Stripe from Python: faults, clock, keys, limits, and what it has seen (`http.client`)."""

from __future__ import annotations

import http.client
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict
from urllib.parse import urlsplit


class CustomerState(TypedDict):
    id: str
    created: int
    email: str | None
    name: str | None
    metadata: dict[str, str]


class SubscriptionState(TypedDict):
    id: str
    created: int
    customer: str
    status: str
    trial_start: int | None
    trial_end: int | None
    metadata: dict[str, str]
    prices: list[str]


class State(TypedDict):
    """`counts` by kind of object; deleted customers are not listed."""

    counts: dict[str, int]
    idempotency_keys: int
    customers: list[CustomerState]
    subscriptions: list[SubscriptionState]


class LoggedRequest(TypedDict):
    """See `sandbox.stripe.request_log.Entry`."""

    n: int
    time: float
    method: str
    path: str
    params: dict[str, Any]
    idempotency_key: str | None
    user_id: str | None
    request_id: str
    status: int
    replayed: bool
    fault: str | None
    handled_ms: float | None


class LoggedDelivery(TypedDict):
    """See `sandbox.stripe.events.delivery_log.Attempt`."""

    n: int
    time: float
    event: str
    type: str
    endpoint: str
    attempt: int
    status: int
    problem: str | None
    ms: float
    mishaps: list[str]


class Control:
    """Talks to `/_sandbox/` of the Stripe at `url`. OSError: it cannot be reached; ValueError: it refuses."""

    def __init__(self, url: str, timeout: float = 10.0) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._address = (parts.hostname, parts.port)
        self._timeout = timeout

    def health(self) -> dict[str, Any]:
        """`account`, `now` (seconds, its clock), `requests` (how many were logged)."""
        return self._ask("GET", "health")

    def state(self) -> State:
        answer: Any = self._ask("GET", "state")
        result: State = answer
        return result

    def requests(self, since: int = 0) -> list[LoggedRequest]:
        """What was logged after entry number `since`, oldest first."""
        result: list[LoggedRequest] = self._ask("GET", f"requests?since={since}")["requests"]
        return result

    def reset(self) -> None:
        """An empty account again; its first key works, faults and limits are off, the clock is real."""
        self._ask("POST", "reset")

    def fault(
        self,
        kind: str,
        *,
        match: Mapping[str, str] | None = None,
        times: int | None = None,
        probability: float = 1.0,
        **details: Any,
    ) -> None:
        """Adds a rule; kinds, details and matches as in `sandbox.stripe.faults`."""
        rule = {"match": dict(match or {}), "times": times, "probability": probability}
        self._ask("POST", "faults", {**rule, "fault": {"kind": kind, **details}})

    def clear_faults(self) -> None:
        """No rules, no chaos, no latency."""
        self._ask("DELETE", "faults")

    def latency(self, **distribution: Any) -> None:
        """The default latency: `ms=…`, or `dist="lognormal", median=…, sigma=…`; nothing switches it off."""
        self._ask("POST", "latency", distribution)

    def chaos(self, seed: int, rates: Mapping[str, float], latency: Mapping[str, Any] | None = None) -> None:
        """Draws faults at `rates` (names in `sandbox.stripe.faults.CHAOS`) from `seed`."""
        self._ask("POST", "chaos", {"seed": seed, "rates": dict(rates), "latency": dict(latency or {})})

    def jump(self, seconds: float) -> float:
        """Moves its clock; returns its time."""
        return float(self._ask("POST", "clock", {"jump": seconds})["now"])

    def freeze(self, *, frozen: bool = True) -> None:
        """Stops its clock, so that all that happens carries one second (it still jumps); or lets it go on."""
        self._ask("POST", "clock", {"freeze": frozen})

    def deliveries(self, since: int = 0) -> list[LoggedDelivery]:
        """The attempts to deliver events, after number `since`, oldest first."""
        result: list[LoggedDelivery] = self._ask("GET", f"deliveries?since={since}")["deliveries"]
        return result

    def listen(self, url: str, *types: str, secret: str | None = None) -> dict[str, Any]:
        """Registers a webhook endpoint for `types` (all), without a key; with a `secret` that is agreed already, its
        receiver may start first. Returns the endpoint with its `id` and `secret`."""
        return self._ask("POST", "listen", {"url": url, "enabled_events": types or ("*",), "secret": secret})

    def webhooks(self, **settings: Any) -> None:
        """Any of `schedule` (`test`, `live`), `timeout` (seconds), `at_once` (attempts an endpoint), `skew` (seconds
        that signatures are off)."""
        self._ask("POST", "webhooks", settings)

    def mishap(
        self,
        kind: str,
        *,
        match: Mapping[str, str] | None = None,
        times: int | None = None,
        probability: float = 1.0,
        **details: Any,
    ) -> None:
        """Adds a rule for deliveries; kinds, details and matches as in `sandbox.stripe.events.mishaps`."""
        rule = {"match": dict(match or {}), "times": times, "probability": probability}
        self._ask("POST", "mishaps", {**rule, "mishap": {"kind": kind, **details}})

    def clear_mishaps(self) -> None:
        self._ask("DELETE", "mishaps")

    def resend(self, event: str, endpoint: str | None = None) -> int:
        """Delivers an event again, to one endpoint or to all; to how many."""
        return int(self._ask("POST", "resend", {"event": event, "endpoint": endpoint})["sent"])

    def roll_secret(self, endpoint: str, keep_seconds: float = 0.0) -> str:
        """An endpoint's new secret; the old ones sign beside it for `keep_seconds`."""
        given = {"endpoint": endpoint, "keep_seconds": keep_seconds}
        return str(self._ask("POST", "roll", given)["secret"])

    def event_lag(self, seconds: float) -> None:
        """How late lists may show an event, each by its own time."""
        self._ask("POST", "events", {"lag_seconds": seconds})

    def account_version(self, api_version: str) -> None:
        """The version that the account's events are rendered at from now on."""
        self._ask("POST", "version", {"api_version": api_version})

    def put_key(
        self,
        key: str,
        permissions: Sequence[str] | None = None,
        *,
        revoked: bool = False,
        account: str | None = None,
    ) -> None:
        """Adds a key or changes one; `permissions` None is a secret key's, `account` None that of the server."""
        given = None if permissions is None else list(permissions)
        self._ask("POST", "keys", {"key": key, "permissions": given, "revoked": revoked, "account": account})

    def limits(self, account_rate: float | None = None, endpoint_rate: float | None = None) -> None:
        """Requests per second; None for no limit."""
        self._ask("POST", "limits", {"account_rate": account_rate, "endpoint_rate": endpoint_rate})

    def retries(self, *days: int, then: str = "cancel") -> None:
        """Days from each failed payment to the next attempt, and what follows the last: cancel, past_due or unpaid."""
        self._ask("POST", "retries", {"days": days, "then": then})

    def portal(self, configuration: str) -> None:
        """The portal's configuration that its sessions have unless they name one."""
        self._ask("POST", "portal", {"configuration": configuration})

    def search_lag(self, seconds: float) -> None:
        """How far Search is behind, by its clock."""
        self._ask("POST", "search", {"lag_seconds": seconds})

    def duplicates(self) -> dict[str, int]:
        """Users (by `metadata.user_id`) with more than one customer, or more than one subscription, and how many."""
        state = self.state()
        customers = Counter(row["metadata"].get("user_id", "") for row in state["customers"])
        subscriptions = Counter(row["metadata"].get("user_id", "") for row in state["subscriptions"])
        worst = {user: max(customers[user], subscriptions[user]) for user in customers | subscriptions}
        return {user: count for user, count in worst.items() if user and count > 1}

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        connection = http.client.HTTPConnection(*self._address, timeout=self._timeout)
        try:
            connection.request(method, f"/_sandbox/{path}", None if body is None else json.dumps(body))
            response = connection.getresponse()
            answer: dict[str, Any] = json.loads(response.read())
        finally:
            connection.close()
        if response.status != 200:
            raise ValueError(answer["error"])
        return answer
