"""What hits a row while others pass is that row's; what hits everybody is nobody's."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import timedelta

import pytest

from tests.integration.provisioning.test_adoption import after_the_loss_of_the_database
from tests.support.stack import Stack, Worker, profile, users
from tests.support.waiting import wait_until
from worker.domain import doubt
from worker.work import halting

BAD, GOOD = users(30, "bad"), users(12, "good")
CUSTOMERS, SUBSCRIPTIONS = "/v1/customers", "/v1/subscriptions"
HELD = 30.0
"""Seconds that a good profile may be held up by bad ones."""


def refuse_all(stack: Stack, path: str, *, sticky: bool = False) -> None:
    """Stripe refuses whoever asks, with a 400 that names nothing; `sticky`: and keeps that under the key."""
    stack.control.fault("status", match={"path": path, "method": "POST"}, status=400, sticky=sticky)


def refuse_some(stack: Stack, path: str, names: Sequence[str]) -> None:
    for name in names:
        match = {"path": path, "method": "POST", "user_id": name}
        stack.control.fault("status", match=match, status=400, sticky=False)


def lay_ahead(stack: Stack, bad: Sequence[str], good: Sequence[str]) -> None:
    """All of them are in the ledger, and the bad ones are the first to be settled."""
    stack.control.fault("status", status=503, match={"path": CUSTOMERS})
    worker = stack.start_worker()
    stack.publish(*[profile(name) for name in [*bad, *good]])
    wait_until(lambda: len(stack.rows("SELECT 1 FROM provisionings")) == len(bad) + len(good))
    worker.stop()
    stack.control.clear_faults()
    stack.rows("UPDATE provisionings SET due_at = now(), lease_until = NULL, lane = 0")
    stack.rows(
        "UPDATE provisionings SET due_at = now() - interval '1 hour', first_seen_at = now() - interval '1 hour'"
        " WHERE user_id = ANY(%s)",
        list(bad),
    )


def count(stack: Stack, state: str) -> int:
    found = stack.rows("SELECT count(*) AS n FROM provisionings WHERE state = %s", state)
    return int(found[0]["n"])


def halted(worker: Worker) -> bool:
    return not worker.part("stripe")[0] and not worker.is_healthy()


def _no_plan(stack: Stack) -> None:
    stack.rows("UPDATE provisionings SET plan = 'gone' WHERE user_id = ANY(%s)", list(BAD))


def _refused_customers(stack: Stack) -> None:
    refuse_some(stack, CUSTOMERS, BAD)


def _refused_subscriptions(stack: Stack) -> None:
    refuse_some(stack, SUBSCRIPTIONS, BAD)


@pytest.mark.parametrize("make_bad", [_no_plan, _refused_customers, _refused_subscriptions])
def test_thirty_bad_rows_ahead_are_quarantined_and_hold_no_good_one_up(
    stack: Stack, make_bad: Callable[[Stack], None]
) -> None:
    lay_ahead(stack, BAD, GOOD)
    make_bad(stack)
    began = stack.rows("SELECT now() AS at")[0]["at"]
    worker = stack.start_worker()
    stack.await_completed(*GOOD, timeout=HELD)
    last = stack.rows("SELECT max(completed_at) AS at FROM provisionings")[0]["at"]
    assert last - began < timedelta(seconds=HELD)
    stack.publish(profile("later"))
    stack.await_completed("later")
    wait_until(lambda: count(stack, "quarantined") == len(BAD), what="all the bad ones are set aside")
    wait_until(worker.is_ready)
    assert worker.is_healthy()
    stack.assert_exactly_one(*GOOD, "later")
    assert {row["refusal"] for row in stack.rows("SELECT refusal FROM provisionings")} == {None}


def test_one_bad_row_among_good_ones_stops_nobody(stack: Stack) -> None:
    refuse_some(stack, SUBSCRIPTIONS, ["bad"])
    worker = stack.start_worker()
    stack.publish(profile("bad"))
    wait_until(lambda: stack.ledger("bad").get("refusal"))
    assert worker.is_ready(), "nothing is known of it yet"
    stack.publish(profile("good"))
    stack.await_state("bad", "quarantined")
    assert "status=400" in stack.ledger("bad")["last_error"]
    assert worker.is_ready()
    assert worker.metric("subkeeper_quarantined_total", reason="stripe_refused") == 1


@pytest.mark.parametrize("path", [CUSTOMERS, SUBSCRIPTIONS])
@pytest.mark.parametrize("sticky", [False, True])
@pytest.mark.usefixtures("quick_probes")
def test_twenty_healthy_profiles_that_stripe_refuses_with_everybody_are_nobody_s_fault(
    stack: Stack, path: str, *, sticky: bool
) -> None:
    refuse_all(stack, path, sticky=sticky)
    worker = stack.start_worker()
    stack.publish(*[profile(name) for name in users(20)])
    wait_until(lambda: halted(worker), what="a person is asked for")
    wait_until(lambda: len(stack.rows("SELECT 1 FROM provisionings WHERE refusal IS NOT NULL")) == 20)
    stack.control.clear_faults()
    stack.publish(profile("first-after"))  # who passes first says nothing against those who were refused
    stack.await_completed("first-after", *users(20))
    wait_until(worker.is_ready)
    assert count(stack, "quarantined") == 0
    stack.assert_exactly_one("first-after", *users(20))


@pytest.mark.usefixtures("quick_probes")
def test_long_halting_moves_no_generation_and_no_key(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(halting, "PROBE_INTERVAL", 0.02)
    refuse_all(stack, SUBSCRIPTIONS)
    worker = stack.start_worker()
    stack.publish(*[profile(name) for name in users(4)])
    wait_until(lambda: halted(worker))
    asked = len(stack.requests("POST", SUBSCRIPTIONS))
    wait_until(lambda: len(stack.requests("POST", SUBSCRIPTIONS)) > asked + 60, 60, "it has tried sixty times")
    assert {stack.ledger(name)["generation"] for name in users(4)} == {1}
    stack.control.clear_faults()
    stack.await_completed(*users(4))
    assert len({each["idempotency_key"] for each in stack.requests("POST", SUBSCRIPTIONS)}) == 4


@pytest.mark.usefixtures("quick_probes")
def test_a_mended_refusal_is_noticed_without_a_new_signup(stack: Stack) -> None:
    refuse_all(stack, CUSTOMERS)
    worker = stack.start_worker()
    stack.publish(*[profile(name) for name in users(3)])
    wait_until(lambda: halted(worker))
    stack.control.clear_faults()
    stack.await_completed(*users(3))
    wait_until(worker.is_ready)


def test_while_in_doubt_one_row_at_a_time_is_asked_for(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(halting, "PROBE_INTERVAL", 1.0)
    refuse_all(stack, CUSTOMERS)
    worker = stack.start_worker()
    stack.publish(*[profile(name) for name in users(5)])
    wait_until(lambda: halted(worker))
    began, asked = time.monotonic(), len(stack.requests("POST", CUSTOMERS))
    stack.publish(*[profile(name) for name in users(50, "more")])
    wait_until(lambda: len(stack.requests("POST", CUSTOMERS)) >= asked + 4)
    took = time.monotonic() - began
    assert len(stack.requests("POST", CUSTOMERS)) - asked <= took + 2
    tried = {each["user_id"] for each in stack.requests("POST", CUSTOMERS)[asked + 1 :]}
    assert all(str(name).startswith("more") for name in tried), "who was not refused yet goes first"


@pytest.mark.usefixtures("quick_probes")
def test_doubt_outlives_a_restart_and_reaches_another_process(stack: Stack) -> None:
    refuse_all(stack, CUSTOMERS)
    first = stack.start_worker()
    stack.publish(*[profile(name) for name in users(4)])
    wait_until(lambda: halted(first))
    second = stack.start_worker()
    wait_until(lambda: halted(second), what="it knows from the ledger")
    first.stop()
    third = stack.start_worker()
    wait_until(lambda: halted(third))
    stack.control.clear_faults()
    stack.await_completed(*users(4))
    for worker in (second, third):
        wait_until(worker.is_ready)
        assert worker.is_healthy()


@pytest.mark.usefixtures("quick_probes")
def test_a_pass_in_one_process_judges_what_another_one_was_refused(stack: Stack) -> None:
    refuse_some(stack, CUSTOMERS, users(2, "bad"))
    gone = stack.start_worker()
    stack.publish(*[profile(name) for name in users(2, "bad")])
    wait_until(lambda: len(stack.rows("SELECT 1 FROM provisionings WHERE refusal IS NOT NULL")) == 2)
    gone.stop()
    other = stack.start_worker()
    stack.publish(profile("good"))
    stack.await_completed("good")
    wait_until(lambda: count(stack, "quarantined") == 2)
    assert other.is_ready()


@pytest.mark.parametrize("hours", [0, 48], ids=["from memory", "adopted"])
@pytest.mark.usefixtures("quick_probes")
def test_who_is_served_with_what_was_there_already_says_nothing_of_who_is_refused(stack: Stack, hours: int) -> None:
    """A database is filled again by a replay while Stripe refuses every subscription that it is to make."""
    there = [profile(name) for name in users(8, "there")]
    worker = stack.start_worker()
    stack.publish(*there)
    stack.await_completed(*users(8, "there"))
    worker.stop()
    after_the_loss_of_the_database(stack)
    stack.control.jump(timedelta(hours=hours).total_seconds())
    refuse_some(stack, SUBSCRIPTIONS, users(2, "new"))
    worker = stack.start_worker()
    stack.publish(*[profile(name) for name in users(2, "new")])
    wait_until(lambda: len(stack.rows("SELECT 1 FROM provisionings WHERE refusal IS NOT NULL")) == 2)
    asked = len(stack.requests("POST", SUBSCRIPTIONS))
    for each in there:
        stack.publish(each)
        stack.await_completed(each["id"])
    wait_until(lambda: len(stack.requests("POST", SUBSCRIPTIONS)) >= asked + 4, what="both were tried twice again")
    assert count(stack, "quarantined") == 0
    assert worker.is_ready()
    stack.publish(profile("made"))
    stack.await_completed("made")
    wait_until(lambda: count(stack, "quarantined") == 2, what="that one is a measure")


@pytest.mark.usefixtures("quick_probes")
def test_who_had_a_customer_already_says_nothing_of_who_is_refused_one(stack: Stack) -> None:
    stack.control.fault("status", match={"path": SUBSCRIPTIONS, "method": "POST"}, status=503)
    worker = stack.start_worker()
    stack.publish(*[profile(name) for name in users(6, "has")])
    for name in users(6, "has"):
        stack.await_state(name, "customer_created")
    wait_until(lambda: not stack.rows("SELECT 1 FROM provisionings WHERE lease_until IS NOT NULL"))
    stack.rows("UPDATE provisionings SET due_at = now() + interval '1 hour'")
    stack.control.clear_faults()
    refuse_some(stack, CUSTOMERS, users(2, "new"))
    stack.publish(*[profile(name) for name in users(2, "new")])
    wait_until(lambda: len(stack.rows("SELECT 1 FROM provisionings WHERE refusal IS NOT NULL")) == 2)
    asked = len(stack.requests("POST", CUSTOMERS))
    for name in users(6, "has"):
        stack.rows("UPDATE provisionings SET due_at = now() WHERE user_id = %s", name)
        stack.await_completed(name)
    wait_until(lambda: len(stack.requests("POST", CUSTOMERS)) >= asked + 4, what="both were tried twice again")
    assert count(stack, "quarantined") == 0
    assert worker.is_ready()
    stack.publish(profile("made"))
    stack.await_completed("made")
    wait_until(lambda: count(stack, "quarantined") == 2, what="that one is a measure")


def test_two_processes_judge_thirty_bad_rows_together(stack: Stack) -> None:
    lay_ahead(stack, BAD, GOOD)
    refuse_some(stack, SUBSCRIPTIONS, BAD)
    workers = [stack.start_worker() for _ in range(2)]
    stack.await_completed(*GOOD, timeout=HELD)
    stack.publish(profile("later"))
    stack.await_completed("later")
    wait_until(lambda: count(stack, "quarantined") == len(BAD))
    for worker in workers:
        wait_until(worker.is_ready)
    stack.assert_exactly_one(*GOOD, "later")
    assert {row["generation"] for row in stack.rows("SELECT generation FROM provisionings")} == {1}


# What is never in doubt


def test_deleted_customers_are_set_aside_at_once(stack: Stack) -> None:
    stack.control.fault("status", match={"path": SUBSCRIPTIONS, "method": "POST"}, status=503)
    worker = stack.start_worker()
    stack.publish(*[profile(name) for name in users(5)])
    for name in users(5):
        stack.await_state(name, "customer_created")
        stack.call_stripe("DELETE", f"{CUSTOMERS}/{stack.customers(name)[0]['id']}")
    stack.control.clear_faults()
    wait_until(lambda: count(stack, "quarantined") == 5)
    assert worker.is_ready()
    assert worker.metric("subkeeper_settle_seconds_count", lane="retry", outcome="refused") == 0


def test_refused_emails_are_nobody_else_s(stack: Stack) -> None:
    worker = stack.start_worker()
    stack.publish(*[profile(name, email="no email at all") for name in users(6)])
    stack.await_completed(*users(6))
    assert worker.metric("subkeeper_settle_seconds_count", lane="live", outcome="refused") == 0


# Plans and prices

OLD = {
    "SUBKEEPER_PLANS__PENDING__NAME": "Pending",
    "SUBKEEPER_PLANS__PENDING__LOOKUP_KEY": "pending",
    "SUBKEEPER_PLANS__OLD__NAME": "Old",
    "SUBKEEPER_PLANS__OLD__LOOKUP_KEY": "old_key",
}


def test_a_row_whose_plan_left_the_configuration_waits_for_it_and_goes_on(stack: Stack) -> None:
    lay_ahead(stack, ["ada"], [])
    stack.rows("UPDATE provisionings SET plan = 'old'")
    worker = stack.start_worker()
    wait_until(lambda: stack.ledger("ada")["refusal"])
    assert "plans.old" in stack.ledger("ada")["last_error"]
    wait_until(worker.is_ready)
    assert not stack.customers("ada"), "nobody needs one yet"
    worker.stop()
    stack.setup(**OLD)
    stack.start_worker(**OLD)
    stack.await_completed("ada")
    assert len(stack.subscriptions("ada")) == 1
    assert [row["plan"] for row in stack.rows("SELECT plan FROM billing_subscriptions")] == ["old"]


def test_a_row_set_aside_for_its_plan_is_healed_by_a_retry_once_the_plan_is_back(stack: Stack) -> None:
    lay_ahead(stack, ["ada"], [])
    stack.rows("UPDATE provisionings SET plan = 'old'")
    worker = stack.start_worker()
    wait_until(lambda: stack.ledger("ada")["refusal"])
    stack.publish(profile("bob"))
    stack.await_state("ada", "quarantined")
    assert worker.metric("subkeeper_quarantined_total", reason="plan_unusable") == 1
    worker.stop()
    stack.setup(**OLD)
    stack.start_worker(**OLD)
    assert stack.retry_quarantined("ada") == ["ada"]
    stack.await_completed("ada")


def replace_price(stack: Stack) -> tuple[str, str]:
    """The lookup key moves to a new price. Returns both ids."""
    old = stack.price()
    new = stack.call_stripe(
        "POST", "/v1/prices", product=old["product"], currency="usd", unit_amount="0", lookup_key="pending",
        transfer_lookup_key="true", **{"recurring[interval]": "month"},
    )  # fmt: skip
    return old["id"], new["id"]


def test_a_lookup_key_that_moved_is_followed_and_what_was_frozen_stays(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.stripe_api.catalogue.REFRESH_INTERVAL", 0.2)
    match = {"path": SUBSCRIPTIONS, "method": "POST", "user_id": "frozen"}
    stack.control.fault("status", match=match, status=503)
    stack.start_worker()
    stack.publish(profile("frozen"))
    stack.await_state("frozen", "customer_created")
    old, new = replace_price(stack)
    time.sleep(0.2)  # for so long the price counts as known
    stack.publish(profile("ada"))
    stack.await_completed("ada")
    stack.control.clear_faults()
    stack.await_completed("frozen")
    stack.assert_exactly_one("ada", price=new)
    stack.assert_exactly_one("frozen", price=old)
    plans = stack.rows("SELECT plan FROM billing_subscriptions")
    assert [row["plan"] for row in plans] == ["pending", "pending"]


def test_a_frozen_request_for_an_archived_price_is_rebuilt_once_and_others_pass_meanwhile(stack: Stack) -> None:
    match = {"path": SUBSCRIPTIONS, "method": "POST", "user_id": "frozen"}
    stack.control.fault("status", match=match, status=503)
    worker = stack.start_worker()
    stack.publish(profile("frozen"))
    stack.await_state("frozen", "customer_created")
    old, new = replace_price(stack)
    stack.call_stripe("POST", f"/v1/prices/{old}", active="false")
    stack.control.clear_faults()
    stack.await_completed("frozen")
    stack.assert_exactly_one("frozen", price=new)
    assert stack.ledger("frozen")["generation"] == 2
    assert worker.is_ready()


@pytest.mark.usefixtures("quick_probes")
def test_a_refused_request_is_frozen_anew_once_it_would_hold_another_price(stack: Stack) -> None:
    """Under a key that Stripe does not keep the refusal under: it is not the burnt key that brings the new request."""
    match = {"path": SUBSCRIPTIONS, "method": "POST", "user_id": "frozen"}
    stack.control.fault("status", match=match, status=400, param="items[0][price]", sticky=False)
    stack.start_worker()
    stack.publish(profile("frozen"))
    wait_until(lambda: stack.ledger("frozen").get("refusal"))
    assert stack.ledger("frozen")["generation"] == 1
    _, new = replace_price(stack)
    wait_until(lambda: stack.ledger("frozen")["generation"] == 2)
    stack.control.clear_faults()
    stack.await_completed("frozen")
    stack.assert_exactly_one("frozen", price=new)


@pytest.mark.usefixtures("quick_probes")
def test_while_the_price_of_new_profiles_is_archived_nobody_is_blamed_though_frozen_rows_pass(stack: Stack) -> None:
    """Rows that were frozen with another price go on; they are no measure for the others."""
    other = stack.call_stripe(
        "POST", "/v1/prices", product=stack.price()["product"], currency="usd", unit_amount="0",
        **{"recurring[interval]": "month"},
    )  # fmt: skip
    stack.control.fault("status", match={"path": SUBSCRIPTIONS, "method": "POST"}, status=503)
    worker = stack.start_worker()
    stack.publish(*[profile(name) for name in users(5, "frozen")])
    for name in users(5, "frozen"):
        stack.await_state(name, "customer_created")
    worker.stop()
    stack.rows(
        "UPDATE provisionings SET subscription_request = replace(subscription_request, %s, %s), due_at = now()"
        " + row_number * interval '1 second' FROM (SELECT user_id AS u, row_number() OVER () FROM provisionings) n"
        " WHERE user_id = u",
        stack.price()["id"],
        other["id"],
    )
    stack.call_stripe("POST", f"/v1/prices/{stack.price()['id']}", active="false")
    stack.control.clear_faults()
    worker = stack.start_worker()
    stack.publish(*[profile(name) for name in users(3)])
    stack.await_completed(*users(5, "frozen"), timeout=30)
    wait_until(lambda: halted(worker), what="it is loud about the price")
    assert "not active" in worker.part("stripe")[1]
    assert count(stack, "quarantined") == 0
    stack.call_stripe("POST", f"/v1/prices/{stack.price()['id']}", active="true")
    stack.await_completed(*users(3))
    wait_until(worker.is_ready)


# What is said of it


def test_a_first_start_resumes_nothing_and_subscriptions_are_summed_up(stack: Stack) -> None:
    worker = stack.spawn_worker()
    stack.publish(*[profile(name) for name in users(5)])
    stack.await_completed(*users(5))
    worker.process.terminate()
    assert worker.wait() == 0
    assert worker.logged("settling.resumed") == []
    assert {line["level"] for line in worker.logged("subscription.created")} == {"debug"}
    (total,) = worker.logged("rows.settled")
    assert (total["level"], total["outcomes"]) == ("info", {"completed": 5})


@pytest.mark.usefixtures("quick_probes")
def test_doubt_is_loud_only_once_a_person_is_asked_for(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doubt, "GRACE", 0.0)
    refuse_some(stack, CUSTOMERS, users(3))
    worker = stack.start_worker()
    stack.publish(*[profile(name) for name in users(3)])
    wait_until(lambda: halted(worker))
    assert "3 users were refused alike" in worker.part("stripe")[1]
    stack.publish(profile("good"))
    stack.await_completed("good")
    wait_until(worker.is_ready)
    assert worker.is_healthy()
    wait_until(lambda: count(stack, "quarantined") == 3)
