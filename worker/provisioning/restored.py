"""What comes first on a database that was restored: it may know less than was asked of Stripe."""

from __future__ import annotations

from worker.store.engine.database import Database
from worker.store.provisioning import restored

BATCH = 2_000
"""Rows that are marked at once: a tenth of a second of Postgres's time."""


def count_unfinished(database: Database) -> int:
    """How many profiles are neither served nor set aside."""
    with database.transaction() as tx:
        return restored.unfinished(tx)


def look_first(database: Database) -> int:
    """Has Stripe searched for every unfinished profile before anything is created for it. Returns how many.

    In many transactions: what is done stays done, and doing it again changes nothing. Raises what
    `Database.transaction` raises.
    """
    done, last = 0, restored.START
    while True:
        with database.transaction() as tx:
            marked = restored.look_first(tx, last, BATCH)
        if not marked:
            return done
        done, last = done + len(marked), marked[-1]
