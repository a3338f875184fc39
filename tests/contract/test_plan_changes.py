"""Changes of a subscription's plan, and paying an invoice by a card that is named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.contract.account import Account
from tests.contract.life import DAY, Clock, Makes, reread, subscribe

FAILS = "pm_card_chargeCustomerFail"


@pytest.fixture
def dearer(makes: Makes, product: str) -> str:
    """20 dollars a month."""
    identifier: str = makes.price(product, 2000)["id"]
    return identifier


def _to(subscription: Mapping[str, Any], price: str, **more: Any) -> dict[str, Any]:
    return {"items": [{"id": subscription["items"]["data"][0]["id"], "price": price}], **more}


def _path(subscription: Mapping[str, Any]) -> str:
    return f"/v1/subscriptions/{subscription['id']}"


def _price(subscription: Mapping[str, Any]) -> str:
    found: str = subscription["items"]["data"][0]["price"]["id"]
    return found


def _attach(account: Account, customer: Mapping[str, Any], card: str) -> str:
    path = f"/v1/payment_methods/{card}/attach"
    attached: str = account.post(path, {"customer": customer["id"]})["id"]
    return attached


def test_a_trial_keeps_its_end_and_is_invoiced_for_nothing_when_its_plan_changes(
    account: Account, makes: Makes, free: str, dearer: str
) -> None:
    trial = subscribe(account, makes.payer(), free, trial_end=account.now() + 31 * DAY)
    after = account.post(_path(trial), _to(trial, dearer, proration_behavior="none"))
    assert (after["status"], after["trial_end"], _price(after)) == ("trialing", trial["trial_end"], dearer)
    assert after["latest_invoice"] == trial["latest_invoice"]


@pytest.mark.parametrize("behavior", ["create_prorations", "always_invoice", "none"])
def test_a_change_is_prorated_as_asked_and_leaves_the_period(
    account: Account, makes: Makes, paid: str, dearer: str, behavior: str
) -> None:
    made = subscribe(account, makes.payer(), paid)
    after = account.post(_path(made), _to(made, dearer, proration_behavior=behavior))
    ends = [each["items"]["data"][0]["current_period_end"] for each in (made, after)]
    assert (after["status"], _price(after), ends[0]) == ("active", dearer, ends[1])
    waiting = account.all("/v1/invoiceitems", {"customer": made["customer"], "pending": True})
    signs = sorted(item["amount"] > 0 for item in waiting)
    assert signs == ([False, True] if behavior == "create_prorations" else [])
    bill = reread(account, made, "latest_invoice")["latest_invoice"]
    assert (bill["id"] != made["latest_invoice"]) is (behavior == "always_invoice")
    assert bill["status"] == "paid"


def test_a_change_that_must_be_paid_and_is_declined_changes_nothing(
    account: Account, makes: Makes, paid: str, dearer: str
) -> None:
    customer = makes.payer()
    made = subscribe(account, customer, paid)
    account.post(_path(made), {"default_payment_method": _attach(account, customer, FAILS)})
    terms = {"proration_behavior": "always_invoice", "payment_behavior": "error_if_incomplete"}
    refused = account.ask("post", _path(made), _to(made, dearer, **terms))
    assert (refused.status, refused.error["code"]) == (402, "card_declined")
    after = reread(account, made)
    assert (after["status"], _price(after), after["latest_invoice"]) == ("active", paid, made["latest_invoice"])


def test_a_change_from_free_to_paid_that_is_declined_changes_nothing_either(
    account: Account, makes: Makes, free: str, paid: str
) -> None:
    customer = makes.customer()
    made = subscribe(account, customer, free)
    account.post(_path(made), {"default_payment_method": _attach(account, customer, FAILS)})
    refused = account.ask("post", _path(made), _to(made, paid, payment_behavior="error_if_incomplete"))
    assert (refused.status, refused.error["code"]) == (402, "card_declined")
    assert (_price(reread(account, made)), reread(account, made)["status"]) == (free, "active")


def test_an_invoice_that_is_paid_is_not_paid_again(account: Account, makes: Makes, paid: str) -> None:
    made = subscribe(account, makes.payer(), paid)
    refused = account.ask("post", f"/v1/invoices/{made['latest_invoice']}/pay")
    assert (refused.status, refused.error["type"]) == (400, "invalid_request_error")
    assert "already paid" in refused.error["message"]


def test_an_open_invoice_is_tried_by_the_card_that_is_named_and_the_decline_is_remembered(
    account: Account, clock: Clock, makes: Makes, paid: str
) -> None:
    """By the failed payment's intent one sees which card Stripe tried last; a named card becomes no default."""
    customer = clock.customer()
    trial = clock.trial(customer, paid, 5, default_payment_method=clock.card(customer, FAILS))
    clock.advance(days=6)
    bill, key = reread(account, trial)["latest_invoice"], makes.word()
    other, good = clock.card(customer, FAILS), clock.card(customer)
    tries = [account.ask("post", f"/v1/invoices/{bill}/pay", {"payment_method": other}, key=key) for _ in range(2)]
    assert [(each.status, each.error["code"], each.replayed) for each in tries] == [
        (402, "card_declined", False),
        (402, "card_declined", True),
    ]
    assert tries[0].error["decline_code"] == "generic_decline"
    (payment,) = account.all("/v1/invoice_payments", {"invoice": bill})
    intent = account.get(f"/v1/payment_intents/{payment['payment']['payment_intent']}")
    assert (payment["status"], intent["status"]) == ("open", "requires_payment_method")
    assert intent["last_payment_error"]["payment_method"]["id"] == other
    assert account.post(f"/v1/invoices/{bill}/pay", {"payment_method": good})["status"] == "paid"
    assert [each["status"] for each in account.all("/v1/invoice_payments", {"invoice": bill})] == ["paid"]
    assert reread(account, trial)["default_payment_method"] != good


def test_a_card_that_asks_its_owner_is_no_decline(account: Account, clock: Clock, paid: str) -> None:
    customer = clock.customer()
    trial = clock.trial(customer, paid, 5, default_payment_method=clock.card(customer, FAILS))
    clock.advance(days=6)
    bill, asks = reread(account, trial)["latest_invoice"], clock.card(customer, "pm_card_authenticationRequired")
    refused = account.ask("post", f"/v1/invoices/{bill}/pay", {"payment_method": asks})
    assert (refused.status, refused.error["type"]) == (402, "card_error")
    assert refused.error["code"] in ("invoice_payment_intent_requires_action", "authentication_required")
    account.event(bill, "invoice.payment_action_required")
