"""What every subscription is created with, beside its plan and its trial's end."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from worker.domain.provisioning import Provisioning, subscription_request
from worker.domain.stripe_facts import SubscriptionFact
from worker.domain.trial import TrialLengths, capped_trial_end


@dataclass(frozen=True, slots=True)
class Terms:
    """What our settings say, and the prices of our plans.

    `price_id`: the Stripe price of a plan; it raises where there is none that can be used. `plan_of`: our name of the
    plan whose price has a lookup key.
    """

    namespace: str
    trials: TrialLengths
    missing_payment_method: str
    billing_mode: str
    price_id: Callable[[str], str]
    plan_of: Callable[[str | None], str | None]

    def freeze(self, row: Provisioning, customer_id: str, stripe_now: datetime, clock_ahead: timedelta) -> Provisioning:
        """The row with the subscription's request that every attempt is to send, and the trial that this asks for.

        `stripe_now`: Stripe's time (UTC). `clock_ahead`: as in `subscription_request`. Raises what `price_id` raises.
        """
        row = replace(row, trial_end=capped_trial_end(row.trial_end, stripe_now, self.trials.of(row.plan)))
        return replace(
            row, stripe_customer_id=customer_id, subscription_request=self.request(row, customer_id, clock_ahead)
        )

    def request(self, row: Provisioning, customer_id: str, clock_ahead: timedelta) -> str:
        """The row's subscription request, to be frozen. Raises what `price_id` raises."""
        return subscription_request(
            row,
            namespace=self.namespace,
            customer_id=customer_id,
            price_id=self.price_id(row.plan),
            missing_payment_method=self.missing_payment_method,
            billing_mode=self.billing_mode,
            clock_ahead=clock_ahead,
        )

    def plan_name(self, row: Provisioning, fact: SubscriptionFact) -> str:
        """What our tables call the plan of a row's subscription: our own name for it, where we know the price; else the
        price's lookup key, else its id."""
        frozen = json.loads(row.subscription_request)["items"] if row.subscription_request else []
        if fact.price_id in [item["price"] for item in frozen]:  # its lookup key may have moved to another price since
            return row.plan
        return self.plan_of(fact.price_lookup_key) or fact.price_lookup_key or fact.price_id
