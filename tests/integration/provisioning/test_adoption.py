"""What Stripe has already is taken, not made again: databases lost and restored, and subscriptions made elsewhere."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.stack import Stack, profile, users
from tests.support.waiting import wait_until
from worker.domain.provisioning import user_digest


def after_the_loss_of_the_database(stack: Stack) -> None:
    """The rows are gone, as with a database that was set up anew; Stripe and the brokers know nothing of it."""
    stack.rows(
        "TRUNCATE provisionings, billing_customers, billing_owners, billing_subscriptions, subscription_changes,"
        " subscription_refreshes, payment_methods"
    )
    stack.forget_claim()


def served_and_lost(stack: Stack, message: dict[str, Any]) -> None:
    """The user was served, no worker runs any more, and the database is gone."""
    worker = stack.start_worker()
    stack.publish(message)
    stack.await_completed(message["id"])
    worker.stop()
    after_the_loss_of_the_database(stack)


@pytest.mark.parametrize(
    "created_at", [None, (datetime.now(UTC) - timedelta(hours=24)).isoformat()], ids=["none", "24h"]
)
@pytest.mark.parametrize("topic", ["live", "backfill"])
def test_a_replay_into_a_new_database_adopts_what_is_there(stack: Stack, created_at: str | None, topic: str) -> None:
    worker = stack.start_worker()
    names = users(5)
    stack.publish(*[profile(name, created_at=created_at) for name in names])
    stack.await_completed(*names)
    first = {name: stack.ledger(name)["stripe_subscription_id"] for name in names}
    worker.stop()
    after_the_loss_of_the_database(stack)
    stack.control.jump(timedelta(days=2).total_seconds())
    stack.start_worker()
    stack.publish(
        *[profile(name, created_at=created_at) for name in names],
        topic=stack.topic if topic == "live" else stack.backfill_topic,
    )
    stack.await_completed(*names)
    assert {name: stack.ledger(name)["stripe_subscription_id"] for name in names} == first
    assert stack.control.duplicates() == {}
    assert len(stack.control.state()["subscriptions"]) == len(names)


def test_a_replay_of_a_profile_without_email_adopts_by_search(stack: Stack) -> None:
    served_and_lost(stack, profile("ada", email=None, created_at=None))
    stack.control.jump(timedelta(days=2).total_seconds())
    stack.start_worker()
    stack.publish(profile("ada", email=None, created_at=None))
    stack.await_completed("ada")
    assert stack.control.duplicates() == {}
    assert len(stack.customers("ada")) == 1


def test_an_account_without_search_is_served_all_the_same(stack: Stack) -> None:
    stack.control.fault("status", status=400, match={"path": "/v1/customers/search"})
    stack.start_worker()
    stack.publish(profile("ada", email=None, created_at=None))
    stack.await_completed("ada")
    stack.assert_exactly_one("ada")


def test_a_replay_within_the_day_is_answered_by_stripe_s_memory(stack: Stack) -> None:
    """A young profile is not looked for: its key finds the same objects."""
    message = profile("ada")
    served_and_lost(stack, message)
    stack.start_worker()
    stack.publish(message)
    stack.await_completed("ada")
    assert stack.control.duplicates() == {}
    assert len(stack.subscriptions("ada")) == 1


def test_a_replay_after_an_edit_within_the_day_finds_its_key_used_with_other_words_and_looks(stack: Stack) -> None:
    message = profile("ada")
    served_and_lost(stack, message)
    stack.start_worker()
    stack.publish({**message, "email": "ada@example.org", "name": "Ada, edited"})
    stack.await_completed("ada")
    assert stack.control.duplicates() == {}
    assert len(stack.customers("ada")) == 1
    assert len(stack.subscriptions("ada")) == 1


def test_a_replay_after_a_new_email_within_the_day_makes_no_second_customer(stack: Stack) -> None:
    """The list by email is empty, and there is no other trace of the first request than Stripe's refusal of its key."""
    message = profile("ada")
    served_and_lost(stack, message)
    stack.start_worker()
    stack.publish({**message, "email": "new@example.org"})
    stack.await_completed("ada")
    assert stack.control.duplicates() == {}
    assert len(stack.customers("ada")) == 1


@pytest.mark.parametrize("hours", [5, 48])
@pytest.mark.parametrize("created_at", ["known", "unknown"])
def test_a_replay_after_a_new_email_finds_the_customer_hours_or_days_later(
    stack: Stack, hours: int, created_at: str
) -> None:
    """No list finds it: not by the new email, nor around a request that this database knows of."""
    message = profile("ada") if created_at == "known" else profile("ada", created_at=None)
    served_and_lost(stack, message)
    stack.control.jump(hours * 3600)
    stack.start_worker()
    stack.publish({**message, "email": "new@example.org"})
    stack.await_completed("ada")
    assert stack.control.duplicates() == {}
    assert len(stack.customers("ada")) == 1


