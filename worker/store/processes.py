"""SQL of `processes`: who lives, and what each may send to Stripe (`worker.domain.budget`).

Nobody writes the row of another that may live, and none is read under a lock: a session that hangs keeps, at worst, the
others from sending more.
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from sqlalchemy import Connection, text

from worker.domain.budget import Claim

GROWING = 0x5375626B65657072
"""The advisory lock of whoever is about to send more. It belongs to the database."""

_MAY_GROW = text("SELECT pg_try_advisory_xact_lock(:lock)")

_ALL = text("""
    SELECT id, rate, demand, total, expires_at > now() AS lives, expires_at + longest_request > now() AS counts
    FROM processes
""")

_JOIN = text("""
    INSERT INTO processes (id, expires_at, rate, demand, total, longest_request)
    VALUES (:id, now() + :lifetime, :rate, :demand, :total, :longest_request)
""")

_RENEW = text("""
    UPDATE processes SET expires_at = now() + :lifetime, rate = :rate, demand = :demand, total = :total WHERE id = :id
""")

_FORGET = text("""
    DELETE FROM processes WHERE id IN (
        SELECT id FROM processes WHERE expires_at + longest_request + interval '1 hour' < now() FOR UPDATE SKIP LOCKED)
""")

# What a clock that was set back leaves behind: no living row looks like it.
_CUT = text("""
    UPDATE processes SET expires_at = now() + :lifetime WHERE id IN (
        SELECT id FROM processes WHERE expires_at > now() + interval '1 minute' + :lifetime FOR UPDATE SKIP LOCKED)
""")

_LEAVE = text("DELETE FROM processes WHERE id = :id")
_EXPIRE = text("UPDATE processes SET expires_at = now() WHERE id = :id")


def may_grow(tx: Connection) -> bool:
    """Whether nobody else can begin to send more before `tx` ends."""
    return bool(tx.execute(_MAY_GROW, {"lock": GROWING}).scalar_one())


def claims(tx: Connection) -> dict[UUID, Claim]:
    """What the processes say of themselves, by id; those included that say nothing any more."""
    return {row.id: Claim(row.rate, row.demand, row.total, row.lives, row.counts) for row in tx.execute(_ALL)}


def join(tx: Connection, own: UUID, claim: Claim, lifetime: timedelta, longest_request: timedelta) -> None:
    """A new row."""
    tx.execute(_JOIN, {**_row(own, claim, lifetime), "longest_request": longest_request})


def renew(tx: Connection, own: UUID, claim: Claim, lifetime: timedelta) -> None:
    """Writes what process `own` says of itself."""
    tx.execute(_RENEW, _row(own, claim, lifetime))


def _row(own: UUID, claim: Claim, lifetime: timedelta) -> dict[str, object]:
    return {"id": own, "rate": claim.rate, "demand": claim.demand, "total": claim.total, "lifetime": lifetime}


def cut(tx: Connection, lifetime: timedelta) -> None:
    """Lets no row live for long that isn't renewed, whatever the clock did."""
    tx.execute(_CUT, {"lifetime": lifetime})


def forget_expired(tx: Connection) -> None:
    """Removes rows of long ago."""
    tx.execute(_FORGET)


def leave(tx: Connection, own: UUID, *, drained: bool) -> None:
    """The process ends; `drained`: nothing that it sent is under way any more."""
    tx.execute(_LEAVE if drained else _EXPIRE, {"id": own})
