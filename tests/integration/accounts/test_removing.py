"""DELETE /subscriptions/{user_id}: canceled at Stripe, removed here, and revived by nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.integration.accounts.conftest import Accounts, signed_up
from tests.integration.events.test_verify import verify
from tests.support.stack import Stack, profile
from tests.support.waiting import wait_until
from worker.accounts.leases import ChangeLeases

DELETED = "customer.subscription.deleted"


def removed(accounts: Accounts, subscription: str) -> None:
    """Nothing of it is left but its tombstone, whatever comes."""
    stack = accounts.stack
    assert not stack.subscription_row(subscription)
    assert not stack.rows("SELECT 1 FROM subscription_refreshes UNION ALL SELECT 1 FROM unmatched_subscriptions")
    (tombstone,) = stack.rows("SELECT * FROM subscription_tombstones")
    changes = stack.rows(
        "SELECT * FROM subscription_changes WHERE stripe_subscription_id = %s ORDER BY id", subscription
    )
    assert (changes[-1]["after"], changes[-1]["cause"]) == (None, "removed")
    assert changes[-1]["version"] == max(each["version"] for each in changes) == tombstone["version"]
    assert [each["after"] is None for each in changes].count(True) == 1
    assert accounts.read("ann").status == 404
    assert stack.call_stripe("GET", f"/v1/subscriptions/{subscription}")["status"] == "canceled"


def hears(stack: Stack) -> None:
    worker = stack.start_worker("events")
    wait_until(worker.is_ready)


def deleted(stack: Stack) -> list[dict[str, Any]]:
    return stack.events(DELETED)


def test_it_is_canceled_removed_and_told_of_once(accounts: Accounts) -> None:
    subscription = accounts.id_of("ann")
    assert accounts.delete("ann", Idempotency_Key="k").status == 204
    removed(accounts, subscription)
    assert accounts.delete("ann", Idempotency_Key="k").status == 204, "the same result"
    assert accounts.delete("ann").body["code"] == "no_subscription"
    assert accounts.change("ann", {"plan": "pro"}).body["code"] == "no_subscription"
    exists = accounts.create({"user_id": "ann", "plan": "pro"})
    assert (exists.status, exists.body["code"]) == (409, "exists")
    assert "removed" in exists.body["detail"]


@pytest.mark.parametrize("when", ["before", "during", "after"])
def test_the_event_of_its_end_revives_nothing_whenever_it_comes(
    accounts: Accounts, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack, subscription = accounts.stack, accounts.id_of("ann")
    hears(stack)
    if when == "before":
        stack.call_stripe("DELETE", f"/v1/subscriptions/{subscription}")
        stack.hear(*deleted(stack))
        wait_until(lambda: accounts.read("ann").body["status"] == "canceled")
    if when == "during":
        remove = ChangeLeases.remove

        def heard_first(leases: ChangeLeases, lease: Any) -> None:
            stack.hear(*deleted(stack))
            wait_until(lambda: accounts.read("ann").body["status"] == "canceled")
            remove(leases, lease)

        monkeypatch.setattr(ChangeLeases, "remove", heard_first)
    assert accounts.delete("ann").status == 204
    stack.hear(*stack.events("customer.subscription.created", "customer.subscription.updated", "invoice.paid"))
    stack.hear(*({**each, "id": f"{each['id']}_again"} for each in deleted(stack)))
    created = len(stack.events("customer.subscription.created", "customer.subscription.updated", "invoice.paid"))
    wait_until(lambda: len(stack.outcomes()) == created + (1 if when == "after" else 2))
    of_it = {outcome for event, outcome in stack.outcomes().items() if event.endswith("_again")}
    assert of_it == {"tombstoned"}
    removed(accounts, subscription)


def test_a_fetch_that_was_under_way_writes_nothing(accounts: Accounts) -> None:
    """Its mark is gone with the row; and a mark that comes later is cleared without one."""
    stack, subscription = accounts.stack, accounts.id_of("ann")
    hears(stack)
    path = f"/v1/subscriptions/{subscription}"
    stack.control.fault("latency", match={"path": path, "method": "GET"}, times=1, ms=800)
    stack.rows("INSERT INTO subscription_refreshes (stripe_subscription_id) VALUES (%s)", subscription)
    wait_until(lambda: stack.rows("SELECT 1 FROM subscription_refreshes WHERE lease_until > now()"))
    assert accounts.delete("ann").status == 204
    wait_until(lambda: stack.requests("GET", path))
    stack.rows("INSERT INTO subscription_refreshes (stripe_subscription_id) VALUES (%s)", subscription)
    wait_until(lambda: not stack.rows("SELECT 1 FROM subscription_refreshes"))
    removed(accounts, subscription)


def test_neither_verify_nor_a_backfill_brings_it_back(accounts: Accounts) -> None:
    stack, subscription = accounts.stack, accounts.id_of("ann")
    assert accounts.delete("ann").status == 204
    assert verify(stack) == []
    assert verify(stack, "ann", repair=True) == []
    stack.publish(profile("ann"), profile("bob"), topic=stack.backfill_topic)
    stack.start_worker()
    stack.await_completed("bob")
    removed(accounts, subscription)
    assert len(stack.customers("ann")) == 1
    assert len(stack.subscriptions("ann")) == 1


def test_one_that_had_ended_is_removed_all_the_same(accounts: Accounts) -> None:
    subscription = accounts.id_of("ann")
    accounts.stack.call_stripe("DELETE", f"/v1/subscriptions/{subscription}")
    assert accounts.delete("ann").status == 204
    removed(accounts, subscription)


def test_it_stays_until_it_has_ended_whatever_stripe_doesnt_find(accounts: Accounts) -> None:
    stack, subscription = accounts.stack, accounts.id_of("ann")
    path = f"/v1/subscriptions/{subscription}"
    match = {"path": path, "method": "DELETE"}
    stack.control.fault("status", match=match, times=1, status=400, code="resource_missing")
    with ThreadPoolExecutor(1) as threads:
        deleting = threads.submit(accounts.delete, "ann")
        wait_until(
            lambda: stack.rows("SELECT 1 FROM account_changes WHERE last_error = 'subscription_missing_and_there'")
        )
        assert stack.subscription_row(subscription)
        assert deleting.result().status == 204
    removed(accounts, subscription)


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_error_of_stripes_keeps_no_removal_from_being_done(accounts: Accounts, when: str) -> None:
    """Whether Stripe had canceled it by then or not. What it keeps under a key, it keeps of a POST alone."""
    stack, subscription = accounts.stack, accounts.id_of("ann")
    path = f"/v1/subscriptions/{subscription}"
    stack.control.fault("status", match={"path": path, "method": "DELETE"}, times=1, status=500, when=when)
    accounts.delete("ann")
    wait_until(lambda: accounts.rows()[0]["state"] == "applied")
    removed(accounts, subscription)


def test_a_removal_that_stripe_refuses_is_told_and_the_next_one_is_asked_anew(accounts: Accounts) -> None:
    stack, subscription = accounts.stack, accounts.id_of("ann")
    match = {"path": f"/v1/subscriptions/{subscription}", "method": "DELETE"}
    stack.control.fault("status", match=match, times=1, status=400)
    refused = accounts.delete("ann")
    assert (refused.status, refused.body["code"]) == (409, "refused")
    assert accounts.delete("ann").status == 204
    removed(accounts, subscription)


def test_the_user_goes_on_to_another_one_that_lives(accounts: Accounts) -> None:
    """Made elsewhere, before or after."""
    stack, subscription = accounts.stack, accounts.id_of("ann")
    hears(stack)
    customer = str(stack.customers("ann")[0]["id"])
    form = {"customer": customer, "items[0][price]": stack.price()["id"], "trial_period_days": "9"}
    assert accounts.delete("ann").status == 204
    other = stack.call_stripe("POST", "/v1/subscriptions", **form)["id"]
    stack.hear(
        *[each for each in stack.events("customer.subscription.created") if each["data"]["object"]["id"] == other]
    )
    wait_until(lambda: accounts.read("ann").status == 200)
    assert accounts.read("ann").body["stripe_subscription"] == other
    assert not stack.subscription_row(subscription)
    assert accounts.change("ann", {"plan": "pro"}).body["plan"] == "pro"


def test_a_change_that_waited_behind_it_finds_none(accounts: Accounts) -> None:
    signed_up(accounts.stack, "bob")
    accounts.stack.control.latency(ms=100)
    with ThreadPoolExecutor(4) as threads:
        changing = [threads.submit(accounts.change, "ann", {"canceling": number % 2 == 0}) for number in range(3)]
        deleting = threads.submit(accounts.delete, "ann")
        assert {each.result().status for each in changing} <= {200, 404}
        assert deleting.result().status == 204
    assert accounts.read("ann").status == 404
    assert accounts.read("bob").status == 200
