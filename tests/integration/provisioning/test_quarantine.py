"""Users set aside until somebody acts, and their way back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.support.stack import Stack, profile
from tests.support.waiting import wait_until


def delete_customer_between_the_steps(stack: Stack) -> str:
    """Returns the deleted customer's id; the user is then quarantined."""
    stack.control.fault("status", match={"path": "/v1/subscriptions", "method": "POST"}, times=1, status=503)
    stack.publish(profile("ada"))
    stack.await_state("ada", "customer_created")
    customer = stack.customers("ada")[0]["id"]
    stack.call_stripe("DELETE", f"/v1/customers/{customer}")
    stack.await_state("ada", "quarantined")
    return customer


def refuse_for_good(stack: Stack, path: str = "/v1/customers") -> None:
    """Stripe refuses ada's request with a word that is about nothing we know, and takes somebody else's; until now."""
    stack.control.fault("status", match={"path": path, "method": "POST", "user_id": "ada"}, status=402, sticky=False)
    stack.publish(profile("ada"))
    wait_until(lambda: stack.ledger("ada").get("refusal"))
    stack.publish(profile("somebody-else"))
    stack.await_state("ada", "quarantined")
    stack.control.clear_faults()


def test_a_customer_deleted_between_the_steps_leaves_a_tombstone_and_sets_the_user_aside(stack: Stack) -> None:
    worker = stack.start_worker()
    customer = delete_customer_between_the_steps(stack)
    row = stack.ledger("ada")
    assert "customer_gone" in row["last_error"]
    assert row["stripe_customer_id"] is None
    held = stack.rows("SELECT * FROM billing_customers")
    assert [each["stripe_customer_id"] for each in held] == [customer]
    assert held[0]["deleted_at"] is not None
    stack.publish(profile("bob"))
    stack.await_completed("bob")
    assert worker.is_ready(), "one user's trouble is nobody else's"


@pytest.mark.parametrize("sticky", [False, True], ids=["passing", "kept under the key"])
def test_a_customer_that_stripe_denies_and_shows_is_not_buried(stack: Stack, sticky: bool) -> None:
    stack.control.fault(
        "status",
        match={"path": "/v1/subscriptions", "method": "POST"},
        times=1,
        status=400,
        code="resource_missing",
        sticky=sticky,
    )
    stack.start_worker()
    stack.publish(profile("ada"))
    stack.await_completed("ada")
    stack.assert_exactly_one("ada")
    customer = stack.customers("ada")[0]["id"]
    assert [each["path"] for each in stack.control.requests() if each["path"].endswith(customer)]


def test_a_retry_after_a_deleted_customer_makes_a_new_one(stack: Stack) -> None:
    stack.start_worker()
    gone = delete_customer_between_the_steps(stack)
    assert stack.retry_quarantined("ada", "nobody") == ["ada"]
    stack.await_completed("ada")
    stack.assert_exactly_one("ada")
    assert stack.customers("ada")[0]["id"] != gone
    assert stack.retry_quarantined("ada") == [], "a completed row is not retried"


def test_a_customer_deleted_with_its_subscription_while_our_answer_was_lost_is_replaced_by_a_retry(
    stack: Stack,
) -> None:
    stack.control.fault("drop", match={"path": "/v1/subscriptions", "method": "POST"}, times=30, when="after")
    stack.start_worker()
    stack.publish(profile("ada"))
    wait_until(lambda: stack.subscriptions("ada"))
    stack.call_stripe("DELETE", f"/v1/customers/{stack.customers('ada')[0]['id']}")
    stack.control.clear_faults()
    wait_until(lambda: stack.ledger("ada")["state"] in ("quarantined", "completed"))
    if stack.ledger("ada")["state"] == "quarantined":
        stack.retry_quarantined("ada")
        stack.await_completed("ada")
        stack.assert_exactly_one("ada")
    else:  # Stripe's memory said that there is a subscription; the refresh that was marked will tell
        assert stack.rows("SELECT 1 FROM subscription_refreshes")


def test_a_subscription_that_somebody_canceled_meanwhile_is_the_one_that_the_user_has_had(stack: Stack) -> None:
    stack.control.fault("drop", match={"path": "/v1/subscriptions", "method": "POST"}, when="after")
    worker = stack.start_worker()
    stack.publish(profile("ada"))
    wait_until(lambda: stack.subscriptions("ada"))
    worker.stop()
    stack.control.clear_faults()
    stack.call_stripe("DELETE", f"/v1/subscriptions/{stack.subscriptions('ada')[0]['id']}")
    stack.control.jump(timedelta(hours=30).total_seconds())
    stack.expire_leases()
    stack.start_worker()
    stack.await_completed("ada")
    (canceled,) = stack.subscriptions("ada")
    assert stack.ledger("ada")["stripe_subscription_id"] == canceled["id"]
    (held,) = stack.rows("SELECT * FROM billing_subscriptions")
    assert (held["stripe_subscription_id"], held["stripe_subscription_status"]) == (canceled["id"], "canceled")


