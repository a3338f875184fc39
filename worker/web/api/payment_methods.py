"""What a user pays with, and what is on the bills: payment methods in their order, and the customer's details."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from http import HTTPStatus
from typing import Annotated, Any, Protocol

from pydantic import BaseModel, Field

from worker.domain.account_changes import ChangeRefused
from worker.domain.accounts import ApiError
from worker.domain.billing import Card, NoCustomer, NoStripe, ShownCustomer, WrongOrder
from worker.domain.callers import Access
from worker.web.api.change_views import as_refused
from worker.web.api.operations import Act, Operation, Parameter, Parameters, Refused, Reply, pointer, refuse
from worker.web.api.subscriptions import USER, USER_ID, many_users, one_user

MOST_METHODS = 400
"""So many of Stripe's ids, of 30 characters and with what JSON has between them, fit into the body that is taken; of
longer ones, which are none of Stripe's today, fewer (413)."""
METHOD_ID = re.compile("[A-Za-z0-9_]{1,255}")
_ID = {"type": "string", "pattern": f"^{METHOD_ID.pattern}$"}
_ORDER: dict[str, Any] = {
    "type": "object",
    "properties": {
        "payment_methods": {"type": "array", "items": _ID, "maxItems": MOST_METHODS, "uniqueItems": True},
    },
    "required": ["payment_methods"],
    "additionalProperties": False,
}
_PROBLEMS = {
    HTTPStatus.CONFLICT: "The user has others than these by now; see `errors`",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The body is too long",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "The body is no JSON, or compressed",
}


OF_USER = Parameter("user_id", "query", "The profile's id", USER_ID, is_required=True)


class CardView(BaseModel):
    brand: str
    last4: str
    exp_month: int
    exp_year: int


class PaymentMethodView(BaseModel):
    """`type` and `card` are read at Stripe when shown: null where it isn't asked, `card` for what is no card, too."""

    id: str
    default: Annotated[bool, Field(description="It is the customer's default")]
    type: str | None
    card: CardView | None


class PaymentMethodList(BaseModel):
    """In the order in which they are tried."""

    user_id: str
    payment_methods: list[PaymentMethodView]


class AddressView(BaseModel):
    city: str | None
    country: str | None
    line1: str | None
    line2: str | None
    postal_code: str | None
    state: str | None


class TaxIdView(BaseModel):
    type: str
    value: str


class CustomerView(BaseModel):
    """As Stripe has it: nothing of it is kept here."""

    user_id: str
    stripe_customer: str
    name: str | None
    address: AddressView | None
    tax_ids: list[TaxIdView]


class Desk(Protocol):
    """Where it is kept and asked for. All raise `NoCustomer`, `ChangeRefused` for who isn't a payer, and
    `SubkeeperError` where that can't be told now."""

    def of(self, user_id: str) -> Sequence[Card]:
        """In their order."""

    def reorder(self, user_id: str, ids: Sequence[str]) -> Sequence[Card]:
        """The new order. Raises `WrongOrder`."""

    def customer(self, user_id: str) -> ShownCustomer:
        """Raises `NoStripe`."""


class PaymentMethods:
    """Payment methods in their order, and the customer's details as they are."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    @property
    def operations(self) -> tuple[Operation, ...]:
        return (
            Operation(
                "GET", "/billing/payment-methods", "list_payment_methods", "A user's payment methods", Access.OWN,
                (OF_USER,), many_users, self._methods, PaymentMethodList, may_miss=True, asks_stripe=True,
            ),
            Operation(
                "PUT", "/billing/payment-methods/order", "order_payment_methods", "In which order they are tried",
                Access.CHANGE, (OF_USER,), many_users, None, PaymentMethodList, may_miss=True, act=self._reorder,
                body=_ORDER, problems=_PROBLEMS,
            ),
            Operation(
                "GET", "/billing/customers/{user_id}", "read_customer", "What is on a user's bills", Access.OWN,
                (USER,), one_user, self._customer, CustomerView, may_miss=True, asks_stripe=True,
            ),
        )  # fmt: skip

    def _methods(self, user_ids: tuple[str, ...], _given: Parameters) -> Reply:
        with _refusing():
            return _listed(user_ids[0], self._desk.of(user_ids[0]))

    def _reorder(self, act: Act) -> Reply:
        ids = _ids(act.document.get("payment_methods"), act.document)
        try:
            with _refusing():
                return _listed(act.users[0], self._desk.reorder(act.users[0], ids))
        except WrongOrder as wrong:
            raise _not_as_present(ids, wrong.present) from None

    def _customer(self, user_ids: tuple[str, ...], _given: Parameters) -> Reply:
        try:
            with _refusing():
                found = self._desk.customer(user_ids[0])
        except NoStripe:
            detail = "no Stripe key is configured here"
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "billing-disabled", detail) from None
        view = CustomerView(
            user_id=user_ids[0],
            stripe_customer=found.id,
            name=found.name,
            address=None if found.address is None else AddressView(**asdict(found.address)),
            tax_ids=[TaxIdView(**asdict(each)) for each in found.tax_ids],
        )
        return Reply(HTTPStatus.OK, view.model_dump_json().encode())


def _listed(user_id: str, cards: Sequence[Card]) -> Reply:
    found = PaymentMethodList(user_id=user_id, payment_methods=[_view(each) for each in cards])
    return Reply(HTTPStatus.OK, found.model_dump_json().encode())


def _view(card: Card) -> PaymentMethodView:
    shown = card.shown
    numbers = None
    if shown is not None and shown.brand is not None:
        numbers = CardView.model_validate(
            {"brand": shown.brand, "last4": shown.last4, "exp_month": shown.exp_month, "exp_year": shown.exp_year}
        )
    return PaymentMethodView(id=card.id, default=card.is_default, type=shown.type if shown else None, card=numbers)


def _ids(value: object, document: Mapping[str, object]) -> list[str]:
    """The body's. Raises `Refused`."""
    place = "payment_methods"
    errors = [
        ApiError(pointer("body", name), "unknown", "there is no such property") for name in document if name != place
    ]
    if not isinstance(value, list):
        refuse([*errors, ApiError(pointer("body", place), "not_a_list", "is to be the ids, in their order")])
        return []
    if len(value) > MOST_METHODS:
        errors.append(ApiError(pointer("body", place), "too_many", f"{MOST_METHODS} at most"))
    errors += [
        ApiError(pointer("body", place, number), "not_an_id", "is no id of a payment method")
        for number, each in enumerate(value[:MOST_METHODS])
        if not isinstance(each, str) or not METHOD_ID.fullmatch(each)
    ]
    errors += [
        ApiError(pointer("body", place, number), "repeated", "may be given once")
        for number, each in enumerate(value[:MOST_METHODS])
        if each in value[:number]
    ]
    refuse(errors)
    return value


def _not_as_present(ids: Sequence[str], present: Sequence[str]) -> Refused:
    """It may have been, when the user saw it."""
    place = "payment_methods"
    errors = [
        ApiError(pointer("body", place, number), "unknown", "the user has no such payment method")
        for number, each in enumerate(ids)
        if each not in present
    ]
    if set(present) - set(ids):
        errors.append(ApiError(pointer("body", place), "incomplete", "each that the user has is to be there"))
    return Refused(HTTPStatus.CONFLICT, "not_those_present", "these are not exactly those that are there", errors)


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except NoCustomer as missing:
        raise Refused(HTTPStatus.NOT_FOUND, "no_customer", str(missing)) from None
    except ChangeRefused as refused:
        raise as_refused(refused.code, refused.detail) from None
