"""Marks for a refresh: coalesced, leased by one process at a time, cleared only if nothing came in between."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta

import pytest
from sqlalchemy import Connection, text

from worker.errors import Contended
from worker.store import events, refreshes
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


def test_who_has_given_it_back_writes_nothing(database: Database) -> None:
    mark(database, "sub_1")
    held = lease(database)[0]
    postpone(database, held, timedelta(hours=1), None)
    with pytest.raises(LeaseLost), database.transaction() as tx:
        refreshes.hold(tx, held)


def test_two_that_lease_at_once_share_what_is_due(database: Database) -> None:
    mark(database, "sub_1", "sub_2")
    with database.transaction() as first, database.transaction(0.5) as second:
        (taken,) = refreshes.lease(first, 1, LEASE)
        (other,) = refreshes.lease(second, 9, LEASE)
        assert {taken.stripe_subscription_id, other.stripe_subscription_id} == {"sub_1", "sub_2"}


def test_one_alone_is_leased_only_when_it_is_due(database: Database) -> None:
    mark(database, "sub_1", "sub_2")
    postpone(database, lease(database, 1)[0], timedelta(hours=1), "away")
    (held,) = lease(database)
    for each in ("sub_1", "sub_2"):
        with database.transaction() as tx:
            assert refreshes.lease_one(tx, each, LEASE) is None
    with database.transaction() as tx:
        assert refreshes.hold(tx, held) == (held.wanted, held.confirmed), "its holder still has it"


@pytest.mark.parametrize("ask", [refreshes.mark, refreshes.confirm])
def test_nobody_asks_anew_between_a_holders_look_and_what_it_writes(
    database: Database, ask: Callable[[Connection, Sequence[str]], None]
) -> None:
    """Else what was asked for then would be cleared with what is answered."""
    mark(database, "sub_1")
    held = lease(database)[0]
    with database.transaction() as holder:
        assert refreshes.hold(holder, held).wanted == held.wanted
        with pytest.raises(Contended), database.transaction(0.1) as other:
            ask(other, ["sub_1"])
        refreshes.clear(holder, held)


def missing_for(database: Database) -> timedelta | None:
    """Leases the mark; since when Stripe has had none such."""
    (held,) = lease(database)
    with database.transaction() as tx:
        refreshes.postpone(tx, held, timedelta(), None)
    return held.missing_for


def deny(database: Database, write: Callable[[Connection, Refresh, timedelta], None]) -> Refresh:
    (held,) = lease(database)
    with database.transaction() as tx:
        refreshes.hold(tx, held)
        write(tx, held, timedelta())
    return held


def test_stripe_has_had_none_such_since_it_first_said_so_until_it_has_it_after_all(database: Database) -> None:
    mark(database, "sub_1")
    deny(database, refreshes.doubt)
    with database.transaction() as tx:
        tx.execute(text("UPDATE subscription_refreshes SET missing_since = missing_since - interval '1 hour'"))
    for write in (refreshes.doubt, refreshes.set_aside):
        deny(database, write)
        since = missing_for(database)
        assert since is not None
        assert since >= timedelta(hours=1)
    (held,) = lease(database)
    assert held.is_aside
    with database.transaction() as tx:
        refreshes.hold(tx, held)
        refreshes.found(tx, held)
        refreshes.postpone(tx, held, timedelta(), None)
    assert missing_for(database) is None


def test_what_was_set_aside_waits_from_when_it_is_asked_for_again(database: Database) -> None:
    mark(database, "sub_1")
    with database.transaction() as tx:
        tx.execute(text("UPDATE subscription_refreshes SET marked_at = now() - interval '1 hour'"))
        assert refreshes.backlog(tx).oldest >= 3600
    deny(database, refreshes.set_aside)
    with database.transaction() as tx:
        assert refreshes.backlog(tx) == (0, 0.0, 1)
        refreshes.mark(tx, ["sub_1"])
        waiting, oldest, aside = refreshes.backlog(tx)
    assert (waiting, aside) == (1, 0)
    assert oldest < 3600


@pytest.mark.parametrize("fetched", [True, False])
def test_what_stripe_has_told_and_is_to_tell_again_waits_anew(database: Database, fetched: bool) -> None:
    mark(database, "sub_1")
    with database.transaction() as tx:
        tx.execute(text("UPDATE subscription_refreshes SET marked_at = now() - interval '1 hour'"))
    (held,) = lease(database)
    with database.transaction() as tx:
        refreshes.postpone(tx, held, timedelta(), None, fetched=fetched)
        assert (refreshes.backlog(tx).oldest < 3600) is fetched


@pytest.mark.parametrize("customer", [None, "cus_gone"])
def test_what_is_a_deleted_customers_stays_nobodys(database: Database, customer: str | None) -> None:
    with database.transaction() as tx:
        tx.execute(
            text(
                "INSERT INTO billing_customers (user_id, stripe_customer_id, deleted_at)"
                " VALUES ('ada', 'cus_1', NULL), ('bob', 'cus_gone', now())"
            )
        )
        events.add_unmatched(tx, [("sub_1", "cus_1"), ("sub_2", "cus_gone"), ("sub_3", "cus_strange")])
        refreshes.revisit(tx, customer)
    assert [each.stripe_subscription_id for each in lease(database)] == ([] if customer else ["sub_1"])
