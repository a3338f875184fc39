"""What Stripe's answers come to: lost ones, late ones, refusals, and those it gives from memory."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.stack import TRIAL, Stack, profile, users
from tests.support.waiting import wait_until

STEPS = ("/v1/customers", "/v1/subscriptions")


def keys_of(stack: Stack, path: str) -> set[str | None]:
    return {each["idempotency_key"] for each in stack.requests("POST", path)}


@pytest.mark.parametrize("path", STEPS)
def test_an_answer_that_times_out_after_stripe_wrote_is_asked_for_again_with_the_same_key(
    stack: Stack, path: str
) -> None:
    stack.control.fault("hang", match={"path": path, "method": "POST"}, times=1, when="after")
    stack.start_worker(SUBKEEPER_STRIPE__REQUEST_TIMEOUT="0.5")
    stack.publish(profile("ada"))
    stack.await_completed("ada")
    stack.assert_exactly_one("ada")
    assert len(keys_of(stack, path)) == 1
    assert stack.requests("POST", path)[-1]["replayed"]


@pytest.mark.parametrize("kind", ["drop", "partial", "slow_body"])
@pytest.mark.parametrize("path", STEPS)
def test_a_connection_that_breaks_in_the_middle_leaves_one_of_each(stack: Stack, path: str, kind: str) -> None:
    kinds: dict[str, dict[str, Any]] = {
        "drop": {"when": "after"},
        "partial": {},
        "slow_body": {"ms": 100, "finish": False},
    }
    details = kinds[kind]
    stack.control.fault(kind, match={"path": path, "method": "POST"}, times=1, **details)
    stack.start_worker(SUBKEEPER_STRIPE__REQUEST_TIMEOUT="0.5")
    stack.publish(profile("ada"))
    stack.await_completed("ada")
    stack.assert_exactly_one("ada")


@pytest.mark.parametrize("path", STEPS)
@pytest.mark.parametrize("reason", ["global-rate", "endpoint-concurrency"])
def test_a_429_slows_down_and_is_tried_again_with_the_same_key(stack: Stack, path: str, reason: str) -> None:
    stack.control.fault("status", match={"path": path, "method": "POST"}, times=1, status=429, reason=reason)
    worker = stack.start_worker()
    stack.publish(profile("ada"))
    stack.await_completed("ada")
    stack.assert_exactly_one("ada")
    assert len(keys_of(stack, path)) == 1
    operation = "customers.create" if path == STEPS[0] else "subscriptions.create"
    assert worker.metric("subkeeper_stripe_calls_total", operation=operation, outcome="throttled") == 1


def test_a_lock_timeout_is_tried_again(stack: Stack) -> None:
    stack.control.fault("status", match={"path": STEPS[1], "method": "POST"}, times=1, status=429, code="lock_timeout")
    stack.start_worker()
    stack.publish(profile("ada"))
    stack.await_completed("ada")
    stack.assert_exactly_one("ada")


def test_real_rate_limits_are_obeyed_until_everybody_is_served(stack: Stack) -> None:
    stack.control.limits(account_rate=40, endpoint_rate=20)
    stack.start_worker()
    stack.publish(*[profile(name) for name in users(30)])
    stack.await_completed(*users(30), timeout=30)
    stack.control.limits()
    stack.assert_exactly_one(*users(30))


@pytest.mark.parametrize("path", STEPS)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_saved_500_burns_its_key_and_never_doubles_what_may_have_happened(stack: Stack, path: str, when: str) -> None:
    stack.control.fault("status", match={"path": path, "method": "POST"}, times=1, status=500, when=when)
    stack.start_worker()
    stack.publish(profile("ada"))
    stack.await_completed("ada")
    stack.assert_exactly_one("ada")
    looked = stack.requests("GET", path)
    assert looked, "it looked before it went on"
    created_anew = 2 if when == "before" else 1
    assert len(keys_of(stack, path)) == created_anew


@pytest.mark.parametrize("path", STEPS)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_503_is_asked_again_with_the_same_key(stack: Stack, path: str, when: str) -> None:
    stack.control.fault("status", match={"path": path, "method": "POST"}, times=1, status=503, when=when)
    stack.start_worker()
    stack.publish(profile("ada"))
    stack.await_completed("ada")
    stack.assert_exactly_one("ada")
    assert len(keys_of(stack, path)) == 1


@pytest.mark.parametrize("path", STEPS)
def test_a_saved_4xx_is_looked_behind_and_a_new_key_goes_on(stack: Stack, path: str) -> None:
    """The first answer, a refusal, comes too late; from then on Stripe repeats it from memory."""
    match = {"path": path, "method": "POST"}
    stack.control.fault("latency", match=match, times=1, ms=1200)
    stack.control.fault("status", match=match, times=1, status=402, sticky=True)
    stack.start_worker(SUBKEEPER_STRIPE__REQUEST_TIMEOUT="0.5")
    stack.publish(profile("ada"))
    stack.await_completed("ada")
    stack.assert_exactly_one("ada")
    assert len(keys_of(stack, path)) == 2
    assert any(each["replayed"] and each["status"] == 402 for each in stack.requests("POST", path))


def test_a_refused_email_is_left_out_in_the_next_generation(stack: Stack) -> None:
    stack.start_worker()
    stack.publish(profile("ada", email="no email at all"))
    stack.await_completed("ada")
    stack.assert_exactly_one("ada")
    assert stack.customers("ada")[0]["email"] is None
    assert stack.customers("ada")[0]["name"] == "Name of ada"
    assert stack.ledger("ada")["generation"] == 2


def test_a_refused_email_whose_refusal_was_lost_is_left_out_all_the_same(stack: Stack) -> None:
    stack.control.fault("partial", match={"path": STEPS[0], "method": "POST"}, times=1)
    stack.start_worker()
    stack.publish(profile("ada", email="no email at all"))
    stack.await_completed("ada")
    stack.assert_exactly_one("ada")
    assert stack.customers("ada")[0]["email"] is None


@pytest.mark.parametrize("path", STEPS)
@pytest.mark.parametrize("outage", [timedelta(hours=22), timedelta(days=10)])
def test_an_outage_of_any_length_after_a_lost_answer_ends_with_one_of_each(
    stack: Stack, path: str, outage: timedelta
) -> None:
    """After 24 hours Stripe has forgotten the key: only looking prevents a second object."""
    stack.control.fault("drop", match={"path": path, "method": "POST"}, when="after")
    worker = stack.start_worker()
    stack.publish(profile("ada"))
    wait_until(lambda: len(stack.requests("POST", path)) >= 2)
    worker.stop()
    stack.control.clear_faults()
    stack.control.jump(outage.total_seconds())
    stack.expire_leases()
    stack.start_worker()
    stack.await_completed("ada")
    stack.assert_exactly_one("ada")
    assert len(keys_of(stack, path)) == 1


def assert_a_full_trial_from_the_end_of_a_long_outage_of(step: str, stack: Stack) -> None:
    stack.control.fault("status", match={"path": step, "method": "POST"}, status=503)
    worker = stack.start_worker()
    stack.publish(profile("ada"))
    wait_until(lambda: stack.requests("POST", step))
    worker.stop()
    stack.control.clear_faults()
    now = datetime.fromtimestamp(stack.control.jump(timedelta(days=40).total_seconds()), UTC)
    stack.expire_leases()
    stack.start_worker()
    stack.await_completed("ada")
    stack.assert_exactly_one("ada")
    assert abs(stack.ledger("ada")["trial_end"] - (now + TRIAL)) < timedelta(minutes=1)


def test_an_outage_longer_than_the_trial_gives_a_full_trial_from_its_end(stack: Stack) -> None:
    assert_a_full_trial_from_the_end_of_a_long_outage_of(STEPS[1], stack)


def test_an_outage_before_the_first_call_gives_a_full_trial_from_its_end(stack: Stack) -> None:
    assert_a_full_trial_from_the_end_of_a_long_outage_of(STEPS[0], stack)


def test_a_trial_that_was_nearly_over_when_the_profile_was_seen_is_given_in_full(stack: Stack) -> None:
    """Trials of a day, a queue of nearly one: half an hour would be left."""
    stack.start_worker(SUBKEEPER_TRIAL__DAYS="1", SUBKEEPER_TRIAL__MAX_LAG_HOURS="24")
    before = datetime.now(UTC)
    stack.publish(profile("ada", created_at=(before - timedelta(hours=23.5)).isoformat()))
    stack.await_completed("ada")
    stack.assert_exactly_one("ada")
    assert stack.ledger("ada")["trial_end"] >= (before + timedelta(days=1)).replace(microsecond=0)


@pytest.mark.parametrize("lag", [timedelta(hours=1), timedelta(hours=71)])
def test_a_trial_is_counted_from_the_profile_s_creation_however_slow_the_queue(stack: Stack, lag: timedelta) -> None:
    created = datetime.now(UTC) - lag
    stack.start_worker()
    stack.publish(profile("ada", created_at=created.isoformat()))
    stack.await_completed("ada")
    stack.assert_exactly_one("ada")
    assert stack.ledger("ada")["trial_end"] == (created + TRIAL).replace(microsecond=0)


@pytest.mark.parametrize("created_at", [None, "2019-05-01T12:00:00Z", "2999-01-01T00:00:00+02:00"])
def test_a_profile_without_a_usable_creation_gets_the_full_trial_from_first_sight(
    stack: Stack, created_at: str | None
) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    stack.start_worker()
    stack.publish(profile("ada", created_at=created_at))
    stack.await_completed("ada")
    stack.assert_exactly_one("ada")
    assert timedelta(0) <= stack.ledger("ada")["trial_end"] - TRIAL - before <= timedelta(seconds=5)
