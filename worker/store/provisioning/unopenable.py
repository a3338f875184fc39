"""SQL of ledger rows that are sealed under a key that nobody has any more."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, text

from worker.store.engine import arrays
from worker.store.provisioning.leases import NEW_TOKEN, OPENABLE

_COUNT = text(f"SELECT count(*) FROM provisionings WHERE state = 'pending' AND NOT {OPENABLE}")  # noqa: S608 - a constant

_SET_ASIDE = text(f"""
    UPDATE provisionings
    SET state = 'quarantined', quarantined_at = now(), lease_until = NULL, lease_token = {NEW_TOKEN},
        last_error = :error
    WHERE user_id IN (
        SELECT user_id FROM provisionings
        WHERE state = 'pending' AND NOT {OPENABLE} AND (lease_until IS NULL OR lease_until < now())
        ORDER BY user_id LIMIT :limit FOR UPDATE SKIP LOCKED
    )
""")  # noqa: S608 - the token and the condition are constants


def count(tx: Connection, openable: Sequence[bytes]) -> int:
    """How many unsettled rows none of these keys opens (`Sealer.headers`)."""
    return int(tx.execute(_COUNT, {"openable": arrays.byteas(openable)}).scalar_one())


def set_aside(tx: Connection, openable: Sequence[bytes], *, error: str, limit: int) -> int:
    """Quarantines up to `limit` of them. Returns how many.

    A row that is leased just now is left: whoever settles it has its key.
    """
    parameters = {"openable": arrays.byteas(openable), "error": error, "limit": limit}
    return tx.execute(_SET_ASIDE, parameters).rowcount
