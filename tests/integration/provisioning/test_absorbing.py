"""A batch that cannot be committed: what is told of it, and who gets in all the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import LiteralString

import psycopg
import pytest

from tests.conftest import NewNsqd
from tests.integration.provisioning.conftest import NewStack
from tests.support.stack import Spawned, Stack, Worker, profile, users
from tests.support.waiting import wait_until
from worker.broker import consumer

pytestmark = pytest.mark.usefixtures("quick_probes")

MANY = 300


@contextmanager
def session(stack: Stack, statement: LiteralString, *parameters: object) -> Iterator[None]:
    """Somebody's transaction that stays open, and is rolled back."""
    with psycopg.connect(stack.database_url) as connection:
        connection.execute(statement, parameters)
        yield
        connection.rollback()


@pytest.fixture
def impatient(new_stack: NewStack) -> Stack:
    """Waits 0.2 s for a lock. A whole batch fits into its deliveries."""
    stack = new_stack(SUBKEEPER_DATABASE__LOCK_TIMEOUT="0.2", SUBKEEPER_ABSORB__BATCH=str(MANY))
    stack.prepare()
    return stack


@pytest.fixture
def quick_requeues(monkeypatch: pytest.MonkeyPatch) -> None:
    """nsqd delivers a message again after 0.2 s, not after 5."""
    monkeypatch.setattr(consumer, "FIRST_REQUEUE", 0.2)


def make_read_only(stack: Stack, worker: Worker | Spawned) -> None:
    wait_until(worker.is_ready)
    name = stack.database_url.rpartition("/")[2]
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        setting = psycopg.sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on")
        connection.execute(setting.format(psycopg.sql.Identifier(name)))
    renew_sessions(stack)


def make_writable(stack: Stack) -> None:
    name = stack.database_url.rpartition("/")[2]
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        connection.execute("SET default_transaction_read_only = off")
        reset = psycopg.sql.SQL("ALTER DATABASE {} RESET default_transaction_read_only")
        connection.execute(reset.format(psycopg.sql.Identifier(name)))


