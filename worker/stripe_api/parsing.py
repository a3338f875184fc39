"""Stripe's JSON as facts. A required field that is missing is an error that names it, never a None kept silently.

Field names and shapes: https://docs.stripe.com/api at the version in `worker.stripe_api.credentials.API_VERSION`.
Times are whole seconds of Unix time there, and UTC datetimes here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, TypeGuard, TypeVar

import msgspec

from worker.domain.stripe_facts import (
    AccountFact,
    CustomerFact,
    ExpandedCustomer,
    FetchedSubscription,
    InvoiceFact,
    PriceFact,
    SubscriptionFact,
)
from worker.stripe_api.errors import AnswerIncomplete

T = TypeVar("T")
_ABSENT: Any = object()
DIGEST = "subkeeper"
"""The metadata key under which our objects carry the digest of namespace and user id."""
OWNER, PROJECT = "user_id", "project_id"
"""The metadata key under which our objects carry the user's id, for people."""


@dataclass(frozen=True, slots=True)
class ProductFact:
    """A Stripe product."""

    id: str
    active: bool
    metadata: Mapping[str, object]


class Fields:
    """One object of Stripe's, read field by field; raises `AnswerIncomplete`."""

    __slots__ = ("_data", "_what")

    def __init__(self, what: object, data: object) -> None:
        """`what` names the object in errors, beside its id: its type, or its name in the object that it is in."""
        if not isinstance(data, dict):
            raise AnswerIncomplete(f"{what} is not an object")
        self._what = what
        self._data = data

    def get(self, name: str, kind: type[T]) -> T:
        """The required field `name`, which must be of `kind`; a bool is no int."""
        value = self._data.get(name)
        if type(value) is not kind and not _is(value, kind):
            raise self.incomplete(name)
        return value

    def maybe(self, name: str, kind: type[T]) -> T | None:
        """The field `name`, which must be there, but may be null."""
        value = self._data.get(name, _ABSENT)
        if value is not None and type(value) is not kind and not _is(value, kind):
            raise self.incomplete(name)
        return value

    def text(self, name: str) -> str | None:
        """A field that need not be there at all."""
        value = self._data.get(name)
        return value if isinstance(value, str) else None

    def time(self, name: str) -> datetime:
        return _utc(self.get(name, int))

    def maybe_time(self, name: str) -> datetime | None:
        return _maybe_utc(self.maybe(name, int))

    def reference(self, name: str) -> str:
        """The id of another object, which may have been expanded."""
        expanded = self.expanded(name)
        return self.get(name, str) if expanded is None else expanded.get("id", str)

    def expanded(self, name: str) -> Fields | None:
        """Another object, if it was expanded."""
        value = self._data.get(name)
        return Fields(_Inner(self, name), value) if isinstance(value, dict) else None

    def object(self, name: str) -> Fields:
        return Fields(_Inner(self, name), self._data.get(name))

    def objects(self, name: str) -> list[Fields]:
        inner = _Inner(self, name)
        return [Fields(inner, each) for each in self.get(name, list)]

    def digest(self) -> str | None:
        """Whose object this is: `metadata.subkeeper`."""
        digest = self.get("metadata", dict).get(DIGEST)
        return digest if isinstance(digest, str) else None

    def owner(self) -> str | None:
        """Whose object it says it is: `metadata.user_id`, worth what `digest` is."""
        user_id = self.get("metadata", dict).get(OWNER)
        return user_id if isinstance(user_id, str) else None

    def project(self) -> str | None:
        """The same of a project's."""
        project_id = self.get("metadata", dict).get(PROJECT)
        return project_id if isinstance(project_id, str) else None

    def flag(self, name: str) -> bool:
        """A field that is there only when it is true (`deleted`)."""
        return self._data.get(name) is True

    def incomplete(self, name: str) -> AnswerIncomplete:
        return AnswerIncomplete(f"{self} lacks {name}")

    def __str__(self) -> str:
        return f"{self._what} {self._data.get('id', '')}".rstrip()


def _is(value: object, kind: type[T]) -> TypeGuard[T]:
    """Of a subclass; nearly all are of `kind` itself."""
    return isinstance(value, kind) and not isinstance(value, bool)


class _Inner:
    """The name of an object in another one, put together where it is told only: that is read far more often."""

    __slots__ = ("_name", "_of")

    def __init__(self, of: Fields, name: str) -> None:
        self._of = of
        self._name = name

    def __str__(self) -> str:
        return f"{self._of} {self._name}"


def customer_fact(data: object) -> CustomerFact:
    fields = Fields("customer", data)
    return CustomerFact(fields.get("id", str), fields.digest(), fields.time("created"))


