"""SQL of `subscription_refreshes` for answers to writes of ours at Stripe, which count as fetches that began when they
were sent.
"""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Connection, text

from worker.store import refreshes
from worker.store.refreshes import Held

# Who writes to Stripe is about to hear what is so then: the mark is what is left of that if he dies.
_WATCH = text("""
    INSERT INTO subscription_refreshes AS r (stripe_subscription_id, due_at) VALUES (:id, now() + :lease)
    ON CONFLICT (stripe_subscription_id) DO UPDATE SET wanted = r.wanted
    RETURNING wanted, confirmed
""")

_WATCHED = text("""
    SELECT wanted, confirmed, coalesce(lease_until > now(), false) AS is_leased FROM subscription_refreshes
    WHERE stripe_subscription_id = :id FOR UPDATE
""")

_UNMARK = text("DELETE FROM subscription_refreshes WHERE stripe_subscription_id = :id")


def watch(tx: Connection, stripe_subscription_id: str, lease: timedelta) -> Held:
    """Before a write at Stripe whose answer will be this subscription: a mark, due after `lease`, and how far it
    was wanted and confirmed so far."""
    return Held(*tx.execute(_WATCH, {"id": stripe_subscription_id, "lease": lease}).one())


def answered(tx: Connection, stripe_subscription_id: str, watched: Held) -> bool:
    """Whether such an answer may be written, as nothing was heard that may be newer; what was wanted before is fetched
    with it. Else the mark is due. The row is locked."""
    row = tx.execute(_WATCHED, {"id": stripe_subscription_id}).one_or_none()
    is_newest = row is not None and row.confirmed == watched.confirmed
    if row is not None and is_newest and row.wanted == watched.wanted and not row.is_leased:
        tx.execute(_UNMARK, {"id": stripe_subscription_id})
    else:
        refreshes.mark(tx, [stripe_subscription_id])
    return is_newest
