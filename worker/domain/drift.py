"""Where our tables and Stripe say different things."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from worker.domain.invoice import Charge, merged
from worker.domain.subscription import State, Subscription, Value, charge_columns


class Kind(StrEnum):
    """In what they differ."""

    DIFFERING = "differing"
    """Fields of a subscription's row, or of its charges."""
    MISSING_HERE = "missing_here"
    """Stripe has a subscription of a user of ours, and there is no row."""
    MISSING_THERE = "missing_there"
    """There is a row of a subscription that Stripe doesn't know."""
    ORPHANED_CUSTOMER = "orphaned_customer"
    """A customer that nobody needs: its user has another one, or no ledger row; or Stripe doesn't know it."""
    WITHOUT_SUBSCRIPTION = "without_subscription"
    """A profile whose ledger row names a subscription that is neither here nor at Stripe."""
    TWO_SUBSCRIPTIONS = "two_subscriptions"
    """A user has several that live."""
    CARDS = "payment_methods"
    """A customer's payment methods are others than our rows say."""
    UNREADABLE = "unreadable"
    """What Stripe has lacks something that we need."""


class Repair(StrEnum):
    """What became of a difference that was to be mended."""

    DONE = "done"
    MARKED = "marked"
    """It will be fetched: by a worker, which has the mark just now, or once Stripe answers."""


class Difference(NamedTuple):
    """A column's value in our row, and what Stripe's would make of it."""

    field: str
    ours: Value
    theirs: Value


@dataclass(frozen=True, slots=True)
class Finding:
    """`differences` of the fields, where it is those; `detail` in words. `mendable`: a fetch would mend it."""

    kind: Kind
    user_id: str | None = None
    stripe_subscription_id: str | None = None
    stripe_customer_id: str | None = None
    differences: tuple[Difference, ...] = ()
    detail: str | None = None
    mendable: bool = False
    repair: Repair | None = None

    def as_object(self) -> dict[str, object]:
        """As JSON has it, but for times."""
        return {
            "kind": self.kind,
            "user_id": self.user_id,
            "stripe_subscription_id": self.stripe_subscription_id,
            "stripe_customer_id": self.stripe_customer_id,
            "differences": {name: {"ours": ours, "stripe": theirs} for name, ours, theirs in self.differences},
            "detail": self.detail,
            "repair": self.repair,
        }


def differences(
    row: Subscription, state: State, charge: Charge | None, customer_default: str | None
) -> tuple[Difference, ...]:
    """What a fetch with this answer would change of the row; charges are merged, as there."""
    ours = {**row.state, **charge_columns(row.charge), "customer_default_payment_method": row.customer_default}
    theirs = {
        **state,
        **charge_columns(merged(row.charge, charge)),
        "customer_default_payment_method": customer_default,
    }
    return tuple(Difference(name, ours[name], theirs[name]) for name in ours if ours[name] != theirs[name])


def is_unmoved(before: Subscription, after: Subscription) -> bool:
    """Whether nothing was learnt of the row in between."""
    return _moves(before) == _moves(after)


def _moves(row: Subscription) -> tuple[object, ...]:
    return row.version, row.seen_from, row.seen_to, row.customer_default
