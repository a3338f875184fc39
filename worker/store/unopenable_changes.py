"""SQL of `account_changes` whose email is sealed under a key that nobody has any more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, text

from worker.domain.account_changes import AccountChange
from worker.store import account_changes, ended_changes
from worker.store.account_changes import COLUMNS, OPENABLE, READABLE, READS
from worker.store.engine import arrays
from worker.store.provisioning.leases import NEW_TOKEN

# What holds of one is told with its end: of what only a newer release can make, that one knows.
_OURS = f"state = 'pending' AND NOT {OPENABLE} AND {READABLE}"
_COUNT = text(f"SELECT count(*) FROM account_changes c WHERE {_OURS}")  # noqa: S608 - constants

# Whoever held it before writes nothing more.
_TAKE = text(f"""
    UPDATE account_changes c SET lease_token = {NEW_TOKEN}
    WHERE id IN (
        SELECT id FROM account_changes c
        WHERE {_OURS} AND (lease_until IS NULL OR lease_until < now())
        ORDER BY seq LIMIT :limit FOR UPDATE SKIP LOCKED
    )
    RETURNING {COLUMNS}
""")  # noqa: S608 - the token, the conditions and the columns are constants


def count(tx: Connection, openable: Sequence[bytes]) -> int:
    """How many that haven't ended none of these keys opens (`Sealer.headers`)."""
    return int(tx.execute(_COUNT, _sealed(openable)).scalar_one())


def fail(tx: Connection, openable: Sequence[bytes], *, error: Mapping[str, object], limit: int) -> int:
    """Ends up to `limit` of them with `error`, as their callers are told it; what holds of each is told, too. Returns
    how many.

    One that is leased just now is left: whoever makes it has its key.
    """
    found = [account_changes.read(row) for row in tx.execute(_TAKE, {**_sealed(openable), "limit": limit})]
    for each in found:
        ended_changes.end(tx, each, "failed", _told(each, error))
    return len(found)


def _sealed(openable: Sequence[bytes]) -> dict[str, object]:
    return {"openable": arrays.byteas(openable), **READS}


def _told(change: AccountChange, error: Mapping[str, object]) -> dict[str, object]:
    return {"error": error, "applied": change.held}
