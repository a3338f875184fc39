"""Our plans as Stripe's products and prices, found by lookup key."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from worker.domain.deadline import Clock, Deadline, boot_time
from worker.domain.stripe_facts import PriceFact
from worker.errors import Misconfigured, SubkeeperError, TryLater, Unavailable
from worker.settings.sections import PlanSettings
from worker.stripe_api.gateway import StripeGateway

CALL_SECONDS = 30.0
"""For one plan's calls, waits for the limiter included."""


REFRESH_INTERVAL = 60.0
"""Seconds between two looks at the prices: so long a lookup key that was moved goes unnoticed."""

RECHECK_INTERVAL = 5.0
"""Seconds after which it is asked anew whether a plan has become usable."""


class UnusablePlan(Misconfigured):
    """No subscription can be asked for on this plan: it isn't configured, or its price is missing or inactive."""


@dataclass(frozen=True, slots=True)
class _Found:
    """What Stripe said of a plan's price, and when by the clock. One of `price_id` and `problem` is there."""

    at: float
    price_id: str | None
    problem: UnusablePlan | None


class Catalogue:
    """Resolves plans to prices, and creates what is missing (`subkeeper setup`)."""

    def __init__(
        self,
        gateway: StripeGateway,
        plans: Mapping[str, PlanSettings],
        namespace: str,
        clock: Clock = boot_time,
    ) -> None:
        self._gateway = gateway
        self._plans = plans
        self._names = {each.lookup_key: name for name, each in plans.items()}
        self._namespace = namespace
        self._clock = clock
        self._asking = threading.Lock()
        self._found: dict[str, _Found] = {}
        self._silent_until = float("-inf")

    def plan_of(self, lookup_key: str | None) -> str | None:
        """Our name of the plan whose price has this lookup key."""
        return self._names.get(lookup_key) if lookup_key is not None else None

    def price_id(self, plan: str) -> str:
        """The Stripe price of `plan`, as it was last found. Raises `UnusablePlan` where there is none that can be used,
        and what the gateway raises while that isn't known yet."""
        found = self._found.get(plan)
        is_known = found is not None and (found.problem is None or self._clock() - found.at < RECHECK_INTERVAL)
        return _usable(found) if found is not None and is_known else self.recheck(plan)

    def problem(self, plan: str) -> UnusablePlan | None:
        """Why `plan` can't be used, as far as is known."""
        found = self._found.get(plan)
        return found.problem if found is not None else None

    def recheck(self, plan: str) -> str:
        """As `price_id`, but asks Stripe anew: what was found before is in doubt. Of many at once, one asks."""
        began = self._clock()
        with self._asking:
            found = self._found.get(plan)
            if found is None or found.at < began:
                if self._clock() < self._silent_until:
                    raise TryLater("price_unknown")
                try:
                    found = self._ask(plan)
                except (TryLater, Unavailable):
                    self._silent_until = self._clock() + RECHECK_INTERVAL
                    raise
        return _usable(found)

    def refresh(self, plan: str) -> str:
        """As `price_id`, but asks Stripe in any case. What was found before stays if Stripe can't tell."""
        with self._asking:
            found = self._ask(plan)
        return _usable(found)

    def keep_fresh(self, stopping: threading.Event) -> None:
        """Follows prices until `stopping`: lookup keys that move, prices that are archived or activated again. Requests
        that are frozen stay as they are."""
        while not stopping.wait(REFRESH_INTERVAL if not any(map(self.problem, self._plans)) else RECHECK_INTERVAL):
            for plan in self._plans:
                if stopping.is_set():
                    return
                with suppress(SubkeeperError):
                    self.refresh(plan)

    def _ask(self, plan: str) -> _Found:
        key = f"plans.{plan}.lookup_key"
        settings = self._plans.get(plan)
        if settings is None:
            raise UnusablePlan(
                f"plans.{plan}", "a profile was given this plan, and it is no longer configured", "Add it"
            )
        price, problem = self._price(settings), None
        if price is None:
            problem = UnusablePlan(key, f"Stripe has no price {settings.lookup_key!r}", "Run `subkeeper setup`.")
        elif not price.active:
            fix = "Activate it, or give the key to another."
            problem = UnusablePlan(key, f"the price {price.id} is not active", fix)
        usable = price.id if price is not None and problem is None else None
        found = self._found[plan] = _Found(self._clock(), usable, problem)
        return found

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


def _usable(found: _Found) -> str:
    if found.price_id is None:
        assert found.problem is not None, "one of them is there"
        raise UnusablePlan(found.problem.key, found.problem.problem, found.problem.fix)  # each thread its own
    return found.price_id


def _difference(price: PriceFact, settings: PlanSettings) -> str:
    """What the price is, where that is not what the settings say; a price's amount can never be changed."""
    theirs = (price.unit_amount, price.currency, price.interval)
    ours = (settings.unit_amount, settings.currency, settings.interval)
    if theirs == ours:
        return ""
    return f", but it is {theirs[0]} {theirs[1]} a {theirs[2]}, not {ours[0]} {ours[1]} a {ours[2]} as configured"
