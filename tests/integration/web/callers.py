"""The API as its callers see it, and rows for it to tell of."""

from __future__ import annotations

import http.client
import json
import secrets
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol

import psycopg

from tests.support.jwts import claims, signed

TRIAL_END = datetime(2027, 1, 1, tzinfo=UTC)


class Reply(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: Any


class Port(Protocol):
    """What serves the API."""

    @property
    def web_port(self) -> int: ...


def ask(
    endpoint: Port | int, path: str, token: str | None = None, method: str = "GET", body: object = None, **headers: str
) -> Reply:
    """`endpoint`: or its port. `token` as a bearer's; `body` as JSON, bytes as they are."""
    port = endpoint if isinstance(endpoint, int) else endpoint.web_port
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if token is not None:
        named["Authorization"] = f"Bearer {token}"
    try:
        if body is not None:
            named.setdefault("Content-Type", "application/json")
        sent = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        connection.request(method, path, sent, named)
        answer = connection.getresponse()
        text = answer.read()
        return Reply(answer.status, answer.headers, json.loads(text) if text else None)
    finally:
        connection.close()


def token_of(user_id: str, scope: str | None = None) -> str:
    return signed(claims(user_id, scope))


def subscribe(database_url: str, user_id: str, status: str = "trialing", plan: str = "pending", **columns: Any) -> str:
    """The user's customer, subscription and ledger row, as settling and events leave them. Stripe's id of it."""
    identifier: str = columns.setdefault("stripe_subscription_id", f"sub_{secrets.token_hex(8)}")
    state: dict[str, Any] = {
        "plan": plan,
        "stripe_subscription_status": status,
        "canceling": False,
        "trial_end": TRIAL_END,
        "seen_from": TRIAL_END,
        "seen_to": TRIAL_END,
        "version": 3,
    } | columns
    names, places = ", ".join(state), ", ".join(["%s"] * len(state))
    with psycopg.connect(database_url) as tx:
        customer = tx.execute(
            "INSERT INTO billing_customers (user_id, stripe_customer_id) VALUES (%s, %s) RETURNING id",
            [user_id, f"cus_{identifier}"],
        ).fetchone()
        assert customer is not None
        tx.execute(
            f"INSERT INTO billing_subscriptions (billing_customer_id, {names}) VALUES (%s, {places})".encode(),
            [customer[0], *state.values()],
        )
        tx.execute(
            "INSERT INTO provisionings (user_id, state, plan, trial_end, lane, stripe_customer_id,"
            " stripe_subscription_id) VALUES (%s, 'completed', 'pending', %s, 0, %s, %s)",
            [user_id, TRIAL_END, f"cus_{identifier}", identifier],
        )
    return identifier
