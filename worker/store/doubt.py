"""SQL for a database that may know less than Stripe does: its unfinished rows look before they create."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import text

from worker.store.database import Database
from worker.store.provisionings import NEW_TOKEN

BATCH = 2_000
"""Rows that are marked at once: 0.1 s of Postgres's time."""

_COUNT = text("SELECT count(*) FROM provisionings WHERE state IN ('pending', 'customer_created')")

# In the order of the index of unfinished rows. Whoever holds one is fenced off: it may have read it before.
_MARK = text(f"""
    WITH chosen AS MATERIALIZED (
        SELECT user_id, lane, due_at FROM provisionings
        WHERE state IN ('pending', 'customer_created')
          AND (lane, due_at, user_id) > (:lane, CAST(:due_at AS timestamptz), :user_id)
        ORDER BY lane, due_at, user_id LIMIT :limit FOR UPDATE
    ), marked AS (
        UPDATE provisionings p SET look_first = true, lease_token = {NEW_TOKEN} FROM chosen
        WHERE p.user_id = chosen.user_id
    )
    SELECT user_id, lane, due_at FROM chosen ORDER BY lane, due_at, user_id
""")  # noqa: S608 - the token is a constant


def unfinished(database: Database) -> int:
    """How many rows are neither finished nor set aside."""
    with database.transaction() as tx:
        return int(tx.execute(_COUNT).scalar_one())


def look_first(database: Database) -> Iterator[int]:
    """Makes every unfinished row look, a transaction a batch. Yields how many each batch had.

    Raises what `Database.transaction` raises; what was done stays done, and doing it again changes nothing.
    """
    last: dict[str, object] = {"lane": -1, "due_at": "-infinity", "user_id": ""}
    while True:
        with database.transaction() as tx:
            rows = tx.execute(_MARK, last | {"limit": BATCH}).all()
        if not rows:
            return
        yield len(rows)
        last = {"lane": rows[-1].lane, "due_at": rows[-1].due_at, "user_id": rows[-1].user_id}
