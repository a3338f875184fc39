"""SQL of `subscription_refreshes` for answers to writes of ours at Stripe, which count as fetches that began when they
were sent.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection, text

from worker.store import refreshes

# Who writes to Stripe is about to hear what is so then: the mark is what is left of that if he dies.
_WATCH = text("""
    INSERT INTO subscription_refreshes AS r (stripe_subscription_id, due_at) VALUES (:id, now() + :lease)
    ON CONFLICT (stripe_subscription_id) DO UPDATE SET wanted = r.wanted
    RETURNING wanted, confirmed, marked_at, xmax = 0
""")

_WATCHED = text("""
    SELECT wanted, confirmed, marked_at, coalesce(lease_until > now(), false) AS is_leased FROM subscription_refreshes
    WHERE stripe_subscription_id = :id FOR UPDATE
""")

_UNWATCH = text("""
    DELETE FROM subscription_refreshes
    WHERE stripe_subscription_id = :id AND (wanted, confirmed, marked_at) = (:wanted, :confirmed, :marked_at)
        AND lease_until IS NULL
""")

_UNMARK = text("DELETE FROM subscription_refreshes WHERE stripe_subscription_id = :id")


class Mark(NamedTuple):
    """How far a subscription was wanted and confirmed so far, and since when: a fetch that was written meanwhile took
    the mark away, or moved that. `is_new`: nobody had asked for it before."""

    wanted: int
    confirmed: int
    marked_at: datetime
    is_new: bool


def watch(tx: Connection, stripe_subscription_id: str, lease: timedelta) -> Mark:
    """Before a write at Stripe whose answer will be this subscription: a mark, due after `lease`."""
    return Mark(*tx.execute(_WATCH, {"id": stripe_subscription_id, "lease": lease}).one())


def unwatch(tx: Connection, stripe_subscription_id: str, watched: Mark) -> None:
    """Nothing came of that write: a mark that is there for it alone is taken away."""
    if watched.is_new:
        tx.execute(_UNWATCH, {"id": stripe_subscription_id, **watched._asdict()})


def answered(tx: Connection, stripe_subscription_id: str, watched: Mark) -> bool:
    """Whether such an answer may be written, as nothing was heard that may be newer; what was wanted before is fetched
    with it, and what is being fetched may be older. Else the mark is due. The row is locked."""
    row = tx.execute(_WATCHED, {"id": stripe_subscription_id}).one_or_none()
    if row is None or (row.confirmed, row.marked_at) != (watched.confirmed, watched.marked_at):
        refreshes.mark(tx, [stripe_subscription_id])
        return False
    if row.wanted == watched.wanted and not row.is_leased:
        tx.execute(_UNMARK, {"id": stripe_subscription_id})
    else:
        refreshes.confirm(tx, [stripe_subscription_id])
    return True
