"""SQL that compares many users with the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from sqlalchemy import Connection, text

from worker.domain.lanes import Lane
from worker.domain.provisioning import State

BATCH = 5_000
"""Users that are sent to Postgres at once."""


@dataclass(frozen=True, slots=True)
class Census:
    """Users, each counted once: `users = absent + newly_found + known`.

    `absent`: not in the ledger. `newly_found`: there, in the backfill's lane, and first seen since the given time
    (nobody, without one). `quarantined`: how many of those in the ledger are in quarantine.
    """

    users: int
    absent: int
    newly_found: int
    known: int
    quarantined: int


_MAKE = text("CREATE TEMPORARY TABLE census_users (user_id text PRIMARY KEY) ON COMMIT DROP")
_FILL = text("INSERT INTO census_users SELECT DISTINCT unnest(CAST(:user_ids AS text[])) ON CONFLICT DO NOTHING")
_ANALYZE = text("ANALYZE census_users")
_COUNT = text("""
    SELECT count(*) AS users,
           count(*) FILTER (WHERE p.user_id IS NULL) AS absent,
           count(*) FILTER (WHERE p.lane = :backfill AND p.first_seen_at >= :since) AS newly_found,
           count(*) FILTER (WHERE p.state = :quarantined) AS quarantined
    FROM census_users LEFT JOIN provisionings p USING (user_id)
""")


def census(tx: Connection, user_ids: Iterable[str], since: datetime | None) -> Census:
    """Where these users stand. Memory does not grow with their number."""
    tx.execute(_MAKE)
    for batch in _batches(user_ids):
        tx.execute(_FILL, {"user_ids": batch})
    tx.execute(_ANALYZE)
    parameters = {"backfill": int(Lane.BACKFILL), "since": since, "quarantined": State.QUARANTINED.value}
    row = tx.execute(_COUNT, parameters).one()
    known = row.users - row.absent - row.newly_found
    return Census(row.users, row.absent, row.newly_found, known, row.quarantined)


def _batches(user_ids: Iterable[str]) -> Iterator[list[str]]:
    left = iter(user_ids)
    while batch := list(islice(left, BATCH)):
        yield batch
