"""SQL of `subscription_tombstones`: subscriptions that were removed here, for ever.

Whoever may write one's row looks after it has tried to lock that: who removes it holds that lock until the tombstone is
there.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, text

from worker.domain.subscription import Subscription, as_json
from worker.store.engine import arrays

_AMONG = text("""
    SELECT stripe_subscription_id FROM subscription_tombstones
    WHERE stripe_subscription_id = ANY(CAST(:ids AS text[]))
""")

# The marks too: a fetch that is under way has lost its lease.
_REMOVE = text("""
    WITH unmarked AS (
        DELETE FROM subscription_refreshes WHERE stripe_subscription_id = :id
    ), matched AS (
        DELETE FROM unmatched_subscriptions WHERE stripe_subscription_id = :id
    ), removed AS (
        DELETE FROM billing_subscriptions WHERE stripe_subscription_id = :id
    ), buried AS (
        INSERT INTO subscription_tombstones (stripe_subscription_id, user_id, version) VALUES (:id, :user_id, :version)
    )
    INSERT INTO subscription_changes (user_id, stripe_subscription_id, version, before, cause, project_id)
    VALUES (:user_id, :id, :version, CAST(:before AS jsonb), 'removed', :project_id)
""")


def among(tx: Connection, stripe_subscription_ids: Sequence[str]) -> set[str]:
    """Those of these that were removed."""
    return set(tx.execute(_AMONG, {"ids": arrays.texts(stripe_subscription_ids)}).scalars())


def bury(tx: Connection, row: Subscription) -> None:
    """Removes a locked row, its mark too; the outbox tells of it."""
    before = as_json(row.columns())
    whose = {"user_id": row.user_id, "project_id": row.project_id}
    tx.execute(_REMOVE, {"id": row.id, **whose, "version": row.version, "before": before})
