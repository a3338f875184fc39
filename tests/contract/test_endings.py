"""How subscriptions and customers end: announced, undone, at once, with their customer."""

from __future__ import annotations

import pytest

from tests.contract.account import Account
from tests.contract.life import Clock, Makes, reread, subscribe
from worker.stripe_api.parsing import customer_unless_deleted, subscription_fact


@pytest.mark.parametrize("billing_mode", ["flexible", "classic"])
def test_a_cancellation_at_the_periods_end_sets_cancel_at_and_can_be_undone(
    account: Account, clock: Clock, free: str, billing_mode: str
) -> None:
    trial = clock.trial(clock.customer(), free, 31, billing_mode={"type": billing_mode})
    path = f"/v1/subscriptions/{trial['id']}"
    ending = account.post(path, {"cancel_at_period_end": True})
    assert (ending["status"], ending["ended_at"], ending["cancel_at"]) == ("trialing", None, trial["trial_end"])
    assert (ending["canceled_at"] is not None, subscription_fact(ending).canceling) == (True, True)
    undone = account.post(path, {"cancel_at_period_end": False})
    assert (undone["cancel_at"], undone["canceled_at"], undone["cancel_at_period_end"]) == (None, None, False)


def test_a_cancellation_at_a_time_leaves_cancel_at_period_end_false_and_is_cleared_by_itself(
    account: Account, clock: Clock, free: str
) -> None:
    """As the customer portal cancels in flexible billing."""
    trial = clock.trial(clock.customer(), free, 31)
    path = f"/v1/subscriptions/{trial['id']}"
    ending = account.post(path, {"cancel_at": trial["trial_end"] - 86_400})
    assert (ending["cancel_at"], ending["cancel_at_period_end"]) == (trial["trial_end"] - 86_400, False)
    assert subscription_fact(ending).canceling
    assert subscription_fact(account.post(path, {"cancel_at": ""})).canceling is False


def test_a_canceled_subscription_is_retrieved_and_can_not_be_canceled_again(
    account: Account, makes: Makes, free: str
) -> None:
    made = subscribe(account, makes.customer(), free)
    account.delete(f"/v1/subscriptions/{made['id']}")
    now = reread(account, made, "latest_invoice")
    assert (now["status"], now["ended_at"] is not None, now["latest_invoice"]["id"]) == (
        "canceled",
        True,
        made["latest_invoice"],
    )
    again = account.ask("delete", f"/v1/subscriptions/{made['id']}")
    assert (again.status, again.error["code"]) == (404, "resource_missing")


def test_a_customer_that_is_deleted_takes_its_subscriptions_along_and_is_retrieved_as_deleted(
    account: Account, makes: Makes, free: str
) -> None:
    customer = makes.customer()
    made = subscribe(account, customer, free)
    account.delete(f"/v1/customers/{customer['id']}")
    assert customer_unless_deleted(account.get(f"/v1/customers/{customer['id']}")) is None
    assert reread(account, made)["status"] == "canceled"
    account.event(made["id"], "customer.subscription.deleted")
    account.event(customer["id"], "customer.deleted")
    asked = {"customer": customer["id"], "status": "all"}
    assert [each["id"] for each in account.all("/v1/subscriptions", asked)] == [made["id"]]


def test_a_deleted_customer_has_no_cards_no_pages_and_can_not_be_deleted_again(
    account: Account, makes: Makes, free: str
) -> None:
    """As an erasure relies on: what is asked for once more is `resource_missing`, and nothing can be begun there."""
    customer = makes.customer()
    card = account.post("/v1/payment_methods/pm_card_visa/attach", {"customer": customer["id"]})["id"]
    gone = account.delete(f"/v1/customers/{customer['id']}")
    assert (gone["id"], gone["deleted"]) == (customer["id"], True)
    assert account.get(f"/v1/payment_methods/{card}")["customer"] is None
    again = account.ask("delete", f"/v1/customers/{customer['id']}")
    assert (again.status, again.error["code"]) == (404, "resource_missing")
    for path, form in (
        ("/v1/subscriptions", {"customer": customer["id"], "items": [{"price": free}]}),
        (f"/v1/payment_methods/{card}/attach", {"customer": customer["id"]}),
    ):
        refused = account.ask("post", path, form)
        assert 400 <= refused.status < 500, path


def test_of_a_canceled_subscription_the_metadata_can_still_be_changed(
    account: Account, makes: Makes, free: str
) -> None:
    made = subscribe(account, makes.customer(), free)
    path = f"/v1/subscriptions/{made['id']}"
    account.post(path, {"metadata": {"subkeeper": "d", "user_id": "u", "more": "kept"}})
    account.delete(path)
    stripped = account.post(path, {"metadata": {"subkeeper": "", "user_id": ""}})
    assert (stripped["status"], stripped["metadata"]) == ("canceled", {"more": "kept"})
