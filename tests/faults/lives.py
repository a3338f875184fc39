"""What people do with their subscriptions at Stripe meanwhile, and what becomes of those as days pass there."""

from __future__ import annotations

import http.client
import random
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import psycopg

from tests.support.stack import Stack

TRIAL_DAYS = 4
DAYS = (timedelta(days=1.1), timedelta(days=3), timedelta(hours=2), timedelta(days=1.1), timedelta(days=1.1))
"""A trial's notice, its end, its invoice, two attempts to charge: less than the week ahead of which events are kept."""

RETRIES = (1, 1)
"""Days between attempts to charge; then Stripe cancels."""

PACE = 0.1
"""Seconds between two acts."""

GOOD_CARD, BAD_CARD = "pm_card_visa", "pm_card_chargeCustomerFail"


class Lives:
    """Of users who are subscribed, in a thread, until `stop`. `acts` counts what Stripe did; what it refuses, or
    doesn't hear of, is left at that."""

    def __init__(self, stack: Stack, rng: random.Random) -> None:
        self.acts: Counter[str] = Counter()
        self._stack = stack
        self._rng = rng
        self._known: list[tuple[str, str]] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lives", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(30)

    def _run(self) -> None:
        while not self._stopping.wait(PACE):
            if not self._known or self._rng.random() < PACE:
                self._look()
            if self._known:
                self._act(*self._rng.choice(self._known))

    def _look(self) -> None:
        """Who is subscribed by now."""
        query = "SELECT stripe_customer_id, stripe_subscription_id FROM provisionings WHERE state = 'completed'"
        with suppress(psycopg.Error):
            rows = self._stack.rows(query)
            self._known = [(row["stripe_customer_id"], row["stripe_subscription_id"]) for row in rows]

    def _act(self, customer: str, subscription: str) -> None:
        path = f"/v1/subscriptions/{subscription}"
        acts: dict[str, tuple[int, Callable[[], object]]] = {
            "carded": (25, lambda: self._card(customer, GOOD_CARD)),
            "carded badly": (15, lambda: self._card(customer, BAD_CARD)),
            "canceled later": (15, lambda: self._ask("POST", path, cancel_at_period_end="true")),
            "thought again": (15, lambda: self._ask("POST", path, cancel_at_period_end="false")),
            "trial ended": (12, lambda: self._ask("POST", path, trial_end="now")),
            "paid": (12, lambda: self._pay(path)),
            "canceled": (3, lambda: self._ask("DELETE", path)),
            "edited": (3, lambda: self._ask("POST", f"/v1/customers/{customer}", description="planted person")),
        }
        (name,) = self._rng.choices(list(acts), [weight for weight, _ in acts.values()])
        if acts[name][1]() is not None:
            self.acts[name] += 1

    def _card(self, customer: str, card: str) -> object:
        method = self._ask("POST", f"/v1/payment_methods/{card}/attach", customer=customer)
        default = {"invoice_settings[default_payment_method]": method["id"]} if method else {}
        return method and self._ask("POST", f"/v1/customers/{customer}", **default)

    def _pay(self, path: str) -> object:
        """Its latest invoice, now: a draft is finalized first, a bad card declined (402)."""
        found = self._ask("GET", path)
        return found and self._ask("POST", f"/v1/invoices/{found['latest_invoice']}/pay")

    def _ask(self, method: str, path: str, **form: str) -> dict[str, Any] | None:
        """Stripe's answer; None: it didn't take it, or wasn't there."""
        with suppress(OSError, http.client.HTTPException, ValueError):
            status, body = self._stack.ask_stripe(method, path, **form)
            return body if status == 200 else None
        return None
