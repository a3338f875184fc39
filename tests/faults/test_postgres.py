"""Postgres contends, refuses, fills up, goes away, and loses its word: the work waits, and the count is right."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import LiteralString

import psycopg
import psycopg.sql
import pytest
from sqlalchemy import text

from sandbox.postgres import PostgresServer
from tests.faults.commit_thief import CommitThief
from tests.faults.pooler import Pooler
from tests.faults.scenarios import completed, configured
from tests.faults.tally import EXACT, await_states, tally
from tests.integration.provisioning.conftest import NewStack
from tests.support.stack import Stack, profile, users
from tests.support.waiting import wait_until
from worker.errors import Unavailable
from worker.store.engine.database import Database

pytestmark = pytest.mark.usefixtures("quick_probes")

SHORT_LEASES = {"SUBKEEPER_STRIPE__REQUEST_TIMEOUT": "0.5", "SUBKEEPER_SETTLE__LEASE": "5.5"}
"""What a worker could not record, it (or another one) settles again when the lease is over."""

WAITING: LiteralString = (
    "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
)


@pytest.fixture
def short(new_stack: NewStack) -> Stack:
    """A deployment with the shortest leases, set up."""
    stack = configured(new_stack(), SHORT_LEASES)
    stack.prepare()
    return stack


@pytest.fixture
def own_postgres(new_postgres: Callable[[], PostgresServer]) -> PostgresServer:
    return new_postgres()


@pytest.fixture
def alone(new_stack: NewStack, own_postgres: PostgresServer) -> Stack:
    """A deployment on a Postgres of its own, which the test may kill and hold."""
    stack = configured(new_stack(database_url=own_postgres.create_database("subkeeper")), SHORT_LEASES)
    stack.setup()
    return stack


def publish(stack: Stack, count: int, prefix: str = "user") -> Mapping[str, str]:
    names = users(count, prefix)
    stack.publish(*[profile(name) for name in names])
    return completed(*names)


def failed_with(stack: Stack, sqlstate: str) -> bool:
    """Whether some row was postponed for what Postgres said."""
    return bool(stack.rows("SELECT 1 FROM provisionings WHERE last_error LIKE %s", f"postgres {sqlstate} %"))


def assert_exact(stack: Stack, expected: Mapping[str, str]) -> None:
    await_states(stack, expected, 40)
    assert tally(stack, expected) == EXACT


@contextmanager
def session(stack: Stack, *statements: LiteralString) -> Iterator[psycopg.Connection]:
    """Somebody else's open transaction, rolled back in the end unless it is committed."""
    with psycopg.connect(stack.database_url) as connection:
        for statement in statements:
            connection.execute(statement)
        yield connection
        connection.rollback()


def administer(stack: Stack, statement: LiteralString) -> None:
    """On this test's database, from outside of any transaction."""
    name = stack.database_url.rpartition("/")[2]
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        connection.execute(psycopg.sql.SQL(statement).format(psycopg.sql.Identifier(name)))


