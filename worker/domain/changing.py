"""What a step of a change asks of Stripe, by the subscription as Stripe has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from worker.domain.account_changes import PROPERTIES, ChangeRefused, Step
from worker.domain.accounts import ApiError
from worker.domain.statuses import MEANINGS, meaning


class Changeable(NamedTuple):
    """Of a subscription at Stripe what decides how it is changed. `item_id` is None where it has several. Its
    latest invoice is known where that was asked for."""

    status: str
    item_id: str | None
    price_id: str
    trial_end: int | None
    default_payment_method: str | None
    cancel_at: int | None
    cancel_at_period_end: bool
    invoice_id: str | None = None
    invoice_status: str | None = None


def forbidden(status: str, steps: Sequence[Step]) -> ChangeRefused | None:
    """Why a subscription in this status can't be changed so; None: it can. A status that isn't known forbids nothing
    here: Stripe decides."""
    if status not in MEANINGS:
        return None
    means = meaning(status, is_pending=False)
    errors = [
        ApiError(
            f"/{PROPERTIES[step]}", "status_forbids", f"a subscription that is {status} has it no more, or not yet"
        )
        for step, allowed in ((Step.PLAN, means.may_change_plan), (Step.CANCELING, means.may_cancel))
        if step in steps and not allowed
    ]
    return ChangeRefused("status_forbids", f"the subscription is {status}", errors) if errors else None


def plan_request(now: Changeable, price_id: str, proration: str) -> Mapping[str, object] | None:
    """How its item gets another price; None: it has it. `proration`: for what is being paid for.

    A trial goes on to its own end, which is said: if it has ended since, Stripe refuses that, and nobody gets for
    nothing what is to be paid for now. What is paused is paid for once it goes on.
    """
    if now.price_id == price_id:
        return None
    if now.item_id is None:
        raise ChangeRefused("several_items", "the subscription has several prices, and is changed at Stripe")
    request: dict[str, object] = {"items": [{"id": now.item_id, "price": price_id}]}
    if now.status == "trialing":
        return {**request, "proration_behavior": "none", "trial_end": now.trial_end}
    if now.status == "paused":
        return {**request, "proration_behavior": "none"}
    return {**request, "proration_behavior": proration, "payment_behavior": "error_if_incomplete"}


def canceling_request(now: Changeable, *, canceling: bool) -> Mapping[str, object] | None:
    """How it comes to end with its period, or not to end; None: it is so. Of `cancel_at` and `cancel_at_period_end`
    Stripe takes one at a time, and the second sets the first, too."""
    if canceling == (now.cancel_at_period_end or now.cancel_at is not None):
        return None
    if canceling:
        return {"cancel_at_period_end": True}
    return {"cancel_at_period_end": False} if now.cancel_at_period_end else {"cancel_at": ""}


def own_default_request(now: Changeable, payment_method: str) -> Mapping[str, object] | None:
    """How the card becomes the subscription's own default; None: it has none, so that the customer's counts, or this
    one, or nothing is to be paid any more."""
    if now.default_payment_method in {None, payment_method} or not meaning(now.status, is_pending=False).current:
        return None
    return {"default_payment_method": payment_method}
