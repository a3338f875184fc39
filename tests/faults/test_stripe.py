"""A Stripe that misbehaves at every write rather than at one: what holds for one request holds for all of them."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from tests.faults.tally import EXACT, tally
from tests.integration.accounts.conftest import DEPLOYMENT
from tests.integration.provisioning.conftest import NewStack
from tests.support.stack import Stack, profile, users
from tests.support.waiting import wait_until
from worker.work.halting import Halting

CUSTOMERS, SUBSCRIPTIONS = "/v1/customers", "/v1/subscriptions"
STEPS = (CUSTOMERS, SUBSCRIPTIONS)


def at_every_write(stack: Stack, user_ids: list[str], kind: str, **details: Any) -> None:
    """Each user's first customer and first subscription meets this fault."""
    for user_id in user_ids:
        for path in STEPS:
            match = {"path": path, "method": "POST", "user_id": user_id}
            stack.control.fault(kind, match=match, times=1, **details)


def assert_exact(stack: Stack, user_ids: list[str], timeout: float = 60) -> None:
    stack.await_completed(*user_ids, timeout=timeout)
    wait_until(stack.is_drained)
    assert tally(stack, dict.fromkeys(user_ids, "completed")) == EXACT


def keys_per_user(stack: Stack, path: str) -> set[int]:
    """How many idempotency keys each user's writes had."""
    keys: dict[str | None, set[str | None]] = {}
    for each in stack.requests("POST", path):
        keys.setdefault(each["user_id"], set()).add(each["idempotency_key"])
    return {len(found) for found in keys.values()}


def test_three_in_ten_answers_of_429_slow_everybody_down_and_lose_nobody(stack: Stack) -> None:
    names = list(users(60))
    stack.control.fault("status", status=429, probability=0.3)
    worker = stack.start_worker()
    stack.publish(*[profile(name) for name in names])
    assert_exact(stack, names)
    assert keys_per_user(stack, CUSTOMERS) == keys_per_user(stack, SUBSCRIPTIONS) == {1}
    assert worker.metric("subkeeper_stripe_calls_total", operation="customers.create", outcome="throttled") > 5


def test_every_write_that_happens_without_an_answer_is_asked_for_again_with_its_key(stack: Stack) -> None:
    names = list(users(40))
    at_every_write(stack, names, "hang", when="after")
    stack.start_worker(SUBKEEPER_STRIPE__REQUEST_TIMEOUT="0.5")
    stack.publish(*[profile(name) for name in names])
    assert_exact(stack, names)
    for path in STEPS:
        assert keys_per_user(stack, path) == {1}
    replayed = {each["user_id"] for each in stack.requests("POST", CUSTOMERS) if each["replayed"]}
    assert replayed == set(names), "Stripe's memory answered, so the subscription is looked for before it is asked for"


@pytest.mark.parametrize(("when", "keys"), [("before", 2), ("after", 1)])
def test_a_500_that_stripe_keeps_for_every_write_is_looked_behind_each_time(stack: Stack, when: str, keys: int) -> None:
    names = list(users(40))
    at_every_write(stack, names, "status", status=500, when=when)
    stack.start_worker()
    stack.publish(*[profile(name) for name in names])
    assert_exact(stack, names)
    for path in STEPS:
        assert keys_per_user(stack, path) == {keys}, "a new key only where nothing had happened"


def test_bodies_that_trickle_are_waited_for_within_the_request_s_time_and_no_longer(stack: Stack) -> None:
    """Half of them end in time; the other half never do."""
    names = list(users(30))
    at_every_write(stack, names[::2], "slow_body", ms=200)
    at_every_write(stack, names[1::2], "slow_body", ms=200, finish=False)
    stack.start_worker(SUBKEEPER_STRIPE__REQUEST_TIMEOUT="1")
    stack.publish(*[profile(name) for name in names])
    assert_exact(stack, names)
    for path in STEPS:
        assert keys_per_user(stack, path) == {1}


