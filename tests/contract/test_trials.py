"""A trial: its first invoice, its announcement, and its end by each behaviour."""

from __future__ import annotations

import pytest

from tests.contract.account import Account
from tests.contract.life import DAY, HOUR, Clock, reread
from worker.stripe_api.parsing import fetched_subscription

SUBSCRIPTION = "customer.subscription"


def _without_a_card(behavior: str) -> dict[str, object]:
    return {"trial_settings": {"end_behavior": {"missing_payment_method": behavior}}}


@pytest.mark.parametrize("billing_mode", ["flexible", "classic"])
def test_a_trial_begins_with_its_creation_ends_as_asked_and_its_invoice_of_nothing_is_paid(
    account: Account, clock: Clock, paid: str, billing_mode: str
) -> None:
    """Every field that the worker reads is there, by its own reading of it; and nothing was charged by that invoice."""
    made = clock.trial(clock.customer(), paid, 31, billing_mode={"type": billing_mode}, metadata={"user_id": "u1"})
    fetched = fetched_subscription(reread(account, made, "latest_invoice", "customer"))
    found, invoice = fetched.fact, fetched.latest_invoice
    assert (found.status, found.canceling, found.price_id, fetched.user_id) == ("trialing", False, paid, "u1")
    assert (made["trial_start"], made["trial_end"]) == (made["created"], clock.start + 31 * DAY)
    assert (found.period_start, found.period_end) == (found.trial_start, found.trial_end)
    assert invoice is not None
    assert (invoice.id, invoice.subscription_id) == (made["latest_invoice"], made["id"])
    assert (invoice.status, invoice.total, invoice.attempt_count) == ("paid", 0, 0)
    assert account.event(invoice.id, "invoice.paid")["data"]["object"]["status"] == "paid"


def test_the_end_is_announced_once_three_days_ahead(account: Account, clock: Clock, free: str) -> None:
    trial = clock.trial(clock.customer(), free, 7, **_without_a_card("pause"))
    clock.advance(days=4, hours=1)
    announced = account.event(trial["id"], f"{SUBSCRIPTION}.trial_will_end")
    assert announced["data"]["object"]["status"] == "trialing"
    clock.advance(days=8)
    account.event(trial["id"], f"{SUBSCRIPTION}.paused")
    assert account.event(trial["id"], f"{SUBSCRIPTION}.trial_will_end")["id"] == announced["id"]


def test_the_end_of_a_shorter_trial_is_announced_at_once(account: Account, clock: Clock, free: str) -> None:
    trial = clock.trial(clock.customer(), free, 2)
    announced = account.event(trial["id"], f"{SUBSCRIPTION}.trial_will_end")
    assert announced["data"]["object"]["trial_end"] == trial["trial_end"]


@pytest.mark.parametrize("has_card", [False, True], ids=["without a card", "with a card that is no default"])
def test_a_trial_that_is_to_pause_pauses(account: Account, clock: Clock, paid: str, has_card: bool) -> None:
    """A card that is only attached, as Checkout in setup mode leaves it, isn't found by the trial's end."""
    customer = clock.customer()
    if has_card:
        clock.card(customer)
    trial = clock.trial(customer, paid, 5, **_without_a_card("pause"))
    clock.advance(days=5, hours=2)
    now = reread(account, trial)
    assert (now["status"], now["pause_collection"], now["ended_at"]) == ("paused", None, None)
    found = account.events(trial["id"], f"{SUBSCRIPTION}.paused", f"{SUBSCRIPTION}.updated")
    updated = [event for event in found if event["type"].endswith("updated")]
    assert [event["data"]["previous_attributes"]["status"] for event in updated] == ["trialing"]


def test_a_trial_that_is_to_cancel_is_canceled_at_its_end(account: Account, clock: Clock, paid: str) -> None:
    trial = clock.trial(clock.customer(), paid, 5, **_without_a_card("cancel"))
    clock.advance(days=5, hours=2)
    now = reread(account, trial)
    assert now["status"] == "canceled"
    assert trial["trial_end"] <= now["ended_at"] < trial["trial_end"] + HOUR
    deleted = account.event(trial["id"], f"{SUBSCRIPTION}.deleted")
    assert deleted["data"]["object"]["status"] == "canceled"


def test_a_trial_that_is_to_create_an_invoice_is_past_due_once_that_fails(
    account: Account, clock: Clock, paid: str
) -> None:
    trial = clock.trial(clock.customer(), paid, 5, **_without_a_card("create_invoice"))
    clock.advance(days=6)
    now = reread(account, trial, "latest_invoice")
    assert (now["status"], now["latest_invoice"]["status"]) == ("past_due", "open")
    assert now["latest_invoice"]["id"] != trial["latest_invoice"]
    account.event(now["latest_invoice"]["id"], "invoice.payment_failed")
