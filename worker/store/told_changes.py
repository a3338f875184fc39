"""SQL of `account_changes` as those are told of it who asked, and who look after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, Row, text

from worker.store.account_changes import OPENABLE
from worker.store.engine import arrays
from worker.store.erasures import IS_ASKED

COLUMNS = "id, kind, user_id, state, result, created_at, ended_at, digest"
_TOLD = f"SELECT {COLUMNS} FROM account_changes"  # noqa: S608 - a constant
_FIND = text(f"{_TOLD} WHERE id = :id")

_STANDING = text(f"""
    SELECT {IS_ASKED} AS is_erased,
        (SELECT count(*) FROM account_changes WHERE user_id = :user_id AND state = 'pending') AS waiting, known.*
    FROM (SELECT) AS one LEFT JOIN ({_TOLD} WHERE caller = :caller AND idempotency_key = :idempotency_key) AS known
        ON true
""")  # noqa: S608 - constants

_BACKLOG = text(f"""
    SELECT count(*), coalesce(extract(epoch FROM now() - min(created_at)), 0), count(*) FILTER (WHERE NOT {OPENABLE})
    FROM account_changes c WHERE state = 'pending' AND kind <> 'erase'
""")  # noqa: S608 - the condition is a constant

_PRUNE = text("""
    DELETE FROM account_changes WHERE id IN (
        SELECT id FROM account_changes WHERE ended_at < now() - CAST(:kept AS interval) ORDER BY ended_at LIMIT :limit)
""")


class ToldChange(NamedTuple):
    """A row as its caller is told of it. `kind`: a `Kind`, or a newer release's. `result`: once it has ended."""

    id: UUID
    kind: str
    user_id: str
    state: str
    result: Mapping[str, Any] | None
    created_at: datetime
    ended_at: datetime | None
    digest: bytes

    @property
    def has_ended(self) -> bool:
        return self.state != "pending"


def find(tx: Connection, identifier: UUID) -> ToldChange | None:
    return read(tx.execute(_FIND, {"id": identifier}).one_or_none())


class Standing(NamedTuple):
    """How it stands with a user: whether they were erased, or are to be; how many of their changes haven't ended.
    `known`: what this caller has asked for under this key, of whomever."""

    is_erased: bool
    waiting: int
    known: ToldChange | None


def standing(tx: Connection, user_id: str, caller: str, idempotency_key: str | None) -> Standing:
    parameters = {"user_id": user_id, "caller": caller, "idempotency_key": idempotency_key}
    row = tx.execute(_STANDING, parameters).one()
    return Standing(row.is_erased, row.waiting, None if row.id is None else _told(row))


class Backlog(NamedTuple):
    """How many changes haven't ended, the age in seconds of the oldest of them, and how many are sealed under a key
    that this process doesn't have (None: it has no keys to tell by); erasures are told apart."""

    waiting: int
    oldest: float
    unopenable: int | None = None


def backlog(tx: Connection, openable: Sequence[bytes] | None) -> Backlog:
    """`openable`: `Sealer.headers`; None: there are no keys."""
    waiting, oldest, unopenable = tx.execute(_BACKLOG, {"openable": arrays.byteas(openable or [])}).one()
    return Backlog(int(waiting), float(oldest), None if openable is None else int(unopenable))


def prune(tx: Connection, kept: timedelta, limit: int) -> int:
    """Deletes up to `limit` changes that ended before `kept` ago. Returns how many."""
    return tx.execute(_PRUNE, {"kept": kept, "limit": limit}).rowcount


def read(row: Row[Any] | None) -> ToldChange | None:
    """A row of `COLUMNS`, if there is one."""
    return None if row is None else _told(row)


def _told(row: Row[Any]) -> ToldChange:
    return ToldChange(*(getattr(row, name) for name in ToldChange._fields))
