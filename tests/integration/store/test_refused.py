"""The SQL of refused rows: who waits, who is tried, and whose fault it is."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from sqlalchemy import text

from tests.integration.store.conftest import LEASE, NOW, SEALED, new_rows
from worker.domain.doubt import Refusal
from worker.domain.lanes import Lane
from worker.domain.provisioning import Provisioning
from worker.sealing import HEADER_BYTES
from worker.store.engine.clock import transaction_time
from worker.store.engine.database import Database
from worker.store.engine.errors import LeaseLost
from worker.store.provisioning import insert, leases, quarantined, refused

OPENABLE = [SEALED[:HEADER_BYTES]]


def add(database: Database, *user_ids: str, lane: Lane = Lane.LIVE) -> None:
    with database.transaction() as tx:
        insert.insert_new(tx, new_rows(user_ids, lane=lane), lease=LEASE, stripe_now=NOW)


def lease(database: Database, lane: Lane = Lane.LIVE) -> list[Provisioning]:
    with database.transaction() as tx:
        return leases.lease_due(tx, lane, 100, lease=LEASE, stripe_now=NOW, openable=OPENABLE)


def refuse(database: Database, row: Provisioning, what: str = "no") -> None:
    with database.transaction() as tx:
        refused.note(tx, row, refusal=what, error="no", delay=timedelta(0), lane=Lane.RETRY, sent=True)


def refuse_all(database: Database, *user_ids: str, what: str = "no") -> None:
    add(database, *user_ids)
    for row in lease(database):
        refuse(database, row, what)


def release(database: Database, before: timedelta = timedelta(0), *, whole: bool = True) -> int:
    with database.transaction() as tx:
        moment = transaction_time(tx) + before
        return refused.release(tx, moment, moment if whole else None)


def found(database: Database) -> dict[str, int]:
    with database.transaction() as tx:
        return {each.what: each.users for each in refused.find(tx)}


def next_untried(database: Database, *, newest: bool) -> str | None:
    with database.transaction() as tx:
        rows = refused.lease_untried(tx, newest=newest, lease=LEASE, stripe_now=NOW, openable=OPENABLE)
    return rows[0].user_id if rows else None


def next_refused(database: Database) -> str | None:
    with database.transaction() as tx:
        rows = refused.lease_refused(tx, lease=LEASE, stripe_now=NOW, openable=OPENABLE)
    return rows[0].user_id if rows else None


def execute(database: Database, statement: str) -> None:
    with database.transaction() as tx:
        tx.execute(text(statement))


def test_refusals_are_counted_by_what_was_refused(database: Database) -> None:
    refuse_all(database, "a", "b")
    refuse_all(database, "c", what="another")
    assert found(database) == {"no": 2, "another": 1}
    execute(database, "UPDATE provisionings SET refused_at = now() - interval '1 minute' WHERE user_id = 'a'")
    with database.transaction() as tx:
        (oldest,) = [each for each in refused.find(tx) if each.what == "no"]
    assert isinstance(oldest, Refusal)
    assert 59 < oldest.age < 70


def test_a_pass_releases_those_who_were_refused_before_it_began(database: Database) -> None:
    refuse_all(database, "a")
    assert release(database, timedelta(minutes=-1)) == 0, "it began earlier: it says nothing about now"
    assert found(database) == {"no": 1}
    assert release(database, timedelta(minutes=1)) == 1
    assert found(database) == {}


def test_a_pass_of_who_had_a_customer_releases_those_who_have_theirs(database: Database) -> None:
    refuse_all(database, "none", "has")
    execute(database, "UPDATE provisionings SET state = 'customer_created' WHERE user_id = 'has'")
    assert release(database, timedelta(minutes=1), whole=False) == 1
    assert found(database) == {"no": 1}
    (row,) = [each for each in lease(database, Lane.RETRY) if each.user_id == "none"]
    with database.transaction() as tx:
        assert not refused.is_its_own(tx, row, "no")


def test_the_same_refusal_again_after_a_pass_is_the_row_s_own(database: Database) -> None:
    refuse_all(database, "a")
    (row,) = lease(database, Lane.RETRY)
    with database.transaction() as tx:
        assert not refused.is_its_own(tx, row, "no"), "nobody has passed"
    refuse(database, row)
    release(database, timedelta(minutes=1))
    (row,) = lease(database, Lane.RETRY)
    with database.transaction() as tx:
        assert refused.is_its_own(tx, row, "no")
        assert not refused.is_its_own(tx, row, "another"), "that is new"


def test_another_refusal_begins_anew_and_the_same_one_does_not(database: Database) -> None:
    def refused_at() -> datetime:
        with database.transaction() as tx:
            at: datetime = tx.execute(text("SELECT refused_at FROM provisionings")).scalar_one()
            return at

    refuse_all(database, "a")
    first = refused_at()
    (row,) = lease(database, Lane.RETRY)
    refuse(database, row)
    assert refused_at() == first
    (row,) = lease(database, Lane.RETRY)
    refuse(database, row, "another")
    second = refused_at()
    assert second > first
    release(database, timedelta(minutes=1))
    (row,) = lease(database, Lane.RETRY)
    refuse(database, row, "another")
    assert refused_at() > second
    assert found(database) == {"another": 1}, "and waits for another one's pass"


def test_a_row_under_way_is_not_released(database: Database) -> None:
    refuse_all(database, "a")
    lease(database, Lane.RETRY)
    assert release(database, timedelta(minutes=1)) == 0
    execute(database, "UPDATE provisionings SET lease_until = now() - interval '1 second'")
    assert release(database, timedelta(minutes=1)) == 1, "its worker is dead"


def test_only_the_lease_s_holder_judges_and_notes(database: Database) -> None:
    refuse_all(database, "a")
    (late,) = lease(database, Lane.RETRY)
    execute(database, "UPDATE provisionings SET due_at = now()")
    lease(database, Lane.RETRY)
    with pytest.raises(LeaseLost):
        refuse(database, late)
    with database.transaction() as tx, pytest.raises(LeaseLost):
        refused.is_its_own(tx, late, "no")


def test_the_newest_and_the_oldest_untried_are_found_over_all_lanes(database: Database) -> None:
    refuse_all(database, "refused")
    for minutes, (user_id, lane) in enumerate([("d", Lane.BACKFILL), ("c", Lane.LIVE), ("b", Lane.LIVE)]):
        add(database, user_id, lane=lane)
        # Given back a moment ago: only the first sight tells its age.
        age = f"first_seen_at = now() - interval '{minutes + 1} minutes'"
        execute(database, f"UPDATE provisionings SET {age} WHERE user_id = '{user_id}'")
    assert next_untried(database, newest=True) == "d"
    assert next_untried(database, newest=False) == "b"
    assert next_untried(database, newest=True) == "c"
    assert next_untried(database, newest=True) is None, "who was refused is no answer"


def test_refused_rows_are_tried_in_turn(database: Database) -> None:
    refuse_all(database, "a", "b")
    tried = []
    for _ in range(4):
        tried.append(next_refused(database))
        assert tried[-1] is not None
        execute(database, f"UPDATE provisionings SET lease_until = NULL, due_at = now() WHERE user_id = '{tried[-1]}'")
    assert tried[:2] == tried[2:]
    assert set(tried) == {"a", "b"}
    release(database, timedelta(minutes=1))
    assert next_refused(database) is None, "others passed: they are due like any row"


@pytest.mark.parametrize("comes_back", ["by a retry", "by a newer profile"])
def test_a_row_that_comes_back_from_quarantine_was_refused_nothing_yet(database: Database, comes_back: str) -> None:
    """Whoever set it aside, a process of the release before too, which leaves the refusal where it was."""
    refuse_all(database, "a")
    execute(database, "UPDATE provisionings SET state = 'quarantined', quarantined_at = now(), others_passed = true")
    with database.transaction() as tx:
        if comes_back == "by a retry":
            quarantined.retry(tx, ["a"])
        else:
            insert.replace_quarantined(tx, new_rows(["a"]))
    (row,) = [*lease(database), *lease(database, Lane.RETRY)]
    with database.transaction() as tx:
        assert not refused.is_its_own(tx, row, "no"), "nobody has passed since it came back"
    refuse(database, row)
    assert found(database) == {"no": 1}
