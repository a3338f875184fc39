"""Workers that are killed, told to stop, or lose a thread, at the worst of moments."""

from __future__ import annotations

import random
import signal
import time
from datetime import timedelta
from typing import Any

import pytest

from tests.support.stack import Spawned, Stack, profile, users
from tests.support.waiting import wait_until
from worker.domain.deadline import Deadline
from worker.domain.lanes import Lane
from worker.provisioning.leases import Lease
from worker.runtime.provisioning import Provisioning
from worker.runtime.resources import Resources
from worker.runtime.signals import TOGETHER
from worker.store.provisioning import insert
from worker.store.provisioning.insert import NewProvisioning
from worker.telemetry import Health, Metrics
from worker.threads import Threads

CUSTOMERS, SUBSCRIPTIONS = "/v1/customers", "/v1/subscriptions"


def await_call(stack: Stack, path: str, count: int = 1) -> None:
    wait_until(lambda: len(stack.requests("POST", path)) >= count, what=f"POST {path}")


def kill_in_the_middle_of(stack: Stack, path: str, when: str) -> None:
    """A worker hangs in a call to Stripe, which has taken effect or not, and is killed there."""
    stack.control.fault("hang", match={"path": path, "method": "POST"}, times=1, when=when)
    worker = stack.spawn_worker()
    stack.publish(profile("ada"))
    await_call(stack, path)
    if when == "after":
        table = stack.customers if path == CUSTOMERS else stack.subscriptions
        wait_until(lambda: table("ada"))
    worker.kill()
    stack.expire_leases()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("path", [CUSTOMERS, SUBSCRIPTIONS])
def test_a_kill_between_the_stripe_call_and_our_commit_leaves_one_of_each(stack: Stack, path: str, when: str) -> None:
    kill_in_the_middle_of(stack, path, when)
    stack.start_worker()
    stack.await_completed("ada")
    stack.assert_exactly_one("ada")


def test_a_kill_and_a_day_of_silence_after_it_leave_one_of_each(stack: Stack) -> None:
    kill_in_the_middle_of(stack, SUBSCRIPTIONS, "after")
    stack.control.jump(30 * 3600)
    stack.start_worker()
    stack.await_completed("ada")
    stack.assert_exactly_one("ada")


def test_a_lease_of_a_dead_worker_runs_out_by_itself(stack: Stack) -> None:
    stack.control.fault("hang", match={"path": CUSTOMERS, "method": "POST"}, times=1, when="after")
    worker = stack.spawn_worker(SUBKEEPER_SETTLE__LEASE="15")
    stack.publish(profile("ada"))
    await_call(stack, CUSTOMERS)
    worker.kill()
    row = stack.ledger("ada")
    assert row["lease_until"] == row["due_at"]
    assert 14 < (row["due_at"] - row["first_seen_at"]).total_seconds() <= 15.5
    stack.rows("UPDATE provisionings SET due_at = due_at - interval '14 seconds'")
    stack.start_worker()
    stack.await_completed("ada")
    stack.assert_exactly_one("ada")


def test_workers_killed_again_and_again_under_load_leave_one_of_each(stack: Stack) -> None:
    names = users(40)
    stack.control.latency(ms=20)
    stack.publish(*[profile(name) for name in names])
    for round_ in range(3):
        worker = stack.spawn_worker(SUBKEEPER_NSQ__MSG_TIMEOUT="2")  # nsqd waits that long for a dead client's messages
        await_call(stack, CUSTOMERS, 8 * (round_ + 1))
        worker.kill()
        stack.expire_leases()
    stack.control.clear_faults()
    stack.start_worker()
    wait_until(lambda: stack.is_drained() and stack.is_completed(*names), timeout=30)
    stack.assert_exactly_one(*names)
    assert stack.control.duplicates() == {}


def terminate_in_the_middle_of(stack: Stack, path: str, **fault: Any) -> Spawned:
    stack.control.fault(match={"path": path, "method": "POST"}, **fault)
    worker = stack.spawn_worker()
    stack.publish(*[profile(name) for name in users(20)])
    await_call(stack, path)
    wait_until(stack.is_drained, what="absorbed and finished")
    worker.send(signal.SIGTERM)
    return worker


@pytest.mark.parametrize("path", [CUSTOMERS, SUBSCRIPTIONS])
def test_sigterm_in_the_middle_of_a_slow_call_waits_for_it_and_loses_nothing(stack: Stack, path: str) -> None:
    worker = terminate_in_the_middle_of(stack, path, kind="latency", ms=1500)
    assert worker.wait(25) == 0
    assert worker.lines[-1]["event"] == "process.stopped"
    assert not worker.logged("process.cut_short")
    done = stack.rows("SELECT user_id FROM provisionings WHERE state = 'completed'")
    assert done, "what was in flight was finished"
    leased = stack.rows("SELECT user_id FROM provisionings WHERE lease_until IS NOT NULL")
    assert not leased, "what was not begun was given back"
    stack.control.clear_faults()
    stack.start_worker()
    stack.await_completed(*users(20))
    stack.assert_exactly_one(*users(20))


def test_sigterm_while_stripe_never_answers_ends_within_the_supervisor_s_patience(stack: Stack) -> None:
    worker = terminate_in_the_middle_of(stack, CUSTOMERS, kind="hang", when="after")
    asked = time.monotonic()
    assert worker.wait(25) == 0
    assert time.monotonic() - asked < 25
    stack.control.clear_faults()
    stack.expire_leases()
    stack.start_worker()
    stack.await_completed(*users(20))
    stack.assert_exactly_one(*users(20))


