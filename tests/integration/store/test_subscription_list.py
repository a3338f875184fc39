"""Subscriptions by pages: nothing is left out or told twice, whatever happens meanwhile, and an index has each page."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, text

from tests.integration.store.reading import rows_read
from worker.store import subscription_list
from worker.store.engine.database import Database
from worker.store.subscription_list import NEWEST, Chosen, Listed

PLANS, STATUSES = ["pending", "pro", "price_x"], ["trialing", "active", "past_due", "canceled"]

_ADD = text("""
    WITH customer AS (
        INSERT INTO billing_customers (user_id, stripe_customer_id) VALUES (:id, :id) RETURNING id
    )
    INSERT INTO billing_subscriptions (billing_customer_id, stripe_subscription_id, plan,
        stripe_subscription_status, canceling, seen_from, seen_to, owner_project_id)
    SELECT id, :id, :plan, :status, false, now(), now(), :project FROM customer
""")
_MANY = text("""
    WITH customers AS (
        INSERT INTO billing_customers (user_id, stripe_customer_id)
        SELECT n, 'cus_' || n FROM generate_series(1, :many) n RETURNING id, CAST(user_id AS int) AS n
    )
    INSERT INTO billing_subscriptions (billing_customer_id, stripe_subscription_id, plan,
        stripe_subscription_status, canceling, seen_from, seen_to, owner_project_id)
    SELECT id, 'sub_' || n, CASE WHEN n % 1000 = 0 THEN 'rare' ELSE 'pending' END,
        CASE WHEN n < 500 THEN 'past_due' WHEN n % 3 = 0 THEN 'active' ELSE 'trialing' END, false, now(), now(),
        CASE WHEN n % 10 = 0 AND n < 5000 THEN 'p' END
    FROM customers ORDER BY n
