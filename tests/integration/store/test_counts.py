"""What is counted is what there is, whoever writes it, whenever it is folded."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from alembic import command
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, text

from worker.store import counts
from worker.store.engine import migrations
from worker.store.engine.database import Database

NAMES = st.lists(st.integers(0, 5), min_size=1, max_size=4, unique=True)
STATES = st.tuples(st.sampled_from(["pending", "pro"]), st.sampled_from(["trialing", "active"]), st.booleans())
ENDS = st.sampled_from([None, "2026-12-01T23:59:59Z", "2026-12-02T00:00:00Z"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("insert"), NAMES, STATES, ENDS),
        st.tuples(st.just("update"), NAMES, STATES, ENDS),
        st.tuples(st.sampled_from(["delete", "customers", "truncate", "fold"]), NAMES, STATES, ENDS),
    ),
    max_size=12,
)

_THESE = "ANY(CAST(:ids AS text[]))"
_CUSTOMERS = """
    INSERT INTO billing_customers (user_id, stripe_customer_id)
    SELECT n, 'cus_' || n FROM unnest(CAST(:ids AS text[])) n
    """
STATEMENTS = {
    "insert": f"""
        INSERT INTO billing_subscriptions (billing_customer_id, stripe_subscription_id, plan,
            stripe_subscription_status, canceling, trial_end, seen_from, seen_to)
        SELECT c.id, 'sub_' || c.user_id, :plan, :status, :canceling, CAST(:ends AS timestamptz), now(), now()
        FROM billing_customers c WHERE user_id = {_THESE} ON CONFLICT DO NOTHING
        """,
    "update": f"""
        UPDATE billing_subscriptions SET plan = :plan, stripe_subscription_status = :status, canceling = :canceling,
            trial_end = CAST(:ends AS timestamptz)
        WHERE replace(stripe_subscription_id, 'sub_', '') = {_THESE}
        """,
    "delete": f"DELETE FROM billing_subscriptions WHERE replace(stripe_subscription_id, 'sub_', '') = {_THESE}",
    "customers": f"DELETE FROM billing_customers WHERE user_id = {_THESE}",
    "truncate": "TRUNCATE billing_customers CASCADE",
}


def add(tx: Connection, *names: str, status: str = "trialing", ends: str | None = None) -> None:
    tx.execute(text(_CUSTOMERS), {"ids": list(names)})
    values = {"ids": list(names), "plan": "pending", "status": status, "canceling": False, "ends": ends}
    tx.execute(text(STATEMENTS["insert"]), values)


def counted(database: Database) -> dict[str, int]:
    with database.transaction() as tx:
        return {each.status: each.subscriptions for each in counts.read(tx)}


def rows(database: Database) -> int:
    with database.transaction() as tx:
        return int(tx.execute(text("SELECT count(*) FROM subscription_counts")).scalar_one())


def is_right(database: Database) -> bool:
    with database.transaction() as tx:
        return not counts.miscounted(tx, correct=False)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_whatever_statements_do_the_counts_say_what_there_is(database: Database, steps: list[Any]) -> None:
    with database.transaction() as tx:
        tx.execute(text(STATEMENTS["truncate"]))
        for kind, names, (plan, status, canceling), ends in steps:
            if kind == "fold":
                tx.execute(counts._FOLD, {"most": 1000, "least": 0})
                continue
            values = {"ids": [str(name) for name in names], "plan": plan, "status": status, "canceling": canceling}
            if kind == "insert":
                tx.execute(text(f"{_CUSTOMERS} ON CONFLICT DO NOTHING"), values)
            tx.execute(text(STATEMENTS[kind]), {**values, "ends": ends})
        assert counts.miscounted(tx, correct=False) == []
        assert all(each.subscriptions > 0 for each in counts.read(tx))


def test_they_are_folded_beside_who_writes_and_who_folds_and_nothing_is_lost_or_doubled(
    database: Database, new_database: Callable[..., Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counts, "MOST_ROWS", 3)
    with database.transaction() as tx:
        for number in range(8):
            add(tx, f"u{number}")
    other = new_database()
    with database.transaction() as writing, other.transaction() as folding:
        add(writing, "late", status="active")
        counts.fold(folding)
        with database.transaction() as also:
            counts.fold(also)
    assert counted(database) == {"trialing": 8, "active": 1}
    assert rows(database) == 2
    assert is_right(database)


def test_what_is_no_longer_on_trial_is_counted_together_whenever_its_trial_ended(database: Database) -> None:
    """Else each day would add a number that no folding takes away, and folding would write all of them anew."""
    with database.transaction() as tx:
        for day in range(1, 8):
            add(tx, f"u{day}", ends=f"2026-11-0{day}T12:00:00Z")
        tx.execute(text("UPDATE billing_subscriptions SET stripe_subscription_status = 'active'"))
        assert [(each.status, each.trial_end_day, each.subscriptions) for each in counts.read(tx)] == [
            ("active", None, 7)
        ]
        assert counts.miscounted(tx, correct=False) == []


def test_few_rows_are_left_as_they_are(database: Database) -> None:
    with database.transaction() as tx:
        add(tx, "ann")
        add(tx, "ben")
        counts.fold(tx)
    assert rows(database) == 2


def test_what_was_miscounted_is_told_and_corrected_while_others_write(
    database: Database, new_database: Callable[..., Database]
) -> None:
    with database.transaction() as tx:
        add(tx, "ann")
        add(tx, "ben", status="active")
        tx.execute(text("DELETE FROM subscription_counts WHERE stripe_subscription_status = 'active'"))
    with database.transaction() as tx:
        [(count, there)] = counts.miscounted(tx, correct=False)
    assert (count.status, count.subscriptions, there) == ("active", 0, 1)
    with new_database().transaction() as writing:
        add(writing, "cat", status="active")
        with database.transaction() as tx:
            assert len(counts.miscounted(tx, correct=True)) == 1
    assert counted(database) == {"trialing": 1, "active": 2}
    assert is_right(database)


def test_two_who_correct_at_once_correct_it_once(database: Database, new_database: Callable[..., Database]) -> None:
    with database.transaction() as tx:
        add(tx, "ann")
        tx.execute(text("DELETE FROM subscription_counts"))
    corrected: list[int] = []
    began = threading.Event()

    def correct() -> None:
        with new_database().transaction() as tx:
            tx.execute(text("SELECT 1"))
            began.set()
            corrected.append(len(counts.miscounted(tx, correct=True)))

    other = threading.Thread(target=correct)
    with database.transaction() as tx:
        assert len(counts.miscounted(tx, correct=True)) == 1
        other.start()
        assert began.wait(5)
        other.join(0.3)
    other.join(10)
    assert corrected == [0]
    assert is_right(database)


def test_a_migration_counts_what_is_there(database: Database) -> None:
    with database.connection() as connection:
        command.downgrade(migrations._config(connection), "0008")
        connection.commit()
    with database.transaction() as tx:
        add(tx, "ann", "ben")
    with database.connection() as connection:
        migrations.upgrade(connection)
    assert counted(database) == {"trialing": 2}
