"""Our configuration of the customer portal: made by `subkeeper setup`, found by its metadata, and changed in place.

The account's default one is somebody else's to set, and ends trials where nobody said otherwise: it is never used.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from worker.domain.deadline import Clock, Deadline, boot_time
from worker.domain.portal import MOST_PRODUCTS, Choice, differences, features
from worker.errors import Misconfigured, TryLater
from worker.settings.sections import PlanSettings
from worker.stripe_api.catalogue import CALL_SECONDS
from worker.stripe_api.gateway import StripeGateway
from worker.stripe_api.own_endpoints import GENERATIONS, NAMESPACE
from worker.stripe_api.portal_configurations import PortalFact

KNOWN_FOR = 600.0
"""Seconds for which what was found counts: so long a change in the dashboard goes unnoticed."""


class OwnPortal:
    """Raises what the gateway raises. `plans`: all of them; `proration`: for those that are being paid for."""

    def __init__(
        self,
        gateway: StripeGateway,
        plans: Mapping[str, PlanSettings],
        namespace: str,
        proration: str,
        clock: Clock = boot_time,
    ) -> None:
        self._gateway = gateway
        self._configurations = gateway.portal_configurations
        self._plans = [plan for _, plan in sorted(plans.items()) if not plan.admin_only]
        self._namespace = namespace
        self._proration = proration
        self._clock = clock
        self._lock = threading.Lock()
        self._known: tuple[str, float] | None = None

    def ensure(self) -> str:
        """Makes it, or makes it as it should be; returns what was done or found. Safe to run twice at once."""
        deadline = Deadline.after(CALL_SECONDS)
        wanted = self._features(deadline)
        ours = self._ours(deadline)
        found = _oldest(ours)
        if found is None:
            params = {"features": wanted, "metadata": {NAMESPACE: self._namespace}, "name": "Subkeeper"}
            # Another key beside each that was made inactive, or Stripe would bring that one back from memory.
            key = self._key({**params, "beside": sorted(each.id for each in ours)})
            made = self._configurations.create(params, key=key, deadline=deadline)
            return f"portal: created {made.id}"
        differing = differences(found.features, wanted)
        if not differing:
            return f"portal: {found.id} was there"
        self._change(found, {"features": wanted}, deadline)
        return f"portal: changed {found.id} ({', '.join(differing)})"

    def _change(self, found: PortalFact, params: Mapping[str, object], deadline: Deadline) -> None:
        """What was so before, and is to be so again, may be answered from memory, which changes nothing."""
        for generation in range(GENERATIONS):
            key = self._key({**params, "of": found.id, "generation": generation})
            if not self._configurations.update(found.id, params, key=key, deadline=deadline).replayed:
                return
        raise TryLater("portal_key_remembered")

    def require(self, deadline: Deadline) -> str:
        """Its id, as it was found within `KNOWN_FOR` to be as it should be. Raises `Misconfigured` where there is none,
        or another."""
        with self._lock:
            if self._known is None or self._clock() - self._known[1] > KNOWN_FOR:
                self._known = None
                self._known = self._checked(deadline), self._clock()
            return self._known[0]

    def _checked(self, deadline: Deadline) -> str:
        found = _oldest(self._ours(deadline))
        if found is None:
            raise _unusable("Stripe has no configuration of the customer portal that is ours")
        if differing := differences(found.features, self._features(deadline)):
            raise _unusable(f"the portal's configuration {found.id} is another one by now: {', '.join(differing)}")
        return found.id

    def _ours(self, deadline: Deadline) -> list[PortalFact]:
        found = self._configurations.all(deadline=deadline)
        return [each for each in found if each.metadata.get(NAMESPACE) == self._namespace]

    def _features(self, deadline: Deadline) -> Mapping[str, Any]:
        if len(self._plans) > MOST_PRODUCTS:
            problem = f"has more than {MOST_PRODUCTS} plans that users may choose, which Stripe's portal can't show"
            raise Misconfigured("plans", problem, "Make some of them admin_only")
        prices = self._gateway.prices([plan.lookup_key for plan in self._plans], deadline=deadline)
        usable = [price for price in prices.values() if price.active]
        return features([Choice(price.product_id, price.id) for price in usable], self._proration)

    def _key(self, what: Mapping[str, object]) -> str:
        content = json.dumps([self._namespace, what], sort_keys=True)
        return "subkeeper-portal-" + hashlib.sha256(content.encode()).hexdigest()


def _oldest(ours: Sequence[PortalFact]) -> PortalFact | None:
    """Of those that can be used."""
    return min((each for each in ours if each.active), key=lambda each: (each.created, each.id), default=None)


def _unusable(problem: str) -> Misconfigured:
    return Misconfigured("stripe", problem, "Run `subkeeper setup`")
