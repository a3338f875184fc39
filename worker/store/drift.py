"""SQL that walks through our tables page by page, to compare them with Stripe. It changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import NamedTuple

from sqlalchemy import Connection, text

from worker.store.engine import arrays

BATCH = 5_000
"""Rows that are sent to Postgres, or looked at, at once."""

_NOW = text("SELECT now()")
_COUNT = text("SELECT count(*) FROM billing_subscriptions")

_COUNT_CARDS = text("""
    SELECT count(*) FROM (
        SELECT billing_customer_id AS id FROM payment_methods WHERE priority IS NOT NULL
        UNION SELECT id FROM billing_customers WHERE default_payment_method IS NOT NULL
    ) AS holders WHERE id > :after
""")

_MAKE = text("CREATE TEMPORARY TABLE seen_subscriptions (id text PRIMARY KEY) ON COMMIT DROP")
_FILL = text("INSERT INTO seen_subscriptions SELECT DISTINCT unnest(CAST(:ids AS text[])) ON CONFLICT DO NOTHING")
_ANALYZE = text("ANALYZE seen_subscriptions")
# Of a deleted customer Stripe's lists hold nothing any more, and what has ended changes no more.
_UNSEEN = text("""
    WITH page AS (
        SELECT s.id, s.stripe_subscription_id, s.billing_customer_id, s.stripe_subscription_status, s.created_at
        FROM billing_subscriptions s WHERE s.id > :after ORDER BY s.id LIMIT :batch
    )
    SELECT page.id, page.stripe_subscription_id,
        page.created_at < :began AND seen.id IS NULL
        AND NOT (c.deleted_at IS NOT NULL AND page.stripe_subscription_status IN ('canceled', 'incomplete_expired'))
        AS unseen
    FROM page JOIN billing_customers c ON c.id = page.billing_customer_id
    LEFT JOIN seen_subscriptions seen ON seen.id = page.stripe_subscription_id
    ORDER BY page.id
""")

_OF_USERS = text("""
    SELECT s.stripe_subscription_id
    FROM billing_customers c JOIN billing_subscriptions s ON s.billing_customer_id = c.id
    WHERE c.user_id = ANY(CAST(:users AS text[])) AND s.created_at < :began
    UNION SELECT stripe_subscription_id FROM billing_subscriptions
    WHERE owner_user_id = ANY(CAST(:users AS text[])) AND created_at < :began
""")

_CUSTOMERS_OF = text("""
    SELECT stripe_customer_id, user_id FROM billing_customers
    WHERE user_id = ANY(CAST(:users AS text[])) AND deleted_at IS NULL
    UNION SELECT stripe_customer_id, user_id FROM provisionings
    WHERE user_id = ANY(CAST(:users AS text[])) AND stripe_customer_id IS NOT NULL
        AND state NOT IN ('erasing', 'erased')
        AND stripe_customer_id NOT IN (SELECT stripe_customer_id FROM billing_customers WHERE deleted_at IS NOT NULL)
    ORDER BY 1
""")

_KNOWN_USERS = text("""
    SELECT user_id FROM provisionings WHERE user_id = ANY(CAST(:users AS text[]))
    UNION SELECT user_id FROM billing_customers WHERE user_id = ANY(CAST(:users AS text[]))
""")

_CUSTOMERS = text("""
    WITH page AS (
        SELECT id, user_id, stripe_customer_id, created_at, default_payment_method FROM billing_customers
        WHERE deleted_at IS NULL AND id > :after
            AND (CAST(:users AS text[]) IS NULL OR user_id = ANY(CAST(:users AS text[])))
        ORDER BY id LIMIT :batch
    )
    SELECT page.id, page.user_id, page.stripe_customer_id,
        page.created_at < :began AND count(s.id) = 0
            AND coalesce(max(p.state) IN ('erasing', 'erased'), true) AS orphaned,
        coalesce(array_agg(s.stripe_subscription_id ORDER BY s.stripe_created NULLS FIRST, s.stripe_subscription_id)
            FILTER (WHERE s.stripe_subscription_status NOT IN ('canceled', 'incomplete_expired', 'incomplete')
                AND s.owner_user_id IS NULL AND s.owner_project_id IS NULL), '{}')
            AS living,
        page.default_payment_method IS NOT NULL OR EXISTS (
            SELECT FROM payment_methods m WHERE m.billing_customer_id = page.id AND m.priority IS NOT NULL
        ) AS has_cards
    FROM page LEFT JOIN billing_subscriptions s ON s.billing_customer_id = page.id
    LEFT JOIN provisionings p ON p.user_id = page.user_id
    GROUP BY page.id, page.user_id, page.stripe_customer_id, page.created_at, page.default_payment_method
    ORDER BY page.id