@pytest.mark.parametrize("ledger", ["kept", "lost"])
def test_a_replay_of_everything_ninety_days_later_changes_nothing(stack: Stack, ledger: str) -> None:
    """Stripe has forgotten every key, and the trials have ended; with the ledger lost too, only looking is left."""
    names = list(users(60))
    profiles = [profile(name) for name in names]
    worker = stack.start_worker()
    stack.publish(*profiles)
    assert_exact(stack, names)
    worker.stop()
    asked = len(stack.requests("POST", CUSTOMERS)) + len(stack.requests("POST", SUBSCRIPTIONS))
    stack.control.jump(timedelta(days=90).total_seconds())
    if ledger == "lost":
        stack.rows("TRUNCATE provisionings, billing_customers, billing_subscriptions, subscription_changes CASCADE")
    worker = stack.start_worker()
    stack.publish(*profiles)
    outcome = "new" if ledger == "lost" else "known"
    wait_until(
        lambda: worker.metric("subkeeper_messages_total", topic=stack.topic, outcome=outcome) == len(names), timeout=30
    )
    assert_exact(stack, names)
    assert len(stack.requests("POST", CUSTOMERS)) + len(stack.requests("POST", SUBSCRIPTIONS)) == asked


def test_fifty_deliveries_of_one_profile_to_four_processes_make_one_of_each(stack: Stack) -> None:
    """Each delivery was edited, each process takes a few at a time, and Stripe loses every first answer."""
    at_every_write(stack, ["ada"], "drop", when="after")
    workers = [stack.spawn("run", "profiles", SUBKEEPER_ABSORB__BATCH="2") for _ in range(4)]
    for worker in workers:
        worker.await_start()
    stack.publish(*[profile("ada", name=f"Ada {number}", email=f"{number}@example.org") for number in range(50)])
    assert_exact(stack, ["ada"])
    served = [
        sum(worker.metric("subkeeper_messages_total", topic=stack.topic, outcome=each) for each in ("new", "known"))
        for worker in workers
    ]
    assert sum(number > 0 for number in served) >= 2, served
    for path in STEPS:
        assert keys_per_user(stack, path) == {1}


HALTED = ("stripe", "stripe_events", "charging", "accounts")


def test_a_new_key_in_the_file_is_tried_at_once_by_all_that_the_old_one_has_halted(
    new_stack: NewStack, tmp_path: Path, quick_probes: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long each would have waited."""
    file = tmp_path / "stripe-key"
    stack = new_stack(**cast("dict[str, Any]", {**DEPLOYMENT, "SUBKEEPER_CHARGING__IN_ORDER": "true"}))
    stack.setup()
    file.write_text(stack.stripe.secret_key)
    stack.control.put_key(stack.stripe.secret_key, revoked=True)
    monkeypatch.setattr(Halting, "_next_pause", lambda _: 3600.0)
    worker = stack.start_worker("all", STRIPE_SECRET_KEY="", STRIPE_SECRET_KEY_FILE=str(file))
    try:
        wait_until(lambda: all("STRIPE_SECRET_KEY" in worker.part(part)[1] for part in HALTED))
        stack.control.put_key("sk_test_the_new_one")
        file.write_text("sk_test_the_new_one\n")
        wait_until(lambda: all(worker.part(part)[0] for part in HALTED))
    finally:
        stack.control.put_key(stack.stripe.secret_key)


def test_a_key_that_is_revoked_and_replaced_under_traffic_costs_no_process_anybody(
    stack: Stack, tmp_path_factory: pytest.TempPathFactory, quick_probes: None
) -> None:
    """Two processes stop, are unhealthy, and go on by themselves with the new key of their file."""
    file = tmp_path_factory.mktemp("key") / "stripe-key"
    file.write_text(stack.stripe.secret_key)
    names = list(users(120))
    stack.control.latency(ms=50)
    environ = {"STRIPE_SECRET_KEY": "", "STRIPE_SECRET_KEY_FILE": str(file)}
    workers = [stack.start_worker(**environ) for _ in range(2)]
    stack.publish(*[profile(name) for name in names])
    wait_until(lambda: stack.rows("SELECT 1 FROM provisionings WHERE state = 'completed'"))
    stack.control.put_key(stack.stripe.secret_key, revoked=True)
    wait_until(lambda: not any(worker.is_healthy() for worker in workers))
    asked = len(stack.control.requests())
    time.sleep(1)
    assert len(stack.control.requests()) - asked <= 20, "they look whether the key works again, and do nothing else"
    assert not stack.rows("SELECT 1 FROM provisionings WHERE state = 'quarantined'")
    stack.control.put_key("sk_test_the_new_one")
    file.write_text("sk_test_the_new_one\n")
    stack.await_completed(*names, timeout=30)
    wait_until(lambda: all(worker.is_healthy() and worker.is_ready() for worker in workers))
    stack.control.put_key(stack.stripe.secret_key)
    assert_exact(stack, names)
