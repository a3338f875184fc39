"""How much work is waiting, for metrics: cheap enough to ask every few seconds."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, text

from worker.domain.provisioning import Lane


@dataclass(frozen=True, slots=True)
class QueueState:
    """Unfinished ledger rows by lane, and how long ago (seconds) the oldest of each was first seen."""

    depth: dict[Lane, int]
    age: dict[Lane, float]
    quarantined_rows: int
    quarantined_messages: int


_UNFINISHED = text("""
    SELECT lane, count(*) AS depth,
           greatest(0, extract(epoch FROM now() - min(first_seen_at)))::float8 AS age
    FROM provisionings WHERE state IN ('pending', 'customer_created') GROUP BY lane
""")

_QUARANTINED = text("""
    SELECT (SELECT count(*) FROM provisionings WHERE state = 'quarantined'), (SELECT count(*) FROM quarantined_messages)
""")


def state(tx: Connection) -> QueueState:
    rows = tx.execute(_UNFINISHED).all()
    quarantined_rows, quarantined_messages = tx.execute(_QUARANTINED).one()
    return QueueState(
        depth={Lane(row.lane): row.depth for row in rows},
        age={Lane(row.lane): row.age for row in rows},
        quarantined_rows=quarantined_rows,
        quarantined_messages=quarantined_messages,
    )
