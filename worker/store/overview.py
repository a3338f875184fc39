"""SQL that shows accounts as a whole: what a user has, over all tables."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

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


def accounts(tx: Connection) -> list[Account]:
    """Every account; one with several subscriptions is there several times. Needs `track_commit_timestamp = on`."""
    return [Account(*row) for row in tx.execute(_ACCOUNTS)]


def finished(tx: Connection) -> int:
    """How many ledger rows are settled, or wait for a person."""
    return int(tx.execute(_FINISHED).scalar_one())
