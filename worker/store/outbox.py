"""SQL of `subscription_changes`, the outbox.

What is unsent is told by `sent_at IS NULL`, never by an id: a transaction that commits late has a lower id than what
was sent already (`worker.events.floor`). The rows that are being sent are locked, and nothing else says so: who dies
lets go of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

from sqlalchemy import Connection, text

from worker.domain.change import Change
from worker.store.engine import arrays

REFUSED_FOR = timedelta(hours=1)
"""After that, nsqd is asked again to take a change that it has refused: its limits may be others by then."""

_DUE = "sent_at IS NULL AND id > :floor AND (refused_at IS NULL OR refused_at < now() - :refused_for)"

_IS_WAITING = text(f"SELECT EXISTS (SELECT FROM subscription_changes WHERE {_DUE})")  # noqa: S608 - a constant

_NEWEST = text("SELECT coalesce(max(id), 0) FROM subscription_changes")

_AWAIT = """
    DO $$ BEGIN
        FOR turn IN 1..{turns} LOOP
            PERFORM pg_sleep({pause});
            EXIT WHEN EXISTS (
                SELECT FROM subscription_changes WHERE sent_at IS NULL AND refused_at IS NULL AND id > {floor});
        END LOOP;
    END $$
"""

_TAKE = text(f"""
    SELECT id, user_id, stripe_subscription_id, version, CAST(before AS text), CAST(after AS text), cause, project_id
    FROM subscription_changes
    WHERE {_DUE} ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED
""")  # noqa: S608 - the condition is a constant

_MARK_SENT = text("""
    UPDATE subscription_changes SET sent_at = clock_timestamp(), refused_at = NULL
    WHERE id = ANY(CAST(:ids AS bigint[]))
    RETURNING CAST(extract(epoch FROM clock_timestamp() - created_at) AS double precision)
""")

_MARK_REFUSED = text("""
    UPDATE subscription_changes SET refused_at = clock_timestamp() WHERE id = ANY(CAST(:ids AS bigint[]))
""")

# Ids follow the time nearly, so the oldest are a walk along the primary key, up to the first that is to be kept: no
# index on the time that every change would pay for.
_PRUNE = text("""
    WITH oldest AS MATERIALIZED (
        SELECT id, created_at, sent_at FROM subscription_changes WHERE id > :after ORDER BY id LIMIT :limit
    ), doomed AS (
        SELECT c.id FROM subscription_changes c JOIN oldest USING (id)
        WHERE oldest.sent_at < now() - :kept FOR UPDATE OF c SKIP LOCKED
    ), pruned AS (
        DELETE FROM subscription_changes c USING doomed WHERE c.id = doomed.id RETURNING c.id
    )
    SELECT coalesce(max(id), 0) AS last, coalesce(bool_or(created_at >= now() - :kept), true) AS ended,
           (SELECT count(*) FROM pruned) AS pruned
    FROM oldest
""")

_WAITING = text("""
    SELECT count(*) FILTER (WHERE refused_at IS NULL), now() - min(created_at) FILTER (WHERE refused_at IS NULL),
           count(*) FILTER (WHERE refused_at IS NOT NULL)
    FROM subscription_changes WHERE sent_at IS NULL
""")


class Waiting(NamedTuple):
    """Changes that were not sent yet, the age of the oldest (seconds; 0: none), and those that nsqd has refused."""

    unsent: int
    oldest: float
    refused: int


class Pruned(NamedTuple):
    """One step of pruning: the last id that it looked at, whether it came to what is to be kept, and how many went."""

    last: int
    ended: bool
    changes: int


@dataclass(frozen=True, slots=True)
class Questions:
    """What can be asked of the outbox without a transaction (`Database.question`)."""

    connection: Connection

    def newest(self) -> int:
        """The highest id of a change; 0: there is none."""
        return int(self.connection.execute(_NEWEST).scalar_one())

    def is_waiting(self, floor: int) -> bool:
        """Whether any change with an id above `floor` is to be sent."""
        return bool(self.connection.execute(_IS_WAITING, {"floor": floor, "refused_for": REFUSED_FOR}).scalar_one())

    def await_waiting(self, floor: int, pause: float, seconds: float) -> None:
        """Returns once a new change with an id above `floor` waits, or after `seconds`. Postgres itself looks, every
        `pause` seconds, which costs far less than to ask it as often."""
        turns = max(1, round(seconds / pause))
        self.connection.execute(text(_AWAIT.format(turns=turns, pause=pause, floor=int(floor))))


def take_unsent(tx: Connection, floor: int, limit: int) -> list[Change]:
    """Up to `limit` changes with ids above `floor` that are to be sent, the oldest first. Nobody else takes them until
    `tx` ends."""
    rows = tx.execute(_TAKE, {"floor": floor, "limit": limit, "refused_for": REFUSED_FOR})
    return [Change(*row) for row in rows]


def mark_sent(tx: Connection, ids: Sequence[int]) -> list[float]:
    """nsqd has them. Returns how many seconds each had waited since its transaction began."""
    return list(tx.execute(_MARK_SENT, {"ids": arrays.numbers(ids)}).scalars())


def mark_refused(tx: Connection, ids: Sequence[int]) -> None:
    """nsqd doesn't take them, and is asked again after `REFUSED_FOR`."""
    tx.execute(_MARK_REFUSED, {"ids": arrays.numbers(ids)})


def prune(tx: Connection, after: int, limit: int, kept: timedelta) -> Pruned:
    """Of the `limit` changes that follow the id `after`, deletes those that were sent before `kept` ago."""
    return Pruned(*tx.execute(_PRUNE, {"after": after, "limit": limit, "kept": kept}).one())


def waiting(tx: Connection) -> Waiting:
    """What waits. Reads as much as waits: a million takes 0.1 s or more."""
    unsent, age, refused = tx.execute(_WAITING).one()
    return Waiting(unsent, age.total_seconds() if age else 0.0, refused)
