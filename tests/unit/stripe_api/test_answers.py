"""Stripe's JSON as facts: complete, or an error that names what is missing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from worker.errors import Rejected
from worker.stripe_api.parsing import (
    customer_fact,
    customer_unless_deleted,
    fetched_subscription,
    price_fact,
    subscription_fact,
)


def customer(**changes: object) -> dict[str, object]:
    return {"id": "cus_1", "created": 1_800_000_000, "metadata": {"subkeeper": "d1", "user_id": "u1"}} | changes


def item(start: int, end: int, price: str = "price_1") -> dict[str, object]:
    return {
        "current_period_start": start,
        "current_period_end": end,
        "price": {"id": price, "lookup_key": "pending"},
    }


def subscription(**changes: object) -> dict[str, Any]:
    return {
        "id": "sub_1",
        "customer": "cus_1",
        "metadata": {"subkeeper": "d1"},
        "status": "trialing",
        "cancel_at_period_end": False,
        "cancel_at": None,
        "canceled_at": None,
        "ended_at": None,
        "default_payment_method": None,
        "trial_start": 1_800_000_000,
        "trial_end": 1_802_678_400,
        "created": 1_800_000_000,
        "items": {"data": [item(1_800_000_000, 1_802_678_400)], "has_more": False},
    } | changes


def at(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def test_a_customer_carries_whose_it_is() -> None:
    assert customer_fact(customer()).user_digest == "d1"
    assert customer_fact(customer(metadata={})).user_digest is None


def test_a_deleted_customer_is_none() -> None:
    assert customer_unless_deleted({"id": "cus_1", "deleted": True}) is None


def test_a_subscription_is_read_whole() -> None:
    fact = subscription_fact(subscription())
    assert (fact.id, fact.customer_id, fact.user_digest, fact.status) == ("sub_1", "cus_1", "d1", "trialing")
    assert (fact.price_id, fact.price_lookup_key, fact.canceling) == ("price_1", "pending", False)
    assert (fact.trial_start, fact.trial_end) == (at(1_800_000_000), at(1_802_678_400))
    assert (fact.canceled_at, fact.ended_at) == (None, None)


@pytest.mark.parametrize(
    ("expanded", "default"),
    [
        ({"id": "cus_1", "invoice_settings": {"default_payment_method": "pm_1"}}, "pm_1"),
        ({"id": "cus_1", "invoice_settings": {"default_payment_method": None}}, None),
        ({"id": "cus_1", "deleted": True}, None),
    ],
    ids=["with a card", "without", "deleted"],
)
def test_a_fetch_tells_its_customers_default_payment_method(expanded: dict[str, Any], default: str | None) -> None:
    found = fetched_subscription(subscription(customer=expanded, latest_invoice=None))
    assert (found.fact.customer_id, found.customer_default) == ("cus_1", default)


def test_the_period_spans_all_items() -> None:
    items = {"data": [item(200, 300), item(100, 250, "price_2")]}
    fact = subscription_fact(subscription(items=items))
    assert (fact.period_start, fact.period_end, fact.price_id) == (at(100), at(300), "price_1")


@pytest.mark.parametrize("change", [{"cancel_at_period_end": True}, {"cancel_at": 1_802_678_400}])
def test_a_set_end_is_canceling(change: dict[str, object]) -> None:
    assert subscription_fact(subscription(**change)).canceling


@pytest.mark.parametrize("field", [*subscription()])
def test_a_missing_field_of_a_subscription_is_an_error_that_names_it(field: str) -> None:
    broken = subscription()
    del broken[field]
    if field == "cancel_at":
        broken["cancel_at_period_end"] = False
    with pytest.raises(Rejected, match=field) as raised:
        subscription_fact(broken)
    assert raised.value.reason == "stripe_answer_incomplete"


@pytest.mark.parametrize("field", ["current_period_start", "current_period_end", "price"])
def test_a_missing_field_of_an_item_is_an_error_that_names_it(field: str) -> None:
    broken = subscription()
    del broken["items"]["data"][0][field]
    with pytest.raises(Rejected, match=field):
        subscription_fact(broken)


@pytest.mark.parametrize("items", [{"data": []}, {"data": [item(1, 2)], "has_more": True}])
def test_a_subscription_whose_items_are_not_all_there_is_incomplete(items: object) -> None:
    with pytest.raises(Rejected, match="items"):
        subscription_fact(subscription(items=items))


@pytest.mark.parametrize("value", ["soon", True, 1.5, None])
def test_a_field_of_another_kind_counts_as_missing(value: object) -> None:
    with pytest.raises(Rejected, match="customer cus_1 lacks created"):
        customer_fact(customer(created=value))


@pytest.mark.parametrize("answer", [None, [], "text", 1])
def test_an_answer_that_is_no_object_is_incomplete(answer: object) -> None:
    with pytest.raises(Rejected, match="customer is not an object"):
        customer_fact(answer)


def test_a_price_may_lack_an_amount_and_an_interval() -> None:
    price = {"id": "price_1", "lookup_key": None, "product": "prod_1", "active": True, "currency": "usd"}
    fact = price_fact(price | {"unit_amount": None, "recurring": None})
    assert (fact.unit_amount, fact.interval, fact.lookup_key) == (None, None, None)
    monthly = price_fact(price | {"unit_amount": 500, "recurring": {"interval": "month"}})
    assert (monthly.unit_amount, monthly.interval) == (500, "month")
