"""Which subscription is the user's, and what nobody's event becomes; partitions that can't be dropped yet."""

from __future__ import annotations

import threading

from sqlalchemy import Connection, text

from worker.events import inbox
from worker.store import customers, events, refreshes
from worker.store.customers import Owner
from worker.store.engine.database import Database
from worker.store.provisioning import following

USER = """
    INSERT INTO billing_customers (user_id, stripe_customer_id) VALUES ('ada', 'cus_1');
    INSERT INTO billing_subscriptions (billing_customer_id, stripe_subscription_id, plan, stripe_subscription_status,
        canceling, seen_from, seen_to)
    SELECT id, each.subscription, 'pending', each.status, false, now(), now()
    FROM billing_customers, (VALUES ('sub_1', 'active'), ('sub_2', 'incomplete')) AS each (subscription, status);
    INSERT INTO provisionings (user_id, state, plan, trial_end, lane, stripe_customer_id, stripe_subscription_id)
    VALUES ('ada', 'completed', 'pending', now(), 0, 'cus_1', 'sub_1')
"""
STATUS = "UPDATE billing_subscriptions SET stripe_subscription_status = '{}' WHERE stripe_subscription_id = '{}'"


def run(database: Database, statement: str) -> list[object]:
    with database.transaction() as tx:
        found = tx.execute(text(statement))
        return list(found.scalars()) if found.returns_rows else []


def change(tx: Connection, subscription: str, status: str) -> None:
    tx.execute(text(STATUS.format(status, subscription)))


def test_an_end_and_a_beginning_at_once_still_move_the_user_on(database: Database) -> None:
    """Each transaction alone sees no reason to."""
    for statement in USER.split(";"):
        run(database, statement)
    moved: list[str] = []

    def begin() -> None:
        with database.transaction() as tx:
            change(tx, "sub_2", "active")
            began.set()
            moved.extend(following.move_pointers(tx, ["ada"]))

    began = threading.Event()
    beginning = threading.Thread(target=begin)
    with database.transaction() as tx:
        change(tx, "sub_1", "canceled")
        moved.extend(following.move_pointers(tx, ["ada"]))
        beginning.start()
        assert began.wait(5)
    beginning.join(10)
    assert moved == ["sub_2"]
    assert run(database, "SELECT stripe_subscription_id FROM provisionings") == ["sub_2"]


def test_who_had_a_customer_that_was_deleted_is_given_none_by_an_event(database: Database) -> None:
    with database.transaction() as tx:
        customers.bury(tx, "ada", "cus_gone")
        customers.bury(tx, "ada", "cus_gone")
        assert not customers.add(tx, "ada", "cus_2")
        assert customers.add(tx, "bob", "cus_3")
        assert customers.owners(tx, ["cus_gone", "cus_2", "cus_3"]) == {
            "cus_gone": Owner("ada", deleted=True),
            "cus_3": Owner("bob", deleted=False),
        }


def test_what_was_nobodys_is_asked_for_once_its_customer_is_somebodys(database: Database) -> None:
    with database.transaction() as tx:
        events.add_unmatched(tx, [("sub_1", "cus_1"), ("sub_2", "cus_2"), ("sub_3", "cus_gone")])
        customers.bury(tx, "eve", "cus_gone")
        assert customers.add(tx, "ada", "cus_1")
        refreshes.revisit(tx, "cus_1")
        assert refreshes.backlog(tx)[0] == 1
        assert customers.add(tx, "bob", "cus_2")
        refreshes.revisit(tx)
    assert run(database, "SELECT stripe_subscription_id FROM subscription_refreshes ORDER BY 1") == ["sub_1", "sub_2"]
    assert run(database, "SELECT wanted FROM subscription_refreshes ORDER BY stripe_subscription_id") == [2, 1]


def test_what_has_been_nobodys_for_long_is_forgotten_until_it_is_heard_of_again(database: Database) -> None:
    ids = "SELECT stripe_subscription_id FROM unmatched_subscriptions ORDER BY 1"
    nobodys = [("sub_1", "cus_1"), ("sub_2", "cus_2"), ("sub_3", "cus_3")]
    with database.transaction() as tx:
        events.add_unmatched(tx, nobodys)
    run(
        database,
        "UPDATE unmatched_subscriptions SET recorded_at = now() - interval '401 days'"
        " WHERE stripe_subscription_id <> 'sub_3'",
    )
    with database.transaction() as tx:
        assert events.prune_unmatched(tx, inbox.KEPT, 1) == 1
        assert events.prune_unmatched(tx, inbox.KEPT, 10) == 1
    assert run(database, ids) == ["sub_3"]
    with database.transaction() as tx:
        events.add_unmatched(tx, nobodys[:1])
        assert events.prune_unmatched(tx, inbox.KEPT, 10) == 0
    assert run(database, ids) == ["sub_1", "sub_3"]


def test_a_day_that_is_past_is_dropped_once_nobody_reads_the_table(database: Database) -> None:
    with database.transaction() as tx:
        days = events.maintain_days(tx)
        assert (days.end - days.first).days == 39
    run(
        database,
        "CREATE TABLE processed_stripe_events_20200101 PARTITION OF processed_stripe_events"
        " FOR VALUES FROM ('2020-01-01 00:00+00') TO ('2020-01-02 00:00+00')",
    )
    there = "SELECT to_regclass('processed_stripe_events_20200101') IS NOT NULL"
    with database.transaction() as reader:
        reader.execute(text("SELECT count(*) FROM processed_stripe_events"))
        with database.transaction() as tx:
            assert events.maintain_days(tx) == days
    assert run(database, there) == [True]
    with database.transaction() as tx:
        events.maintain_days(tx)
    assert run(database, there) == [False]
