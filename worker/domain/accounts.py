"""What may be asked of a subscription, and by whom: the rules of creating and changing one.

Users choose plan, card, email, and whether it ends with its period; everything else is the system's: Stripe says it, or
we count it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final, NamedTuple, Protocol, TypeAlias, TypeVar

from worker.domain.callers import Caller
from worker.domain.profile import MAX_EMAIL
from worker.domain.text import is_storable


class Unset(Enum):
    """What a change doesn't touch: null is a value."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET
T = TypeVar("T")
Maybe: TypeAlias = T | Unset

USER_CONTROLLED = frozenset({"plan", "stripe_source", "email", "canceling"})
ASKED_OF_STRIPE = USER_CONTROLLED | {"trial_end"}
"""What a request to Stripe can change. The rest is what Stripe answers, and what we note beside it."""

_PAYMENT_METHOD = re.compile(r"pm_[A-Za-z0-9_]{1,250}")
_EMAIL = re.compile(r"[^\s@\x00-\x1f\x7f]+@[^\s@\x00-\x1f\x7f]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionChange:
    """What is asked for of a subscription, new or not; what is `UNSET` stays as it is. Times are UTC."""

    stripe_subscription: Maybe[str] = UNSET
    stripe_source: Maybe[str] = UNSET
    email: Maybe[str] = UNSET
    plan: Maybe[str] = UNSET
    status: Maybe[str] = UNSET
    canceling: Maybe[bool] = UNSET
    trial_start: Maybe[datetime | None] = UNSET
    trial_end: Maybe[datetime | None] = UNSET
    period_start: Maybe[datetime | None] = UNSET
    period_end: Maybe[datetime | None] = UNSET
    canceled_at: Maybe[datetime | None] = UNSET
    failed_charge_attempts: Maybe[int] = UNSET
    last_failed_charge: Maybe[datetime | None] = UNSET
    last_notified: Maybe[datetime | None] = UNSET

    @property
    def touched(self) -> list[str]:
        """The properties that it sets, in their order."""
        return [each.name for each in fields(self) if getattr(self, each.name) is not UNSET]

    @property
    def is_empty(self) -> bool:
        return not self.touched

    @property
    def changing_system_properties(self) -> list[str]:
        """JSON pointers (RFC 6901) to what it sets of the system's."""
        return [f"/{name}" for name in self.touched if name not in USER_CONTROLLED]

    @property
    def concerns_stripe(self) -> bool:
        """Whether anything of it has to be asked of Stripe."""
        return not ASKED_OF_STRIPE.isdisjoint(self.touched)


class ApiError(NamedTuple):
    """What is wrong with a request: where (a JSON pointer), as a constant, and for people; it repeats no value."""

    pointer: str
    code: str
    detail: str


EMPTY = ApiError("", "empty", "nothing is asked for")


class Plan(Protocol):
    """A plan as far as choosing it goes."""

    @property
    def admin_only(self) -> bool:
        """Whether users may not."""


def is_acceptable_plan(plan: str, caller: Caller, plans: Mapping[str, Plan]) -> bool:
    """Whether there is such a plan, and this caller may choose it."""
    found = plans.get(plan)
    return found is not None and (caller.is_admin or not found.admin_only)


def validate_create_request(change: SubscriptionChange) -> list[ApiError]:
    """Everything that keeps a subscription from being created so. Whether the caller may have that plan is
    `is_acceptable_plan`'s to say."""
    if change.is_empty:
        return [EMPTY]
    errors = _of_the_system(change)
    if change.plan is UNSET:
        errors.append(ApiError("/plan", "missing", "a subscription needs a plan"))
    errors += _of_values(change)
    if change.canceling is True:
        errors.append(ApiError("/canceling", "not_there_yet", "what is created doesn't end with its first period"))
    return errors


def validate_change_request(change: SubscriptionChange) -> list[ApiError]:
    """The same of a subscription that is there."""
    return [EMPTY] if change.is_empty else _of_the_system(change) + _of_values(change)


def _of_the_system(change: SubscriptionChange) -> list[ApiError]:
    detail = "only Stripe and the system set it"
    return [ApiError(each, "system_controlled", detail) for each in change.changing_system_properties]


def _of_values(change: SubscriptionChange) -> list[ApiError]:
    errors = []
    if change.stripe_source is not UNSET and not _PAYMENT_METHOD.fullmatch(change.stripe_source):
        detail = "is not the id of a payment method (pm_…); tokens and sources are not taken"
        errors.append(ApiError("/stripe_source", "not_a_payment_method", detail))
    if change.email is not UNSET and (len(change.email) > MAX_EMAIL or not _EMAIL.fullmatch(change.email)):
        errors.append(ApiError("/email", "not_an_email", f"is not an email address of {MAX_EMAIL} characters at most"))
    return errors


def read_change(document: Mapping[str, object]) -> tuple[SubscriptionChange, list[ApiError]]:
    """The change that a JSON object asks for, and what of it can't be one: unknown properties, and wrong types."""
    values: dict[str, Any] = {}
    errors = []
    for name, value in document.items():
        if name not in _READ:
            errors.append(ApiError(f"/{name.replace('~', '~0').replace('/', '~1')}", "unknown", "there is no such one"))
            continue
        kind, read = _READ[name]
        try:
            values[name] = read(value)
        except (TypeError, ValueError, OverflowError):
            errors.append(ApiError(f"/{name}", "wrong_type", f"is not {kind}"))
    return SubscriptionChange(**values), errors


def _text(value: object) -> str:
    if not isinstance(value, str) or not is_storable(value):
        raise TypeError
    return value


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError
    return value


def _time(value: object) -> datetime | None:
    if value is None:
        return None
    found = datetime.fromisoformat(_text(value))
    if found.tzinfo is None:
        raise TypeError
    return found.astimezone(UTC)


_READ: Mapping[str, tuple[str, Callable[[object], object]]] = {
    **dict.fromkeys(("stripe_subscription", "stripe_source", "email", "plan", "status"), ("a text", _text)),
    "canceling": ("true or false", _truth),
    "failed_charge_attempts": ("a whole number", _number),
    **dict.fromkeys(
        ("trial_start", "trial_end", "period_start", "period_end", "canceled_at", "last_failed_charge",
         "last_notified"),
        ("a time (RFC 3339) or null", _time),
    ),
}  # fmt: skip
"""How each property is read from JSON, and what it must be."""
