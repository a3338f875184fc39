"""What Stripe told us, in the few fields that we keep: identifiers, states and times (UTC), nothing personal."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Generic, NamedTuple, TypeVar

import msgspec

T = TypeVar("T")

TERMINAL_STATUSES = frozenset({"canceled", "incomplete_expired"})
"""Subscription statuses that nothing follows (https://docs.stripe.com/api/subscriptions/object)."""


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """A value that was true somewhere in [`seen_from`, `seen_to`] of Stripe's time (design, *How state never goes
    back*). `replayed`: Stripe answered from memory, so the value is as old as the first request with its key."""

    value: T
    seen_from: datetime
    seen_to: datetime
    replayed: bool
    request_id: str | None


@dataclass(frozen=True, slots=True)
class CustomerFact:
    """A Stripe customer that is not deleted. `user_digest` is its `metadata.subkeeper`."""

    id: str
    user_digest: str | None
    created: datetime


@dataclass(frozen=True, slots=True)
class CustomerPage:
    """A page of a list of customers, newest first, as it was at `seen_from` (Stripe's time) or later; `more` follow."""

    customers: list[CustomerFact]
    more: bool
    seen_from: datetime


@dataclass(frozen=True, slots=True)
class EventPage:
    """A page of a list of events, newest first, as Stripe wrote them; `last` is the id of its last one, if more follow
    it."""

    events: list[object]
    last: str | None


class ExpandedCustomer(NamedTuple):
    """What is read of a subscription's customer where that was asked for; one that is deleted has none."""

    default_payment_method: str | None


class SubscriptionFact(msgspec.Struct, frozen=True):
    """A Stripe subscription. Period bounds are the minimum start and the maximum end over its items. `customer`: None
    where only its id was told."""

    id: str
    customer_id: str
    user_digest: str | None
    price_id: str
    price_lookup_key: str | None
    status: str
    canceling: bool
    trial_start: datetime | None
    trial_end: datetime | None
    period_start: datetime | None
    period_end: datetime | None
    canceled_at: datetime | None
    ended_at: datetime | None
    created: datetime
    default_payment_method: str | None = None
    customer: ExpandedCustomer | None = None

    @property
    def is_terminal(self) -> bool:
        return self.status in TERMINAL_STATUSES

    def columns(self, plan: str) -> dict[str, str | bool | datetime | None]:
        """What our row keeps of it. `plan`: what the price is called in our tables."""
        return {
            "plan": plan,
            "stripe_subscription_status": self.status,
            "canceling": self.canceling,
            "trial_start": self.trial_start,
            "trial_end": self.trial_end,
            "period_start": self.period_start,
            "period_end": self.period_end,
            "canceled_at": self.canceled_at,
            "ended_at": self.ended_at,
            "default_payment_method": self.default_payment_method,
        }


@dataclass(frozen=True, slots=True)
class InvoiceFact:
    """A Stripe invoice. `total` is in minor currency units; `attempt_count` counts the attempts to charge it."""

    id: str
    subscription_id: str | None
    status: str
    total: int
    attempt_count: int
    created: datetime


@dataclass(frozen=True, slots=True)
class FetchedSubscription:
    """A subscription with its latest invoice and its customer. `user_id`, `project_id`: whose its metadata says it
    is."""

    fact: SubscriptionFact
    user_id: str | None
    latest_invoice: InvoiceFact | None
    project_id: str | None = None

    @property
    def customer_default(self) -> str | None:
        """Its customer's default payment method."""
        return None if self.fact.customer is None else self.fact.customer.default_payment_method


@dataclass(frozen=True, slots=True)
class PriceFact:
    """A Stripe price. `unit_amount` is in minor currency units; None where the price has no fixed amount."""

    id: str
    lookup_key: str | None
    product_id: str
    active: bool
    unit_amount: int | None
    currency: str
    interval: str | None


@dataclass(frozen=True, slots=True)
class AccountFact:
    """The Stripe account behind the key, and whether the key acts on live data."""

    id: str
    livemode: bool
