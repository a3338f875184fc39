"""SQL of `subscription_refreshes`: which subscriptions Stripe is to be asked for, and who asks.

A mark is `wanted + 1`, by Stripe's id, since our row may not exist yet. Whoever fetches reads `wanted`, `confirmed`
and the row's `version` first, writes only if `version` and `confirmed` are unmoved, and clears the mark only if
`wanted` is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection, Row, text

from worker.store.engine import arrays
from worker.store.engine.errors import LeaseLost

# What was set aside waits anew, from now on.
_WANT = """
    ON CONFLICT (stripe_subscription_id) DO UPDATE
    SET wanted = r.wanted + 1,
        due_at = CASE WHEN r.lease_until > now() THEN r.due_at ELSE least(r.due_at, excluded.due_at) END,
        marked_at = CASE WHEN r.set_aside_at IS NULL THEN r.marked_at ELSE now() END, set_aside_at = NULL
"""

_MARK = text(f"""
    INSERT INTO subscription_refreshes AS r (stripe_subscription_id, due_at)
    SELECT id, now() + :delay FROM unnest(CAST(:ids AS text[])) AS id
    {_WANT}
""")  # noqa: S608 - a constant

_REVISIT = text(f"""
    INSERT INTO subscription_refreshes AS r (stripe_subscription_id)
    SELECT u.stripe_subscription_id FROM unmatched_subscriptions u
    JOIN billing_customers c USING (stripe_customer_id)
    WHERE c.deleted_at IS NULL AND (CAST(:customer_id AS text) IS NULL OR c.stripe_customer_id = :customer_id)
    ORDER BY u.stripe_subscription_id
    {_WANT}
""")  # noqa: S608 - as above

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
        now() - r.missing_since AS missing_for, r.set_aside_at IS NOT NULL AS is_aside,
        (SELECT s.version FROM billing_subscriptions s WHERE s.stripe_subscription_id = r.stripe_subscription_id)
        AS version
"""
_LEASE = text(_TAKE.format(which="due_at <= now() ORDER BY due_at LIMIT :count"))
_LEASE_ONE = text(_TAKE.format(which="stripe_subscription_id = :id AND due_at <= now()"))

_BACKLOG = text("""
    SELECT count(*) FILTER (WHERE set_aside_at IS NULL),
           coalesce(extract(epoch FROM now() - min(marked_at) FILTER (WHERE set_aside_at IS NULL)), 0),
           count(set_aside_at)
    FROM subscription_refreshes
""")

# In one statement: the fetch that makes a row clears its mark at once.
_COMING = text("""
    SELECT stripe_subscription_id FROM subscription_refreshes
    WHERE stripe_subscription_id = ANY(CAST(:ids AS text[]))
""")

_FENCE = "WHERE stripe_subscription_id = :id AND lease_token = :token"

_POSTPONE = text(f"""
    UPDATE subscription_refreshes
    SET lease_token = 0, lease_until = NULL, due_at = now() + :delay, last_error = CAST(:error AS text),
        attempts = CASE WHEN CAST(:error AS text) IS NULL THEN 0 ELSE attempts END,
        marked_at = CASE WHEN :fetched THEN now() ELSE marked_at END
    {_FENCE} RETURNING 1
""")  # noqa: S608 - the fence is a constant

_MISSING = f"""
    UPDATE subscription_refreshes
    SET lease_token = 0, lease_until = NULL, due_at = now() + :delay, last_error = 'Stripe has no such subscription',
        attempts = 0, missing_since = coalesce(missing_since, now()), set_aside_at = {{aside}}
    {_FENCE}
"""  # noqa: S608 - as above
_DOUBT = text(_MISSING.format(aside="NULL"))
_SET_ASIDE = text(_MISSING.format(aside="coalesce(set_aside_at, now())"))

_FOUND = text(f"""
    UPDATE subscription_refreshes SET missing_since = NULL, set_aside_at = NULL {_FENCE}
""")  # noqa: S608 - as above

_ASIDE = text("""
    SELECT missing_since FROM subscription_refreshes WHERE stripe_subscription_id = :id AND set_aside_at IS NOT NULL
""")

_HELD = text(f"SELECT wanted, confirmed FROM subscription_refreshes {_FENCE} FOR UPDATE")  # noqa: S608 - as above

_CLEAR = text(f"DELETE FROM subscription_refreshes {_FENCE}")  # noqa: S608 - as above


@dataclass(frozen=True, slots=True)
class Refresh:
    """A leased mark. `version`: of the row as it was then; None where there is none. `attempts` counts from 1.

    `missing_for`: how long ago Stripe first said that it has no such subscription; None: it didn't. `is_aside`: that
    was confirmed before.
    """

    stripe_subscription_id: str
    wanted: int
    confirmed: int
    token: int
    attempts: int
    version: int | None
    missing_for: timedelta | None = None
    is_aside: bool = False


def mark(tx: Connection, stripe_subscription_ids: Sequence[str], delay: timedelta = timedelta()) -> None:
    """Asks for these (in order) to be fetched as soon as possible after `delay`; one that is being fetched, once more
    after that."""
    tx.execute(_MARK, {"ids": arrays.texts(stripe_subscription_ids), "delay": delay})


def coming(tx: Connection, stripe_subscription_ids: Sequence[str]) -> set[str]:
    """Those of these that are yet to be fetched."""
    return set(tx.execute(_COMING, {"ids": arrays.texts(stripe_subscription_ids)}).scalars())


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


class Backlog(NamedTuple):
    """How many are marked, the age in seconds of the oldest mark that no fetch has answered; and, apart from those, how
    many are set aside, since Stripe has none such."""

    waiting: int
    oldest: float
    aside: int


def backlog(tx: Connection) -> Backlog:
    waiting, oldest, aside = tx.execute(_BACKLOG).one()
    return Backlog(int(waiting), float(oldest), int(aside))


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


def doubt(tx: Connection, refresh: Refresh, delay: timedelta) -> None:
    """Stripe has said that there is no such subscription; it is asked again after `delay`. The mark is held."""
    tx.execute(_DOUBT, _fence(refresh) | {"delay": delay})


def set_aside(tx: Connection, refresh: Refresh, delay: timedelta) -> None:
    """That is confirmed. The mark is held (`hold`)."""
    tx.execute(_SET_ASIDE, _fence(refresh) | {"delay": delay})


def found(tx: Connection, refresh: Refresh) -> None:
    """Stripe has it after all. The mark is held (`hold`)."""
    tx.execute(_FOUND, _fence(refresh))


def missing_since(tx: Connection, stripe_subscription_id: str) -> datetime | None:
    """Since when Stripe has had no such subscription, where that was confirmed."""
    since: datetime | None = tx.execute(_ASIDE, {"id": stripe_subscription_id}).scalar()
    return since


def _refresh(row: Row[tuple[object, ...]]) -> Refresh:
    return Refresh(
        row.stripe_subscription_id,
        row.wanted,
        row.confirmed,
        row.lease_token,
        row.attempts,
        row.version,
        row.missing_for,
        row.is_aside,
    )


def _fence(refresh: Refresh) -> dict[str, object]:
    return {"id": refresh.stripe_subscription_id, "token": refresh.token}
