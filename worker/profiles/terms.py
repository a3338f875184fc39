"""What every subscription is created with, beside its plan and its trial's end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from worker.domain.provisioning import Provisioning, subscription_request


@dataclass(frozen=True, slots=True)
class Terms:
    """`price_id` resolves a plan to its Stripe price, or raises `Misconfigured`."""

    namespace: str
    trial: timedelta
    missing_payment_method: str
    billing_mode: str
    price_id: Callable[[str], str]

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
