"""Databases that know less than Stripe does: lost and replayed, restored, set back. Nobody is served twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.integration.provisioning.conftest import NewStack
from tests.integration.provisioning.test_adoption import (
    after_the_loss_of_the_database,
    customer_made_elsewhere,
    served_and_lost,
)
from tests.support.stack import Stack, Worker, profile
from tests.support.waiting import wait_until
from worker.domain.provisioning import user_digest

pytestmark = pytest.mark.usefixtures("quick_probes")


def without_settling(stack: Stack) -> Worker:
    """A worker that absorbs and settles nothing: the price can't be read."""
    stack.control.fault("status", status=503, match={"path": "/v1/prices"})
    return stack.start_worker()


def settled(stack: Stack, worker: Worker, user_id: str) -> None:
    """The price can be read again; another worker takes over, until the user is served."""
    worker.stop()
    stack.control.clear_faults()
    other = stack.start_worker()
    stack.await_completed(user_id)
    other.stop()


def absorbed(stack: Stack, message: dict[str, Any], topic: str | None = None) -> None:
    stack.publish(message, topic=topic)
    wait_until(lambda: stack.ledger(message["id"]))


def back_up(stack: Stack) -> None:
    stack.rows("CREATE TABLE backup AS TABLE provisionings")


def restore(stack: Stack) -> None:
    """The ledger is what it was at `back_up`; nothing else is left."""
    after_the_loss_of_the_database(stack)
    stack.rows("INSERT INTO provisionings TABLE backup")


def one_of_each(stack: Stack, user_id: str) -> None:
    assert stack.control.duplicates() == {}
    assert (len(stack.customers(user_id)), len(stack.subscriptions(user_id))) == (1, 1)
    row = stack.ledger(user_id)
    assert row["stripe_customer_id"] == stack.customers(user_id)[0]["id"]
    assert row["stripe_subscription_id"] == stack.subscriptions(user_id)[0]["id"]


# Keys that are older than the row's own requests


@pytest.mark.parametrize("email", ["ada@example.org", None])
def test_a_restored_row_that_was_absorbed_and_not_yet_asked_for_is_looked_for(stack: Stack, email: str | None) -> None:
    """What the lost database asked Stripe for meanwhile, Stripe's keys no longer remember."""
    worker = without_settling(stack)
    absorbed(stack, profile("ada", email=email))
    back_up(stack)
    settled(stack, worker, "ada")
    worker = without_settling(stack)
    restore(stack)
    stack.control.jump(timedelta(hours=25).total_seconds())
    settled(stack, worker, "ada")
    one_of_each(stack, "ada")


@pytest.mark.parametrize("topic", ["live", "backfill"])
def test_a_lost_row_replayed_at_22_hours_and_settled_3_hours_later_is_looked_for(stack: Stack, topic: str) -> None:
    message = profile("ada")
    served_and_lost(stack, message)
    stack.control.jump(timedelta(hours=22).total_seconds())
    worker = without_settling(stack)
    absorbed(stack, message, stack.topic if topic == "live" else stack.backfill_topic)
    stack.control.jump(timedelta(hours=3).total_seconds())
    settled(stack, worker, "ada")
    one_of_each(stack, "ada")


def test_a_row_of_which_nobody_says_since_when_its_key_may_have_been_used_is_looked_for(stack: Stack) -> None:
    """It was absorbed by a process of the release before."""
    message = profile("ada")
    worker = without_settling(stack)
    absorbed(stack, message)
    back_up(stack)
    settled(stack, worker, "ada")
    stack.rows("UPDATE backup SET key_possible_since = NULL, first_seen_at = now()")
    worker = without_settling(stack)
    restore(stack)
    stack.control.jump(timedelta(hours=25).total_seconds())
    settled(stack, worker, "ada")
    one_of_each(stack, "ada")


def test_a_fresh_signup_is_asked_for_without_a_look(stack: Stack) -> None:
    stack.start_worker()
    stack.publish(profile("ada"))
    stack.await_completed("ada")
    assert not stack.requests("GET", "/v1/customers")
    assert not stack.requests("GET", "/v1/subscriptions")
    assert stack.ledger("ada")["key_possible_since"] is not None


def test_a_profile_that_says_it_was_created_hours_from_now_is_looked_for(stack: Stack) -> None:
    """A local time without its zone: the lost database may have seen it all those hours ago."""
    created_at = datetime.now(UTC) + timedelta(hours=9)
    stack.start_worker()
    stack.publish(profile("ada", created_at=created_at.isoformat()))
    stack.await_completed("ada")
    assert stack.requests("GET", "/v1/customers")
    assert stack.ledger("ada")["key_possible_since"] is None
    stack.assert_exactly_one("ada")


def test_a_backfilled_profile_whose_customer_is_new_costs_no_look_for_a_subscription(stack: Stack) -> None:
    stack.start_worker()
    created_at = (datetime.now(UTC) - timedelta(days=400)).isoformat()
    stack.publish(profile("ada", created_at=created_at), topic=stack.backfill_topic)
    stack.await_completed("ada")
    assert stack.requests("GET", "/v1/customers")
    assert not stack.requests("GET", "/v1/subscriptions")
    assert stack.ledger("ada")["key_possible_since"] == datetime.fromisoformat(created_at)


# People who have had their subscription


def canceled_and_lost(stack: Stack, message: dict[str, Any]) -> str:
    """The user was served, has canceled, and the database is gone. Returns the subscription's id."""
    worker = stack.start_worker()
    stack.publish(message)
    stack.await_completed(message["id"])
    worker.stop()
    subscription: str = stack.ledger(message["id"])["stripe_subscription_id"]
    stack.call_stripe("DELETE", f"/v1/subscriptions/{subscription}")
    after_the_loss_of_the_database(stack)
    return subscription


