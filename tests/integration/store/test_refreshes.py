"""Marks for a refresh: coalesced, leased by one process at a time, cleared only if nothing came in between."""

from __future__ import annotations

from datetime import timedelta

import pytest

from worker.store import refreshes
from worker.store.engine.database import Database
from worker.store.engine.errors import LeaseLost
from worker.store.refreshes import Refresh

LEASE = timedelta(seconds=20)


def mark(database: Database, *identifiers: str) -> None:
    with database.transaction() as tx:
        refreshes.mark(tx, identifiers)


def lease(database: Database, count: int = 9) -> list[Refresh]:
    with database.transaction() as tx:
        return refreshes.lease(tx, count, LEASE)


def postpone(database: Database, refresh: Refresh, delay: timedelta, error: str | None) -> None:
    with database.transaction() as tx:
        refreshes.postpone(tx, refresh, delay, error)


def test_many_marks_of_one_subscription_are_one_fetch(database: Database) -> None:
    mark(database, "sub_1")
    mark(database, "sub_1", "sub_2")
    assert {(each.stripe_subscription_id, each.wanted) for each in lease(database)} == {("sub_1", 2), ("sub_2", 1)}
    assert lease(database) == []


def test_a_mark_that_comes_during_a_fetch_asks_for_another_one(database: Database) -> None:
    mark(database, "sub_1")
    held = lease(database)[0]
    mark(database, "sub_1")
    assert lease(database) == [], "one fetch at a time"
    with database.transaction() as tx:
        assert refreshes.hold(tx, held) == (held.wanted + 1, held.confirmed)
    postpone(database, held, timedelta(), None)
    assert lease(database)[0].wanted == 2


def test_what_is_confirmed_during_a_fetch_asks_for_another_one_and_without_one_for_none(database: Database) -> None:
    mark(database, "sub_1")
    held = lease(database)[0]
    with database.transaction() as tx:
        refreshes.confirm(tx, ["sub_1", "sub_2"])
        assert refreshes.hold(tx, held) == (held.wanted + 1, held.confirmed + 1)
    assert lease(database) == []


@pytest.mark.parametrize(("error", "attempts"), [("stripe_status_503", 2), (None, 1)])
def test_only_what_failed_counts_as_an_attempt(database: Database, error: str | None, attempts: int) -> None:
    mark(database, "sub_1")
    postpone(database, lease(database)[0], timedelta(), error)
    assert lease(database)[0].attempts == attempts


def test_what_is_postponed_is_not_due_until_then_unless_it_is_marked_anew(database: Database) -> None:
    mark(database, "sub_1")
    postpone(database, lease(database)[0], timedelta(hours=1), "away")
    assert lease(database) == []
    mark(database, "sub_1")
    assert len(lease(database)) == 1


def test_a_late_holder_writes_nothing(database: Database) -> None:
    mark(database, "sub_1")
    late = lease(database)[0]
    postpone(database, late, timedelta(), None)
    lease(database)
    with database.transaction() as tx:
        refreshes.clear(tx, late)
    with pytest.raises(LeaseLost):
        postpone(database, late, timedelta(), None)
    with pytest.raises(LeaseLost), database.transaction() as tx:
        refreshes.hold(tx, late)
    with database.transaction() as tx:
        assert refreshes.backlog(tx)[0] == 1
