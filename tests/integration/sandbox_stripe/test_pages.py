"""Checkout's page and the portal's, as a person without JavaScript uses them."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox.stripe.control import Control
from sandbox.stripe.server import StripeServer
from tests.integration.sandbox_stripe.raw import Raw
from tests.stripe_spec import object_problem
from tests.support.browser import Browser

GOOD, DECLINED, ASKS, ASKS_ONCE = "4242424242424242", "4000000000000002", "4000002760003184", "4000002500003155"
FUNDS_AFTER_ASKING = "4000008260003178"
SUCCESS = "https://example.com/done?s={CHECKOUT_SESSION_ID}"
YES, NO = "Complete authentication", "Fail authentication"
CARD = {"expiry": "12/49", "cvc": "123"}


def opened(raw: Raw, **sent: object) -> dict[str, Any]:
    answer = raw(
        "POST", "/v1/checkout/sessions", {"success_url": SUCCESS, "cancel_url": "https://example.com/", **sent}
    )
    assert answer.status == 200, answer.body
    session: dict[str, Any] = answer.body
    return session


def to_set_up(raw: Raw, customer: str) -> dict[str, Any]:
    return opened(raw, mode="setup", currency="usd", customer=customer, **{"setup_intent_data[metadata][row]": "7"})


def to_subscribe(raw: Raw, price: str, **more: object) -> dict[str, Any]:
    item = {"line_items[0][price]": price, "line_items[0][quantity]": 1}
    return opened(raw, mode="subscription", **item, **more)


def reread(raw: Raw, session: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = raw.get(f"/v1/checkout/sessions/{session['id']}").body
    assert object_problem("checkout.session", found) is None
    return found


def told(raw: Raw) -> list[str]:
    """The types of what happened, oldest first, from the session's creation on."""
    kinds = [event["type"] for event in raw.get("/v1/events", limit=100).body["data"]][::-1]
    return [kind for kind in kinds if not kind.startswith(("customer.created", "product", "price"))]


def test_a_card_is_declined_then_another_is_saved(raw: Raw, browser: Browser, customer: str) -> None:
    session = to_set_up(raw, customer)
    browser.open(session["url"])
    assert (browser.title, browser.links) == ("Save a card", {"← Back to the website": "https://example.com/"})
    browser.press("Save card", number=DECLINED, **CARD)
    assert (browser.status, browser.alert) == (402, "Your card was declined.")
    assert browser.forms[0].fields["number"] == DECLINED
    browser.press("Save card", number=GOOD, **CARD)
    assert browser.url == f"https://example.com/done?s={session['id']}"
    after = reread(raw, session)
    assert (after["status"], after["payment_status"], after["url"]) == ("complete", "no_payment_required", None)
    intent = raw.get(f"/v1/setup_intents/{after['setup_intent']}").body
    assert (intent["status"], intent["metadata"]) == ("succeeded", {"row": "7"})
    method = raw.get(f"/v1/payment_methods/{intent['payment_method']}").body
    assert (method["customer"], method["card"]["last4"]) == (customer, "4242")
    assert told(raw) == [
        "setup_intent.created",
        "setup_intent.setup_failed",
        "payment_method.attached",
        "setup_intent.succeeded",
        "checkout.session.completed",
    ]


@pytest.mark.parametrize(
    ("entered", "problem"),
    [
        ({"number": "4242424242424241"}, "Your card number is incorrect."),
        ({"number": "1<b>", "expiry": "12/49"}, "Your card number is incorrect."),
        ({"expiry": "13/49"}, "Your card's expiration date is invalid."),
        ({"expiry": "01/20"}, "Your card has expired."),
        ({"cvc": "12"}, "Your card's security code is invalid."),
    ],
)
def test_what_can_t_be_a_card_is_said_and_changes_nothing(
    raw: Raw, browser: Browser, customer: str, entered: dict[str, str], problem: str
) -> None:
    session = to_set_up(raw, customer)
    browser.open(session["url"]).press("Save card", **{"number": GOOD, **CARD, **entered})
    assert browser.alert is not None
    assert browser.alert.startswith(problem)
    assert browser.forms[0].fields["number"] == entered.get("number", GOOD)
    assert reread(raw, session)["status"] == "open"