""")

_PROFILES = text("""
    WITH page AS (
        SELECT user_id, state, stripe_customer_id, stripe_subscription_id, completed_at FROM provisionings
        WHERE user_id > :after AND (CAST(:users AS text[]) IS NULL OR user_id = ANY(CAST(:users AS text[])))
        ORDER BY user_id LIMIT :batch
    )
    SELECT page.user_id, page.stripe_customer_id, page.stripe_subscription_id,
        page.state = 'completed' AND page.completed_at < :began AND s.id IS NULL
            AND t.stripe_subscription_id IS NULL AS bare
    FROM page LEFT JOIN billing_subscriptions s USING (stripe_subscription_id)
    LEFT JOIN subscription_tombstones t USING (stripe_subscription_id) ORDER BY page.user_id
""")


class Unseen(NamedTuple):
    """A row, by its number, of a subscription that wasn't seen at Stripe."""

    row: int
    stripe_subscription_id: str


class CustomerRow(NamedTuple):
    """A customer that isn't deleted. `orphaned`: nobody provisions or has provisioned its user, and it has nothing.
    `living`: its subscriptions that live, the earliest first. `has_cards`: as far as we know."""

    id: int
    user_id: str
    stripe_customer_id: str
    orphaned: bool
    living: list[str]
    has_cards: bool


class ProfileRow(NamedTuple):
    """A ledger row. `bare`: it is completed with a subscription that has no row, and that was not removed."""

    user_id: str
    stripe_customer_id: str | None
    stripe_subscription_id: str | None
    bare: bool


def now(tx: Connection) -> datetime:
    """The database's time: what is newer was not there when the walk began."""
    found: datetime = tx.execute(_NOW).scalar_one()
    return found


def subscription_count(tx: Connection) -> int:
    return int(tx.execute(_COUNT).scalar_one())


def with_cards_count(tx: Connection, after: int) -> int:
    """How many customers past `after` have payment methods, as far as we know."""
    return int(tx.execute(_COUNT_CARDS, {"after": after}).scalar_one())


def known_users(tx: Connection, users: Sequence[str]) -> set[str]:
    """Those of these who have a ledger row or a customer."""
    return set(tx.execute(_KNOWN_USERS, {"users": arrays.texts(users)}).scalars())


def customers_of(tx: Connection, users: Sequence[str]) -> dict[str, str]:
    """The customers of these users that are not deleted, by our tables or by the ledger, and whose each is."""
    return {row.stripe_customer_id: row.user_id for row in tx.execute(_CUSTOMERS_OF, {"users": arrays.texts(users)})}


def subscriptions_of(tx: Connection, users: Sequence[str], began: datetime) -> list[str]:
    return list(tx.execute(_OF_USERS, {"users": arrays.texts(users), "began": began}).scalars())


def unseen(tx: Connection, seen: Iterable[str], began: datetime, after: int) -> Iterator[Unseen]:
    """The rows past `after` that were there when the walk began, of subscriptions that are not among those `seen` at
    Stripe. Memory doesn't grow with their number; `tx` is in use until the last one was taken."""
    tx.execute(_MAKE)
    left = iter(seen)
    while batch := list(islice(left, BATCH)):
        tx.execute(_FILL, {"ids": arrays.texts(batch)})
    tx.execute(_ANALYZE)
    while rows := tx.execute(_UNSEEN, {"after": after, "batch": BATCH, "began": began}).all():
        yield from (Unseen(row.id, row.stripe_subscription_id) for row in rows if row.unseen)
        after = rows[-1].id


def customers(tx: Connection, after: int, began: datetime, users: Sequence[str] | None) -> list[CustomerRow]:
    """The next customers (of these users, else all)."""
    parameters = {"after": after, "batch": BATCH, "began": began, "users": _list(users)}
    return [CustomerRow(*row) for row in tx.execute(_CUSTOMERS, parameters).all()]


def profiles(tx: Connection, after: str, began: datetime, users: Sequence[str] | None) -> list[ProfileRow]:
    """The next ledger rows (of these users, else all)."""
    parameters = {"after": after, "batch": BATCH, "began": began, "users": _list(users)}
    return [ProfileRow(*row) for row in tx.execute(_PROFILES, parameters).all()]


def _list(users: Sequence[str] | None) -> str | None:
    return None if users is None else arrays.texts(users)