def customer_unless_deleted(data: object) -> CustomerFact | None:
    return None if Fields("customer", data).flag("deleted") else customer_fact(data)


class _Price(msgspec.Struct):
    id: str
    lookup_key: str | None


class _Item(msgspec.Struct):
    current_period_start: int
    current_period_end: int
    price: _Price


class _Items(msgspec.Struct):
    data: Annotated[list[_Item], msgspec.Meta(min_length=1)]
    has_more: bool = False


class _Subscription(msgspec.Struct):
    """Of each event and each page there are many: read at once, not field by field."""

    id: str
    customer: str | dict[str, Any]
    metadata: dict[str, Any]
    items: _Items
    status: str
    cancel_at_period_end: bool
    cancel_at: int | None
    trial_start: int | None
    trial_end: int | None
    canceled_at: int | None
    ended_at: int | None
    created: int
    default_payment_method: str | None


def subscription_fact(data: object) -> SubscriptionFact:
    """A subscription; since API version 2025-03-31 its period is on its items.

    `canceling`: an end is set, at the period's end or (flexible billing) at a time of its own.
    """
    fields = Fields("subscription", data)
    try:
        found = msgspec.convert(data, _Subscription)
    except msgspec.ValidationError as error:
        raise AnswerIncomplete(f"{fields}: {error}") from None
    if found.items.has_more:
        raise fields.incomplete("items")
    items, customer = found.items.data, fields.expanded("customer")
    return SubscriptionFact(
        id=found.id,
        customer_id=fields.reference("customer"),
        user_digest=fields.digest(),
        price_id=items[0].price.id,
        price_lookup_key=items[0].price.lookup_key,
        status=found.status,
        canceling=found.cancel_at_period_end or found.cancel_at is not None,
        trial_start=_maybe_utc(found.trial_start),
        trial_end=_maybe_utc(found.trial_end),
        period_start=_utc(min([item.current_period_start for item in items])),
        period_end=_utc(max([item.current_period_end for item in items])),
        canceled_at=_maybe_utc(found.canceled_at),
        ended_at=_maybe_utc(found.ended_at),
        created=_utc(found.created),
        default_payment_method=found.default_payment_method,
        customer=None if customer is None else _default_of(customer),
    )


def fetched_subscription(data: object) -> FetchedSubscription:
    """A subscription whose `latest_invoice` and `customer` were expanded."""
    fields = Fields("subscription", data)
    invoice = fields.maybe("latest_invoice", dict)
    fact = subscription_fact(data)
    if fact.customer is None:
        raise fields.incomplete("customer")
    return FetchedSubscription(
        fact, fields.owner(), None if invoice is None else invoice_fact(invoice), fields.project()
    )


def expanded_customer(data: object) -> ExpandedCustomer:
    """A customer, as it is read beside a subscription."""
    return _default_of(Fields("customer", data))


def _default_of(customer: Fields) -> ExpandedCustomer:
    if customer.flag("deleted"):
        return ExpandedCustomer(None)
    return ExpandedCustomer(customer.object("invoice_settings").maybe("default_payment_method", str))


def invoice_fact(data: object) -> InvoiceFact:
    """An invoice; since API version 2025-03-31 its subscription is under its parent."""
    fields = Fields("invoice", data)
    parent = fields.maybe("parent", dict) or {}
    details = parent.get("subscription_details") or {}
    return InvoiceFact(
        id=fields.get("id", str),
        subscription_id=details.get("subscription"),
        status=fields.get("status", str),
        total=fields.get("total", int),
        attempt_count=fields.get("attempt_count", int),
        created=fields.time("created"),
    )


def price_fact(data: object) -> PriceFact:
    fields = Fields("price", data)
    recurring = fields.maybe("recurring", dict)
    return PriceFact(
        id=fields.get("id", str),
        lookup_key=fields.maybe("lookup_key", str),
        product_id=fields.get("product", str),
        active=fields.get("active", bool),
        unit_amount=fields.maybe("unit_amount", int),
        currency=fields.get("currency", str),
        interval=None if recurring is None else Fields("price recurring", recurring).get("interval", str),
    )


def product_fact(data: object) -> ProductFact:
    fields = Fields("product", data)
    return ProductFact(fields.get("id", str), fields.get("active", bool), fields.get("metadata", dict))


def account_fact(data: object, *, livemode: bool) -> AccountFact:
    return AccountFact(Fields("account", data).get("id", str), livemode)


def _utc(seconds: int) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        raise AnswerIncomplete("a time of Stripe's is out of the years that there are") from None


def _maybe_utc(seconds: int | None) -> datetime | None:
    return None if seconds is None else _utc(seconds)
