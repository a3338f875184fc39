"""Brokers, Postgres and Stripe that go away under traffic and come back."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from sandbox.postgres import PostgresServer
from tests.conftest import NewNsqd
from tests.integration.provisioning.conftest import NewStack
from tests.support.stack import Stack, Worker, profile, users
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("quick_probes")
DATABASE = "subkeeper"


def on_private_postgres(new_stack: NewStack, server: PostgresServer) -> Stack:
    stack = new_stack(database_url=server.create_database(DATABASE))
    stack.setup()
    return stack


def await_part(worker: Worker, part: str, *, ok: bool) -> None:
    wait_until(lambda: worker.part(part)[0] is ok, timeout=20, what=f"{part} ok={ok}")


def test_a_restart_of_nsqd_under_traffic_loses_nothing(new_stack: NewStack, new_nsqd: NewNsqd) -> None:
    nsqd = new_nsqd()
    stack = new_stack(nsqd=nsqd, SUBKEEPER_ABSORB__BATCH="5", SUBKEEPER_NSQ__MAX_IN_FLIGHT="10")
    stack.setup()
    worker = stack.start_worker()
    names = users(60)
    stack.publish(*[profile(name) for name in names[:40]])
    nsqd.restart()
    stack.publish(*[profile(name) for name in names[40:]])
    stack.await_completed(*names, timeout=30)
    wait_until(stack.is_drained)
    wait_until(worker.is_ready)
    stack.assert_exactly_one(*names)


def test_a_worker_waits_for_an_nsqd_that_is_not_there_yet(new_stack: NewStack, new_nsqd: NewNsqd) -> None:
    nsqd = new_nsqd()
    stack = new_stack(nsqd=nsqd)
    stack.setup()
    stack.publish(profile("ada"))
    nsqd.stop()
    worker = stack.start_worker()
    await_part(worker, "stripe", ok=True)
    assert not worker.part("nsqd")[0]
    wait_until(lambda: "0 of 2 connections; 127.0.0.1:" in worker.part("nsqd")[1], what="it says which")
    assert worker.part("nsqd")[1].endswith(f":{nsqd.tcp_port}: unreachable: Connection refused")
    assert worker.is_healthy()
    nsqd.start()
    stack.await_completed("ada")
    wait_until(worker.is_ready)


def test_a_restart_of_postgres_under_traffic_loses_nothing(
    new_stack: NewStack, new_postgres: Callable[[], PostgresServer]
) -> None:
    postgres = new_postgres()
    stack = on_private_postgres(new_stack, postgres)
    stack.control.latency(ms=10)
    worker = stack.start_worker(SUBKEEPER_ABSORB__BATCH="10")
    names = users(80)
    stack.publish(*[profile(name) for name in names[:60]])
    postgres.restart()
    stack.publish(*[profile(name) for name in names[60:]])
    wait_until(lambda: len(stack.rows("SELECT 1 FROM provisionings")) == len(names), timeout=30)
    stack.expire_leases()
    stack.await_completed(*names, timeout=40)
    wait_until(stack.is_drained)
    wait_until(worker.is_ready)
    stack.assert_exactly_one(*names)
    assert stack.control.duplicates() == {}


def test_a_kill_of_postgres_while_a_call_is_under_way_leaves_one_of_each(
    new_stack: NewStack, new_postgres: Callable[[], PostgresServer]
) -> None:
    postgres = new_postgres()
    stack = on_private_postgres(new_stack, postgres)
    stack.control.fault("latency", match={"path": "/v1/customers", "method": "POST"}, times=1, ms=1500)
    worker = stack.start_worker()
    stack.publish(profile("ada"))
    wait_until(lambda: stack.requests("POST", "/v1/customers"))
    postgres.kill()
    await_part(worker, "postgres", ok=False)
    assert worker.is_healthy()
    postgres.start()
    wait_until(lambda: stack.customers("ada"))
    await_part(worker, "postgres", ok=True)
    stack.expire_leases()
    stack.await_completed("ada")
    stack.assert_exactly_one("ada")


def test_messages_wait_while_postgres_is_away_at_the_start(
    new_stack: NewStack, new_postgres: Callable[[], PostgresServer]
) -> None:
    postgres = new_postgres()
    stack = on_private_postgres(new_stack, postgres)
    postgres.stop()
    worker = stack.start_worker()
    await_part(worker, "postgres", ok=False)
    stack.publish(*[profile(name) for name in users(10)])
    postgres.start()
    stack.await_completed(*users(10))
    stack.assert_exactly_one(*users(10))


def test_a_subscription_is_kept_while_postgres_is_away_at_the_start(
    new_stack: NewStack, new_postgres: Callable[[], PostgresServer], closing: ExitStack, rng: random.Random
) -> None:
    """nsqd hangs up on a client that it hasn't heard for two heartbeats: here two seconds."""
    postgres = new_postgres()
    stack = on_private_postgres(new_stack, postgres)
    postgres.stop()
    settings = stack.settings()
    nsq = settings.nsq.model_copy(update={"heartbeat_interval": 1.0})
    worker = Worker(settings.model_copy(update={"nsq": nsq}), "profiles", rng)
    closing.callback(worker.end)
    worker.start()

    def clients() -> list[str]:
        return [client["remote_address"] for client in stack.nsqd.channel(stack.topic, "subkeeper")["clients"] or []]

    wait_until(clients)
    first = clients()
    stack.publish(profile("ada"))
    time.sleep(4)
    assert clients() == first
    assert stack.nsqd.channel(stack.topic, "subkeeper")["depth"] == 1, "nothing is taken that can't be committed"
    assert worker.part("nsqd")[0]
    postgres.start()
    stack.await_completed("ada")
    assert clients() == first


def test_an_outage_of_stripe_ends_by_itself(stack: Stack) -> None:
    names = users(10)
    stack.control.fault("drop")
    worker = stack.start_worker()
    stack.publish(*[profile(name) for name in names])
    await_part(worker, "stripe", ok=False)
    stack.control.clear_faults()
    stack.await_completed(*names)
    wait_until(worker.is_ready)
    stack.assert_exactly_one(*names)


def test_chaos_at_stripe_still_comes_out_right(stack: Stack, seed: int) -> None:
    names = users(40)
    rates = {
        "rate_limited": 0.03, "unavailable": 0.05, "error_before": 0.05, "error_after": 0.05, "drop_before": 0.05,
        "drop_after": 0.05, "partial": 0.05, "lock_timeout": 0.03,
    }  # fmt: skip
    stack.control.chaos(seed % 10_000, rates)
    for _ in range(2):
        stack.start_worker()
    stack.publish(*[profile(name) for name in names for _ in range(2)])
    stack.await_completed(*names, timeout=60)
    stack.control.clear_faults()
    stack.assert_exactly_one(*names)
    assert stack.control.duplicates() == {}
