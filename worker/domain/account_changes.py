"""A change of a user's subscription that was asked for: its steps at Stripe, and what each of them asks.

Card, then email, plan, and whether it ends: a plan that costs something needs the card first, and what is canceled
last was asked for last.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from worker.domain.accounts import UNSET, ApiError, SubscriptionChange
from worker.domain.provisioning import KEY_TRUSTED_FOR
from worker.domain.statuses import MEANINGS, meaning
from worker.domain.subscription import Subscription, Value
from worker.errors import SubkeeperError


class Kind(StrEnum):
    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"


class Step(StrEnum):
    """One request to Stripe each, but for the first, which waits for the ledger."""

    PROVISION = "provision"
    ATTACH = "attach"
    DEFAULT = "default"
    """The card is the customer's default."""
    OWN_DEFAULT = "own_default"
    """And the subscription's, where that has one of its own: it comes before the customer's."""
    EMAIL = "email"
    PLAN = "plan"
    CANCELING = "canceling"
    REMOVE = "remove"


PROPERTIES: Mapping[Step, str] = {
    Step.ATTACH: "stripe_source",
    Step.DEFAULT: "stripe_source",
    Step.OWN_DEFAULT: "stripe_source",
    Step.EMAIL: "email",
    Step.PLAN: "plan",
    Step.CANCELING: "canceling",
}
"""What was asked for that a step belongs to."""

OF_THE_SUBSCRIPTION = frozenset({Step.OWN_DEFAULT, Step.PLAN, Step.CANCELING})
"""Steps whose answer is the subscription."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody asks for. `caller`: who it is, as the log names them. `idempotency_key`: theirs. `etags`: of the
    states it is meant for; none: any."""

    id: UUID
    kind: Kind
    user_id: str
    caller: str
    change: SubscriptionChange = field(default_factory=SubscriptionChange)
    idempotency_key: str | None = None
    etags: frozenset[str] = frozenset()


class ChangeRefused(SubkeeperError):
    """A change that can't be made. `code` is a constant; `errors` point into what was asked for."""

    def __init__(self, code: str, detail: str, errors: Sequence[ApiError] = ()) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.errors = tuple(errors)


@dataclass(frozen=True, slots=True)
class AccountChange:
    """A row of `account_changes`, as the holder of its lease has it.

    `wanted`: what was asked for but the email, which is sealed. `done`: how many steps hold. `request`: what every
    attempt of the present step sends, under the key of `generation`; None: not built yet. `asked_for`: how long ago it
    was first about to be sent. `etag`: the state that the change is meant for; None: any.
    """

    id: UUID
    kind: Kind
    user_id: str
    steps: tuple[Step, ...]
    done: int
    wanted: Mapping[str, str | bool]
    sealed_email: bytes | None
    etag: str | None
    stripe_subscription_id: str | None
    stripe_customer_id: str | None
    request: Mapping[str, object] | None
    generation: int
    asked_for: timedelta | None
    attempts: int
    token: int

    @property
    def step(self) -> Step | None:
        """The one that comes next; None: all hold."""
        return self.steps[self.done] if self.done < len(self.steps) else None

    @property
    def is_last(self) -> bool:
        return self.done + 1 == len(self.steps)

    @property
    def is_untouched(self) -> bool:
        """Whether nothing of it can have been asked of Stripe yet."""
        return self.done == 0 and self.asked_for is None

    @property
    def held(self) -> list[str]:
        """The properties all of whose steps hold, in their order."""
        left = {PROPERTIES.get(each) for each in self.steps[self.done :]}
        found = [PROPERTIES[each] for each in self.steps[: self.done] if each in PROPERTIES]
        return [each for each in dict.fromkeys(found) if each not in left]

    @property
    def is_forgotten(self) -> bool:
        """Whether Stripe may have forgotten the key of what was sent."""
        return self.asked_for is not None and self.asked_for > KEY_TRUSTED_FOR

    def key(self, namespace: str) -> str:
        """The idempotency key of the present step: no personal data in it."""
        parts = [namespace, "account change", str(self.id), self.done, self.generation]
        return "subkeeper-" + hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def planned(kind: Kind, change: SubscriptionChange) -> tuple[Step, ...]:
    """The steps of a change, in the order in which they are taken."""
    if kind is Kind.DELETE:
        return (Step.REMOVE,)
    steps: list[Step] = []
    if change.stripe_source is not UNSET:
        steps += [Step.ATTACH, Step.DEFAULT, Step.OWN_DEFAULT]
    if kind is Kind.CREATE:  # its plan and its email are the ledger's to ask for
        return (Step.PROVISION, *steps)
    asked = {Step.EMAIL: change.email, Step.PLAN: change.plan, Step.CANCELING: change.canceling}
    return (*steps, *(step for step, value in asked.items() if value is not UNSET))


def digest_of(kind: Kind, user_id: str, change: SubscriptionChange, etag: str) -> bytes:
    """What tells whether two requests ask for the same. It holds the email: it is to be fingerprinted under a key."""
    asked = {name: str(getattr(change, name)) for name in change.touched}
    return json.dumps([kind, user_id, asked, etag], sort_keys=True).encode()


def etag_of(row: Subscription) -> str:
    """Moves with each change of the row."""
    return f"{row.id}.{row.version}"


def told_of(row: Subscription) -> dict[str, Value]:
    """What the API tells of a row."""
    return {**row.columns(), "user_id": row.user_id, "stripe_subscription": row.id, "version": row.version}


# What a step asks, by the subscription as Stripe has it


class Changeable(NamedTuple):
    """Of a subscription at Stripe what decides how it is changed. `item_id` is None where it has several."""

    status: str
    item_id: str | None
    price_id: str
    trial_end: int | None
    default_payment_method: str | None
    cancel_at: int | None
    cancel_at_period_end: bool


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