def test_what_stripe_refuses_without_a_word_that_we_know_sets_the_user_aside_alone(stack: Stack) -> None:
    worker = stack.start_worker()
    refuse_for_good(stack)
    assert "stripe_refused" in stack.ledger("ada")["last_error"]
    stack.publish(profile("bob"))
    stack.await_completed("bob")
    stack.assert_exactly_one("bob")
    assert worker.is_ready()


def test_a_sealed_profile_that_was_tampered_with_is_set_aside(stack: Stack) -> None:
    stack.control.fault("status", status=503, match={"path": "/v1/customers"})
    worker = stack.start_worker()
    stack.publish(profile("ada"))
    wait_until(lambda: bool(stack.ledger("ada")))
    worker.stop()
    stack.control.clear_faults()
    stack.rows("UPDATE provisionings SET customer_request = set_byte(customer_request, 40, 0)")
    stack.expire_leases()
    stack.start_worker()
    stack.await_state("ada", "quarantined")
    assert "profile_sealed" in stack.ledger("ada")["last_error"]


def test_a_retry_from_quarantine_looks_first_and_takes_a_new_key(stack: Stack) -> None:
    stack.start_worker()
    refuse_for_good(stack)
    stack.retry_quarantined("ada")
    stack.await_completed("ada")
    stack.assert_exactly_one("ada")
    assert stack.requests("GET", "/v1/customers")
    asked = [each for each in stack.requests("POST", "/v1/customers") if each["user_id"] == "ada"]
    assert len({each["idempotency_key"] for each in asked}) == 2


def test_a_later_message_replaces_the_profile_of_a_user_in_quarantine(stack: Stack) -> None:
    stack.start_worker()
    refuse_for_good(stack)
    stack.publish(profile("ada", email="corrected@example.org"))
    stack.await_completed("ada")
    stack.assert_exactly_one("ada")
    assert stack.customers("ada")[0]["email"] == "corrected@example.org"


def test_who_was_deleted_at_stripe_and_whose_profile_expired_is_published_again_and_then_retried(stack: Stack) -> None:
    worker = stack.start_worker()
    delete_customer_between_the_steps(stack)
    stack.rows("UPDATE provisionings SET customer_request = NULL, quarantined_at = now() - interval '31 days'")
    assert stack.retry_quarantined("ada") == [], "there is nothing left to send"
    stack.publish(profile("ada"))
    wait_until(lambda: worker.metric("subkeeper_messages_total", topic=stack.topic, outcome="known") == 1)
    row = stack.ledger("ada")
    assert row["state"] == "quarantined", "no message revives whom Stripe's account deleted"
    assert datetime.now(UTC) - row["quarantined_at"] < timedelta(days=1), "it is kept as long as any"
    assert stack.retry_quarantined("ada") == ["ada"]
    stack.await_completed("ada")
    stack.assert_exactly_one("ada")


def test_a_later_message_does_not_touch_a_user_in_quarantine_who_has_a_customer(stack: Stack) -> None:
    worker = stack.start_worker()
    refuse_for_good(stack, "/v1/subscriptions")
    stack.publish(profile("ada", email="corrected@example.org"))
    wait_until(lambda: worker.metric("subkeeper_messages_total", topic=stack.topic, outcome="known") == 1)
    assert stack.ledger("ada")["state"] == "quarantined"
    stack.retry_quarantined("ada")
    stack.await_completed("ada")
    stack.assert_exactly_one("ada")
    assert stack.customers("ada")[0]["email"] == "ada@example.org"


def test_sealed_profiles_in_quarantine_expire_and_a_new_message_brings_the_user_back(stack: Stack) -> None:
    worker = stack.start_worker()
    refuse_for_good(stack)
    stack.publish(b"poison")
    wait_until(lambda: stack.rows("SELECT 1 FROM quarantined_messages"))
    worker.stop()
    stack.rows("UPDATE provisionings SET quarantined_at = now() - interval '31 days'")
    stack.rows("UPDATE quarantined_messages SET expires_at = now() - interval '1 second'")
    stack.start_worker()
    wait_until(lambda: stack.ledger("ada")["customer_request"] is None)
    wait_until(lambda: not stack.rows("SELECT 1 FROM quarantined_messages"))
    assert stack.retry_quarantined("ada") == [], "there is nothing left to send"
    stack.publish(profile("ada"))
    stack.await_completed("ada")
    stack.assert_exactly_one("ada")
