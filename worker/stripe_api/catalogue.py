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
"""Seconds for which a price counts as known: so long a lookup key that was moved goes unnoticed."""

AHEAD = 0.75
"""The part of them after which prices that are in use are asked for in the background, so that nobody waits for it."""

RECHECK_INTERVAL, RECHECKED_FOR = 5.0, 600.0
"""Seconds after which it is asked anew whether a plan has become usable, and for how long: after that, as seldom as for
one that is. A person who takes longer gets no more of the month's reads."""


class UnusablePlan(Misconfigured):
    """No subscription can be asked for on this plan: it isn't configured, or its price is missing or inactive."""


@dataclass(frozen=True, slots=True)
class _Found:
    """What Stripe said of a plan's price, and when by the clock. One of `price_id` and `problem` is there, the problem
    `since` then."""

    at: float
    price_id: str | None
    problem: UnusablePlan | None
    since: float

    @property
    def until(self) -> float:
        """Until when it counts as known."""
        is_new_problem = self.problem is not None and self.at - self.since < RECHECKED_FOR
        return self.at + (RECHECK_INTERVAL if is_new_problem else REFRESH_INTERVAL)


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
        self._is_used = False

    def plan_of(self, lookup_key: str | None) -> str | None:
        """Our name of the plan whose price has this lookup key."""
        return self._names.get(lookup_key) if lookup_key is not None else None

    def price_id(self, plan: str) -> str:
        """The Stripe price of `plan`, as it was found within `REFRESH_INTERVAL`; before that, if Stripe can't tell now.
        Raises `UnusablePlan` where there is none that can be used, and what the gateway raises while that isn't known
        yet."""
        found = self._found.get(plan)
        if found is not None and self._clock() < found.until:
            self._is_used = True
            return _usable(found)
        try:
            return self.recheck(plan)
        except UnusablePlan:
            raise
        except SubkeeperError:
            if found is None or found.problem is not None:
                raise
            return _usable(found)

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
        """As `price_id`, but asks Stripe in any case, except for a problem that has lasted. What was found before stays
        if Stripe can't tell."""
        with self._asking:
            found = self._found.get(plan)
            if found is None or found.problem is None or self._clock() >= found.until:
                found = self._ask(plan)
        return _usable(found)

    def keep_fresh(self, stopping: threading.Event) -> None:
        """Follows prices until `stopping`: lookup keys that move, prices that are archived or activated again. Requests
        that are frozen stay as they are."""
        while not stopping.wait(RECHECK_INTERVAL if self._problems() else REFRESH_INTERVAL * AHEAD):
            with suppress(SubkeeperError):
                self.look_again()

    def look_again(self) -> None:
        """Asks for the prices if one was used since they were asked for, or a problem's time has come; in an idle
        process nothing is read."""
        with self._asking:
            if self._is_used or any(self._clock() >= each.until for each in self._problems()):
                self._ask_for_all()

    def _problems(self) -> list[_Found]:
        return [each for each in list(self._found.values()) if each.problem is not None]

    def _ask(self, plan: str) -> _Found:
        if plan not in self._plans:
            raise UnusablePlan(
                f"plans.{plan}", "a profile was given this plan, and it is no longer configured", "Add it"
            )
        self._ask_for_all()
        return self._found[plan]

    def _ask_for_all(self) -> None:
        """One request for all plans."""
        keys = [each.lookup_key for each in self._plans.values()]
        prices = self._gateway.prices(keys, deadline=Deadline.after(CALL_SECONDS))
        self._is_used = False
        for plan, settings in self._plans.items():
            self._found[plan] = self._judged(plan, prices.get(settings.lookup_key))

    def _judged(self, plan: str, price: PriceFact | None) -> _Found:
        key, problem, now = f"plans.{plan}.lookup_key", None, self._clock()
        if price is None:
            said = f"Stripe has no price {self._plans[plan].lookup_key!r}"
            problem = UnusablePlan(key, said, "Run `subkeeper setup`.")
        elif not price.active:
            fix = "Activate it, or give the key to another."
            problem = UnusablePlan(key, f"the price {price.id} is not active", fix)
        before = self._found.get(plan)
        since = before.since if before is not None and before.problem is not None else now
        return _Found(now, price.id if price is not None and problem is None else None, problem, since)

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
        price = self._gateway.products.create_price(
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
        if self._gateway.products.find(product_id, deadline=deadline) is not None:
            return f"product {product_id}: was there"
        parameters = {"id": product_id, "name": settings.name}
        self._gateway.products.create(parameters, key=self._key("product", settings), deadline=deadline)
        return f"product {product_id}: created"

    def _price(self, settings: PlanSettings) -> PriceFact | None:
        key = settings.lookup_key
        return self._gateway.prices([key], deadline=Deadline.after(CALL_SECONDS)).get(key)

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
