"""SQL of `account_changes`: what users and admins ask of subscriptions, a row first, and then leased work.

A user's changes are made one after the other, in the order in which they were asked for: nobody leases one that has an
earlier one before it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, text

from worker.domain.account_changes import AccountChange, Kind, Step
from worker.sealing import HEADER_BYTES
from worker.store.engine import arrays
from worker.store.engine.errors import LeaseLost
from worker.store.provisioning.leases import NEW_TOKEN

# Whoever asks for the same user waits for this transaction's end: of two at once, the later one sees the earlier.
_LOCK = text("SELECT pg_advisory_xact_lock(1533739011, hashtext(:user_id))")
_TRY_LOCK = text("SELECT pg_try_advisory_xact_lock(1533739011, hashtext(:user_id))")

COLUMNS = """
    c.id, c.kind, c.user_id, c.steps, c.done, c.wanted, c.sealed_email, c.etag, c.stripe_subscription_id,
    c.stripe_customer_id, c.request, c.generation, now() - c.asked_at AS asked_for, c.attempts, c.lease_token
"""

# Of one that is leased the commit doesn't wait for the disk: its holder commits before anything is asked for, and that
# waits for both. Until then, nobody was told that it is taken in. Where the ledger is written with it, it does wait: a
# message of the user's is finished for what is there, and commits nothing then.
_INSERT = text(f"""
    INSERT INTO account_changes AS c
        (id, kind, user_id, caller, idempotency_key, digest, steps, wanted, sealed_email, etag, stripe_subscription_id,
         stripe_customer_id, attempts, due_at, lease_until, lease_token)
    SELECT :id, :kind, :user_id, :caller, :idempotency_key, :digest, CAST(:steps AS text[]), CAST(:wanted AS jsonb),
        :sealed_email, :etag, :stripe_subscription_id, :stripe_customer_id, leased::int, now() + leased::int * :lease,
        CASE WHEN leased THEN now() + :lease END, CASE WHEN leased THEN {NEW_TOKEN} ELSE 0 END
    FROM (SELECT :leased AND NOT EXISTS (
        SELECT FROM account_changes WHERE user_id = :user_id AND state = 'pending')) AS free (leased)
    ON CONFLICT (caller, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
    RETURNING {COLUMNS}, set_config('synchronous_commit',
        CASE WHEN c.lease_token = 0 OR c.kind IN ('create', 'erase') THEN current_setting('synchronous_commit')
            ELSE 'off' END, true)
""")  # noqa: S608 - constants

_IS_REMOVAL_ASKED = text("""
    SELECT EXISTS (SELECT FROM account_changes WHERE user_id = :user_id AND state = 'pending' AND kind = 'delete')
""")

OPENABLE = f"""
    (c.sealed_email IS NULL OR substring(c.sealed_email FROM 1 FOR {HEADER_BYTES}) = ANY(CAST(:openable AS bytea[])))
"""
"""Whether whoever has the keys `:openable` can make the change."""

READABLE = "kind = ANY(CAST(:kinds AS text[])) AND steps <@ CAST(:known AS text[])"
"""Whether this release knows how it is made: another one would keep all others from being read, too."""
READS = {"kinds": arrays.texts(Kind), "known": arrays.texts(Step)}

_LEASE = text(f"""
    WITH due AS MATERIALIZED (
        SELECT id FROM account_changes c
        WHERE state = 'pending' AND due_at <= now() AND (CAST(:only AS text) IS NULL OR user_id = :only) AND {OPENABLE}
            AND {READABLE} AND NOT EXISTS (
                SELECT FROM account_changes earlier
                WHERE earlier.user_id = c.user_id AND earlier.state = 'pending' AND earlier.seq < c.seq)
        ORDER BY due_at LIMIT :count FOR UPDATE SKIP LOCKED
    )
    UPDATE account_changes c
    SET lease_token = {NEW_TOKEN}, lease_until = now() + :lease, due_at = now() + :lease, attempts = c.attempts + 1
    FROM due WHERE c.id = due.id
    RETURNING {COLUMNS}
""")  # noqa: S608 - constants

FENCE = "WHERE id = :id AND lease_token = :token AND state = 'pending'"
"""Of every write of a lease's holder."""

BEGUN = """
    request = CAST(:request AS jsonb), generation = :generation, last_error = NULL,
    asked_at = CASE WHEN generation = :generation THEN coalesce(asked_at, now()) ELSE now() END,
    lease_until = now() + :lease, due_at = now() + :lease
"""
"""What is set where the present step is about to be asked for (`beginning`)."""
_BEGIN = text(f"UPDATE account_changes SET {BEGUN} {FENCE}")  # noqa: S608 - constants

_ADVANCE = text(f"""
    UPDATE account_changes
    SET done = :done, wanted = CAST(:wanted AS jsonb), sealed_email = :sealed_email, request = NULL, asked_at = NULL,
        generation = 1, stripe_subscription_id = :stripe_subscription_id, stripe_customer_id = :stripe_customer_id,
        lease_until = now() + :lease, due_at = now() + :lease
    {FENCE}
""")  # noqa: S608 - constants

_POSTPONE = text(f"""
    UPDATE account_changes
    SET lease_token = 0, lease_until = NULL, due_at = now() + :delay, last_error = CAST(:error AS text),
        attempts = CASE WHEN CAST(:error AS text) IS NULL THEN greatest(attempts - 1, 0) ELSE attempts END
    {FENCE}
""")  # noqa: S608 - as above


@dataclass(frozen=True, slots=True)
class NewChange:
    """What is asked for. `caller`: who asks, as the log names them; `digest`: of what is asked, under a key of ours."""

    id: UUID
    kind: Kind
    user_id: str
    caller: str
    idempotency_key: str | None
    digest: bytes
    steps: Sequence[Step]
    wanted: Mapping[str, str | bool]
    sealed_email: bytes | None
    etag: str | None = None
    stripe_subscription_id: str | None = None
    stripe_customer_id: str | None = None


def lock_user(tx: Connection, user_id: str) -> None:
    """Nobody else asks for a change of this user until `tx` ends."""
    tx.execute(_LOCK, {"user_id": user_id})


def try_to_lock_user(tx: Connection, user_id: str) -> bool:
    """As `lock_user`, without waiting. False: somebody else has locked the user."""
    return bool(tx.execute(_TRY_LOCK, {"user_id": user_id}).scalar_one())


def is_removal_asked_for(tx: Connection, user_id: str) -> bool:
    """Whether the user's subscription is yet to be canceled and removed."""
    return bool(tx.execute(_IS_REMOVAL_ASKED, {"user_id": user_id}).scalar_one())


def insert(tx: Connection, new: NewChange, lease: timedelta | None) -> AccountChange | None:
    """The row, leased for so long if nothing of the user's is before it (`token` 0: it isn't). None: the caller has
    used that key. The user is locked.

    The commit of one that is leased may not survive a crash of Postgres until its holder has committed something."""
    parameters = {
        "id": new.id,
        "kind": new.kind.value,
        "user_id": new.user_id,
        "caller": new.caller,
        "idempotency_key": new.idempotency_key,
        "digest": new.digest,
        "steps": arrays.texts(each.value for each in new.steps),
        "wanted": json.dumps(new.wanted),
        "sealed_email": new.sealed_email,
        "etag": new.etag,
        "stripe_subscription_id": new.stripe_subscription_id,
        "stripe_customer_id": new.stripe_customer_id,
        "leased": lease is not None,
        "lease": lease or timedelta(0),
    }
    row = tx.execute(_INSERT, parameters).one_or_none()
    return None if row is None else read(row)


def lease(
    tx: Connection, count: int, length: timedelta, openable: Sequence[bytes], only: str | None = None
) -> list[AccountChange]:
    """Up to `count` due changes (of one user), each user's first one, the longest due first; what is sealed under
    another key than `openable` (`Sealer.headers`) is left to a process that has it, and what has a step that this
    release doesn't know to one that does."""
    parameters = {"count": count, "lease": length, "openable": arrays.byteas(openable), "only": only, **READS}
    return [read(row) for row in tx.execute(_LEASE, parameters)]


def begin(tx: Connection, change: AccountChange, length: timedelta) -> None:
    """The present step is about to be asked for with `request`, under the key of `generation`. Raises `LeaseLost`."""
    _fenced(tx, _BEGIN, change, **beginning(change, length))


def beginning(change: AccountChange, length: timedelta) -> dict[str, object]:
    """The parameters of `BEGUN`."""
    request = None if change.request is None else json.dumps(change.request)
    return {"request": request, "generation": change.generation, "lease": length}


def advance(tx: Connection, change: AccountChange, length: timedelta) -> None:
    """One more step holds (`done`), and others follow. Raises `LeaseLost`."""
    _fenced(
        tx, _ADVANCE, change, done=change.done, wanted=json.dumps(change.wanted), sealed_email=change.sealed_email,
        stripe_subscription_id=change.stripe_subscription_id, stripe_customer_id=change.stripe_customer_id,
        lease=length,
    )  # fmt: skip


def postpone(tx: Connection, change: AccountChange, delay: timedelta, error: str | None) -> None:
    """Gives it back, due after `delay`; without an `error` it counts as not tried. Raises `LeaseLost`."""
    _fenced(tx, _POSTPONE, change, delay=delay, error=error)


def _fenced(tx: Connection, statement: Any, change: AccountChange, **values: object) -> None:
    if tx.execute(statement, {"id": change.id, "token": change.token, **values}).rowcount != 1:
        raise LeaseLost(str(change.id))


def read(row: Row[Any]) -> AccountChange:
    """A row of `COLUMNS`."""
    return AccountChange(
        id=row.id,
        kind=Kind(row.kind),
        user_id=row.user_id,
        steps=tuple(map(Step, row.steps)),
        done=row.done,
        wanted=row.wanted,
        sealed_email=row.sealed_email,
        etag=row.etag,
        stripe_subscription_id=row.stripe_subscription_id,
        stripe_customer_id=row.stripe_customer_id,
        request=row.request,
        generation=row.generation,
        asked_for=row.asked_for,
        attempts=row.attempts,
        token=row.lease_token,
    )
