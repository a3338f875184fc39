"""SQL of `subscription_refreshes`: which subscriptions Stripe is to be asked for, and who asks.

A mark is `wanted + 1`, by Stripe's id, since our row may not exist yet. Whoever fetches reads `wanted`, `confirmed`
and the row's `version` first, writes only if `version` and `confirmed` are unmoved, and clears the mark only if
`wanted` is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

from sqlalchemy import Connection, Row, text

from worker.store.engine import arrays
from worker.store.engine.errors import LeaseLost

_MARK = text("""
    INSERT INTO subscription_refreshes AS r (stripe_subscription_id, due_at)
    SELECT id, now() FROM unnest(CAST(:ids AS text[])) AS id
    ON CONFLICT (stripe_subscription_id) DO UPDATE
    SET wanted = r.wanted + 1, due_at = CASE WHEN r.lease_until > now() THEN r.due_at ELSE least(r.due_at, now()) END
""")

_REVISIT = text("""
    INSERT INTO subscription_refreshes AS r (stripe_subscription_id)
    SELECT u.stripe_subscription_id FROM unmatched_subscriptions u
    JOIN billing_customers c USING (stripe_customer_id)
    WHERE c.deleted_at IS NULL AND (CAST(:customer_id AS text) IS NULL OR c.stripe_customer_id = :customer_id)
    ORDER BY u.stripe_subscription_id
    ON CONFLICT (stripe_subscription_id) DO UPDATE
    SET wanted = r.wanted + 1, due_at = CASE WHEN r.lease_until > now() THEN r.due_at ELSE least(r.due_at, now()) END
""")

_CONFIRM = text("""
    UPDATE subscription_refreshes SET wanted = wanted + 1, confirmed = confirmed + 1
    WHERE stripe_subscription_id = ANY(CAST(:ids AS text[]))
""")

_TAKE = """
    UPDATE subscription_refreshes r
    SET lease_token = floor(random() * 9e18)::bigint, lease_until = now() + :lease, due_at = now() + :lease,
        attempts = r.attempts + 1
    FROM (
        SELECT stripe_subscription_id FROM subscription_refreshes
        WHERE {which} FOR UPDATE SKIP LOCKED
    ) AS due
    WHERE r.stripe_subscription_id = due.stripe_subscription_id
    RETURNING r.stripe_subscription_id, r.wanted, r.confirmed, r.lease_token, r.attempts,
        (SELECT s.version FROM billing_subscriptions s WHERE s.stripe_subscription_id = r.stripe_subscription_id)
        AS version
"""
_LEASE = text(_TAKE.format(which="due_at <= now() ORDER BY due_at LIMIT :count"))
_LEASE_ONE = text(_TAKE.format(which="stripe_subscription_id = :id AND due_at <= now()"))

_BACKLOG = text("""
    SELECT count(*), coalesce(extract(epoch FROM now() - min(marked_at)), 0) FROM subscription_refreshes
""")

_FENCE = "WHERE stripe_subscription_id = :id AND lease_token = :token"

_POSTPONE = text(f"""
    UPDATE subscription_refreshes
    SET lease_token = 0, lease_until = NULL, due_at = now() + :delay, last_error = CAST(:error AS text),
        attempts = CASE WHEN CAST(:error AS text) IS NULL THEN 0 ELSE attempts END,
        marked_at = CASE WHEN :fetched THEN now() ELSE marked_at END
    {_FENCE} RETURNING 1
""")  # noqa: S608 - the fence is a constant

_HELD = text(f"SELECT wanted, confirmed FROM subscription_refreshes {_FENCE} FOR UPDATE")  # noqa: S608 - as above

_CLEAR = text(f"DELETE FROM subscription_refreshes {_FENCE}")  # noqa: S608 - as above


@dataclass(frozen=True, slots=True)
class Refresh:
    """A leased mark. `version`: of the row as it was then; None where there is none. `attempts` counts from 1."""

    stripe_subscription_id: str
    wanted: int
    confirmed: int
    token: int
    attempts: int
    version: int | None


def mark(tx: Connection, stripe_subscription_ids: Sequence[str]) -> None:
    """Asks for these (in order) to be fetched as soon as possible; one that is being fetched, once more after that."""
    tx.execute(_MARK, {"ids": arrays.texts(stripe_subscription_ids)})


def revisit(tx: Connection, stripe_customer_id: str | None = None) -> None:
    """Asks for the subscriptions that were nobody's and whose customer is somebody's now; None: of all customers."""
    tx.execute(_REVISIT, {"customer_id": stripe_customer_id})


def confirm(tx: Connection, stripe_subscription_ids: Sequence[str]) -> None:
    """The rows of these are known to be right. Where one is being fetched, the answer may be older than that: it is not
    to be written, and asked for again."""
    tx.execute(_CONFIRM, {"ids": arrays.texts(stripe_subscription_ids)})


def lease(tx: Connection, count: int, length: timedelta) -> list[Refresh]:
    """Up to `count` due marks, the longest due first, for `length`."""
    rows = tx.execute(_LEASE, {"count": count, "lease": length})
    return [_refresh(row) for row in rows]


def lease_one(tx: Connection, stripe_subscription_id: str, length: timedelta) -> Refresh | None:
    """This mark, for `length`; None where it isn't due, or somebody has it."""
    row = tx.execute(_LEASE_ONE, {"id": stripe_subscription_id, "lease": length}).one_or_none()
    return None if row is None else _refresh(row)


def backlog(tx: Connection) -> tuple[int, float]:
    """How many are marked, and the age in seconds of the oldest mark that no fetch has answered."""
    waiting, age = tx.execute(_BACKLOG).one()
    return int(waiting), float(age)


class Held(NamedTuple):
    """A leased mark as it is now."""

    wanted: int
    confirmed: int


def hold(tx: Connection, refresh: Refresh) -> Held:
    """Locks a leased mark. Raises `LeaseLost`."""
    row = tx.execute(_HELD, _fence(refresh)).one_or_none()
    if row is None:
        raise LeaseLost(refresh.stripe_subscription_id)
    return Held(row.wanted, row.confirmed)


def clear(tx: Connection, refresh: Refresh) -> None:
    """What was wanted has been fetched. The mark is held (`hold`)."""
    tx.execute(_CLEAR, _fence(refresh))


def postpone(tx: Connection, refresh: Refresh, delay: timedelta, error: str | None, *, fetched: bool = False) -> None:
    """Due again after `delay`; without an `error` it counts as not tried. `fetched`: Stripe has told, and is wanted to
    tell again. Raises `LeaseLost`."""
    parameters = _fence(refresh) | {"delay": delay, "error": error, "fetched": fetched}
    if tx.execute(_POSTPONE, parameters).one_or_none() is None:
        raise LeaseLost(refresh.stripe_subscription_id)


def _refresh(row: Row[tuple[object, ...]]) -> Refresh:
    return Refresh(row.stripe_subscription_id, row.wanted, row.confirmed, row.lease_token, row.attempts, row.version)


def _fence(refresh: Refresh) -> dict[str, object]:
    return {"id": refresh.stripe_subscription_id, "token": refresh.token}