def test_a_subscription_is_paid_for_and_begins_with_that(raw: Raw, browser: Browser, plans: list[str]) -> None:
    session = to_subscribe(raw, plans[0], **{"subscription_data[metadata][user_id]": "u1"})
    browser.open(session["url"])
    assert "Pro, 5.00 USD per month" in browser.text
    browser.press("Subscribe", number=DECLINED, email="b@example.com", **CARD)
    assert browser.alert == "Your card was declined."
    assert raw.get("/v1/customers").body["data"] == []
    browser.press("Subscribe", number=GOOD, **CARD)
    after = reread(raw, session)
    assert (after["status"], after["payment_status"]) == ("complete", "paid")
    subscription = raw.get(f"/v1/subscriptions/{after['subscription']}", **{"expand[0]": "latest_invoice"}).body
    assert (subscription["status"], subscription["metadata"]) == ("active", {"user_id": "u1"})
    assert subscription["latest_invoice"]["amount_paid"] == 500
    assert subscription["default_payment_method"] is not None
    assert raw.get(f"/v1/customers/{after['customer']}").body["email"] == "b@example.com"
    events = raw.get("/v1/events", limit=100).body["data"][::-1]
    for told_of in (event["data"]["object"] for event in events):
        assert object_problem(told_of["object"], told_of) is None
    kinds = [event["type"] for event in events]
    assert kinds[kinds.index("customer.created") :] == [
        "customer.created",
        "payment_method.attached",
        "customer.subscription.created",
        "invoice.created",
        "invoice.finalized",
        "payment_intent.created",
        "payment_intent.succeeded",
        "invoice.paid",
        "invoice.payment_succeeded",
        "checkout.session.completed",
    ]


def test_a_trial_may_begin_without_a_card_where_it_is_asked_if_required_only(
    raw: Raw, browser: Browser, customer: str, plans: list[str]
) -> None:
    trial = {"customer": customer, "subscription_data[trial_period_days]": 7}
    strict = to_subscribe(raw, plans[0], **trial)
    assert browser.open(strict["url"]).press("Start trial").alert is not None
    session = to_subscribe(raw, plans[0], **trial, payment_method_collection="if_required")
    browser.open(session["url"]).press("Start trial")
    after = reread(raw, session)
    assert (after["status"], after["payment_status"], after["amount_total"]) == ("complete", "no_payment_required", 0)
    assert raw.get(f"/v1/subscriptions/{after['subscription']}").body["status"] == "trialing"


@pytest.mark.parametrize("mode", ["setup", "subscription", "trial"])
def test_a_card_s_owner_is_asked_and_may_refuse_and_is_not_asked_again_later(
    raw: Raw, control: Control, browser: Browser, customer: str, plans: list[str], mode: str
) -> None:
    trial = {"subscription_data[trial_period_days]": 7} if mode == "trial" else {}
    session = to_set_up(raw, customer) if mode == "setup" else to_subscribe(raw, plans[0], customer=customer, **trial)
    act = {"setup": "Save card", "subscription": "Subscribe", "trial": "Start trial"}[mode]
    browser.open(session["url"]).press(act, number=ASKS_ONCE, **CARD)
    assert (browser.title, reread(raw, session)["status"]) == ("Your bank asks: is it you?", "open")
    browser.press(NO)
    assert browser.alert is not None
    assert browser.alert.startswith("We are unable to authenticate your payment method.")
    browser.press(act, number=ASKS_ONCE, **CARD).press(YES)
    assert browser.url == f"https://example.com/done?s={session['id']}"
    after = reread(raw, session)
    assert after["status"] == "complete"
    if mode == "setup":
        card = raw.get("/v1/payment_methods", customer=customer).body["data"][0]["id"]
        order = {"customer": customer, "items[0][price]": plans[0], "default_payment_method": card}
        assert raw("POST", "/v1/subscriptions", order).body["status"] == "active"
    else:
        control.jump(40 * 86_400)
        assert raw.get(f"/v1/subscriptions/{after['subscription']}").body["status"] == "active"


def test_the_intent_of_a_session_is_answered_on_the_session_s_page_alone(
    raw: Raw, browser: Browser, customer: str
) -> None:
    """Or the card would be set up with the session open."""
    session = to_set_up(raw, customer)
    browser.open(session["url"]).press("Save card", number=ASKS, **CARD)
    intent = raw.get(f"/v1/setup_intents/{session['setup_intent']}").body
    other = Browser().open(intent["next_action"]["redirect_to_url"]["url"])
    assert (other.title, other.url) == ("Save a card", session["url"])
    browser.press(YES)
    assert reread(raw, session)["status"] == "complete"


