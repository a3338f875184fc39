"""Rows of changes: how long ago the present key was first asked under."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import timedelta

from sqlalchemy import text

from tests.integration.store.conftest import LEASE
from worker.domain.account_changes import AccountChange, Kind, Step
from worker.store import account_changes, told_changes
from worker.store.account_changes import NewChange
from worker.store.engine.database import Database

AGE = timedelta(hours=20)


def begun(database: Database, change: AccountChange) -> AccountChange:
    with database.transaction() as tx:
        account_changes.begin(tx, change, LEASE)
        account_changes.postpone(tx, change, timedelta(), "away")
        return account_changes.lease(tx, 1, LEASE, [])[0]


def test_a_key_is_as_old_as_its_first_request_and_the_next_generation_begins_anew(database: Database) -> None:
    new = NewChange(
        uuid.uuid4(), Kind.UPDATE, "ann", "user ann", None, b"", [Step.CANCELING], {"canceling": True}, None
    )
    with database.transaction() as tx:
        inserted = account_changes.insert(tx, new, LEASE)
    assert inserted is not None
    change = begun(database, inserted)
    with database.transaction() as tx:
        tx.execute(text("UPDATE account_changes SET asked_at = now() - CAST(:age AS interval)"), {"age": AGE})
    change = begun(database, change)
    assert change.asked_for is not None
    assert change.asked_for >= AGE
    change = begun(database, replace(change, generation=2))
    assert change.asked_for is not None
    assert change.asked_for < AGE


def test_a_commit_waits_for_the_disk_unless_its_holder_commits_once_more_before_anything_is_asked(
    database: Database,
) -> None:
    """Of two of a user's, the second isn't leased: nobody's commit follows. And what is written into the ledger with
    it may be all for which a message of the user's is finished."""

    def insert(lease: timedelta | None, kind: Kind = Kind.UPDATE, user: str = "ann") -> object:
        new = NewChange(uuid.uuid4(), kind, user, "admin", None, b"", [Step.CANCELING], {}, None)
        with database.transaction() as tx:
            assert account_changes.insert(tx, new, lease) is not None
            return tx.execute(text("SHOW synchronous_commit")).scalar_one()

    assert [insert(LEASE), insert(LEASE), insert(None)] == ["off", "on", "on"]
    assert [insert(LEASE, Kind.CREATE, "bob"), insert(LEASE, Kind.ERASE, "cat")] == ["on", "on"]
    with database.transaction() as tx:
        assert tx.execute(text("SHOW synchronous_commit")).scalar_one() == "on"


def test_what_only_the_next_release_can_make_is_left_to_it_and_holds_up_nobody_elses(database: Database) -> None:
    """While releases work side by side, or after the step back: a later change of the user's waits for it all the
    same."""
    for user, step in (("ann", Step.PLAN), ("ann", Step.CANCELING), ("bob", Step.CANCELING)):
        new = NewChange(uuid.uuid4(), Kind.UPDATE, user, f"user {user}", None, b"", [step], {}, None)
        with database.transaction() as tx:
            account_changes.insert(tx, new, None)
    with database.transaction() as tx:
        tx.execute(text("UPDATE account_changes SET steps = ARRAY['plan', 'coupon'] WHERE steps = ARRAY['plan']"))
    with database.transaction() as tx:
        assert [each.user_id for each in account_changes.lease(tx, 9, LEASE, [])] == ["bob"]
        assert told_changes.backlog(tx, []).waiting == 3
