"""SQL of `processes`: who lives, and what each may send to Stripe (`worker.domain.budget`).

Nobody writes another's row while that may live, and none is read under a lock: a session that hangs keeps, at worst,
the others from sending more.
"""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Connection, text

from worker.domain.budget import Claim

GROWING = 0x5375626B65657072
"""The advisory lock of whoever is about to send more. It belongs to the database."""

_MAY_GROW = text("SELECT pg_try_advisory_xact_lock(:lock)")

_ALL = text("""
    SELECT id, rate, demand, expires_at > now() AS lives, expires_at + longest_request > now() AS counts FROM processes
""")

_JOIN = text("""
    INSERT INTO processes (expires_at, rate, demand, longest_request)
    VALUES (now() + :lifetime, :rate, :demand, :longest_request) RETURNING id
""")

_RENEW = text("""
    UPDATE processes SET expires_at = now() + :lifetime, rate = :rate, demand = :demand WHERE id = :id
""")

# The second is what a clock that was set back leaves behind.
_TIDY = (
    text("""
        DELETE FROM processes WHERE id IN (
            SELECT id FROM processes WHERE expires_at + longest_request + interval '1 hour' < now()
            FOR UPDATE SKIP LOCKED)
    """),
    text("""
        UPDATE processes SET expires_at = now() + :lifetime WHERE id IN (
            SELECT id FROM processes WHERE expires_at > now() + :lifetime FOR UPDATE SKIP LOCKED)
    """),
)

_LEAVE = text("DELETE FROM processes WHERE id = :id")
_EXPIRE = text("UPDATE processes SET expires_at = now() WHERE id = :id")


def may_grow(tx: Connection) -> bool:
    """Whether nobody else can begin to send more before `tx` ends."""
    return bool(tx.execute(_MAY_GROW, {"lock": GROWING}).scalar_one())


def claims(tx: Connection) -> dict[int, Claim]:
    """What the processes say of themselves, by id; those included that say nothing any more."""
    return {row.id: Claim(row.rate, row.demand, row.lives, row.counts) for row in tx.execute(_ALL)}


def renew(tx: Connection, own: int, claim: Claim, lifetime: timedelta) -> None:
    """Writes what process `own` says of itself."""
    tx.execute(_RENEW, {"id": own, "rate": claim.rate, "demand": claim.demand, "lifetime": lifetime})


def join(tx: Connection, claim: Claim, lifetime: timedelta, longest_request: timedelta) -> int:
    """A new row; its id."""
    row = {"rate": claim.rate, "demand": claim.demand, "lifetime": lifetime, "longest_request": longest_request}
    return int(tx.execute(_JOIN, row).scalar_one())


def tidy(tx: Connection, lifetime: timedelta) -> None:
    """Removes rows of long ago, and lets none live for longer than `lifetime` from now."""
    for statement in _TIDY:
        tx.execute(statement, {"lifetime": lifetime} if "lifetime" in str(statement) else {})


def leave(tx: Connection, own: int, *, drained: bool) -> None:
    """The process ends; `drained`: nothing that it sent is under way any more."""
    tx.execute(_LEAVE if drained else _EXPIRE, {"id": own})
