"""SQL that shows accounts as a whole: what a user has, over all tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from worker.store.engine import arrays
from worker.store.provisioning.leases import UNFINISHED


@dataclass(frozen=True, slots=True)
class Account:
    """A user's ledger row beside the customer and the subscription in our tables (None where there is none).

    `persisted_at` (UTC): when the transaction that last wrote the ledger row was committed.
    """

    user_id: str
    state: str
    stripe_customer_id: str | None
    stripe_subscription_id: str | None
    plan: str | None
    status: str | None
    trial_end: datetime | None
    persisted_at: datetime


_ACCOUNTS = text("""
    SELECT p.user_id, p.state, c.stripe_customer_id, s.stripe_subscription_id, s.plan,
           s.stripe_subscription_status AS status, s.trial_end, pg_xact_commit_timestamp(p.xmin) AS persisted_at
    FROM provisionings p
    LEFT JOIN billing_customers c ON c.user_id = p.user_id AND c.deleted_at IS NULL
    LEFT JOIN billing_subscriptions s ON s.billing_customer_id = c.id
    ORDER BY p.user_id
""")

_FINISHED = text(f"SELECT count(*) FROM provisionings WHERE NOT {UNFINISHED}")  # noqa: S608 - a constant

_STATUSES = text("SELECT stripe_subscription_status, count(*) FROM billing_subscriptions GROUP BY 1")
_OUTCOMES = text("SELECT outcome, count(*) FROM processed_stripe_events GROUP BY 1")
_CHANGES = text("SELECT count(*) FROM subscription_changes")
_UNDER_WAY = text("""
    SELECT (SELECT count(*) FROM subscription_refreshes)
        + (SELECT count(*) FROM subscription_changes WHERE sent_at IS NULL)
""")
_UNHEARD = text("""
    SELECT count(*) FROM (
        SELECT unnest(CAST(:ids AS text[])) EXCEPT SELECT stripe_event_id FROM processed_stripe_events
    ) AS unheard
""")


def accounts(tx: Connection) -> list[Account]:
    """Every account; one with several subscriptions is there several times. Needs `track_commit_timestamp = on`."""
    return [Account(*row) for row in tx.execute(_ACCOUNTS)]


def finished(tx: Connection) -> int:
    """How many ledger rows are settled, or wait for a person."""
    return int(tx.execute(_FINISHED).scalar_one())


def statuses(tx: Connection) -> dict[str, int]:
    """How many subscriptions there are in each of Stripe's states."""
    return {str(status): int(count) for status, count in tx.execute(_STATUSES)}


def outcomes(tx: Connection) -> dict[str, int]:
    """What became of Stripe's events, each counted once."""
    return {str(outcome): int(count) for outcome, count in tx.execute(_OUTCOMES)}


def changes(tx: Connection) -> int:
    """How many changes of subscriptions there have been."""
    return int(tx.execute(_CHANGES).scalar_one())


def under_way(tx: Connection) -> int:
    """Subscriptions that are to be fetched, and changes that are yet to be told."""
    return int(tx.execute(_UNDER_WAY).scalar_one())


def unheard(tx: Connection, event_ids: Sequence[str]) -> int:
    """How many of these events of Stripe's were not processed."""
    return int(tx.execute(_UNHEARD, {"ids": arrays.texts(event_ids)}).scalar_one())
