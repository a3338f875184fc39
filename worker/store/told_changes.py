"""SQL of `account_changes` as those are told of it who asked, and who look after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, Row, text

from worker.domain.account_changes import Kind, Step
from worker.store.account_changes import OPENABLE
from worker.store.engine import arrays

_TOLD = "SELECT id, kind, user_id, state, steps, done, result, created_at, ended_at, digest FROM account_changes"
_FIND = text(f"{_TOLD} WHERE id = :id")
_FIND_BY_KEY = text(f"{_TOLD} WHERE caller = :caller AND idempotency_key = :idempotency_key")

_BACKLOG = text(f"""
    SELECT count(*), coalesce(extract(epoch FROM now() - min(created_at)), 0), count(*) FILTER (WHERE NOT {OPENABLE})
    FROM account_changes c WHERE state = 'pending'
""")  # noqa: S608 - the condition is a constant

_PRUNE = text("""
    DELETE FROM account_changes WHERE id IN (
        SELECT id FROM account_changes WHERE ended_at < now() - CAST(:kept AS interval) ORDER BY ended_at LIMIT :limit)
""")


class ToldChange(NamedTuple):
    """A row as its caller is told of it. `done`: how many of its steps hold. `result`: once it has ended."""

    id: UUID
    kind: Kind
    user_id: str
    state: str
    steps: tuple[Step, ...]
    done: int
    result: Mapping[str, Any] | None
    created_at: datetime
    ended_at: datetime | None
    digest: bytes

    @property
    def has_ended(self) -> bool:
        return self.state != "pending"


def find(tx: Connection, identifier: UUID) -> ToldChange | None:
    return _told(tx.execute(_FIND, {"id": identifier}).one_or_none())


def find_by_key(tx: Connection, caller: str, idempotency_key: str) -> ToldChange | None:
    """The one that this caller has asked for under this key."""
    return _told(tx.execute(_FIND_BY_KEY, {"caller": caller, "idempotency_key": idempotency_key}).one_or_none())


class Backlog(NamedTuple):
    """How many changes haven't ended, the age in seconds of the oldest of them, and how many are sealed under a key
    that this process doesn't have; None: it has no keys to tell by."""

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


def _told(row: Row[Any] | None) -> ToldChange | None:
    if row is None:
        return None
    values = row._asdict()
    return ToldChange(**{**values, "kind": Kind(row.kind), "steps": tuple(map(Step, row.steps))})
