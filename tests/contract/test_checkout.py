"""Checkout: what a session has from its start, what completes it, and what doesn't any more."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.account import Account
from tests.contract.life import DAY, HOUR, Makes, complete, reread

PATH = "/v1/checkout/sessions"


def _to_set_up(makes: Makes, customer: str) -> dict[str, Any]:
    return makes.checkout("setup", currency="usd", customer=customer, setup_intent_data={"metadata": {"row": "7"}})


def _to_subscribe(makes: Makes, price: str, customer: str, **data: Any) -> dict[str, Any]:
    items = [{"price": price, "quantity": 1}]
    terms = {"metadata": {"user_id": "u1"}, "billing_mode": {"type": "flexible"}, **data}
    return makes.checkout("subscription", customer=customer, line_items=items, subscription_data=terms)


def _now(account: Account, session: dict[str, Any]) -> dict[str, Any]:
    return account.get(f"{PATH}/{session['id']}")


def _intent(account: Account, session: dict[str, Any]) -> dict[str, Any]:
    return account.get(f"/v1/setup_intents/{session['setup_intent']}")


def test_a_session_lasts_a_day_unless_told_otherwise_and_half_an_hour_at_least(account: Account, makes: Makes) -> None:
    session = makes.checkout("setup", currency="usd")
    assert (session["status"], session["expires_at"] - session["created"]) == ("open", 24 * HOUR)
    terms = {"mode": "setup", "currency": "usd", "success_url": "https://example.com/"}
    for until in (HOUR // 2 - 60, 24 * HOUR + 60):
        refused = account.ask("post", PATH, {**terms, "expires_at": account.now() + until})
        assert (refused.status, refused.error["param"]) == (400, "expires_at")


def test_setup_mode_needs_a_currency_or_the_kinds_of_payment_methods(account: Account, makes: Makes) -> None:
    refused = account.ask("post", PATH, {"mode": "setup", "success_url": "https://example.com/"})
    assert refused.status == 400
    assert makes.checkout("setup", payment_method_types=["card"])["status"] == "open"


def test_setup_mode_carries_its_intent_and_our_metadata_to_the_end_and_makes_the_card_no_default(
    account: Account, makes: Makes
) -> None:
    """Hence whoever completes it must make the card the default."""
    customer = makes.customer()
    session = _to_set_up(makes, customer["id"])
    assert _intent(account, session)["metadata"] == {"row": "7"}
    assert complete(account, session).status == 200
    told = account.event(session["id"], "checkout.session.completed")["data"]["object"]
    assert (told["setup_intent"], told["customer"]) == (session["setup_intent"], customer["id"])
    assert (told["status"], told["payment_status"], told["mode"]) == ("complete", "no_payment_required", "setup")
    intent = _intent(account, session)
    assert (intent["status"], intent["metadata"], intent["customer"]) == ("succeeded", {"row": "7"}, customer["id"])
    method = account.get(f"/v1/payment_methods/{intent['payment_method']}")
    assert method["customer"] == customer["id"]
    account.event(method["id"], "payment_method.attached")
    settings = account.get(f"/v1/customers/{customer['id']}")["invoice_settings"]
    assert settings["default_payment_method"] is None


def test_a_session_that_is_complete_is_neither_expired_nor_completed_again(account: Account, makes: Makes) -> None:
    """Hence of expiring and completing one alone happens."""
    session = _to_set_up(makes, makes.customer()["id"])
    complete(account, session)
    refused = account.ask("post", f"{PATH}/{session['id']}/expire")
    assert (refused.status, refused.error["type"]) == (400, "invalid_request_error")
    assert complete(account, session).status == 400
    assert _now(account, session)["status"] == "complete"
    assert _now(account, session)["setup_intent"] == session["setup_intent"]


def test_a_session_that_is_expired_says_so_and_is_not_completed(account: Account, makes: Makes) -> None:
    session = _to_set_up(makes, makes.customer()["id"])
    expired = account.post(f"{PATH}/{session['id']}/expire")
    assert (expired["status"], expired["url"]) == ("expired", None)
    told = account.event(session["id"], "checkout.session.expired")
    assert told["data"]["object"]["setup_intent"] == session["setup_intent"]
    assert complete(account, session).status == 400
    assert account.ask("post", f"{PATH}/{session['id']}/expire").status == 400


def test_the_intent_of_a_session_is_confirmed_and_canceled_by_the_session_alone(account: Account, makes: Makes) -> None:
    session = _to_set_up(makes, makes.customer()["id"])
    for verb, sent in (("confirm", {"payment_method": "pm_card_visa"}), ("cancel", {})):
        assert account.ask("post", f"/v1/setup_intents/{session['setup_intent']}/{verb}", sent).status == 400


def test_a_declined_card_leaves_the_session_open_for_another(account: Account, makes: Makes) -> None:
    session = _to_set_up(makes, makes.customer()["id"])
    declined = complete(account, session, "tok_chargeDeclined")
    assert (declined.status, declined.error["code"]) == (402, "card_declined")
    assert _now(account, session)["status"] == "open"
    assert complete(account, session).status == 200
    assert _now(account, session)["status"] == "complete"


@pytest.mark.parametrize("mode", ["setup", "subscription"])
def test_a_card_that_asks_its_owner_leaves_the_session_open(
    account: Account, makes: Makes, paid: str, mode: str
) -> None:
    customer = makes.customer(email="contract@example.com")["id"]
    session = _to_set_up(makes, customer) if mode == "setup" else _to_subscribe(makes, paid, customer)
    complete(account, session, "pm_card_authenticationRequired")
    assert _now(account, session)["status"] == "open"


def test_subscription_mode_makes_the_subscription_with_its_payment_and_our_metadata(
    account: Account, makes: Makes, paid: str
) -> None:
    customer = makes.customer()
    session = _to_subscribe(makes, paid, customer["id"])
    assert (session["payment_status"], session["subscription"]) == ("unpaid", None)
    declined = complete(account, session, "tok_chargeDeclined")
    assert declined.status == 402
    assert list(account.all("/v1/subscriptions", {"customer": customer["id"], "status": "active"})) == []
    assert complete(account, session).status == 200
    told = account.event(session["id"], "checkout.session.completed")["data"]["object"]
    assert (told["status"], told["payment_status"], told["customer"]) == ("complete", "paid", customer["id"])
    made = reread(account, {"id": told["subscription"]}, "latest_invoice")
    assert (made["status"], made["metadata"]) == ("active", {"user_id": "u1"})
    assert (made["latest_invoice"]["status"], made["latest_invoice"]["amount_paid"]) == ("paid", 500)
    assert made["default_payment_method"] is not None
    found = account.all(PATH, {"subscription": made["id"]})
    assert [each["id"] for each in found] == [session["id"]]


def test_subscription_mode_begins_with_the_trial_that_it_names_of_two_days_at_least(
    account: Account, makes: Makes, paid: str
) -> None:
    customer, end = makes.customer()["id"], account.now() + 5 * DAY
    sent = {
        "mode": "subscription",
        "success_url": "https://example.com/",
        "line_items": [{"price": paid, "quantity": 1}],
        "subscription_data": {"trial_end": account.now() + DAY},
    }
    refused = account.ask("post", PATH, sent)
    assert (refused.status, refused.error["param"]) == (400, "subscription_data[trial_end]")
    session = _to_subscribe(makes, paid, customer, trial_end=end)
    assert session["amount_total"] == 0
    assert complete(account, session).status == 200
    made = reread(account, {"id": _now(account, session)["subscription"]})
    assert (made["status"], made["trial_end"]) == ("trialing", end)
    assert made["default_payment_method"] is not None


def test_open_sessions_of_a_customer_are_listed(account: Account, makes: Makes) -> None:
    customer = makes.customer()["id"]
    expired, kept = (_to_set_up(makes, customer) for _ in range(2))
    account.post(f"{PATH}/{expired['id']}/expire")
    found = account.all(PATH, {"customer": customer, "status": "open"})
    assert [each["id"] for each in found] == [kept["id"]]