@pytest.mark.parametrize("hours", [0, 13, 48], ids=["from memory", "in doubt", "forgotten"])
def test_who_had_canceled_gets_no_second_trial_by_a_replay_into_a_new_database(stack: Stack, hours: int) -> None:
    message = profile("ada")
    subscription = canceled_and_lost(stack, message)
    stack.control.jump(timedelta(hours=hours).total_seconds())
    stack.start_worker()
    stack.publish(message)
    stack.await_completed("ada")
    one_of_each(stack, "ada")
    (held,) = stack.rows("SELECT * FROM billing_subscriptions")
    assert (held["stripe_subscription_id"], held["stripe_subscription_status"]) == (subscription, "canceled")
    assert held["ended_at"] is not None
    (change,) = stack.rows("SELECT * FROM subscription_changes")
    assert (change["user_id"], change["stripe_subscription_id"]) == ("ada", subscription)
    assert (change["before"], change["after"]["stripe_subscription_status"]) == (None, "canceled")


def test_nothing_starts_another_subscription_after_that(stack: Stack) -> None:
    message = profile("ada")
    subscription = canceled_and_lost(stack, message)
    stack.control.jump(timedelta(hours=48).total_seconds())
    stack.control.fault("status", match={"path": "/v1/subscriptions", "method": "GET"}, status=402, sticky=False)
    stack.start_worker()
    stack.publish(message)
    wait_until(lambda: stack.ledger("ada").get("refusal"))
    stack.publish(profile("bob"))  # who needs no look: the refusal is ada's own
    stack.await_state("ada", "quarantined")
    stack.control.clear_faults()
    assert stack.spawn("quarantine", "retry", "ada").wait() == 0
    stack.await_completed("ada")
    assert stack.spawn("quarantine", "retry", "ada").wait() == 1
    assert stack.spawn("publish", "--id", "ada", "--email", "new@example.org").wait() == 0
    stack.publish(message, topic=stack.backfill_topic)
    wait_until(lambda: stack.is_drained() and stack.is_drained(stack.backfill_topic))
    one_of_each(stack, "ada")
    assert stack.ledger("ada")["stripe_subscription_id"] == subscription


def subscribed_elsewhere(stack: Stack, customer: str, **form: str) -> str:
    """As Checkout does it, or the dashboard."""
    price = stack.price()["id"]
    made = stack.call_stripe("POST", "/v1/subscriptions", customer=customer, **{"items[0][price]": price}, **form)
    return str(made["id"])


def our_mark(user_id: str) -> dict[str, str]:
    return {"metadata[subkeeper]": user_digest("subkeeper", user_id), "metadata[user_id]": user_id}


def test_a_canceled_duplicate_beside_a_living_one_is_not_the_one_that_is_adopted(stack: Stack) -> None:
    customer = customer_made_elsewhere(stack, "ada")
    canceled = subscribed_elsewhere(stack, customer, trial_period_days="7", **our_mark("ada"))
    living = subscribed_elsewhere(stack, customer, trial_period_days="7", **our_mark("ada"))
    stack.call_stripe("DELETE", f"/v1/subscriptions/{canceled}")
    stack.start_worker()
    stack.publish(profile("ada", created_at=None))
    stack.await_completed("ada")
    assert stack.ledger("ada")["stripe_subscription_id"] == living
    assert len(stack.subscriptions("ada")) == 2


def test_checkout_s_that_lives_comes_before_ours_that_was_canceled(stack: Stack) -> None:
    customer = customer_made_elsewhere(stack, "ada")
    canceled = subscribed_elsewhere(stack, customer, trial_period_days="7", **our_mark("ada"))
    stack.call_stripe("DELETE", f"/v1/subscriptions/{canceled}")
    living = subscribed_elsewhere(stack, customer, trial_period_days="7")
    stack.start_worker()
    stack.publish(profile("ada", created_at=None))
    stack.await_completed("ada")
    assert stack.ledger("ada")["stripe_subscription_id"] == living
    assert len(stack.subscriptions("ada")) == 2


def test_a_living_one_that_carries_another_user_s_mark_is_not_adopted(stack: Stack) -> None:
    customer = customer_made_elsewhere(stack, "ada")
    other = subscribed_elsewhere(stack, customer, trial_period_days="7", **our_mark("eve"))
    stack.start_worker()
    stack.publish(profile("ada", created_at=None))
    stack.await_completed("ada")
    assert stack.ledger("ada")["stripe_subscription_id"] != other
    assert len(stack.subscriptions("ada")) == 2


# People who were deleted at Stripe


@pytest.mark.parametrize("topic", ["live", "backfill"])
def test_a_replay_does_not_revive_a_user_whose_customer_was_deleted(new_stack: NewStack, topic: str) -> None:
    stack = new_stack()
    stack.setup()
    stack.control.fault("status", match={"path": "/v1/subscriptions", "method": "POST"}, times=1, status=503)
    worker = stack.start_worker()
    message = profile("ada")
    stack.publish(message)
    stack.await_state("ada", "customer_created")
    stack.call_stripe("DELETE", f"/v1/customers/{stack.customers('ada')[0]['id']}")
    stack.await_state("ada", "quarantined")
    before = stack.ledger("ada")
    topic = stack.topic if topic == "live" else stack.backfill_topic
    known = worker.metric("subkeeper_messages_total", topic=topic, outcome="known")
    stack.publish({**message, "email": "new@example.org"}, topic=topic)
    wait_until(lambda: worker.metric("subkeeper_messages_total", topic=topic, outcome="known") == known + 1)
    assert stack.ledger("ada") == before
    assert stack.customers("ada") == []