def test_a_card_that_is_declined_after_its_owner_agreed_says_so(
    raw: Raw, browser: Browser, customer: str, plans: list[str]
) -> None:
    session = to_subscribe(raw, plans[0], customer=customer)
    browser.open(session["url"]).press("Subscribe", number=FUNDS_AFTER_ASKING, **CARD).press(YES)
    assert browser.alert == "Your card has insufficient funds."
    assert raw.get("/v1/subscriptions", customer=customer).body["data"] == []


def test_what_is_complete_or_expired_is_completed_no_more(
    raw: Raw, control: Control, browser: Browser, customer: str
) -> None:
    """Two tabs with the same form, and one that was left open for a day."""
    session = to_set_up(raw, customer)
    other = Browser().open(session["url"])
    browser.open(session["url"]).press("Save card", number=GOOD, **CARD)
    assert other.press("Save card", number=GOOD, **CARD).title == "You're all done here"
    assert len(raw.get("/v1/payment_methods", customer=customer).body["data"]) == 1
    late = to_set_up(raw, customer)
    browser.open(late["url"])
    control.jump(86_400)
    assert browser.press("Save card", number=GOOD, **CARD).title == "This link has expired"
    assert reread(raw, late)["status"] == "expired"


@pytest.mark.parametrize("path", ["/c/pay/cs_test_x", "/p/session/test_x", "/3d_secure/seti_1_secret_x"])
def test_an_address_that_was_guessed_opens_nothing(server: StripeServer, browser: Browser, path: str) -> None:
    assert browser.open(f"{server.url}{path}").status == 404


def test_a_page_runs_no_script_and_is_kept_by_nobody(raw: Raw, browser: Browser, customer: str) -> None:
    browser.open(to_set_up(raw, customer)["url"])
    assert (browser.headers["Cache-Control"], browser.headers["Referrer-Policy"]) == ("no-store", "no-referrer")
    assert browser.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert (len(browser.forms[0].fields), browser.unclear) == (4, [])


@pytest.mark.parametrize(("answer", "status"), [(YES, "paid"), (NO, "open")])
def test_a_payment_s_own_page_asks_its_card_s_owner(
    raw: Raw, browser: Browser, customer: str, plans: list[str], answer: str, status: str
) -> None:
    card = raw.post("/v1/payment_methods/pm_card_authenticationRequired/attach", customer=customer).body["id"]
    order = {"customer": customer, "items[0][price]": plans[0], "default_payment_method": card}
    made = raw("POST", "/v1/subscriptions", {**order, "expand[0]": "latest_invoice.payments"}).body
    intent = made["latest_invoice"]["payments"]["data"][0]["payment"]["payment_intent"]
    asks = raw.get(f"/v1/payment_intents/{intent}").body["next_action"]["redirect_to_url"]["url"]
    browser.open(asks).press(answer)
    assert raw.get(f"/v1/invoices/{made['latest_invoice']['id']}").body["status"] == status
    expected = ("active", "succeeded") if status == "paid" else ("incomplete", "requires_payment_method")
    after = raw.get(f"/v1/payment_intents/{intent}").body
    assert (raw.get(f"/v1/subscriptions/{made['id']}").body["status"], after["status"]) == expected
    assert object_problem("payment_intent", after) is None
    assert browser.open(asks).status == 404


def test_a_setup_intent_s_own_page_goes_on_to_its_return_url(raw: Raw, browser: Browser, customer: str) -> None:
    sent = {"customer": customer, "payment_method": "pm_card_authenticationRequired", "confirm": "true"}
    intent = raw("POST", "/v1/setup_intents", {**sent, "return_url": "https://example.com/r?a=b"}).body
    browser.open(intent["next_action"]["redirect_to_url"]["url"]).press(YES)
    assert browser.url.startswith(f"https://example.com/r?a=b&setup_intent={intent['id']}&")
    assert browser.url.endswith("redirect_status=succeeded")
    assert raw.get(f"/v1/setup_intents/{intent['id']}").body["status"] == "succeeded"
