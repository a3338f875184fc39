"""Test clocks: what is on one is not what `created` is judged by, and is not in lists."""

from __future__ import annotations

from collections.abc import Mapping

from tests.contract.account import Account
from tests.contract.life import DAY, Clock, Makes

SLACK = 5
"""Seconds between Stripe's own clocks."""


def test_an_event_carries_the_real_time_and_its_object_the_clocks(account: Account, clock: Clock, free: str) -> None:
    """Hence an object with a test clock is always refreshed, and never judged by an event's `created`."""
    trial = clock.trial(clock.customer(), free, 5, trial_settings=_pausing())
    clock.advance(days=6)
    later = clock.customer()
    now = account.now()
    kinds = ("customer.subscription.trial_will_end", "customer.subscription.paused")
    made = [*account.events(trial["id"], *kinds), account.event(later["id"], "customer.created")]
    outside = [each["created"] for each in made if not clock.start - SLACK <= each["created"] <= now + SLACK]
    assert outside == [], f"the clock went from {clock.start} to {clock.start + 6 * DAY}, Stripe's own to {now}"
    assert later["created"] - clock.start == 6 * DAY


def test_lists_leave_out_what_is_on_a_clock_unless_it_or_its_customer_is_named(
    account: Account, clock: Clock, makes: Makes, free: str
) -> None:
    email = f"{makes.word()}@example.com"
    customer = clock.customer(email=email)
    trial = clock.trial(customer, free, 5)
    assert _ids(account, "/v1/customers", {"email": email}) == []
    assert _ids(account, "/v1/customers", {"email": email, "test_clock": clock.id}) == [customer["id"]]
    since = {"created": {"gte": clock.start - SLACK}, "status": "all"}
    assert trial["id"] not in _ids(account, "/v1/subscriptions", since)
    assert _ids(account, "/v1/subscriptions", {"test_clock": clock.id}) == [trial["id"]]
    assert _ids(account, "/v1/subscriptions", {"customer": customer["id"]}) == [trial["id"]]


def test_a_trial_s_end_is_judged_by_the_clock_whose_time_can_be_read(account: Account, makes: Makes, free: str) -> None:
    """Hence a trial's end on a clock is sent as far ahead of that as it would lie ahead of Stripe's own time."""
    clock = makes.clock(ahead_days=40)
    assert account.get(f"/v1/test_helpers/test_clocks/{clock.id}")["frozen_time"] == clock.start
    customer = clock.customer()
    terms = {"customer": customer["id"], "items": [{"price": free}], "trial_end": clock.start - 9 * DAY}
    refused = account.ask("post", "/v1/subscriptions", terms)
    assert (refused.status, refused.error.get("param")) == (400, "trial_end"), "it is to come by Stripe's own time"
    assert clock.trial(customer, free, 31)["status"] == "trialing"


def test_a_clock_advances_by_two_intervals_of_its_shortest_subscription_at_most(
    account: Account, clock: Clock, free: str
) -> None:
    clock.trial(clock.customer(), free, 5)
    path = f"/v1/test_helpers/test_clocks/{clock.id}/advance"
    assert account.ask("post", path, {"frozen_time": clock.start + 70 * DAY}).status == 400


def _ids(account: Account, path: str, asked: Mapping[str, object]) -> list[str]:
    return [each["id"] for each in account.all(path, asked)]


def _pausing() -> dict[str, object]:
    return {"end_behavior": {"missing_payment_method": "pause"}}
