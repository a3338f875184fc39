"""The outbox: who has which change, and what is kept of what was sent."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from sqlalchemy import Connection, text

from worker.domain.change import Change
from worker.store import outbox
from worker.store.engine.database import Database

ALL = 0
KEPT = timedelta(days=30)


def add(database: Database, *users: str, age: str = "0", sent: str | None = None) -> None:
    """Changes that were made `age` ago, and sent `sent` ago."""
    with database.transaction() as tx:
        for user in users:
            tx.execute(
                text(
                    "INSERT INTO subscription_changes"
                    " (user_id, stripe_subscription_id, version, after, cause, created_at, sent_at) VALUES (:user,"
                    " :user, 1, '{}', 'created', now() - CAST(:age AS interval), now() - CAST(:sent AS interval))"
                ),
                {"user": user, "age": age, "sent": sent},
            )


def left(database: Database) -> list[str]:
    with database.transaction() as tx:
        return list(tx.execute(text("SELECT user_id FROM subscription_changes ORDER BY id")).scalars())


def taken(tx: Connection, limit: int = 10, floor: int = ALL) -> list[str | None]:
    return [change.user_id for change in outbox.take_unsent(tx, floor, limit)]


def test_changes_are_taken_oldest_first_by_one_at_a_time_until_they_are_sent(database: Database) -> None:
    add(database, "a", "b", "c")
    with database.transaction() as first, database.transaction() as second:
        (change,) = outbox.take_unsent(first, ALL, 1)
        assert change == Change(change.id, "a", "a", 1, None, "{}", "created")
        assert taken(second) == ["b", "c"]
        (waited,) = outbox.mark_sent(first, [change.id])
        assert 0 <= waited < 60
    with database.transaction() as tx:
        assert taken(tx) == ["b", "c"], "who ends without saying more lets go of them"
    with database.question() as connection:
        questions = outbox.Questions(connection)
        assert questions.is_waiting(ALL)
        assert questions.newest() == change.id + 2
        assert not questions.is_waiting(change.id + 2)


def test_what_was_refused_is_left_alone_for_a_while_and_counted_apart(database: Database) -> None:
    add(database, "a", "b", age="5 minutes")
    with database.transaction() as tx:
        outbox.mark_refused(tx, [outbox.take_unsent(tx, ALL, 1)[0].id])
        assert taken(tx) == ["b"]
        waiting = outbox.waiting(tx)
        assert (waiting.unsent, waiting.refused) == (1, 1)
        assert 300 <= waiting.oldest < 360
        tx.execute(
            text("UPDATE subscription_changes SET refused_at = refused_at - :while"), {"while": timedelta(hours=2)}
        )
        assert taken(tx) == ["a", "b"]


def test_nothing_waits_in_an_empty_outbox(database: Database) -> None:
    with database.transaction() as tx:
        assert outbox.waiting(tx) == (0, 0.0, 0)


def test_what_was_sent_long_ago_is_pruned_in_steps_and_nothing_else_is(database: Database) -> None:
    add(database, "sent-1", "sent-2", age="31 days", sent="31 days")
    add(database, "never-sent", age="31 days")
    add(database, "sent-3", age="31 days", sent="31 days")
    add(database, "sent-late", age="31 days", sent="29 days")
    add(database, "young", age="29 days", sent="29 days")
    last, ended, steps = 0, False, []
    while not ended:
        with database.transaction() as tx:
            last, ended, changes = outbox.prune(tx, last, 2, KEPT)
        steps.append(changes)
    assert steps == [2, 1, 0]
    assert left(database) == ["never-sent", "sent-late", "young"]


def test_pruning_an_outbox_that_is_all_old_ends(database: Database) -> None:
    add(database, "a", "b", age="31 days", sent="31 days")
    with database.transaction() as tx:
        assert outbox.prune(tx, 0, 2, KEPT) == (2, False, 2)
        assert outbox.prune(tx, 2, 2, KEPT) == (0, True, 0)


def test_postgres_waits_for_a_change_and_no_longer_than_it_is_told(database: Database) -> None:
    add(database, "a")
    with database.question() as connection:
        questions = outbox.Questions(connection)
        newest = questions.newest()
        began = time.monotonic()
        questions.await_waiting(newest, 0.01, 0.2)
        assert time.monotonic() - began >= 0.2
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(questions.await_waiting, newest, 0.01, 60.0)
            add(database, "b")
            waiting.result(5)
        assert questions.is_waiting(newest)
