"""Pages of Stripe's that a user is sent to while processes die: what is arranged, what somebody does on the page, and
what is to come of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any
from uuid import uuid4

from tests.faults import account_scenarios as accounts
from tests.faults.account_scenarios import Asked, asking, status_of
from tests.faults.launcher import Launched
from tests.support.stack import Stack
from tests.support.waiting import wait_until

ENVIRON = {**accounts.ENVIRON, "SUBKEEPER_API__RETURN_ORIGINS": "https://app.example.com"}
_URL = "https://app.example.com/"
CHECKOUT = Asked(
    "POST",
    "/billing/subscriptions",
    {"user_id": "user-0", "plan": "pro", "success_url": _URL, "cancel_url": _URL},
    201,
)
PORTAL = Asked(
    "POST", "/billing/subscriptions/manage", {"user_id": "user-0", "intent": "update", "return_url": _URL}, 200
)
SESSIONS, CONFIGURATIONS = "/v1/checkout/sessions", "/v1/billing_portal/configurations"
COMPLETED = "checkout.session.completed"


def _subscription(stack: Stack) -> str:
    return f"/v1/subscriptions/{stack.ledger('user-0')['stripe_subscription_id']}"


def owing(stack: Stack) -> Mapping[str, str]:
    """The trial is over, and its card was declined."""
    expected, path = accounts.arranged(stack), _subscription(stack)
    customer = str(stack.customers("user-0")[0]["id"])
    card = stack.call_stripe("POST", "/v1/payment_methods/pm_card_chargeCustomerFail/attach", customer=customer)["id"]
    price = stack.call_stripe("GET", "/v1/prices?lookup_keys[]=pro")["data"][0]["id"]
    item = stack.call_stripe("GET", path)["items"]["data"][0]["id"]
    form = {"items[0][id]": item, "items[0][price]": price, "default_payment_method": str(card), "trial_end": "now"}
    assert stack.call_stripe("POST", path, **form)["status"] == "past_due"
    return expected


def paused(stack: Stack) -> Mapping[str, str]:
    """The trial is over, and there was no card."""
    expected, path = accounts.arranged(stack), _subscription(stack)
    stack.call_stripe("POST", path, trial_end=str(round(stack.control.jump(0)) + 3600))
    stack.control.jump(7200)
    assert stack.call_stripe("GET", path)["status"] == "paused"
    return expected


def removed(stack: Stack) -> Mapping[str, str]:
    """The user's subscription has ended and was removed, so that the page begins another one."""
    expected = accounts.arranged(stack)
    stack.call_stripe("DELETE", _subscription(stack))
    stack.rows("""
        WITH gone AS (DELETE FROM billing_subscriptions RETURNING stripe_subscription_id),
            told AS (DELETE FROM subscription_changes)
        INSERT INTO subscription_tombstones (stripe_subscription_id, user_id, version)
        SELECT stripe_subscription_id, 'user-0', 1 FROM gone
    """)
    return expected


def another_open(stack: Stack) -> Mapping[str, str]:
    """The user is on another page."""
    expected, identifier = accounts.arranged(stack), str(uuid4())
    form = {"mode": "setup", "currency": "usd", "success_url": _URL, "metadata[subkeeper_checkout]": identifier}
    session = stack.call_stripe("POST", SESSIONS, customer=str(stack.customers("user-0")[0]["id"]), **form)
    stack.rows(
        "INSERT INTO checkouts (id, user_id, plan, mode, stripe_session_id, state)"
        " VALUES (%s, 'user-0', 'gold', 'setup', %s, 'open')",
        identifier,
        session["id"],
    )
    return expected


def paying(stack: Stack, launched: Launched) -> None:
    """Somebody asks for the page, completes what Stripe has opened by then, and Stripe tells of it."""
    asking(CHECKOUT)(stack, launched)
    while launched.await_end(0) is None:
        _pay(stack)
        time.sleep(0.2)


def paying_unpolled(stack: Stack, launched: Launched) -> None:
    """The same where events are taken in by another process, and none is polled for: of a subscription that the page
    begins nobody tells."""
    stack.start_worker("events")
    paying(stack, launched)


def paying_beside_another(stack: Stack, launched: Launched) -> None:
    """The same, while somebody in the dashboard begins a subscription for the user: they were quicker."""
    stack.start_worker("events")
    asking(CHECKOUT)(stack, launched)
    if launched.await_end(0) is None:
        customer = str(stack.customers("user-0")[0]["id"])
        form = {"customer": customer, "items[0][price]": stack.price()["id"], "trial_period_days": "9"}
        kept = stack.call_stripe("POST", "/v1/subscriptions", **form)["id"]
        told = stack.events("customer.subscription.created")
        stack.hear(*[each for each in told if each["data"]["object"]["id"] == kept])
        stack.control.jump(5)
    while launched.await_end(0) is None:
        _pay(stack)
        time.sleep(0.2)


