"""A deployment whose customers live on a Stripe test clock, whose time is not ours: `stripe.test_clock`."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.integration.events.test_events import of, reads
from tests.integration.events.test_verify import quick_second_look, verify
from tests.integration.provisioning.conftest import NewStack
from tests.integration.provisioning.test_adoption import after_the_loss_of_the_database
from tests.support.stack import Stack, profile
from tests.support.waiting import wait_until
from worker.domain.drift import Kind

__all__ = ["quick_second_look"]

YEAR = timedelta(days=365)
TRIAL = timedelta(days=31)
PATH = "/v1/test_helpers/test_clocks"

OnClock = Callable[[timedelta], Stack]


@pytest.fixture
def on_clock(new_stack: NewStack) -> OnClock:
    """A deployment on a test clock that is so far ahead of ours."""

    def make(ahead: timedelta) -> Stack:
        first = new_stack()
        first.prepare()
        frozen = int((datetime.now(UTC) + ahead).timestamp())
        clock = first.call_stripe("POST", PATH, frozen_time=str(frozen))["id"]
        return new_stack(
            stripe=first.stripe,
            topics=(first.topic, first.backfill_topic, first.events_topic),
            SUBKEEPER_STRIPE__TEST_CLOCK=clock,
        )

    return make


def clock_of(stack: Stack) -> dict[str, Any]:
    return stack.call_stripe("GET", f"{PATH}/{stack.environ['SUBKEEPER_STRIPE__TEST_CLOCK']}")


def advance(stack: Stack, by: timedelta) -> None:
    clock = clock_of(stack)
    target = clock["frozen_time"] + int(by.total_seconds())
    stack.call_stripe("POST", f"{PATH}/{clock['id']}/advance", frozen_time=str(target))
    wait_until(lambda: clock_of(stack)["status"] == "ready")


def has_a_full_trial(stack: Stack, user_id: str) -> bool:
    """By the clock, which is what Stripe ends it by."""
    subscription = stack.call_stripe("GET", f"/v1/subscriptions/{of(stack, user_id)}")
    left = timedelta(seconds=subscription["trial_end"] - clock_of(stack)["frozen_time"])
    return subscription["status"] == "trialing" and timedelta(0) <= TRIAL - left <= timedelta(seconds=30)


@pytest.mark.parametrize("ahead", [-YEAR, YEAR], ids=["behind", "ahead"])
def test_a_trial_lasts_on_the_clock_as_long_as_it_would_without_whatever_its_time(
    on_clock: OnClock, ahead: timedelta
) -> None:
    stack = on_clock(ahead)
    stack.start_worker()
    stack.publish(profile("ada"), profile("bob", created_at=None))
    stack.await_completed("ada", "bob")
    customer = stack.call_stripe("GET", f"/v1/customers/{stack.customers('ada')[0]['id']}")
    assert customer["test_clock"] == clock_of(stack)["id"]
    assert has_a_full_trial(stack, "ada")
    assert has_a_full_trial(stack, "bob")
    advance(stack, timedelta(days=40))
    stack.publish(profile("cleo"))
    stack.await_completed("cleo")
    assert has_a_full_trial(stack, "cleo"), "although the others' are over"


def test_verify_walks_the_clock_and_tells_what_time_has_changed(on_clock: OnClock) -> None:
    stack = on_clock(timedelta())
    worker = stack.start_worker()
    stack.publish(profile("ada"), profile("bob"))
    stack.await_completed("ada", "bob")
    worker.stop()
    stack.rows("DELETE FROM billing_subscriptions WHERE stripe_subscription_id = %s", of(stack, "bob"))
    told = verify(stack)
    assert [each.kind for each in told] == [Kind.MISSING_HERE]
    listed = stack.requests("GET", "/v1/subscriptions")
    assert [each["params"].get("test_clock") for each in listed] == [None, clock_of(stack)["id"]]
    verify(stack, repair=True)
    assert verify(stack) == []
    advance(stack, timedelta(days=32))
    assert {each.kind for each in verify(stack)} == {Kind.DIFFERING}


def test_a_lost_database_finds_the_customers_on_the_clock_however_old_they_say_they_are(on_clock: OnClock) -> None:
    stack = on_clock(-YEAR)
    worker = stack.start_worker()
    stack.publish(profile("ada", created_at=None))
    stack.await_completed("ada")
    worker.stop()
    after_the_loss_of_the_database(stack)
    stack.control.jump(timedelta(days=2).total_seconds())  # the keys are forgotten
    stack.start_worker()
    stack.publish(profile("ada", created_at=None), profile("bob", created_at=None))
    stack.await_completed("ada", "bob")
    assert stack.control.duplicates() == {}
    assert stack.requests("GET", "/v1/customers/search") == []
    assert len(stack.subscriptions("ada")) == len(stack.subscriptions("bob")) == 1


def test_what_happens_on_the_clock_is_fetched_and_a_trials_end_is_told(on_clock: OnClock) -> None:
    """Whatever `created` says: an event that looks old is no exception."""
    stack = on_clock(timedelta())
    stack.start_worker("events")
    worker = stack.start_worker()
    wait_until(worker.is_ready)
    stack.publish(profile("ada"))
    stack.await_completed("ada")
    created = stack.events("customer.subscription.created")[0]
    advance(stack, timedelta(days=32))
    before = reads(stack)
    old = {**created, "id": "evt_old", "created": created["created"] - 3600}
    stack.hear(old)
    stack.await_heard(old)
    assert stack.outcomes() == {"evt_old": "refreshing"}
    wait_until(lambda: stack.subscription_row(of(stack, "ada"))["stripe_subscription_status"] == "paused")
    assert reads(stack) == before + 1
    causes = [each["cause"] for each in stack.rows("SELECT cause FROM subscription_changes ORDER BY version")]
    assert causes == ["provisioned", "trial_ended"]
    assert time.time() < stack.subscription_row(of(stack, "ada"))["last_notified"].timestamp(), "the clock's time"
