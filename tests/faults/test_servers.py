"""Servers that are killed, held and started again under traffic: what they lose is healed by a replay, and counted."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterator

import psycopg
import pytest

from sandbox.postgres import PostgresServer
from sandbox.stripe_process import StripeProcess
from sandbox.workspace import Workspace
from tests.conftest import NewNsqd
from tests.faults.servers import QUICK, STRIPE_KEY, OwnStripe, Servers, Source
from tests.faults.tally import EXACT, tally
from tests.integration.provisioning.conftest import NewStack
from tests.support.stack import Stack, profile, users
from tests.support.waiting import wait_until

ROWS = "SELECT canceling FROM billing_subscriptions"
SENT = "SELECT sent_at IS NOT NULL AS sent FROM subscription_changes ORDER BY version"

pytestmark = [pytest.mark.usefixtures("quick_probes"), pytest.mark.timeout(300)]
"""More than the waits of a test may come to on a busy machine, so that it is they who say what didn't come."""


@pytest.fixture
def servers(
    new_nsqd: NewNsqd, new_postgres: Callable[[], PostgresServer], workspace: Workspace, seed: int
) -> Iterator[Servers]:
    with StripeProcess(workspace, secret_key=STRIPE_KEY, seed=str(seed)) as stripe:
        yield Servers(new_nsqd(), new_postgres(), stripe)


@pytest.fixture
def own_stack(servers: Servers, new_stack: NewStack) -> Stack:
    """A deployment on `servers`; its workers end before they do."""
    stack = new_stack(
        nsqd=servers.nsqd,
        database_url=servers.postgres.create_database("subkeeper"),
        stripe=OwnStripe(servers.stripe),
    )
    stack.environ |= QUICK
    stack.setup()
    return stack


@pytest.fixture
def source(own_stack: Stack, rng: random.Random) -> Iterator[Source]:
    source = Source(own_stack, rng)
    yield source
    source.close()


def assert_exact(stack: Stack, source: Source, timeout: float = 40) -> None:
    stack.await_completed(*source.profiles, timeout=timeout)
    wait_until(stack.is_drained, timeout=20)
    assert tally(stack, dict.fromkeys(source.profiles, "completed")) == EXACT


@pytest.mark.parametrize("part", ["nsqd", "postgres", "stripe"])
def test_a_server_killed_again_and_again_under_traffic_costs_nobody_anything(
    own_stack: Stack, servers: Servers, source: Source, part: str
) -> None:
    """What a killed nsqd had handed out and not heard of again is gone with it: the replay brings that back."""
    own_stack.control.latency(ms=20)
    worker = own_stack.start_worker(SUBKEEPER_ABSORB__BATCH="10")
    for round_ in range(3):
        source.publish(profile(name) for name in users(40, f"round-{round_}"))
        servers.part(part).kill()
        time.sleep(0.3)
        servers.part(part).start()
    source.publish(profile(name) for name in users(20, "after"))
    if part == "nsqd":
        source.replay()
    assert_exact(own_stack, source)
    wait_until(worker.is_ready)


@pytest.mark.parametrize("part", ["nsqd", "postgres", "stripe"])
def test_a_server_that_is_held_and_goes_on_under_traffic_costs_nobody_anything(
    own_stack: Stack, servers: Servers, source: Source, part: str
) -> None:
    own_stack.control.latency(ms=20)
    worker = own_stack.start_worker(SUBKEEPER_ABSORB__BATCH="10")
    source.publish(profile(name) for name in users(40))
    servers.part(part).pause()
    time.sleep(15 if part == "nsqd" else 8)  # two heartbeats; Stripe's timeout, or Postgres's with its grace
    servers.part(part).resume()
    source.publish(profile(name) for name in users(40, "after"))
    assert_exact(own_stack, source)
    wait_until(worker.is_ready)