def renew_sessions(stack: Stack) -> None:
    stack.rows(
        "SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )


def quarantined(stack: Stack, *names: str) -> None:
    """Their rows wait in quarantine, without a customer."""
    insert = (
        "INSERT INTO provisionings (user_id, plan, trial_end, lane, state, quarantined_at)"
        " SELECT unnest(%s::text[]), 'pending', now() + interval '31 days', 0, 'quarantined', now()"
    )
    stack.rows(insert, list(names))


# Told


def test_a_batch_that_cannot_be_committed_makes_the_worker_unready_and_says_why(stack: Stack) -> None:
    worker = stack.start_worker()
    make_read_only(stack, worker)
    stack.publish(profile("ada"))
    wait_until(lambda: not worker.part("absorbing")[0])
    assert "25006" in worker.part("absorbing")[1]
    assert not worker.is_ready()
    assert worker.is_healthy(), "it passes by itself"
    wait_until(lambda: worker.metric("subkeeper_batch_retries_total") >= 3)
    first = worker.metric("subkeeper_batch_in_hand_seconds")
    wait_until(lambda: worker.metric("subkeeper_batch_in_hand_seconds") > first > 0)
    make_writable(stack)
    stack.await_completed("ada")
    wait_until(worker.is_ready)
    assert worker.metric("subkeeper_batch_in_hand_seconds") == 0


def test_one_line_says_that_an_outage_began_and_one_that_it_is_over(stack: Stack) -> None:
    worker = stack.spawn_worker()
    make_read_only(stack, worker)
    stack.publish(profile("ada"))
    wait_until(lambda: worker.metric("subkeeper_batch_retries_total") >= 4)
    make_writable(stack)
    wait_until(worker.is_ready)
    lines = [line for line in worker.logged("health.changed") if line["part"] == "absorbing"]
    assert [line["ok"] for line in lines] == [True, False, True]
    assert "25006" in lines[1]["detail"]


def test_the_brokers_state_goes_on_being_reported_meanwhile(new_stack: NewStack, new_nsqd: NewNsqd) -> None:
    nsqd = new_nsqd()
    stack = new_stack(nsqd=nsqd)
    stack.setup()
    worker = stack.start_worker()
    make_read_only(stack, worker)
    stack.publish(profile("ada"))
    wait_until(lambda: not worker.part("absorbing")[0])
    nsqd.stop()
    wait_until(lambda: not worker.part("nsqd")[0])
    nsqd.start()
    wait_until(lambda: worker.part("nsqd")[0])
    make_writable(stack)
    stack.publish(profile("ada"))
    stack.await_completed("ada")


def test_an_error_that_nobody_foresaw_ends_no_thread_and_is_loud(stack: Stack) -> None:
    worker = stack.spawn_worker()
    wait_until(worker.is_ready)
    stack.rows("ALTER TABLE provisionings RENAME TO elsewhere")
    stack.publish(profile("ada"))
    wait_until(lambda: not worker.part("absorbing")[0])
    assert "42P01" in worker.part("absorbing")[1]
    wait_until(lambda: worker.metric("subkeeper_batch_retries_total") >= 3)
    assert len(worker.logged("batch.refused")) == 1
    assert len(worker.logged("sweep.crashed")) == 1
    stack.rows("ALTER TABLE elsewhere RENAME TO provisionings")
    stack.await_completed("ada")
    wait_until(worker.is_ready)


# Who gets in all the same


@pytest.mark.usefixtures("quick_requeues")
def test_a_quarantined_row_that_somebody_holds_keeps_out_nobody_else(impatient: Stack) -> None:
    names = users(MANY)
    quarantined(impatient, *names[::2])
    worker = impatient.start_worker()
    with session(impatient, "SELECT FROM provisionings WHERE user_id = %s FOR UPDATE", names[0]):
        impatient.publish(*[profile(name) for name in names])
        impatient.await_completed(*names[1:], timeout=40)
        wait_until(lambda: worker.metric("subkeeper_messages_total", outcome="requeued") > 0)
        assert worker.part("absorbing")[0]
        assert impatient.ledger(names[0])["state"] == "quarantined"
    impatient.await_completed(names[0])
    wait_until(impatient.is_drained)
    impatient.assert_exactly_one(*names[:4])


@pytest.mark.usefixtures("quick_requeues")
def test_an_insert_that_somebody_has_not_committed_keeps_out_nobody_else(impatient: Stack) -> None:
    """ON CONFLICT waits for their word."""
    names = users(MANY)
    worker = impatient.start_worker()
    theirs: LiteralString = (
        "INSERT INTO provisionings (user_id, plan, trial_end, lane) VALUES (%s, 'pending', now(), 0)"
    )
    with session(impatient, theirs, names[123]):
        impatient.publish(*[profile(name) for name in names])
        impatient.await_completed(*[name for name in names if name != names[123]], timeout=40)
        wait_until(lambda: worker.metric("subkeeper_messages_total", outcome="requeued") > 0)
    impatient.await_completed(*names)
    wait_until(impatient.is_drained)
    impatient.assert_exactly_one(names[123])


@pytest.mark.usefixtures("quick_requeues")
def test_a_single_message_that_meets_a_lock_keeps_out_nobody_who_comes_later(impatient: Stack) -> None:
    worker = impatient.start_worker()
    theirs: LiteralString = (
        "INSERT INTO provisionings (user_id, plan, trial_end, lane) VALUES (%s, 'pending', now(), 0)"
    )
    with session(impatient, theirs, "ada"):
        impatient.publish(profile("ada"))
        wait_until(lambda: worker.metric("subkeeper_messages_total", outcome="requeued") > 0)
        impatient.publish(profile("bob"))
        impatient.await_completed("bob")
    impatient.await_completed("ada")


def test_a_table_that_is_locked_keeps_the_batch_whole_and_the_worker_unready(impatient: Stack) -> None:
    names = users(MANY)
    worker = impatient.start_worker()
    wait_until(worker.is_ready)
    with session(impatient, "LOCK TABLE provisionings IN SHARE MODE"):
        impatient.publish(*[profile(name) for name in names])
        wait_until(lambda: not worker.part("absorbing")[0])
        assert "55P03" in worker.part("absorbing")[1]
        wait_until(lambda: worker.metric("subkeeper_batch_retries_total") >= 4)
        assert worker.metric("subkeeper_messages_total", outcome="requeued") == 0
    impatient.await_completed(*names, timeout=40)
    wait_until(worker.is_ready)


def test_a_statement_timeout_splits_nothing(new_stack: NewStack) -> None:
    """57014: too slow, for whatever reason; smaller parts would only be more of it."""
    stack = new_stack(SUBKEEPER_DATABASE__STATEMENT_TIMEOUT="0.2", SUBKEEPER_ABSORB__BATCH=str(MANY))
    stack.setup()
    worker = stack.start_worker()
    wait_until(worker.is_ready)
    theirs: LiteralString = (
        "INSERT INTO provisionings (user_id, plan, trial_end, lane) VALUES (%s, 'pending', now(), 0)"
    )
    with session(stack, theirs, "ada"):
        stack.publish(profile("ada"), profile("bob"))
        wait_until(lambda: worker.metric("subkeeper_batch_retries_total") >= 3)
        assert "57014" in worker.part("absorbing")[1]
        assert not stack.ledger("bob")
    stack.await_completed("ada", "bob")
