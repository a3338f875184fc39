"""What waits, for the metrics, and what it costs to look."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import text

from tests.integration.store.conftest import LEASE, NOW, SEALED, new_rows
from worker.domain.lanes import Lane
from worker.errors import TryLater
from worker.sealing import HEADER_BYTES
from worker.store.engine.database import Database
from worker.store.engine.looks import LONGEST, LONGEST_AFTER_FAILURE
from worker.store.provisioning import insert
from worker.store.provisioning.backlog import Queues, QueueState

OURS = [SEALED[:HEADER_BYTES]]


class Clock:
    """Each look takes `cost` seconds: it asks for the time before and after."""

    def __init__(self, cost: float) -> None:
        self.now, self.cost = 0.0, cost

    def __call__(self) -> float:
        self.now += self.cost
        return self.now


def add(database: Database, *user_ids: str, lane: Lane = Lane.LIVE) -> None:
    with database.transaction() as tx:
        insert.insert_new(tx, new_rows(user_ids, lane=lane), lease=LEASE, stripe_now=NOW)


def execute(database: Database, statement: str) -> None:
    with database.transaction() as tx:
        tx.execute(text(statement))


def look(database: Database, looks: Queues) -> QueueState:
    with database.transaction() as tx:
        return looks.state(tx)


def test_the_queues_show_what_waits_in_each_lane_and_in_quarantine(database: Database) -> None:
    add(database, "a", "b")
    add(database, "c", lane=Lane.BACKFILL)
    execute(database, "UPDATE provisionings SET first_seen_at = now() - interval '1 minute' WHERE user_id = 'c'")
    execute(database, "UPDATE provisionings SET state = 'quarantined' WHERE user_id = 'a'")
    state = look(database, Queues(lambda: OURS))
    assert {lane: waiting.depth for lane, waiting in state.lanes.items()} == {
        Lane.LIVE: 1, Lane.RETRY: 0, Lane.BACKFILL: 1,
    }  # fmt: skip
    assert 59 < state.lanes[Lane.BACKFILL].age < 70
    assert state.lanes[Lane.RETRY].age == 0
    assert (state.quarantined_rows, state.quarantined_messages) == (1, 0)


def test_rows_that_wait_for_a_key_are_counted(database: Database) -> None:
    add(database, "a", "b", "done")
    execute(database, "UPDATE provisionings SET state = 'customer_created' WHERE user_id = 'done'")
    assert look(database, Queues(lambda: OURS)).lanes[Lane.LIVE].unopenable == 0
    assert look(database, Queues(lambda: [b"\x01two!"])).lanes[Lane.LIVE].unopenable == 2


def test_a_look_that_is_cheap_is_taken_each_time(database: Database) -> None:
    clock = Clock(0.001)
    looks = Queues(lambda: OURS, clock)
    assert look(database, looks).lanes[Lane.LIVE].depth == 0
    add(database, "a")
    clock.now += 5
    assert look(database, looks).lanes[Lane.LIVE].depth == 1


def test_a_look_takes_one_per_cent_of_the_time_at_most(database: Database) -> None:
    """Each of the five takes 0.4 s here: the next turn comes 40 s later."""
    clock = Clock(0.4)
    looks = Queues(lambda: OURS, clock)
    add(database, "a")
    execute(database, "UPDATE provisionings SET first_seen_at = now() - interval '1 minute'")
    look(database, looks)
    add(database, "b")
    clock.now += 30
    waiting = look(database, looks).lanes[Lane.LIVE]
    assert waiting.depth == 1, "as it was counted"
    assert waiting.age >= 60, "as old as it is by now"
    clock.now += 10
    assert look(database, looks).lanes[Lane.LIVE].depth == 2


def test_a_look_is_taken_every_five_minutes_whatever_it_costs(database: Database) -> None:
    clock = Clock(9.0)
    looks = Queues(lambda: OURS, clock)
    look(database, looks)
    add(database, "a")
    clock.now += LONGEST
    assert look(database, looks).lanes[Lane.LIVE].depth == 1


def test_what_could_not_be_counted_is_missing_and_not_old(new_database: Callable[..., Database]) -> None:
    database, clock = new_database(lock_timeout=0.05), Clock(0.4)
    looks = Queues(lambda: OURS, clock)
    look(database, looks)
    clock.now += 60
    with database.transaction() as other:
        other.execute(text("LOCK TABLE quarantined_messages"))
        with pytest.raises(TryLater):
            look(database, looks)
    state = look(database, looks)
    assert state.quarantined_messages is None
    assert state.lanes[Lane.LIVE].depth == 0
    clock.now += LONGEST_AFTER_FAILURE
    assert look(database, looks).quarantined_messages == 0
