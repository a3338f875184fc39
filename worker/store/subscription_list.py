"""SQL that lists subscriptions, the newest here first, a page at a time: each page is read by an index, however many
there are.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from sqlalchemy import Connection, TextClause, text

from worker.domain.subscription import Subscription
from worker.store import subscriptions
from worker.store.engine import arrays


class Listed(NamedTuple):
    """A subscription, and its place in the list."""

    number: int
    row: Subscription


class Chosen(NamedTuple):
    """Which ones: of this plan, in one of these statuses; None: any."""

    plan: str | None = None
    statuses: Collection[str] | None = None

    def takes(self, row: Subscription) -> bool:
        is_of_plan = self.plan in {None, row.state["plan"]}
        return is_of_plan and (self.statuses is None or row.state["stripe_subscription_status"] in self.statuses)


_NEWEST = "ORDER BY s.id DESC LIMIT :limit"
_ALL = text(f"{subscriptions.ALL} WHERE s.id < :before {_NEWEST}")

# Each plan and status that there is, found by one look into the index for each: there are few. Of each the newest.
_CHOSEN = text(f"""
    WITH RECURSIVE kinds AS (
        (SELECT plan, stripe_subscription_status AS status FROM billing_subscriptions ORDER BY 1, 2 LIMIT 1)
        UNION ALL
        SELECT further.plan, further.status FROM kinds CROSS JOIN LATERAL (
            SELECT plan, stripe_subscription_status AS status FROM billing_subscriptions
            WHERE (plan, stripe_subscription_status) > (kinds.plan, kinds.status) ORDER BY 1, 2 LIMIT 1
        ) AS further
    ), newest AS (
        SELECT of_kind.id FROM kinds CROSS JOIN LATERAL (
            SELECT id FROM billing_subscriptions
            WHERE plan = kinds.plan AND stripe_subscription_status = kinds.status AND id < :before
            ORDER BY id DESC LIMIT :limit
        ) AS of_kind
        WHERE kinds.plan = coalesce(:plan, kinds.plan)
            AND kinds.status = ANY(coalesce(CAST(:statuses AS text[]), ARRAY[kinds.status]))
        ORDER BY of_kind.id DESC LIMIT :limit
    )
    {subscriptions.ALL} WHERE s.id IN (SELECT id FROM newest) {_NEWEST}
""")  # noqa: S608 - constants

# Only what is asked for is a condition: Postgres takes one that always holds for one that few rows meet, and sorts.
_OF_PROJECT = "{subscriptions} WHERE s.owner_project_id = :project_id AND s.id < :before {more} {newest}"
_MORE = {
    "plan": "AND s.plan = :plan",
    "statuses": "AND s.stripe_subscription_status = ANY(CAST(:statuses AS text[]))",
    "customers": "AND c.stripe_customer_id = ANY(CAST(:customers AS text[]))",
}

NEWEST = 2**63 - 1
"""Before which all are."""


def page(tx: Connection, chosen: Chosen, before: int, limit: int) -> list[Listed]:
    """Users' and projects', deleted customers' included: `limit` at most, older than the number `before`."""
    asked = {"before": before, "limit": limit}
    if chosen == Chosen():
        return _listed(tx, _ALL, asked)
    return _listed(tx, _CHOSEN, {**asked, **_parameters(chosen)})


def of_project(
    tx: Connection, project_id: str, customers: Collection[str] | None, chosen: Chosen, before: int, limit: int
) -> list[Listed]:
    """The same of a project's; on these customers (Stripe's ids) alone, if any are said."""
    asked = {**_parameters(chosen), "customers": None if customers is None else arrays.texts(customers)}
    more = " ".join(condition for name, condition in _MORE.items() if asked[name] is not None)
    statement = text(_OF_PROJECT.format(subscriptions=subscriptions.ALL, more=more, newest=_NEWEST))
    return _listed(tx, statement, {"project_id": project_id, "before": before, "limit": limit, **asked})


def _listed(tx: Connection, statement: TextClause, parameters: Mapping[str, object]) -> list[Listed]:
    return [Listed(row.number, subscriptions.of_row(row)) for row in tx.execute(statement, parameters)]


def _parameters(chosen: Chosen) -> dict[str, object]:
    return {"plan": chosen.plan, "statuses": None if chosen.statuses is None else arrays.texts(chosen.statuses)}
