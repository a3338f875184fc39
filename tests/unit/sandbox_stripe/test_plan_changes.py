"""What a change of plan costs within a period: prorations, credits, and what a payment that fails leaves."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.sandbox_stripe.account import DAY, HOUR, Account, Refused


@pytest.fixture
def pro(account: Account) -> str:
    """50 dollars a month; `account.paid` costs 20."""
    return account.new_price(5000)


def subscribed(account: Account, card: str = "pm_card_visa", price: str = "", **sent: Any) -> dict[str, Any]:
    return account.subscribe(account.customer(card), price or account.paid, **sent)


def half_way(account: Account, subscription: dict[str, Any]) -> None:
    item = subscription["items"]["data"][0]
    account.time = (item["current_period_start"] + item["current_period_end"]) / 2


def change(account: Account, subscription: dict[str, Any], price: str, **sent: Any) -> dict[str, Any]:
    item = subscription["items"]["data"][0]["id"]
    changed = {"items[0][id]": item, "items[0][price]": price, **sent}
    return account.post(f"/v1/subscriptions/{subscription['id']}", changed)


def test_a_change_is_prorated_by_the_second_and_billed_with_the_next_period(account: Account, pro: str) -> None:
    subscription = subscribed(account)
    half_way(account, subscription)
    before = account.mark()
    after = change(account, subscription, pro)
    assert account.told(before) == ["invoiceitem.created", "invoiceitem.created", "customer.subscription.updated"]
    assert after["latest_invoice"] == subscription["latest_invoice"]
    waiting = account.get("/v1/invoiceitems", customer=subscription["customer"], pending="true")["data"]
    assert sorted(item["amount"] for item in waiting) == [-1000, 2500]
    account.time = after["items"]["data"][0]["current_period_end"] + HOUR
    bill = account.latest(subscription["id"])
    lines = [
        (line["amount"], line["parent"]["subscription_item_details"]["proration"]) for line in bill["lines"]["data"]
    ]
    assert lines == [(-1000, True), (2500, True), (5000, False)]
    assert (bill["status"], bill["amount_paid"]) == ("paid", 6500)
    assert account.get("/v1/invoiceitems", pending="true")["data"] == []


def test_a_change_may_be_invoiced_at_once_or_not_be_prorated(account: Account, pro: str) -> None:
    at_once, unprorated = subscribed(account), subscribed(account)
    half_way(account, at_once)
    billed = change(account, at_once, pro, proration_behavior="always_invoice")
    bill = account.latest(at_once["id"])
    assert (bill["billing_reason"], bill["status"], bill["amount_paid"]) == ("subscription_update", "paid", 1500)
    assert billed["items"]["data"][0]["current_period_end"] == at_once["items"]["data"][0]["current_period_end"]
    after = change(account, unprorated, pro, proration_behavior="none")
    assert after["latest_invoice"] == unprorated["latest_invoice"]
    account.time = after["items"]["data"][0]["current_period_end"] + HOUR
    assert account.latest(unprorated["id"])["amount_paid"] == 5000


def test_what_a_cheaper_plan_gives_back_is_credited_and_pays_the_next_invoice(account: Account, pro: str) -> None:
    subscription = subscribed(account, price=pro)
    half_way(account, subscription)
    change(account, subscription, account.paid, proration_behavior="always_invoice")
    bill = account.latest(subscription["id"])
    assert (bill["total"], bill["amount_due"], bill["status"], bill["ending_balance"]) == (-1500, 0, "paid", -1500)
    assert account.get(f"/v1/customers/{subscription['customer']}")["balance"] == -1500
    account.time = subscription["items"]["data"][0]["current_period_end"] + HOUR
    renewed = account.latest(subscription["id"])
    assert (renewed["total"], renewed["starting_balance"], renewed["amount_paid"]) == (2000, -1500, 500)
    assert account.get(f"/v1/customers/{subscription['customer']}")["balance"] == 0


def test_what_a_void_invoice_took_of_the_balance_is_there_again(account: Account) -> None:
    customer = account.customer(balance=-500)
    bill = account.subscribe(customer, payment_behavior="default_incomplete")["latest_invoice"]
    assert account.get(f"/v1/invoices/{bill}")["amount_due"] == 1500
    assert account.get(f"/v1/customers/{customer}")["balance"] == 0
    account.post(f"/v1/invoices/{bill}/void")
    assert account.get(f"/v1/customers/{customer}")["balance"] == -500


def test_another_interval_begins_a_period_less_the_unused_time_of_the_old_one(account: Account) -> None:
    yearly = account.new_price(20_000, "year")
    subscription = subscribed(account)
    half_way(account, subscription)
    after = change(account, subscription, yearly)
    assert after["items"]["data"][0]["current_period_start"] == account.time
    assert account.latest(subscription["id"])["amount_paid"] == 19_000


def test_a_change_during_a_trial_costs_nothing_and_keeps_its_end(account: Account, pro: str) -> None:
    trial = subscribed(account, trial_period_days=14)
    account.wait(5 * DAY)
    after = change(account, trial, pro, proration_behavior="always_invoice")
    assert (after["status"], after["trial_end"]) == ("trialing", trial["trial_end"])
    assert after["latest_invoice"] == trial["latest_invoice"]
    assert account.get("/v1/invoiceitems")["data"] == []


@pytest.mark.parametrize(
    ("card", "code"),
    [
        ("pm_card_chargeCustomerFail", "card_declined"),
        ("pm_card_authenticationRequired", "subscription_payment_intent_requires_action"),
    ],
)
def test_a_change_that_must_be_paid_and_isn_t_leaves_nothing(account: Account, pro: str, card: str, code: str) -> None:
    subscription = subscribed(account)
    failing = account.post(f"/v1/payment_methods/{card}/attach", customer=subscription["customer"])["id"]
    account.post(f"/v1/subscriptions/{subscription['id']}", default_payment_method=failing)
    half_way(account, subscription)
    before, known = account.mark(), account.subscription(subscription["id"])
    terms = {"proration_behavior": "always_invoice", "payment_behavior": "error_if_incomplete"}
    with pytest.raises(Refused) as refusal:
        change(account, subscription, pro, **terms)
    assert (refusal.value.status, refusal.value.code) == (402, code)
    assert (account.subscription(subscription["id"]), account.mark()) == (known, before)
    assert change(account, subscription, pro, proration_behavior="always_invoice")["status"] == "past_due"
