"""SQL for a database that may know less than Stripe does: its unfinished rows look before they create."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, text

from worker.store.provisioning.leases import NEW_TOKEN, UNFINISHED

_COUNT = text(f"SELECT count(*) FROM provisionings WHERE {UNFINISHED}")  # noqa: S608 - a constant

# In the order of the index of unfinished rows. Whoever holds one is fenced off: it may have been read before.
_MARK = text(f"""
    WITH chosen AS MATERIALIZED (
        SELECT lane, due_at, user_id FROM provisionings
        WHERE {UNFINISHED}
          AND (lane, due_at, user_id) > (:lane, CAST(:due_at AS timestamptz), :user_id)
        ORDER BY lane, due_at, user_id LIMIT :limit FOR UPDATE
    ), marked AS (
        UPDATE provisionings p SET look_first = true, lease_token = {NEW_TOKEN} FROM chosen
        WHERE p.user_id = chosen.user_id
    )
    SELECT lane, due_at, user_id FROM chosen ORDER BY lane, due_at, user_id
""")  # noqa: S608 - the token is a constant


class Place(NamedTuple):
    """Of a row in the order in which unfinished rows are marked."""

    lane: int
    due_at: datetime | str
    user_id: str


START = Place(-1, "-infinity", "")


def unfinished(tx: Connection) -> int:
    """How many rows are neither finished nor set aside."""
    return int(tx.execute(_COUNT).scalar_one())


def look_first(tx: Connection, after: Place, limit: int) -> list[Place]:
    """Makes up to `limit` unfinished rows after that place look. Returns their places, in order."""
    return [Place(*row) for row in tx.execute(_MARK, after._asdict() | {"limit": limit})]