def second_is_canceled(stack: Stack) -> Mapping[str, str]:
    """The first stays, and is the user's; the other one was begun once, and a person is told."""
    ends = "SELECT state, code FROM checkouts WHERE plan = 'pro'"
    failed = [{"state": "failed", "code": "second_subscription"}]
    wait_until(lambda: stack.rows(ends) == failed, 20, "it has failed")
    (removed_before,) = stack.rows("SELECT stripe_subscription_id AS id FROM subscription_tombstones")
    found = {row["id"]: row["status"] for row in stack.subscriptions("user-0") if row["id"] != removed_before["id"]}
    assert sorted(found.values()) == ["canceled", "trialing"]
    (kept,) = [each for each, status in found.items() if status == "trialing"]
    wait_until(lambda: stack.ledger("user-0")["stripe_subscription_id"] == kept, 20, "the first is the user's")
    return {}


def is_paid(check: Callable[[Stack], None] = lambda _: None) -> Callable[[Stack], Mapping[str, str]]:
    """Whoever asks again under the same key comes to the same page, which is completed once, and done once."""

    def ask(stack: Stack) -> Mapping[str, str]:
        wait_until(lambda: status_of(stack, CHECKOUT) == CHECKOUT.status, 20, "the page is there")
        _pay(stack)
        ends = "SELECT state, code FROM checkouts WHERE plan = 'pro'"
        wait_until(lambda: stack.rows(ends) == [{"state": "applied", "code": None}], 20, "it is applied")
        kinds = stack.rows("SELECT kind FROM account_changes WHERE idempotency_key IS NOT NULL ORDER BY seq")
        assert [each["kind"] for each in kinds] == ["checkout", "completion"]
        sessions = stack.call_stripe("GET", f"{SESSIONS}?status=complete")["data"]
        assert len(sessions) == 1
        (living,) = [each for each in stack.subscriptions("user-0") if each["status"] != "canceled"]
        wait_until(lambda: stack.subscription_row(living["id"]).get("plan") == "pro", 20, "our row says so")
        check(stack)
        return {}

    return ask


def is_active(stack: Stack) -> None:
    """And paid for once."""
    assert stack.call_stripe("GET", _subscription(stack))["status"] == "active"
    paid = stack.call_stripe("GET", "/v1/invoices?status=paid")["data"]
    assert [each["amount_paid"] for each in paid if each["amount_paid"]] == [900]


def other_expired(stack: Stack) -> None:
    assert stack.rows("SELECT state FROM checkouts WHERE plan = 'gold'") == [{"state": "expired"}]
    assert len(stack.call_stripe("GET", f"{SESSIONS}?status=expired")["data"]) == 1


def _pay(stack: Stack) -> None:
    for session in stack.call_stripe("GET", f"{SESSIONS}?status=open")["data"]:
        if not stack.rows("SELECT 1 FROM checkouts WHERE stripe_session_id = %s AND plan = 'gold'", session["id"]):
            stack.ask_stripe("POST", f"/v1/payment_pages/{session['id']}/confirm", payment_method="pm_card_visa")
    if told := stack.events(COMPLETED):
        stack.hear(*told)


def portal_is_there(stack: Stack) -> Mapping[str, str]:
    wait_until(lambda: status_of(stack, PORTAL) == PORTAL.status, 20, "the page is there")
    return {}


def without_portal(stack: Stack) -> Mapping[str, str]:
    (made,) = _active(stack)
    stack.call_stripe("POST", f"{CONFIGURATIONS}/{made['id']}", active="false")
    return {}


def changed_portal(stack: Stack) -> Mapping[str, str]:
    (made,) = _active(stack)
    ends = {"features[subscription_update][trial_update_behavior]": "end_trial"}
    stack.call_stripe("POST", f"{CONFIGURATIONS}/{made['id']}", **ends)
    return {}


def has_one_portal(stack: Stack) -> bool:
    return [each["features"]["subscription_update"]["trial_update_behavior"] for each in _active(stack)] == [
        "continue_trial"
    ]


def _active(stack: Stack) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = stack.call_stripe("GET", f"{CONFIGURATIONS}?active=true")["data"]
    return found
