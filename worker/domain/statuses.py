"""What each status of a subscription means (docs/api.md, *Statuses*, has the same table).

Statuses are Stripe's (https://docs.stripe.com/api/subscriptions/object#subscription_object-status).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Meaning(NamedTuple):
    """`current`: it hasn't ended. `active`: it is as it should be; never while a payment is missing. `grants_access`:
    its plan's services are given, for as long as Stripe still tries to be paid. What may be changed: Stripe takes of an
    `incomplete` one neither, and of one that has ended nothing."""

    current: bool = True
    active: bool = False
    grants_access: bool = False
    may_cancel: bool = True
    may_change_plan: bool = True


_ENDED = Meaning(current=False, may_cancel=False, may_change_plan=False)

MEANINGS: Mapping[str, Meaning] = {
    "trialing": Meaning(active=True, grants_access=True),
    "active": Meaning(active=True, grants_access=True),
    "past_due": Meaning(grants_access=True),
    "unpaid": Meaning(),
    "paused": Meaning(),
    "incomplete": Meaning(may_cancel=False, may_change_plan=False),
    "incomplete_expired": _ENDED,
    "canceled": _ENDED,
}

_UNKNOWN = Meaning(may_cancel=False, may_change_plan=False)
"""A status that Stripe will have invented grants nothing."""


def meaning(status: str, *, is_pending: bool) -> Meaning:
    """What a subscription in this status means. `is_pending`: on the plan that every profile begins with, which grants
    its trial, and nothing after that."""
    found = MEANINGS.get(status, _UNKNOWN)
    over = is_pending and status != "trialing"
    return found._replace(grants_access=False) if over else found
