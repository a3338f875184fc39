"""How much work is waiting, for metrics."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import NamedTuple

from sqlalchemy import Connection, text

from worker.domain.lanes import Lane
from worker.store.engine import arrays
from worker.store.engine.clock import transaction_time
from worker.store.engine.looks import Look
from worker.store.provisioning.leases import OPENABLE, UNFINISHED


@dataclass(frozen=True, slots=True)
class LaneState:
    """Unfinished ledger rows of one lane, and how long ago (seconds) the oldest was first seen (0: none).

    `unopenable`: how many of them wait for a process that has the key under which they are sealed; None: this one has
    no keys to tell by.
    """

    depth: int
    age: float
    unopenable: int | None


@dataclass(frozen=True, slots=True)
class QueueState:
    """What waits. What could not be counted lately is missing from `lanes`, or None."""

    lanes: dict[Lane, LaneState]
    quarantined_rows: int | None
    quarantined_messages: int | None


class _Counted(NamedTuple):
    depth: int
    oldest: datetime | None
    unopenable: int


_UNFINISHED = text(f"""
    SELECT count(*) AS depth, min(first_seen_at) AS oldest, count(*) FILTER (WHERE NOT {OPENABLE}) AS unopenable
    FROM provisionings WHERE lane = :lane AND {UNFINISHED}
""")  # noqa: S608 - the condition is a constant

# Exact where they are few; else by what autovacuum has found.
_SETTLED = text("""
    WITH few AS MATERIALIZED (SELECT state FROM provisionings LIMIT :most)
    SELECT (SELECT count(*) FROM few) AS read, (SELECT count(*) FROM few WHERE state = 'completed') AS settled,
           (SELECT reltuples::bigint FROM pg_class WHERE oid = 'provisionings'::regclass) AS estimate
""")

_QUARANTINED_ROWS = text("SELECT count(*) FROM provisionings WHERE state = 'quarantined'")
_QUARANTINED_MESSAGES = text("SELECT count(*) FROM quarantined_messages")


class Settled(NamedTuple):
    """How many rows are settled. With many it is an estimate, of all rows: those included that aren't. None: there is
    none."""

    rows: int | None
    is_estimate: bool


def settled(tx: Connection, most: int = 10_000) -> Settled:
    """Counts up to `most` rows."""
    row = tx.execute(_SETTLED, {"most": most}).one()
    if row.read < most:
        return Settled(row.settled, is_estimate=False)
    return Settled(row.estimate if row.estimate >= most else None, is_estimate=True)


class Queues:
    """Looks at what waits. Each look is taken as often as it is asked for, but at most `SHARE` of the time.

    So the few rows in the lanes of a worker that keeps up are counted each time, and a large backlog every so often.
    `openable`: `Sealer.headers`; None: there are no keys. `clock`: monotonic, in seconds.
    """

    def __init__(
        self, openable: Callable[[], Sequence[bytes]] | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._openable = openable
        self._lanes = {lane: Look[_Counted](clock) for lane in Lane}
        self._rows, self._messages = Look[int](clock), Look[int](clock)

    def state(self, tx: Connection) -> QueueState:
        """What waits, as each look last found it. One that fails raises, and its finding is missing until its next
        turn."""
        now = transaction_time(tx)
        lanes: dict[Lane, LaneState] = {}
        for lane, look in self._lanes.items():
            counted = look.take(partial(self._count, tx, lane))
            if counted is not None:
                age = max(0.0, (now - counted.oldest).total_seconds()) if counted.oldest else 0.0
                lanes[lane] = LaneState(counted.depth, age, counted.unopenable if self._openable else None)
        return QueueState(
            lanes,
            quarantined_rows=self._rows.take(lambda: int(tx.execute(_QUARANTINED_ROWS).scalar_one())),
            quarantined_messages=self._messages.take(lambda: int(tx.execute(_QUARANTINED_MESSAGES).scalar_one())),
        )

    def _count(self, tx: Connection, lane: Lane) -> _Counted:
        parameters = {"lane": int(lane), "openable": arrays.byteas(self._openable() if self._openable else [])}
        return _Counted(*tx.execute(_UNFINISHED, parameters).one())
