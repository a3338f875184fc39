"""A user who is sent to Checkout, and what a browser does there."""

from __future__ import annotations

from typing import Any

from tests.integration.accounts.conftest import Accounts, token_of
from tests.integration.web.callers import Reply, ask
from tests.support.browser import Browser
from tests.support.waiting import wait_until

VISA, MASTERCARD, SAVED_AND_DECLINED = "4242424242424242", "5555555555554444", "4000000000000341"
SUCCESS = "https://app.example.com/done?session={CHECKOUT_SESSION_ID}"
CANCEL = "https://app.example.com/plans"
TOLD = ("checkout.session.completed", "checkout.session.expired")


def body(user: object = "ann", plan: str = "pro", **changed: Any) -> dict[str, Any]:
    return {"user_id": user, "plan": plan, "success_url": SUCCESS, "cancel_url": CANCEL, **changed}


def opened(accounts: Accounts, plan: str = "pro", user: str = "ann", **headers: str) -> Reply:
    """A page that the user has asked for."""
    reply = accounts.post("/billing/subscriptions", body(user, plan), token_of(user), **headers)
    assert reply.status == 201, reply.body
    return reply


def completed(page: Reply, card: str = VISA) -> Browser:
    """As a browser does it; where it is led back to."""
    browser = Browser().open(page.body["url"])
    (words,) = [each for each in browser.buttons if each in ("Save card", "Subscribe")]
    sent = {"number": card, "expiry": "12/34", "cvc": "123", "name": "Ann"}
    browser.press(words, **sent)
    assert browser.url.startswith("https://app.example.com/"), browser.text
    return browser


def complete(accounts: Accounts, session: dict[str, Any]) -> None:
    """The same without the page."""
    path = f"/v1/payment_pages/{session['id']}/confirm"
    accounts.stack.call_stripe("POST", path, payment_method="pm_card_visa")


def heard(accounts: Accounts) -> list[dict[str, Any]]:
    """What Stripe has told of pages comes to a worker, each for the first time or once more."""
    events = accounts.stack.events(*TOLD)
    accounts.stack.hear(*events)
    accounts.stack.await_heard(*events)
    return events


def told(accounts: Accounts, page: Reply) -> dict[str, Any]:
    found: dict[str, Any] = ask(accounts, f"/billing/checkouts/{page.body['id']}", token_of("ann")).body
    return found


def come_to(accounts: Accounts, page: Reply, state: str, timeout: float = 15.0) -> dict[str, Any]:
    wait_until(lambda: told(accounts, page)["state"] == state, timeout, f"the checkout is {state}")
    return told(accounts, page)
