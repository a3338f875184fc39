"""SQL of quarantined ledger rows: given another chance, forgotten, or their sealed profiles erased."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import Connection, text

from worker.store.provisioning.leases import NEW_TOKEN

_RETRY_QUARANTINED = text(f"""
    UPDATE provisionings
    SET state = CASE WHEN stripe_customer_id IS NULL THEN 'pending' ELSE 'customer_created' END,
        generation = generation + 1, look_first = true, due_at = now(), lease_until = NULL,
        lease_token = {NEW_TOKEN}, quarantined_at = NULL, subscription_request = NULL, refusal = NULL
    WHERE user_id = ANY(:user_ids) AND state = 'quarantined'
      AND (customer_request IS NOT NULL OR stripe_customer_id IS NOT NULL)
    RETURNING user_id
""")  # noqa: S608 - the token is the constant above

_DROP_QUARANTINED = text("""
    DELETE FROM provisionings p
    WHERE p.user_id = ANY(:user_ids) AND p.state = 'quarantined'
      AND p.stripe_customer_id IS NULL AND p.stripe_subscription_id IS NULL
      AND NOT EXISTS (SELECT FROM billing_customers c WHERE c.user_id = p.user_id)
    RETURNING p.user_id
""")

_FORGET_EXPIRED = text("""
    UPDATE provisionings SET customer_request = NULL
    WHERE state = 'quarantined' AND quarantined_at < now() - :older_than AND customer_request IS NOT NULL
""")


def retry(tx: Connection, user_ids: Sequence[str]) -> list[str]:
    """Makes quarantined rows due again: they look first, in a new generation. Returns the users it did that for.

    A row whose sealed profile has expired before it had a customer needs its message published again first.
    """
    return list(tx.execute(_RETRY_QUARANTINED, {"user_ids": list(user_ids)}).scalars())


def drop(tx: Connection, user_ids: Sequence[str]) -> list[str]:
    """Forgets quarantined rows whose users never had a customer at Stripe. Returns the users it did that for.

    A row that names one stays: it is what keeps a later message from making a second one.
    """
    return list(tx.execute(_DROP_QUARANTINED, {"user_ids": list(user_ids)}).scalars())


def forget_expired_profiles(tx: Connection, older_than: timedelta) -> int:
    """Erases the sealed profiles of rows quarantined longer ago than `older_than`. Returns how many."""
    return tx.execute(_FORGET_EXPIRED, {"older_than": older_than}).rowcount
