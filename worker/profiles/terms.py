"""What every subscription is created with, beside its plan and its trial's end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from worker.domain.provisioning import Provisioning, subscription_request
from worker.domain.trial import capped_trial_end


@dataclass(frozen=True, slots=True)
class Terms:
    """`price_id` resolves a plan to its Stripe price, or raises `Misconfigured`."""

    namespace: str
    trial: timedelta
    missing_payment_method: str
    billing_mode: str
    price_id: Callable[[str], str]

    def freeze(self, row: Provisioning, customer_id: str, stripe_now: datetime) -> Provisioning:
        """The row with the subscription's request that every attempt is to send, and the trial that this asks for.

        `stripe_now`: Stripe's time (UTC). Raises what `request` raises.
        """
        row = replace(row, trial_end=capped_trial_end(row.trial_end, stripe_now, self.trial))
        return replace(row, stripe_customer_id=customer_id, subscription_request=self.request(row, customer_id))

    def request(self, row: Provisioning, customer_id: str) -> str:
        """The row's subscription request, to be frozen."""
        return subscription_request(
            row,
            namespace=self.namespace,
            customer_id=customer_id,
            price_id=self.price_id(row.plan),
            missing_payment_method=self.missing_payment_method,
            billing_mode=self.billing_mode,
        )
