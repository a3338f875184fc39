"""POST /billing/subscriptions/manage: pages of the portal's, under our own configuration."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.accounts.conftest import Accounts, NewAccounts, token_of
from tests.integration.accounts.paying import CANCEL
from tests.integration.web.callers import Reply
from tests.support.browser import Browser
from tests.support.stack import Stack
from tests.support.waiting import wait_until
from worker.runtime import pages

CONFIGURATIONS = "/v1/billing_portal/configurations"


def manage(accounts: Accounts, intent: str, **more: str) -> Reply:
    asked = {"user_id": "ann", "intent": intent, "return_url": CANCEL, **more}
    return accounts.post("/billing/subscriptions/manage", asked, token_of("ann"))


def arrived(reply: Reply) -> Browser:
    assert reply.status == 200, reply.body
    browser = Browser().open(reply.body["url"])
    assert browser.status == 200
    return browser


def configurations(stack: Stack) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = stack.call_stripe("GET", CONFIGURATIONS)["data"]
    return found


def test_a_plan_is_changed_on_the_portal_s_page_and_the_trial_goes_on(accounts: Accounts) -> None:
    before = accounts.at_stripe("ann")
    browser = arrived(manage(accounts, "update"))
    price = accounts.stack.call_stripe("GET", "/v1/prices?lookup_keys[]=gold")["data"][0]["id"]
    browser.press("Change plan", price=price)
    after = accounts.at_stripe("ann")
    assert (after["items"]["data"][0]["price"]["id"], after["trial_end"]) == (price, before["trial_end"])


def test_only_plans_that_users_may_choose_are_there(accounts: Accounts) -> None:
    (made,) = configurations(accounts.stack)
    update = made["features"]["subscription_update"]
    chosen = {price for product in update["products"] for price in product["prices"]}
    prices = accounts.stack.call_stripe("GET", "/v1/prices?lookup_keys[]=gold&lookup_keys[]=pro")["data"]
    assert chosen == {each["id"] for each in prices}
    assert (update["trial_update_behavior"], update["proration_behavior"]) == ("continue_trial", "always_invoice")
    assert made["features"]["subscription_cancel"]["mode"] == "at_period_end"


def test_a_subscription_is_canceled_there_at_its_period_s_end(accounts: Accounts) -> None:
    browser = arrived(manage(accounts, "cancel", subscription_id=accounts.id_of("ann")))
    browser.press("Cancel subscription")
    after = accounts.at_stripe("ann")
    assert after["status"] == "trialing"
    assert after["cancel_at_period_end"] or after["cancel_at"] is not None
    again = manage(accounts, "cancel")
    assert (again.status, again.body["code"]) == (409, "portal_cannot_cancel")


def test_a_card_needs_no_subscription(accounts: Accounts) -> None:
    accounts.stack.call_stripe("DELETE", f"/v1/subscriptions/{accounts.id_of('ann')}")
    accounts.stack.rows("UPDATE billing_subscriptions SET stripe_subscription_status = 'canceled'")
    assert "card" in arrived(manage(accounts, "payment_method")).text.lower()
    for intent in ("cancel", "update"):
        reply = manage(accounts, intent)
        assert (reply.status, reply.body["code"]) == (404, "no_subscription")


@pytest.mark.parametrize("status", ["paused", "unpaid", "incomplete"])
def test_what_the_portal_can_not_change_points_to_checkout(accounts: Accounts, status: str) -> None:
    accounts.stack.rows("UPDATE billing_subscriptions SET stripe_subscription_status = %s", status)
    reply = manage(accounts, "update")
    assert (reply.status, reply.body["code"]) == (409, "portal_cannot_update")
    assert "/billing/subscriptions" in reply.body["detail"]
    assert manage(accounts, "cancel").status == 200


def test_what_stripe_s_portal_refuses_points_there_too(accounts: Accounts) -> None:
    price = accounts.stack.call_stripe("GET", "/v1/prices?lookup_keys[]=gold")["data"][0]["id"]
    accounts.at_stripe_do("ann", **{"items[0][price]": price})
    reply = manage(accounts, "update")
    assert (reply.status, reply.body["code"]) == (409, "portal_cannot_update")


def test_which_of_several_must_be_said_where_the_ledger_s_has_ended(accounts: Accounts) -> None:
    for number in (1, 2):
        accounts.stack.rows(
            "INSERT INTO billing_subscriptions (billing_customer_id, stripe_subscription_id, plan,"
            " stripe_subscription_status, canceling, seen_from, seen_to)"
            " SELECT id, %s, 'pro', 'active', false, now(), now() FROM billing_customers",
            f"sub_{number}",
        )
    assert manage(accounts, "cancel").status == 200, "the ledger has one of them"
    accounts.stack.rows(
        "UPDATE billing_subscriptions SET stripe_subscription_status = 'canceled' WHERE stripe_subscription_id = %s",
        accounts.id_of("ann"),
    )
    reply = manage(accounts, "cancel")
    assert (reply.status, reply.body["code"]) == (409, "several_subscriptions")
    for named in ("sub_3", accounts.id_of("ann")):
        assert manage(accounts, "cancel", subscription_id=named).body["code"] == "no_subscription"


def test_setup_makes_one_and_mends_it_in_place(deployment: Stack) -> None:
    (made,) = configurations(deployment)
    assert f"portal: {made['id']} was there" in deployment.setup()
    path, ends = f"{CONFIGURATIONS}/{made['id']}", "features[subscription_update][trial_update_behavior]"
    for _ in range(2):
        deployment.call_stripe("POST", path, **{ends: "end_trial"})
        told = f"portal: changed {made['id']} (subscription_update.trial_update_behavior)"
        assert told in deployment.setup()
        (after,) = configurations(deployment)
        assert after["features"]["subscription_update"]["trial_update_behavior"] == "continue_trial"
    more = deployment.setup(SUBKEEPER_PLANS__SILVER__UNIT_AMOUNT="1200")
    assert f"portal: changed {made['id']} (subscription_update.products)" in more


def test_no_portal_of_somebody_else_s_is_used_and_readiness_says_why(
    new_accounts: NewAccounts, deployment: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "RECHECK_SECONDS", 0.1)
    (made,) = configurations(deployment)
    accounts = new_accounts()
    wait_until(lambda: accounts.worker.part("portal")[0])
    accounts.worker.stop()
    path = f"{CONFIGURATIONS}/{made['id']}"
    deployment.call_stripe("POST", path, **{"features[subscription_cancel][mode]": "immediately"})
    accounts = Accounts(deployment, deployment.start_worker("web"))
    wait_until(lambda: "subscription_cancel.mode" in accounts.worker.part("portal")[1])
    assert not accounts.worker.is_ready()
    reply = manage(accounts, "update")
    assert (reply.status, reply.body["code"]) == (503, "portal_not_set_up")
    assert accounts.change("ann", {"plan": "pro"}).status == 200
    deployment.setup()
    wait_until(accounts.worker.is_ready, 30)
    assert manage(accounts, "update").status == 200