def test_while_postgres_is_away_events_wait_at_nsqd_and_changes_follow_once_it_is_back(
    own_stack: Stack, servers: Servers, source: Source
) -> None:
    source.publish([profile("ada")])
    worker = own_stack.start_worker("all", SUBKEEPER_STRIPE__MONTHLY_READS="1000000000")
    own_stack.await_completed("ada")
    path = f"/v1/subscriptions/{own_stack.ledger('ada')['stripe_subscription_id']}"
    servers.postgres.kill()
    own_stack.call_stripe("POST", path, cancel_at_period_end="true")
    own_stack.hear(*own_stack.events("customer.subscription.updated"))
    wait_until(lambda: not worker.is_ready(), what="it says so")
    assert worker.is_healthy(), "it passes by itself"
    assert not own_stack.is_drained(own_stack.events_topic)
    servers.postgres.start()
    wait_until(lambda: [row["canceling"] for row in own_stack.rows(ROWS)] == [True], 30, "the row is as Stripe has it")
    wait_until(lambda: [row["sent"] for row in own_stack.rows(SENT)] == [True, True], what="and told")
    wait_until(worker.is_ready)


def test_what_an_nsqd_loses_with_its_worker_is_found_by_a_replay_from_the_source(
    own_stack: Stack, servers: Servers, source: Source
) -> None:
    """nsqd keeps on disk what waits, not what is handed out: when both ends of it die, only the source knows it."""
    names = users(100)
    patient = {
        "SUBKEEPER_DATABASE__LOCK_TIMEOUT": "30",
        "SUBKEEPER_DATABASE__STATEMENT_TIMEOUT": "30",
        "SUBKEEPER_NSQ__HEARTBEAT_INTERVAL": "36",
    }
    worker = own_stack.spawn_worker(SUBKEEPER_NSQ__MAX_IN_FLIGHT="25", **patient)
    with psycopg.connect(own_stack.database_url) as holder:
        holder.execute("LOCK TABLE provisionings")
        source.publish(profile(name) for name in names)
        wait_until(lambda: in_flight(own_stack) >= 10)
        worker.send(signal.SIGSTOP)
        handed_out = in_flight(own_stack)
        servers.nsqd.kill()
        worker.kill()
    servers.nsqd.start()
    second = own_stack.start_worker()
    # nsqd loses what was handed out, and the one or two messages that it was about to.
    wait_until(lambda: own_stack.is_drained() and len(known(own_stack)) >= 100 - handed_out - 5, timeout=30)
    missing = 100 - len(known(own_stack))
    assert missing >= handed_out
    source.replay()
    assert_exact(own_stack, source)
    name, topic = "subkeeper_messages_total", own_stack.topic
    assert second.metric(name, topic=topic, outcome="known") == 100 - missing, "nothing changed for those"
    assert second.metric(name, topic=topic, outcome="new") == 100


def test_everything_killed_at_once_and_started_in_any_order_comes_back(
    own_stack: Stack, servers: Servers, source: Source, rng: random.Random
) -> None:
    own_stack.control.latency(ms=30)
    workers = [own_stack.spawn_worker(SUBKEEPER_ABSORB__BATCH="10") for _ in range(2)]
    source.publish(profile(name) for name in users(60))
    wait_until(lambda: completed(own_stack))
    for part in servers:
        part.kill()
    workers[0].kill()
    for name in rng.sample(servers._fields, len(servers)):
        time.sleep(rng.uniform(0, 0.5))
        servers.part(name).start()
    own_stack.start_worker()
    source.replay()
    assert_exact(own_stack, source)
    wait_until(workers[1].is_ready)


def in_flight(stack: Stack) -> int:
    found: int = stack.nsqd.channel(stack.topic, "subkeeper")["in_flight_count"]
    return found


def completed(stack: Stack) -> set[str]:
    return {row["user_id"] for row in stack.rows("SELECT user_id FROM provisionings WHERE state = 'completed'")}


def known(stack: Stack) -> set[str]:
    return {row["user_id"] for row in stack.rows("SELECT user_id FROM provisionings")}
