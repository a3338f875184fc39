"""SQL of the ledger for what happens at Stripe after, beside or without our provisioning: which subscription is the
user's (`provisionings.stripe_subscription_id`)."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, text

from worker.domain.lanes import Lane

_UNFINISHED = text("""
    SELECT user_id FROM provisionings
    WHERE user_id = ANY(CAST(:user_ids AS text[])) AND state IN ('pending', 'customer_created')
""")

_STATE = text("SELECT state FROM provisionings WHERE user_id = :user_id")

_ADOPT = text("""
    INSERT INTO provisionings
        (user_id, state, plan, trial_end, lane, stripe_customer_id, stripe_subscription_id, completed_at)
    SELECT :user_id, 'completed', s.plan, coalesce(s.trial_end, s.period_end, now()), :lane, c.stripe_customer_id,
        s.stripe_subscription_id, now()
    FROM billing_subscriptions s JOIN billing_customers c ON c.id = s.billing_customer_id
    WHERE s.stripe_subscription_id = :subscription_id
    ON CONFLICT (user_id) DO NOTHING
""")

# Two that end one subscription and begin another of the same user would not see each other's.
_LOCK = text("""
    SELECT 1 FROM provisionings WHERE user_id = ANY(CAST(:user_ids AS text[])) ORDER BY user_id FOR UPDATE
""")

# Of a user's subscriptions that live, an `incomplete` one waits for its first payment and is nobody's yet.
_MOVE = text("""
    WITH theirs AS (
        SELECT c.user_id, s.id FROM billing_subscriptions s JOIN billing_customers c ON c.id = s.billing_customer_id
        WHERE c.user_id = ANY(CAST(:user_ids AS text[]))
            AND s.owner_user_id IS NULL AND s.owner_project_id IS NULL
        UNION ALL
        SELECT owner_user_id, id FROM billing_subscriptions WHERE owner_user_id = ANY(CAST(:user_ids AS text[]))
    ), living AS (
        SELECT DISTINCT ON (theirs.user_id) theirs.user_id, s.stripe_subscription_id
        FROM theirs JOIN billing_subscriptions s USING (id)
        JOIN billing_customers c ON c.id = s.billing_customer_id
        WHERE c.deleted_at IS NULL
            AND s.stripe_subscription_status NOT IN ('canceled', 'incomplete_expired', 'incomplete')
        ORDER BY theirs.user_id, s.stripe_created NULLS FIRST, s.stripe_subscription_id
    ), moved AS (
        UPDATE provisionings p SET stripe_subscription_id = living.stripe_subscription_id
        FROM living
        WHERE p.user_id = living.user_id AND p.state = 'completed' AND EXISTS (
            SELECT FROM billing_subscriptions current
            WHERE current.stripe_subscription_id = p.stripe_subscription_id
                AND current.stripe_subscription_status IN ('canceled', 'incomplete_expired')
            UNION ALL SELECT FROM subscription_tombstones removed
            WHERE removed.stripe_subscription_id = p.stripe_subscription_id)
        RETURNING p.stripe_subscription_id
    )
    SELECT stripe_subscription_id FROM moved ORDER BY stripe_subscription_id
""")


def unfinished(tx: Connection, user_ids: Sequence[str]) -> set[str]:
    """Those of these users whose provisioning is under way: what Stripe says of theirs may be our own doing."""
    return set(tx.execute(_UNFINISHED, {"user_ids": list(user_ids)}).scalars())


def state_of(tx: Connection, user_id: str) -> str | None:
    """The state of a user's ledger row; None: there is none."""
    found: str | None = tx.execute(_STATE, {"user_id": user_id}).scalar_one_or_none()
    return found


def adopt(tx: Connection, user_id: str, stripe_subscription_id: str) -> None:
    """A user without a ledger row has one, completed with a subscription that was made elsewhere."""
    tx.execute(_ADOPT, {"user_id": user_id, "subscription_id": stripe_subscription_id, "lane": int(Lane.RETRY)})


def lock(tx: Connection, user_ids: Sequence[str]) -> None:
    """These users' rows, until the transaction ends: after their subscriptions', before marks."""
    tx.execute(_LOCK, {"user_ids": sorted(user_ids)})


def move_pointers(tx: Connection, user_ids: Sequence[str]) -> list[str]:
    """Which subscription is the user's: the ledger goes on from one that has ended, or was removed, to the earliest of
    those that live. Returns the subscriptions that have become somebody's."""
    lock(tx, user_ids)
    return list(tx.execute(_MOVE, {"user_ids": sorted(user_ids)}).scalars())
