"""Answers to what we write at Stripe, beside fetches of the same subscription."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from tests.integration.store.test_refreshes import LEASE, lease, mark
from worker.accounts import answer_rows
from worker.accounts.answer_rows import Watched
from worker.domain.account_changes import AccountChange, Kind, Step
from worker.domain.default_card import DefaultCard
from worker.domain.stripe_facts import Answer, ExpandedCustomer, FetchedSubscription, SubscriptionFact
from worker.store import account_changes, answers, customers, refreshes
from worker.store.account_changes import NewChange
from worker.store.answers import Begun, Held, Mark, Written
from worker.store.engine.database import Database
from worker.store.engine.errors import LeaseLost

ROW = """
    WITH customer AS (
        INSERT INTO billing_customers (user_id, stripe_customer_id) VALUES ('ann', 'cus_1') RETURNING id
    )
    INSERT INTO billing_subscriptions (billing_customer_id, stripe_subscription_id, plan, stripe_subscription_status,
        canceling, seen_from, seen_to)
    SELECT id, 'sub_1', 'pending', 'active', false, now(), now() FROM customer
"""


@pytest.fixture
def change(database: Database) -> AccountChange:
    """Ann's, leased; she has a subscription."""
    new = NewChange(
        uuid.uuid4(), Kind.UPDATE, "ann", "user ann", None, b"", [Step.CANCELING], {"canceling": True}, None,
        stripe_subscription_id="sub_1",
    )  # fmt: skip
    with database.transaction() as tx:
        tx.execute(text(ROW))
        inserted = account_changes.insert(tx, new, LEASE)
    assert inserted is not None
    return replace(inserted, request={"cancel_at_period_end": True})


def begin(database: Database, change: AccountChange, version: int | None = None) -> Begun:
    with database.transaction() as tx:
        begun = answers.begin(tx, change, version, LEASE)
    assert begun is not None
    return begun


def watch(database: Database, change: AccountChange) -> Mark:
    watched = begin(database, change).mark
    assert watched is not None
    return watched


def held(database: Database) -> Held:
    with database.transaction() as tx:
        found = answers.hold(tx, "sub_1", moves=False)
    assert found is not None
    return found


def take(database: Database, begun: Begun, now: datetime, card: str | None = None) -> Written | None:
    """Stripe answers that it is canceling, and which card is its customer's default."""
    said = SubscriptionFact(
        "sub_1", "cus_1", None, "price_1", None, "active", True, None, None, None, None, None, None, now,
        customer=ExpandedCustomer(card),
    )  # fmt: skip
    answer = Answer(FetchedSubscription(said, "ann", None), now, now, False, None)
    watched = Watched(begun.version, begun.status, begun.mark)
    with database.transaction() as tx:
        return answer_rows.take(tx, "sub_1", watched, answer, lambda _: "pending")


def one(database: Database, statement: str) -> object:
    with database.transaction() as tx:
        return tx.execute(text(statement)).scalar_one()


def test_what_is_about_to_be_asked_is_written_with_a_mark(database: Database, change: AccountChange) -> None:
    begun = begin(database, change, version=1)
    assert (begun.version, begun.status) == (1, "active")
    assert begun.mark is not None
    assert begun.mark.is_new
    assert one(database, "SELECT request FROM account_changes") == change.request
    assert one(database, "SELECT due_at > now() FROM subscription_refreshes")


@pytest.mark.parametrize("spoil", ["version", "lease", "row"])
def test_nothing_is_written_of_what_is_not_to_be_asked(database: Database, change: AccountChange, spoil: str) -> None:
    if spoil == "version":
        assert begin(database, change, version=2).mark is None
    elif spoil == "lease":
        with pytest.raises(LeaseLost):
            begin(database, replace(change, token=change.token + 1))
    else:
        with database.transaction() as tx:
            assert answers.begin(tx, replace(change, stripe_subscription_id="sub_2"), None, LEASE) is None
    assert one(database, "SELECT count(*) FROM subscription_refreshes") == 0
    assert one(database, "SELECT request FROM account_changes") is None


def test_an_answer_that_nothing_came_in_between_of_takes_its_mark_away(
    database: Database, change: AccountChange
) -> None:
    watched = watch(database, change)
    found = held(database)
    assert found.is_unmoved(watched)
    assert not found.was_wanted(watched)
    assert (found.row.id, found.row.user_id, found.owner.user_id) == ("sub_1", "ann", "ann")
    with database.transaction() as tx:
        answers.confirm(tx, "sub_1", wanted=False)
        assert refreshes.backlog(tx).waiting == 0


def test_a_fetch_that_is_under_way_is_not_written_over_the_answer(database: Database, change: AccountChange) -> None:
    """It may have been asked for before; where the answer changes no column, no version tells that it is older."""
    mark(database, "sub_1")
    fetch = lease(database)[0]
    watched = watch(database, change)
    found = held(database)
    assert found.is_unmoved(watched)
    assert found.was_wanted(watched)
    with database.transaction() as tx:
        answers.confirm(tx, "sub_1", wanted=True)
        left = refreshes.hold(tx, fetch)
        assert (left.wanted, left.confirmed) == (fetch.wanted + 1, fetch.confirmed + 1)


