"""A change of a user's subscription that was asked for: its steps at Stripe, and what each of them asks.

Card, then email, plan, and whether it ends: a plan that costs something needs the card first, and what is canceled
last was asked for last.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from types import MappingProxyType
from uuid import UUID

from worker.domain.accounts import UNSET, ApiError, SubscriptionChange
from worker.domain.customer_details import NO_DETAILS, CustomerDetails
from worker.domain.provisioning import KEY_TRUSTED_FOR
from worker.domain.subscription import Subscription, Value
from worker.errors import SubkeeperError


class Kind(StrEnum):
    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    CHECKOUT = "checkout"
    """A page of Checkout's; and what one comes to that is complete (docs/design.md, *Checkout*)."""
    COMPLETION = "completion"
    PORTAL = "portal"
    DETACHMENT = "detachment"
    """Of a payment method."""
    DETAILS = "details"
    """What is on a customer's bills."""
    ERASE = "erase"
    """Of the user, with all that is theirs (`worker.domain.erasure`)."""


PAGES = frozenset({Kind.CHECKOUT, Kind.PORTAL})
"""Whose end is a page of Stripe's for somebody to go to."""

OF_PAGES = PAGES | {Kind.COMPLETION}

WITHOUT_SUBSCRIPTION = OF_PAGES | {Kind.DETAILS, Kind.DETACHMENT, Kind.ERASE}
"""Which may be made for a user who has none."""


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
    DETACH = "detach"
    """The payment method is taken from the customer, and so from wherever it was the default."""

    NAME = "name"
    ADDRESS = "address"
    TAX_ID = "tax_id"
    """One of those that are asked for, in their order, is there."""
    OTHER_TAX_IDS = "other_tax_ids"
    """And all others are not."""

    EXPIRE = "expire"
    OPEN = "open"
    PORTAL = "portal"
    COLLECT = "collect"
    ONLY = "only"
    TAKEN_IN = "taken_in"
    CARD = "card"
    CUSTOMER_CARD = "customer_card"
    PAY = "pay"
    RESUME = "resume"
    PAY_RESUMED = "pay_resumed"
    """`worker.domain.checkouts` says what these are."""

    SETTLED = "settled"
    """The user's signup has come to its end, and nothing more is taken in for them."""
    CLOSE = "close"
    """Their pages are closed."""
    END = "end"
    """Their subscriptions are canceled."""
    FORGET = "forget"
    """Their customers are deleted at Stripe; those that others own name them no more."""
    ERASE = "erase"
    """So it is here: their id stays."""


PROPERTIES: Mapping[Step, str] = {
    Step.ATTACH: "stripe_source",
    Step.DEFAULT: "stripe_source",
    Step.OWN_DEFAULT: "stripe_source",
    Step.EMAIL: "email",
    Step.PLAN: "plan",
    Step.CANCELING: "canceling",
    Step.NAME: "name",
    Step.ADDRESS: "address",
    Step.TAX_ID: "tax_ids",
    Step.OTHER_TAX_IDS: "tax_ids",
}
"""What was asked for that a step belongs to."""

PAYS = frozenset({Step.PAY, Step.PAY_RESUMED})
OF_THE_SUBSCRIPTION = frozenset({Step.OWN_DEFAULT, Step.PLAN, Step.CANCELING, Step.CARD, Step.RESUME}) | PAYS
"""Steps whose answer is the subscription."""

OF_PAYERS = frozenset({Step.ATTACH, Step.DEFAULT, Step.OWN_DEFAULT, Step.EMAIL})
"""Steps that change the customer, or who is charged."""

