"""A subscription that Stripe no longer has: believed when it says so again later, and then left alone."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.integration.events.test_events import later, of, reads, start, subscribe
from tests.integration.events.test_verify import verify
from tests.support.stack import Stack
from tests.support.waiting import wait_until
from worker.domain.drift import Kind
from worker.events import vanished
from worker.events.vanished import Vanished
from worker.runtime import watch
from worker.runtime.explaining import explain
from worker.store import refreshes
from worker.store.engine.database import Database

MARKS = "SELECT *, due_at > now() + interval '5 days' AS is_far FROM subscription_refreshes"


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vanished, "CONFIRM_AFTER", timedelta(seconds=0.3))
    monkeypatch.setattr(watch, "WATCH_INTERVAL", 0.2)


def mark(stack: Stack, identifier: str) -> None:
    stack.rows("INSERT INTO subscription_refreshes (stripe_subscription_id) VALUES (%s)", identifier)


def test_a_row_that_stripe_denies_twice_is_set_aside_until_an_event_asks_again(stack: Stack) -> None:
    worker = start(stack, "ada")
    event = stack.events("customer.subscription.created")[0]
    event["data"]["object"]["id"] = "sub_gone"
    stack.rows("UPDATE billing_subscriptions SET stripe_subscription_id = 'sub_gone'")
    stack.rows("UPDATE provisionings SET stripe_subscription_id = 'sub_gone'")
    mark(stack, "sub_gone")
    wait_until(lambda: worker.metric("subkeeper_subscriptions_missing") == 1)
    assert reads(stack) == 2
    assert stack.rows(MARKS)[0]["is_far"]
    wait_until(lambda: worker.metric("subkeeper_refreshes_waiting") == 0)
    assert worker.metric("subkeeper_refreshes_oldest_age_seconds") == 0

    (found,) = (each for each in verify(stack, "ada") if each.kind is Kind.MISSING_THERE)
    assert str(found.detail).startswith("set aside: Stripe has had none such since ")
    (told,) = (each for each in explain(stack.settings(), "ada", timedelta(days=1)) if each.what == "missing at Stripe")
    assert told.about == "sub_gone"

    before = reads(stack)
    stack.hear(later(stack, {**event, "api_version": "2019-01-01"}))
    wait_until(lambda: reads(stack) == before + 1, what="it is asked for at once")
    wait_until(lambda: stack.rows(MARKS)[0]["is_far"])
    assert stack.subscription_row("sub_gone")["version"] == 1, "the row stays as it was"


def test_what_stripe_does_not_find_once_is_asked_for_again_and_taken(stack: Stack) -> None:
    start(stack, "ada")
    subscription = of(stack, "ada")
    path = f"/v1/subscriptions/{subscription}"
    stack.control.fault("status", times=1, match={"path": path}, status=400, code="resource_missing")
    mark(stack, subscription)
    wait_until(lambda: reads(stack) == 2 and not stack.rows(MARKS))


def test_a_mark_without_a_row_ends_and_is_not_revisited(stack: Stack) -> None:
    start(stack, "ada")
    stack.rows("INSERT INTO unmatched_subscriptions (stripe_subscription_id, stripe_customer_id) VALUES ('sub_x', 'c')")
    mark(stack, "sub_x")
    wait_until(lambda: not stack.rows(MARKS))
    assert reads(stack) == 2
    assert stack.rows("SELECT 1 FROM unmatched_subscriptions") == []


def test_a_mark_that_is_wanted_again_while_stripe_denies_it_stays(stack: Stack) -> None:
    mark(stack, "sub_x")
    stack.rows("UPDATE subscription_refreshes SET missing_since = now() - interval '1 hour'")
    database = Database(stack.settings().database)
    with database.transaction() as tx:
        (held,) = refreshes.lease(tx, 1, timedelta(seconds=20))
        refreshes.mark(tx, ["sub_x"])
    Vanished(database).denied(held)
    with database.transaction() as tx:
        assert [each.wanted for each in refreshes.lease(tx, 1, timedelta(seconds=20))] == [held.wanted + 1]
    database.close()


def test_two_answers_within_a_moment_are_one_doubt(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events can have it asked for again at once."""
    monkeypatch.setattr(vanished, "CONFIRM_AFTER", timedelta(hours=1))
    database = Database(stack.settings().database)
    for _ in range(2):
        with database.transaction() as tx:
            refreshes.mark(tx, ["sub_x"])
            (held,) = refreshes.lease(tx, 1, timedelta(seconds=20))
        Vanished(database).denied(held)
    database.close()
    assert len(stack.rows(MARKS)) == 1


def test_a_mark_of_a_deleted_customers_ends_with_one_read(stack: Stack) -> None:
    start(stack, "ada")
    made = subscribe(stack, str(stack.customers("ada")[0]["id"]))
    stack.rows("UPDATE billing_customers SET deleted_at = now()")
    mark(stack, made["id"])
    wait_until(lambda: not stack.rows(MARKS))
    assert reads(stack) == 1
    assert stack.subscription_row(made["id"]) == {}