def test_an_answer_that_was_asked_for_meanwhile_is_asked_for_once_more(
    database: Database, change: AccountChange
) -> None:
    watched = watch(database, change)
    mark(database, "sub_1")
    assert held(database).was_wanted(watched)


def take_away(database: Database, fetch: refreshes.Refresh) -> None:
    """Another event has marked it since: as often wanted and confirmed as before, and yet it isn't that mark."""
    with database.transaction() as tx:
        refreshes.clear(tx, fetch)
    mark(database, "sub_1")


def put_off(database: Database, fetch: refreshes.Refresh) -> None:
    """It is to be asked again a little later."""
    with database.transaction() as tx:
        refreshes.postpone(tx, fetch, timedelta(seconds=4), None, fetched=True)


def hear(database: Database, _fetch: refreshes.Refresh) -> None:
    """An event says that the row is right, and may be newer than the answer."""
    with database.transaction() as tx:
        refreshes.confirm(tx, ["sub_1"])


@pytest.mark.parametrize("meanwhile", [take_away, put_off, hear])
def test_an_answer_is_not_written_over_what_was_written_or_heard_meanwhile(
    database: Database, change: AccountChange, meanwhile: Callable[[Database, refreshes.Refresh], None]
) -> None:
    mark(database, "sub_1")
    watched = watch(database, change)
    meanwhile(database, lease(database)[0])
    assert not held(database).is_unmoved(watched)


def test_nor_where_the_mark_is_gone(database: Database, change: AccountChange) -> None:
    mark(database, "sub_1")
    watched = watch(database, change)
    with database.transaction() as tx:
        refreshes.clear(tx, refreshes.lease(tx, 1, LEASE)[0])
    assert not held(database).is_unmoved(watched)


@pytest.mark.parametrize("meanwhile", [None, "marked", "confirmed", "leased"])
def test_where_nothing_came_of_it_its_mark_goes_unless_somebody_else_wants_it(
    database: Database, change: AccountChange, meanwhile: str | None
) -> None:
    watched = watch(database, change)
    with database.transaction() as tx:
        if meanwhile == "marked":
            refreshes.mark(tx, ["sub_1"])
        elif meanwhile == "confirmed":
            refreshes.confirm(tx, ["sub_1"])
        elif meanwhile == "leased":
            tx.execute(text("UPDATE subscription_refreshes SET due_at = now()"))
            assert len(refreshes.lease(tx, 1, LEASE)) == 1
        answers.unwatch(tx, "sub_1", watched)
    assert one(database, "SELECT count(*) FROM subscription_refreshes") == (0 if meanwhile is None else 1)


def test_where_the_customers_card_is_in_doubt_it_is_asked_for_again(database: Database, change: AccountChange) -> None:
    """An event has told another one in the same second: which is newer can't be told. The subscription is written."""
    begun = begin(database, change)
    now = datetime.now(UTC)
    with database.transaction() as tx:
        customers.write_defaults(tx, {"cus_1": DefaultCard("pm_1", now, now)})
    assert take(database, begun, now) is None
    assert one(database, "SELECT canceling FROM billing_subscriptions")
    assert one(database, "SELECT default_payment_method FROM billing_customers") == "pm_1"
    assert one(database, "SELECT due_at > now() FROM subscription_refreshes")


def test_a_card_that_an_answer_tells_of_is_told_once_of_each_of_the_customers_subscriptions(
    database: Database, change: AccountChange
) -> None:
    other = """
        INSERT INTO billing_subscriptions (billing_customer_id, stripe_subscription_id, plan, canceling,
            stripe_subscription_status, seen_from, seen_to)
        SELECT id, 'sub_2', 'pro', false, 'active', now(), now() FROM billing_customers
    """
    with database.transaction() as tx:
        tx.execute(text(other))
    assert take(database, begin(database, change), datetime.now(UTC), "pm_1") is None
    told = "SELECT stripe_subscription_id, version, after -> 'payable', after -> 'canceling' FROM subscription_changes"
    with database.transaction() as tx:
        assert sorted(map(tuple, tx.execute(text(told)))) == [("sub_1", 2, True, True), ("sub_2", 2, True, False)]
        assert refreshes.backlog(tx).waiting == 0


@pytest.mark.parametrize("is_fetched", [False, True])
def test_an_answer_is_written_and_what_was_wanted_meanwhile_is_fetched_all_the_same(
    database: Database, change: AccountChange, is_fetched: bool
) -> None:
    """An event that can't be compared came after the request, and may be newer than its answer; or a fetch that may be
    older has begun: that writes nothing."""
    if is_fetched:
        mark(database, "sub_1")
    begun = begin(database, change)
    fetch = lease(database)[0] if is_fetched else None
    if fetch is None:
        mark(database, "sub_1")
    assert take(database, begun, datetime.now(UTC)) is None
    assert one(database, "SELECT canceling FROM billing_subscriptions")
    assert one(database, "SELECT count(*) FROM subscription_changes") == 1
    with database.transaction() as tx:
        if fetch is None:
            assert [each.version for each in refreshes.lease(tx, 1, LEASE)] == [2]
        else:
            assert refreshes.hold(tx, fetch).confirmed == fetch.confirmed + 1