def terminate_all(stack: Stack) -> None:
    """Ends every other session in the database."""
    stack.rows(
        "SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )


# Contention: real ones, between the worker's transaction and somebody's


def test_a_lock_timeout_is_waited_out(new_stack: NewStack) -> None:
    """55P03, while absorbing and while settling."""
    stack = configured(new_stack(SUBKEEPER_DATABASE__LOCK_TIMEOUT="0.1"), SHORT_LEASES)
    stack.setup()
    worker = stack.start_worker()
    with session(stack, "LOCK TABLE billing_customers IN SHARE MODE"):
        expected = publish(stack, 5)
        wait_until(lambda: failed_with(stack, "55P03"))
    with session(stack, "LOCK TABLE provisionings IN SHARE MODE"):
        expected = {**expected, **publish(stack, 5, "later")}
        wait_until(lambda: not worker.part("absorbing")[0])
    assert_exact(stack, expected)


def test_a_statement_timeout_is_waited_out(new_stack: NewStack) -> None:
    """57014: the lock takes longer than the statement may."""
    stack = configured(new_stack(SUBKEEPER_DATABASE__STATEMENT_TIMEOUT="0.2"), SHORT_LEASES)
    stack.setup()
    stack.start_worker()
    with session(stack, "LOCK TABLE billing_customers IN SHARE MODE"):
        expected = publish(stack, 5)
        wait_until(lambda: failed_with(stack, "57014"))
    assert_exact(stack, expected)


def test_a_deadlock_that_the_worker_loses_costs_an_attempt(short: Stack) -> None:
    """40P01: ours holds the ledger's row and wants the user's customer; theirs holds that and wants the row."""
    short.start_worker()
    theirs: tuple[LiteralString, ...] = (
        "SET LOCAL deadlock_timeout = '60s'",
        "INSERT INTO billing_customers (user_id, stripe_customer_id) VALUES ('user-0', 'cus_other')",
    )
    with session(short, *theirs) as connection:
        expected = publish(short, 1)
        wait_until(lambda: short.rows(WAITING))
        connection.execute("UPDATE provisionings SET attempts = attempts WHERE user_id = 'user-0'")
    wait_until(lambda: failed_with(short, "40P01"))
    assert_exact(short, expected)


def test_a_serialization_failure_costs_an_attempt(stack: Stack) -> None:
    """40001: a database that somebody has set to REPEATABLE READ, and a row that changes under our transaction."""
    administer(stack, "ALTER DATABASE {} SET default_transaction_isolation = 'repeatable read'")
    stack.control.fault("latency", match={"path": "/v1/customers", "method": "POST"}, times=1, ms=1500)
    stack.start_worker()
    expected = publish(stack, 1)
    wait_until(lambda: stack.requests("POST", "/v1/customers"))
    theirs: tuple[LiteralString, ...] = (
        "SET TRANSACTION ISOLATION LEVEL READ COMMITTED",
        "UPDATE provisionings SET attempts = attempts WHERE user_id = 'user-0'",
    )
    with session(stack, *theirs) as connection:
        wait_until(lambda: stack.rows(WAITING))
        connection.commit()
    wait_until(lambda: failed_with(stack, "40001"))
    assert_exact(stack, expected)


def test_a_pool_without_a_free_connection_is_waited_for(new_stack: NewStack) -> None:
    """Two connections for ten threads, both of them held by a lock."""
    environ = {"SUBKEEPER_DATABASE__POOL_SIZE": "2", "SUBKEEPER_DATABASE__CONNECT_TIMEOUT": "0.1", **SHORT_LEASES}
    stack = configured(new_stack(), environ)
    stack.setup()
    worker = stack.start_worker()
    with session(stack, "LOCK TABLE billing_customers IN SHARE MODE"):
        expected = publish(stack, 10)
        wait_until(lambda: worker.metric("subkeeper_settle_seconds_count", lane="live", outcome="unrecorded") >= 3)
    assert_exact(stack, expected)


# A Postgres that cannot write


def test_a_session_that_turned_read_only_is_not_used_again(short: Stack) -> None:
    database = Database(short.settings().database)
    with database.transaction() as tx:
        tx.execute(text("SET SESSION default_transaction_read_only = on"))
    with pytest.raises(Unavailable), database.transaction() as tx:
        tx.execute(text("DELETE FROM provisionings"))
    with database.transaction() as tx:
        tx.execute(text("DELETE FROM provisionings"))
    database.close()


def test_a_primary_that_turns_read_only_stops_the_work_until_it_takes_writes_again(short: Stack) -> None:
    """25006, as after a failover to the wrong side. The sessions that it was said in are not kept for later."""
    worker = short.start_worker()
    first = publish(short, 5)
    await_states(short, first, 20)
    administer(short, "ALTER DATABASE {} SET default_transaction_read_only = on")
    terminate_all(short)
    expected = {**first, **publish(short, 10, "later")}
    wait_until(lambda: not worker.part("absorbing")[0])
    assert worker.is_healthy()
    administer_writable(short)
    assert_exact(short, expected)


def administer_writable(stack: Stack) -> None:
    """New sessions may write again; old ones still may not."""
    name = stack.database_url.rpartition("/")[2]
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        connection.execute("SET default_transaction_read_only = off")
        reset = psycopg.sql.SQL("ALTER DATABASE {} RESET default_transaction_read_only")
        connection.execute(reset.format(psycopg.sql.Identifier(name)))


@pytest.fixture
def small_disk(own_postgres: PostgresServer) -> Iterator[Path | None]:
    """A disk of 1 MiB for a tablespace, where we may mount one (as root); else None."""
    place = own_postgres.directory / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=0777", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        yield None
        return
    shutil.chown(place, own_postgres.user or "root")
    yield place
    own_postgres.stop()
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_stops_the_work_until_there_is_room(
    small_disk: Path | None, alone: Stack, own_postgres: PostgresServer
) -> None:
    """53100: of a real small disk where one may be mounted, else raised with that code by a trigger."""
    if small_disk is not None:
        alone.rows(f"CREATE TABLESPACE small LOCATION '{small_disk}'")
        alone.rows("ALTER TABLE provisionings SET TABLESPACE small")
    worker = alone.start_worker()
    first = publish(alone, 5)
    await_states(alone, first, 20)
    with full(small_disk) if small_disk is not None else said_to_be_full(alone):
        expected = {**first, **publish(alone, 60, "later")}
        wait_until(lambda: "no space left on device" in own_postgres.log.read_text().lower())
        assert not alone.is_drained()
        assert worker.is_healthy()
    assert_exact(alone, expected)


@contextmanager
def full(disk: Path) -> Iterator[None]:
    filler = disk / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    yield
    filler.unlink()


@contextmanager
def said_to_be_full(stack: Stack) -> Iterator[None]:
    stack.rows("""
        CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'no space left on device' USING ERRCODE = '53100'; END $$
    """)
    stack.rows("CREATE TRIGGER full_disk BEFORE INSERT ON provisionings FOR EACH ROW EXECUTE FUNCTION full_disk()")
    yield
    stack.rows("DROP TRIGGER full_disk ON provisionings")


# Its word is lost


def test_commits_that_are_lost_or_whose_answer_is_lost_leave_one_of_each(
    new_stack: NewStack, own_postgres: PostgresServer, rng: random.Random
) -> None:
    """Nobody can tell one from the other: every commit must be repeatable."""
    with CommitThief(own_postgres.port, rng, thefts=40) as thief:
        direct = own_postgres.create_database("subkeeper")
        stack = configured(new_stack(database_url=direct), SHORT_LEASES)
        stack.setup()
        expected = publish(stack, 20)
        for _ in range(2):
            stack.start_worker(SUBKEEPER_DATABASE__URL=direct.replace(str(own_postgres.port), str(thief.port)))
        wait_until(lambda: thief.is_done, 40)
        print(f"lost {thief.taken[0]}, unanswered {thief.taken[1]}")  # noqa: T201 - pytest -s shows it
        assert_exact(stack, expected)


# It is behind a pooler in transaction mode


@pytest.mark.parametrize("transparent", [False, True], ids=["that is noticed", "that is not"])
def test_behind_a_pooler_that_gives_each_transaction_another_session_everything_works(
    new_stack: NewStack, postgres_server: PostgresServer, transparent: bool
) -> None:
    """A statement that was prepared in one session is unknown (26000) in the next."""
    with Pooler(postgres_server.port, transparent=transparent) as pooler:
        stack = new_stack()
        stack.setup()
        pooled = stack.database_url.replace(str(postgres_server.port), str(pooler.port))
        stack.start_worker(SUBKEEPER_DATABASE__URL=pooled)
        for number in range(8):  # psycopg would prepare what it sends the sixth time
            names = users(5, f"round-{number}")
            stack.publish(*[profile(name) for name in names])
            stack.await_completed(*names)
            stack.assert_exactly_one(*names)
        assert pooler.handed_over > 100


# It goes away under load


def test_kills_of_postgres_under_load_leave_one_of_each(
    alone: Stack, own_postgres: PostgresServer, rng: random.Random
) -> None:
    alone.control.latency(ms=20)
    workers = [alone.start_worker(SUBKEEPER_ABSORB__BATCH="10") for _ in range(2)]
    expected: dict[str, str] = {}
    for round_ in range(3):
        expected |= publish(alone, 25, f"round-{round_}")
        time.sleep(rng.uniform(0.05, 0.4))
        own_postgres.kill()
        time.sleep(rng.uniform(0.0, 0.3))
        own_postgres.start()
    assert_exact(alone, expected)
    wait_until(lambda: all(worker.is_ready() for worker in workers))


def test_a_postgres_that_is_held_for_seconds_under_load_delays_and_no_more(
    alone: Stack, own_postgres: PostgresServer
) -> None:
    alone.start_worker(SUBKEEPER_ABSORB__BATCH="10")
    expected = publish(alone, 30)
    wait_until(lambda: alone.requests("POST", "/v1/customers"))
    own_postgres.pause()
    later = publish(alone, 10, "later")
    time.sleep(3)
    own_postgres.resume()
    assert_exact(alone, {**expected, **later})


def test_backends_that_are_terminated_at_random_moments_cost_nothing(short: Stack, rng: random.Random) -> None:
    """Whatever a session is about: every few milliseconds one of them ends."""
    for _ in range(2):
        short.start_worker()
    stop = threading.Event()

    def strike() -> None:
        with psycopg.connect(short.database_url, autocommit=True) as connection:
            while not stop.wait(rng.uniform(0.0, 0.05)):
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'subkeeper'"
                    " AND datname = current_database() ORDER BY random() LIMIT 1"
                )

    striker = threading.Thread(target=strike)
    striker.start()
    expected = publish(short, 40)
    time.sleep(3)
    stop.set()
    striker.join()
    assert_exact(short, expected)
