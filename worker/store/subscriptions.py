"""SQL of `billing_subscriptions` and of the marks for a refresh."""

from __future__ import annotations

from sqlalchemy import Connection, func
from sqlalchemy.dialects.postgresql import insert

from schema.tables import subscription_refreshes as refreshes


def mark_refresh(tx: Connection, stripe_subscription_id: str) -> None:
    """Asks for the subscription to be fetched: `wanted + 1`, by Stripe's id, since our row may not exist yet."""
    tx.execute(
        insert(refreshes)
        .values(stripe_subscription_id=stripe_subscription_id)
        .on_conflict_do_update(
            index_elements=["stripe_subscription_id"],
            set_={"wanted": refreshes.c.wanted + 1, "due_at": func.least(refreshes.c.due_at, func.now())},
        )
    )
