"""Our plans as Stripe's products and prices, found by lookup key."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping

from worker.domain.stripe_facts import PriceFact
from worker.errors import Misconfigured
from worker.settings import PlanSettings
from worker.stripe_api.deadline import Deadline
from worker.stripe_api.gateway import StripeGateway

CALL_SECONDS = 30.0
"""For one plan's calls, waits for the limiter included."""


class Catalogue:
    """Resolves plans to prices, and creates what is missing (`subkeeper setup`)."""

    def __init__(self, gateway: StripeGateway, plans: Mapping[str, PlanSettings], namespace: str) -> None:
        self._gateway = gateway
        self._plans = plans
        self._namespace = namespace
        self._lock = threading.Lock()
        self._price_ids: dict[str, str] = {}

    def price_id(self, plan: str) -> str:
        """The Stripe price of `plan`, remembered. Raises `Misconfigured` where there is none that can be used."""
        with self._lock:
            known = self._price_ids.get(plan)
        return known or self.refresh(plan)

    def refresh(self, plan: str) -> str:
        """Asks Stripe anew."""
        key = f"plans.{plan}.lookup_key"
        settings = self._plans.get(plan)
        if settings is None:
            raise Misconfigured(
                f"plans.{plan}", "a profile was given this plan, and it is no longer configured", "Add it"
            )
        price = self._price(settings)
        if price is None:
            raise Misconfigured(key, f"Stripe has no price {settings.lookup_key!r}", "Run `subkeeper setup`.")
        if not price.active:
            raise Misconfigured(key, f"the price {price.id} is not active", "Activate it, or give the key to another.")
        with self._lock:
            self._price_ids[plan] = price.id
        return price.id

    def ensure(self, plan: str) -> list[str]:
        """Creates the plan's product and price if they are missing. Returns what was done or found, a line each.

        Safe to run twice at once: ids and idempotency keys follow from the settings.
        """
        settings = self._plans[plan]
        found = self._price(settings)
        if found is not None:
            return [f"price {settings.lookup_key}: {found.id} was there{_difference(found, settings)}"]
        product_id = f"{self._namespace}_{plan}"
        lines = [self._ensure_product(product_id, settings)]
        price = self._gateway.create_price(
            {
                "product": product_id,
                "lookup_key": settings.lookup_key,
                "currency": settings.currency,
                "unit_amount": settings.unit_amount,
                "recurring": {"interval": settings.interval},
            },
            key=self._key("price", settings),
            deadline=Deadline.after(CALL_SECONDS),
        )
        return [*lines, f"price {settings.lookup_key}: created {price.id}"]

    def _ensure_product(self, product_id: str, settings: PlanSettings) -> str:
        deadline = Deadline.after(CALL_SECONDS)
        if self._gateway.product(product_id, deadline=deadline) is not None:
            return f"product {product_id}: was there"
        parameters = {"id": product_id, "name": settings.name}
        self._gateway.create_product(parameters, key=self._key("product", settings), deadline=deadline)
        return f"product {product_id}: created"

    def _price(self, settings: PlanSettings) -> PriceFact | None:
        return self._gateway.price_by_lookup_key(settings.lookup_key, deadline=Deadline.after(CALL_SECONDS))

    def _key(self, what: str, settings: PlanSettings) -> str:
        content = json.dumps([self._namespace, what, settings.model_dump()], sort_keys=True)
        return "subkeeper-setup-" + hashlib.sha256(content.encode()).hexdigest()


def _difference(price: PriceFact, settings: PlanSettings) -> str:
    """What the price is, where that is not what the settings say; a price's amount can never be changed."""
    theirs = (price.unit_amount, price.currency, price.interval)
    ours = (settings.unit_amount, settings.currency, settings.interval)
    if theirs == ours:
        return ""
    return f", but it is {theirs[0]} {theirs[1]} a {theirs[2]}, not {ours[0]} {ours[1]} a {ours[2]} as configured"