def test_a_look_that_failed_is_repeated_as_a_whole(stack: Stack) -> None:
    served_and_lost(stack, profile("ada", email=None, created_at=None))
    stack.control.jump(timedelta(days=2).total_seconds())
    stack.control.fault("status", match={"path": "/v1/customers/search"}, times=6, status=503)
    stack.start_worker()
    stack.publish(profile("ada", email=None, created_at=None))
    stack.await_completed("ada")
    assert stack.control.duplicates() == {}
    assert len(stack.customers("ada")) == 1


def customer_made_elsewhere(stack: Stack, user_id: str) -> str:
    made = stack.call_stripe(
        "POST", "/v1/customers", email=f"{user_id}@example.org",
        **{"metadata[subkeeper]": user_digest("subkeeper", user_id), "metadata[user_id]": user_id},
    )  # fmt: skip
    return str(made["id"])


def test_a_subscription_made_elsewhere_for_our_customer_is_adopted(stack: Stack) -> None:
    customer = customer_made_elsewhere(stack, "ada")
    made = stack.call_stripe(
        "POST", "/v1/subscriptions", customer=customer, trial_period_days="7",
        **{"items[0][price]": stack.price()["id"]},
    )  # fmt: skip
    stack.start_worker()
    stack.publish(profile("ada", created_at=None))
    stack.await_completed("ada")
    row = stack.ledger("ada")
    assert (row["stripe_customer_id"], row["stripe_subscription_id"]) == (customer, made["id"])
    assert len(stack.subscriptions("ada")) == 1
    held = stack.rows("SELECT * FROM billing_subscriptions")
    assert [each["stripe_subscription_id"] for each in held] == [made["id"]]
    assert held[0]["trial_end"] == datetime.fromtimestamp(made["trial_end"], UTC)


def test_a_canceled_subscription_that_was_not_ours_is_not_adopted(stack: Stack) -> None:
    customer = customer_made_elsewhere(stack, "ada")
    made = stack.call_stripe(
        "POST", "/v1/subscriptions", customer=customer, trial_period_days="7",
        **{"items[0][price]": stack.price()["id"]},
    )  # fmt: skip
    stack.call_stripe("DELETE", f"/v1/subscriptions/{made['id']}")
    stack.start_worker()
    stack.publish(profile("ada", created_at=None))
    stack.await_completed("ada")
    stack.assert_exactly_one("ada")
    assert stack.ledger("ada")["stripe_subscription_id"] != made["id"]


def test_another_user_s_customer_with_the_same_email_is_left_alone(stack: Stack) -> None:
    customer_made_elsewhere(stack, "eve")
    stack.start_worker()
    stack.publish(profile("ada", email="eve@example.org", created_at=None))
    stack.await_completed("ada")
    stack.assert_exactly_one("ada")


def test_a_customer_that_the_user_already_has_is_reused(stack: Stack) -> None:
    """An event of Stripe's, say, was there before the profile."""
    customer = customer_made_elsewhere(stack, "ada")
    stack.rows("INSERT INTO billing_customers (user_id, stripe_customer_id) VALUES ('ada', %s)", customer)
    stack.start_worker()
    stack.publish(profile("ada"))
    stack.await_completed("ada")
    stack.assert_exactly_one("ada")
    assert not stack.requests("POST", "/v1/customers")[1:], "only the one made elsewhere"


def test_a_restored_backup_that_misses_the_last_hour_ends_with_one_of_each(stack: Stack) -> None:
    """Messages of the lost hour come again by a backfill; half of their rows are there, half are not."""
    names = users(6)
    worker = stack.start_worker()
    stack.publish(*[profile(name) for name in names])
    stack.await_completed(*names)
    worker.stop()
    stack.rows("DELETE FROM subscription_changes WHERE user_id IN ('user-3', 'user-4', 'user-5')")
    stack.rows("DELETE FROM billing_customers WHERE user_id IN ('user-3', 'user-4', 'user-5')")
    stack.rows("DELETE FROM provisionings WHERE user_id IN ('user-3', 'user-4', 'user-5')")
    stack.start_worker()
    stack.publish(*[profile(name) for name in names], topic=stack.backfill_topic)
    wait_until(lambda: stack.is_completed(*names))
    stack.assert_exactly_one(*names[:3])
    assert stack.control.duplicates() == {}
    assert len(stack.control.state()["subscriptions"]) == len(names)