""")


def add(tx: Connection, identifier: str, plan: str, status: str, project: str | None = None) -> None:
    tx.execute(_ADD, {"id": identifier, "plan": plan, "status": status, "project": project})


class Walk:
    """From page to page, as somebody does who asks for all."""

    def __init__(self, chosen: Chosen, project: str | None, limit: int) -> None:
        self._chosen = chosen
        self._project = project
        self._limit = limit
        self._before = NEWEST
        self.told: list[str] = []
        self.has_ended = False

    def go_on(self, tx: Connection) -> None:
        found = self._page(tx)
        self.told += [each.row.id for each in found]
        self.has_ended = len(found) < self._limit
        self._before = found[-1].number if found else self._before

    def _page(self, tx: Connection) -> list[Listed]:
        if self._project is not None:
            return subscription_list.of_project(tx, self._project, None, self._chosen, self._before, self._limit)
        return subscription_list.page(tx, self._chosen, self._before, self._limit)


KINDS = st.tuples(st.sampled_from(PLANS), st.sampled_from(STATUSES), st.sampled_from([None, "p", "q"]))
MEANWHILE = st.lists(
    st.one_of(
        st.tuples(st.just("add"), KINDS),
        st.tuples(st.just("remove"), st.integers(0, 30)),
        st.tuples(st.just("status"), st.integers(0, 30), st.sampled_from(STATUSES)),
    ),
    max_size=3,
)
CHOSEN = st.builds(
    Chosen,
    st.one_of(st.none(), st.sampled_from([*PLANS, "none"])),
    st.one_of(st.none(), st.lists(st.sampled_from([*STATUSES, "unpaid"]), max_size=3)),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    there=st.lists(KINDS, max_size=14), chosen=CHOSEN, project=st.sampled_from([None, None, "p"]),
    limit=st.integers(1, 5), meanwhile=st.lists(MEANWHILE, max_size=8),
)  # fmt: skip
def test_what_is_there_all_the_while_is_told_once_whatever_comes_and_goes_between_two_pages(
    database: Database,
    there: list[tuple[str, str, str | None]],
    chosen: Chosen,
    project: str | None,
    limit: int,
    meanwhile: list[list[Any]],
) -> None:
    with database.transaction() as tx:
        tx.execute(text("TRUNCATE billing_customers CASCADE"))
        for number, kind in enumerate(there):
            add(tx, f"sub_{number}", *kind)
        stayed, added, walk = _fitting(tx, chosen, project), 0, Walk(chosen, project, limit)
        walk.go_on(tx)
        while not walk.has_ended:
            for change, *what in meanwhile.pop() if meanwhile else []:
                if change == "add":
                    added += 1
                    add(tx, f"sub_new_{added}", *what[0])
                elif change == "remove":
                    tx.execute(text("DELETE FROM billing_subscriptions WHERE stripe_subscription_id = :id"), _id(what))
                else:
                    query = "UPDATE billing_subscriptions SET stripe_subscription_status = :status"
                    tx.execute(text(f"{query} WHERE stripe_subscription_id = :id"), {**_id(what), "status": what[1]})
                stayed &= _fitting(tx, chosen, project)
            walk.go_on(tx)
    assert len(walk.told) == len({*walk.told})
    assert stayed <= {*walk.told}
    was_there = [each for each in walk.told if "new" not in each]
    assert was_there == sorted(was_there, key=lambda each: -int(each.removeprefix("sub_"))), "the newest first"


def _id(what: list[Any]) -> dict[str, str]:
    return {"id": f"sub_{what[0]}"}


def _fitting(tx: Connection, chosen: Chosen, project: str | None) -> set[str]:
    """By all rows, one by one."""
    rows = tx.execute(text("SELECT * FROM billing_subscriptions")).all()
    return {
        row.stripe_subscription_id
        for row in rows
        if project in {None, row.owner_project_id}
        and chosen.plan in {None, row.plan}
        and (chosen.statuses is None or row.stripe_subscription_status in chosen.statuses)
    }


def test_a_projects_is_told_on_the_customers_that_are_named(database: Database) -> None:
    with database.transaction() as tx:
        for name in ("a", "b"):
            add(tx, name, "pro", "active", "p")
        found = [
            subscription_list.of_project(tx, "p", named, Chosen(), NEWEST, 9) for named in (None, ["a"], ["c"], [])
        ]
    assert [[each.row.customer_id for each in page] for page in found] == [["b", "a"], ["a"], [], []]
    assert {(each.row.user_id, each.row.project_id) for each in found[0]} == {(None, "p")}


ROWS, LIMIT = 30_000, 20
MOST_READ = 200
"""Rows of tables and indexes that a page of these may take: there are four kinds, and a row has a customer."""

QUESTIONS: dict[str, Callable[[Connection, int], object]] = {
    "all": lambda tx, before: subscription_list.page(tx, Chosen(), before, LIMIT),
    "a rare plan": lambda tx, before: subscription_list.page(tx, Chosen("rare"), before, LIMIT),
    "an old status": lambda tx, before: subscription_list.page(tx, Chosen(None, ["past_due"]), before, LIMIT),
    "both": lambda tx, before: subscription_list.page(tx, Chosen("pending", ["active", "trialing"]), before, LIMIT),
    "none": lambda tx, before: subscription_list.page(tx, Chosen("gone", ["unpaid"]), before, LIMIT),
    "a project": lambda tx, before: subscription_list.of_project(tx, "p", None, Chosen(), before, LIMIT),
}


@pytest.fixture
def many(database: Database) -> Database:
    with database.transaction() as tx:
        tx.execute(_MANY, {"many": ROWS})
    with database.connection() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").execute(text("VACUUM ANALYZE"))
    return database


def test_a_page_is_read_by_an_index_wherever_it_is(many: Database, rng: random.Random) -> None:
    read: dict[str, int] = {}
    with many.transaction() as tx:
        for name, ask in QUESTIONS.items():
            for before in (NEWEST, rng.randrange(1, ROWS), 1):
                read[name] = max(read.get(name, 0), rows_read(tx, lambda tx: ask(tx, before)))  # noqa: B023 - called at once
    assert {name: rows for name, rows in read.items() if rows > MOST_READ} == {}
