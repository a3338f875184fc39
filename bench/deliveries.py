"""Signed webhooks as Stripe delivers them, as fast as they are answered: a program of its own, so that signing and
measuring never wait for what they measure.

    python -m bench.deliveries HOST PORT SECRET CONNECTIONS SECONDS [EVENTS SUBSCRIPTIONS]

Requests are made before; each connection sends its next one when it has the last one's answer. One line of JSON. With
EVENTS so many different ones are sent, each once, for SECONDS at most, and each changes the row of one of so many
subscriptions (`sub_0` and on); else the same ones again and again.
"""

from __future__ import annotations

import hmac
import json
import sys
import time
from typing import Any

from bench.load import Load

PREPARED = 2000
"""Different events; sent again in turn."""

_CUSTOMER: dict[str, Any] = {"address": None, "email": None, "name": None, "phone": None}
_ITEM: dict[str, Any] = {
    "id": "si_1",
    "object": "subscription_item",
    "billing_thresholds": None,
    "created": 1_790_000_000,
    "current_period_end": 1_792_592_000,
    "current_period_start": 1_790_000_000,
    "discounts": [],
    "metadata": {},
    "price": {
        "id": "price_1",
        "object": "price",
        "active": True,
        "billing_scheme": "per_unit",
        "created": 1_780_000_000,
        "currency": "usd",
        "custom_unit_amount": None,
        "livemode": False,
        "lookup_key": "pending",
        "metadata": {},
        "nickname": None,
        "product": "prod_1",
        "recurring": {"interval": "month", "interval_count": 1, "meter": None, "usage_type": "licensed"},
        "tax_behavior": "unspecified",
        "tiers_mode": None,
        "transform_quantity": None,
        "type": "recurring",
        "unit_amount": 0,
        "unit_amount_decimal": "0",
    },
    "quantity": 1,
    "subscription": "sub_1",
    "tax_rates": [],
}


def event(number: int, now: int, **changed: Any) -> dict[str, Any]:
    """`customer.subscription.updated` with the fields of a real one."""
    subscription: dict[str, Any] = {
        "id": f"sub_{number}",
        "object": "subscription",
        "application": None,
        "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None},
        "billing_cycle_anchor": 1_790_000_000,
        "billing_mode": {"type": "flexible", "flexible": {"proration_discounts": "included"}},
        "cancel_at": None,
        "cancel_at_period_end": False,
        "canceled_at": None,
        "cancellation_details": {"comment": None, "feedback": None, "reason": None},
        "collection_method": "charge_automatically",
        "created": 1_790_000_000,
        "currency": "usd",
        "customer": f"cus_{number}",
        "customer_account": None,
        "days_until_due": None,
        "default_payment_method": None,
        "default_tax_rates": [],
        "description": None,
        "discounts": [],
        "ended_at": None,
        "invoice_settings": {"account_tax_ids": None, "issuer": {"type": "self"}},
        "items": {"object": "list", "data": [_ITEM], "has_more": False, "total_count": 1, "url": "/v1/items"},
        "latest_invoice": f"in_{number}",
        "livemode": False,
        "metadata": {"subkeeper": "0123456789abcdef0123456789abcdef", "user_id": f"user-{number}"},
        "next_pending_invoice_item_invoice": None,
        "on_behalf_of": None,
        "pause_collection": None,
        "payment_settings": {"payment_method_types": None, "save_default_payment_method": "off"},
        "pending_setup_intent": None,
        "pending_update": None,
        "schedule": None,
        "start_date": 1_790_000_000,
        "status": "active",
        "test_clock": None,
        "transfer_data": None,
        "trial_end": 1_792_592_000,
        "trial_settings": {"end_behavior": {"missing_payment_method": "pause"}},
        "trial_start": 1_790_000_000,
    }
    return {
        "id": f"evt_{number}",
        "object": "event",
        "api_version": "2026-08-26.dahlia",
        "created": now,
        "data": {"object": subscription, "previous_attributes": {"status": "trialing", "customer_details": _CUSTOMER}},
        "livemode": False,
        "pending_webhooks": 1,
        "request": {"id": None, "idempotency_key": None},
        "type": "customer.subscription.updated",
        **changed,
    }


def signature(secret: str, body: bytes, now: int) -> str:
    """The Stripe-Signature of a body."""
    return f"t={now},v1={hmac.digest(secret.encode(), b'%d.%b' % (now, body), 'sha256').hex()}"


def request(body: bytes, signed: str, *, host: str = "localhost") -> bytes:
    """The whole of a delivery, as Stripe sends it."""
    head = (
        "POST /stripe/webhook HTTP/1.1",
        f"Host: {host}",
        "User-Agent: Stripe/1.0 (+https://stripe.com/docs/webhooks)",
        "Accept: */*; q=0.5, application/xml",
        "Cache-Control: no-cache",
        "Content-Type: application/json; charset=utf-8",
        f"Stripe-Signature: {signed}",
        f"Content-Length: {len(body)}",
    )
    return "\r\n".join([*head, "", ""]).encode() + body


def changing(number: int, subscriptions: int, now: int) -> dict[str, Any]:
    """Event `number` of those that each change a row: 5 s later than the one before it about the same subscription."""
    turn, which = divmod(number, subscriptions)
    created = now - now % 86_400 + 5 * turn  # of today
    found = event(which, created, id=f"evt_changing_{number}")
    found["data"]["object"]["cancel_at_period_end"] = turn % 2 == 0
    return found


def main() -> None:
    host, port, secret, connections, seconds, *once = sys.argv[1:]
    now = int(time.time())
    if once:
        count, subscriptions = map(int, once)
        events = (changing(number, subscriptions, now) for number in range(count))
    else:
        events = (event(number, now) for number in range(PREPARED))
    bodies = (json.dumps(each, indent=2).encode() for each in events)
    requests = [request(body, signature(secret, body, now), host=host) for body in bodies]
    load = Load(requests, once=bool(once))
    print(json.dumps(load.measured(host, int(port), int(connections), float(seconds))))


if __name__ == "__main__":
    main()
