"""SQL of refused rows: those that wait until it is known whether the row or everybody is at fault.

A refused row stays what it was, with its generation and its frozen requests: `refusal` says what was refused since
`refused_at`. Once another row passes, `others_passed` is set: the same refusal again is then the row's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection, text

from worker.domain.doubt import Refusal
from worker.domain.lanes import Lane
from worker.domain.provisioning import Provisioning
from worker.store.engine import arrays
from worker.store.engine.errors import LeaseLost
from worker.store.provisioning.leases import FENCE, LEASED, OPENABLE, UNFINISHED, fenced, lease_by, leasing
from worker.store.provisioning.postponing import AS_BEFORE, as_before

_SAMPLE = 100
"""Rows of a lane among which the newest or oldest is chosen: rows given back a moment ago look new by `due_at`."""

_WAITS = f"refusal IS NOT NULL AND NOT others_passed AND {UNFINISHED}"

_IS_ITS_OWN = text(f"SELECT others_passed AND refusal = :refusal FROM provisionings {FENCE} FOR UPDATE")  # noqa: S608 - a constant

_NOTE = text(f"""
    UPDATE provisionings
    SET refusal = :refusal, others_passed = false, last_error = :error,
        refused_at = CASE WHEN refusal = :refusal AND NOT others_passed THEN refused_at ELSE now() END,
        due_at = now() + :delay, lease_until = NULL, lane = :lane, {AS_BEFORE}
    {FENCE}
""")  # noqa: S608 - the fence is a constant

_FIND = text(f"""
    SELECT refusal, count(*) AS users, extract(epoch FROM now() - min(refused_at))::float8 AS age
    FROM provisionings WHERE {_WAITS} GROUP BY refusal
""")  # noqa: S608 - the condition is the constant above

# A row under way is left out: its own answer counts, and what it comes to is seen at the next look.
_RELEASE = text(f"""
    WITH refused AS MATERIALIZED (
        SELECT user_id FROM provisionings
        WHERE {_WAITS} AND (lease_until IS NULL OR lease_until <= now())
          AND refused_at < CASE WHEN state = 'pending' THEN CAST(:whole AS timestamptz)
                                ELSE CAST(:before AS timestamptz) END
        FOR UPDATE SKIP LOCKED
    )
    UPDATE provisionings p SET others_passed = true, due_at = now() FROM refused WHERE p.user_id = refused.user_id
""")  # noqa: S608 - the condition is the constant above


def _one_untried(direction: str) -> str:
    return f"""
        SELECT {LEASED} FROM unnest(CAST(:lanes AS smallint[])) AS lanes (lane), LATERAL (
            SELECT user_id FROM provisionings
            WHERE lane = lanes.lane AND {UNFINISHED} AND due_at <= now()
              AND refusal IS NULL AND {OPENABLE}
            ORDER BY due_at {direction} LIMIT {_SAMPLE}
        ) AS sample JOIN provisionings p USING (user_id)
        WHERE p.{UNFINISHED} AND p.due_at <= now()
        ORDER BY p.first_seen_at {direction} LIMIT 1 FOR UPDATE OF p SKIP LOCKED
    """  # noqa: S608 - constants


_LEASE_NEWEST, _LEASE_OLDEST = leasing(_one_untried("DESC")), leasing(_one_untried("ASC"))

_LEASE_REFUSED = leasing(f"""
    SELECT {LEASED} FROM provisionings p
    WHERE {_WAITS} AND (lease_until IS NULL OR lease_until <= now()) AND {OPENABLE}
    ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED
""")  # noqa: S608 - the conditions are constants


def is_its_own(tx: Connection, row: Provisioning, refusal: str) -> bool:
    """Whether this very refusal met the row before, and another row has passed since. Raises `LeaseLost`."""
    found = tx.execute(_IS_ITS_OWN, row.fence | {"refusal": refusal}).one_or_none()
    if found is None:
        raise LeaseLost(row.user_id)
    return bool(found[0])


def note(
    tx: Connection, row: Provisioning, *, refusal: str, error: str, delay: timedelta, lane: Lane, sent: bool
) -> None:
    """Gives the lease of a refused row back: the row is due again after `delay`, if settling goes on by then."""
    unsent = as_before(row, sent=sent)
    fenced(tx, _NOTE, row, refusal=refusal, error=error, delay=delay, lane=int(lane), **unsent)


def find(tx: Connection) -> list[Refusal]:
    """What was refused, and of how many, while nobody passed."""
    return [Refusal(row.refusal, row.users, row.age) for row in tx.execute(_FIND)]


def release(tx: Connection, before: datetime | None, whole: datetime | None) -> int:
    """A row whose settling began at `before` (the database's time) has passed: rows that were refused earlier are due
    at once, and the same refusal again will be their own. Returns how many.

    `whole`: the same of a row that was made its customer, too, which counts for rows that have none. None: none passed.
    """
    return tx.execute(_RELEASE, {"before": before, "whole": whole}).rowcount


def lease_untried(
    tx: Connection, *, newest: bool, lease: timedelta, stripe_now: datetime, openable: Sequence[bytes]
) -> list[Provisioning]:
    """Leases one due row, of any lane, that was not refused: the newest or the oldest, as far as a sample tells."""
    chosen = {"lanes": arrays.numbers(Lane), "openable": arrays.byteas(openable)}
    statement = _LEASE_NEWEST if newest else _LEASE_OLDEST
    return lease_by(tx, statement, chosen, lease=lease, stripe_now=stripe_now)


def lease_refused(
    tx: Connection, *, lease: timedelta, stripe_now: datetime, openable: Sequence[bytes]
) -> list[Provisioning]:
    """Leases the row that waits longest for its next try, of those that were refused while nobody passed."""
    chosen = {"openable": arrays.byteas(openable)}
    return lease_by(tx, _LEASE_REFUSED, chosen, lease=lease, stripe_now=stripe_now)