def test_finished_messages_are_not_delivered_again_after_sigterm(stack: Stack) -> None:
    names = users(100)
    worker = stack.spawn_worker(SUBKEEPER_ABSORB__BATCH="10")
    stack.publish(*[profile(name) for name in names])
    wait_until(lambda: len(stack.rows("SELECT 1 FROM provisionings")) >= 30)
    worker.send(signal.SIGTERM)
    assert worker.wait(25) == 0
    absorbed = len(stack.rows("SELECT 1 FROM provisionings"))
    stats = stack.nsqd.channel(stack.topic, "subkeeper")
    assert (stats["clients"] or [], stats["in_flight_count"]) == ([], 0)
    assert stats["depth"] == len(names) - absorbed, "each message was absorbed or is in the channel, never both"
    stack.start_worker()
    stack.await_completed(*names, timeout=30)
    stack.assert_exactly_one(*names)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_the_process_at_once(stack: Stack, number: signal.Signals) -> None:
    stack.control.fault("hang", match={"path": CUSTOMERS, "method": "POST"}, when="after")
    worker = stack.spawn_worker(SUBKEEPER_STRIPE__REQUEST_TIMEOUT="20")
    stack.publish(profile("ada"))
    await_call(stack, CUSTOMERS)
    worker.send(number)
    wait_until(lambda: worker.logged("process.draining"))
    time.sleep(TOGETHER)
    worker.send(number)
    assert worker.wait(15) == 128 + number, "the code of who did not wait for what is in hand"


def test_a_signal_before_anything_answers_ends_the_process_cleanly(stack: Stack) -> None:
    worker = stack.spawn("run", "profiles", SUBKEEPER_DATABASE__URL="postgresql://nobody@127.0.0.1:1/nothing")
    wait_until(lambda: worker.logged("health.changed"))
    worker.send(signal.SIGTERM)
    assert worker.wait(10) == 0, worker.text


def test_a_thread_that_dies_ends_the_process_with_a_failure(stack: Stack) -> None:
    def die() -> None:
        raise ZeroDivisionError

    worker = stack.start_worker()
    wait_until(worker.is_ready)
    worker.process._threads.spawn("doomed", die)
    assert worker.join() == 1
    assert worker.process.health.reasons() == ["thread doomed died"]


def test_a_row_that_crashes_its_settling_keeps_no_other_from_being_settled(stack: Stack) -> None:
    """Also at the start, where a single row is tried first."""
    stack.publish(profile("ada"))
    worker = stack.start_worker()
    stack.await_completed("ada")
    worker.stop()
    stack.rows(
        "UPDATE provisionings SET state = 'customer_created', subscription_request = 'no json', due_at = now(),"
        " stripe_subscription_id = NULL, subscription_requested_at = now() WHERE user_id = 'ada'"
    )
    stack.publish(profile("bob"))
    worker = stack.start_worker()
    stack.await_completed("bob")
    wait_until(lambda: "crashed" in (stack.ledger("ada")["last_error"] or ""))
    assert worker.is_healthy()


@pytest.mark.parametrize("path", [CUSTOMERS, SUBSCRIPTIONS])
def test_a_worker_that_was_suspended_past_its_lease_writes_nothing_of_what_it_learns(stack: Stack, path: str) -> None:
    stack.control.fault("latency", match={"path": path, "method": "POST"}, times=1, ms=400)
    zombie = stack.spawn_worker()
    stack.publish(profile("ada"))
    await_call(stack, path)
    zombie.send(signal.SIGSTOP)
    stack.expire_leases()
    stack.start_worker()
    stack.await_completed("ada")
    row = stack.ledger("ada")
    zombie.send(signal.SIGCONT)
    wait_until(lambda: zombie.logged("lease.lost"))
    assert stack.ledger("ada") == row
    stack.assert_exactly_one("ada")


def test_a_row_absorbed_at_the_very_moment_of_the_stop_is_due_at_once(stack: Stack, rng: random.Random) -> None:
    """Else a signup in the middle of a deploy would wait for the lease to run out."""
    resources = Resources(stack.settings(), Metrics("test"), Health([]), rng)
    service = Provisioning(resources)
    threads = Threads(on_failure=lambda name: None)
    service.dispatcher.start(threads.spawn)
    wait_until(lambda: service.dispatcher._room(Lane.LIVE))
    now = resources.gateway.clock.now()
    new = NewProvisioning(
        "ada", b"sealed", "pending", now, Lane.LIVE, look_first=False, key_possible_since=now, leased=True
    )
    with service.dispatcher.reserve({Lane.LIVE: 1}) as reservation:
        assert reservation.take(Lane.LIVE)
        deadline = Deadline.after(60)
        with resources.database.transaction() as tx:
            _, leased = insert.insert_new(tx, [new], lease=timedelta(seconds=60), stripe_now=now)
        service.dispatcher.stop()
        assert threads.join(10) == []
        reservation.hand_over(Lease(row, deadline) for row in leased)
    service.close()
    resources.close()
    assert stack.rows("SELECT user_id FROM provisionings WHERE lease_until IS NULL AND due_at <= now()")