OF_COMPLETIONS = frozenset({Step.CARD, Step.RESUME}) | PAYS


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody asks for. `caller`: who it is, as the log names them. `idempotency_key`: theirs. `etags`: of the
    states it is meant for; none: any. `about`: what a page of Stripe's is for, and where it leads back to. `details`:
    what is to be on the bills."""

    id: UUID
    kind: Kind
    user_id: str
    caller: str
    change: SubscriptionChange = field(default_factory=SubscriptionChange)
    idempotency_key: str | None = None
    etags: frozenset[str] = frozenset()
    about: Mapping[str, str] = field(default_factory=dict)
    details: CustomerDetails = NO_DETAILS
    wrong: Sequence[ApiError] = ()
    """What of it isn't taken any more, by settings that may have been others when it was asked for first: it is refused
    unless it was taken in under its key before."""


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

    `wanted`: what was asked for but what is sealed: the email, or what is to be on the bills. `done`: how many steps
    hold. `request`: what every attempt of the present step sends, under the key of `generation`; None: not built yet.
    `asked_for`: how long ago it was first about to be sent. `etag`: the state that the change is meant for; None: any.
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
    def is_untouched(self) -> bool:
        """Whether nothing of it can have been asked of Stripe yet."""
        return self.done == 0 and self.asked_for is None

    @property
    def meant_version(self) -> int | None:
        """Of its subscription's row, before anything is asked; None: any."""
        return version_of(self.etag) if self.etag is not None and self.is_untouched else None

    @property
    def held(self) -> list[str]:
        """The properties all of whose steps hold, in their order."""
        left = {PROPERTIES.get(each) for each in self.steps[self.done :]}
        found = [PROPERTIES[each] for each in self.steps[: self.done] if each in PROPERTIES]
        return [each for each in dict.fromkeys(found) if each not in left]

    @property
    def tax_id_number(self) -> int:
        """Of those that were asked for, which one the present step is about, from 0."""
        return self.steps[: self.done].count(Step.TAX_ID)

    @property
    def checkout_id(self) -> UUID | None:
        """The checkout that it opens, or that it is what comes of."""
        if self.kind is Kind.CHECKOUT:
            return self.id
        return UUID(str(self.wanted["checkout"])) if self.kind is Kind.COMPLETION else None

    @property
    def is_forgotten(self) -> bool:
        """Whether Stripe may have forgotten the key of what was sent."""
        return self.asked_for is not None and self.asked_for > KEY_TRUSTED_FOR

    def remembered(self) -> AccountChange:
        """With the key that its step is asked for under: where Stripe may have forgotten the one of before, what is so
        is looked at anew, and the rest is asked for in the next generation."""
        return replace(self.renewed(), asked_for=timedelta(0)) if self.is_forgotten else self

    def renewed(self) -> AccountChange:
        """In the next generation of its step."""
        return replace(self, request=None, generation=self.generation + 1)

    def key(self, namespace: str) -> str:
        """The idempotency key of the present step: no personal data in it."""
        parts = [namespace, "account change", str(self.id), self.done, self.generation]
        return "subkeeper-" + hashlib.sha256(json.dumps(parts).encode()).hexdigest()


_ALONE: Mapping[Kind, tuple[Step, ...]] = {
    Kind.DELETE: (Step.REMOVE,),
    Kind.CHECKOUT: (Step.EXPIRE, Step.OPEN),
    Kind.PORTAL: (Step.PORTAL,),
    Kind.DETACHMENT: (Step.DETACH,),
    Kind.ERASE: (Step.SETTLED, Step.CLOSE, Step.END, Step.FORGET, Step.ERASE),
}
"""Of what is asked for without a change of this or that."""


def planned(kind: Kind, change: SubscriptionChange, details: CustomerDetails = NO_DETAILS) -> tuple[Step, ...]:
    """The steps of a change, in the order in which they are taken."""
    if kind is Kind.DETAILS:
        return _of_details(details)
    if kind in _ALONE:
        return _ALONE[kind]
    steps: list[Step] = []
    if change.stripe_source is not UNSET:
        steps += [Step.ATTACH, Step.DEFAULT, Step.OWN_DEFAULT]
    if kind is Kind.CREATE:  # its plan and its email are the ledger's to ask for
        return (Step.PROVISION, *steps)
    asked = {Step.EMAIL: change.email, Step.PLAN: change.plan, Step.CANCELING: change.canceling}
    return (*steps, *(step for step, value in asked.items() if value is not UNSET))


def _of_details(details: CustomerDetails) -> tuple[Step, ...]:
    """New tax ids come before the old ones go: one that Stripe refuses leaves nobody without."""
    steps = [step for step, asked in ((Step.NAME, details.name), (Step.ADDRESS, details.address)) if asked is not UNSET]
    if details.tax_ids is not UNSET:
        steps += [*[Step.TAX_ID] * len(details.tax_ids), Step.OTHER_TAX_IDS]
    return tuple(steps)


def digest_of(
    kind: Kind, user_id: str, change: SubscriptionChange, etag: str, about: Mapping[str, str] = MappingProxyType({})
) -> bytes:
    """What tells whether two requests ask for the same. It holds the email, and what is to be on the bills (as one of
    `about`): it is to be fingerprinted under a key."""
    asked = {name: str(getattr(change, name)) for name in change.touched} | dict(about)
    return json.dumps([kind, user_id, asked, etag], sort_keys=True).encode()


def etag_of(stripe_subscription: str, version: int) -> str:
    """Moves with each change of the row."""
    return f"{stripe_subscription}.{version}"


def version_of(etag: str) -> int:
    """Of the row that an ETag is of."""
    return int(etag.rpartition(".")[2])


def told_of(row: Subscription) -> dict[str, Value]:
    """What the API tells of a row."""
    whose = {"user_id": row.user_id, "project_id": row.project_id}
    return {**row.columns(), **whose, "stripe_subscription": row.id, "version": row.version}
