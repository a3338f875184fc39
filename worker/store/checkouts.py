"""SQL of `checkouts`: pages of Checkout's that users were sent to. What is asked of Stripe for them is in
`account_changes`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection, text

from worker.domain.checkouts import CheckoutState, Mode
from worker.store.engine import arrays

_INSERT = text("INSERT INTO checkouts (id, user_id, plan) VALUES (:id, :user_id, :plan)")

_STANDING = text("""
    SELECT id, state, stripe_session_id FROM checkouts
    WHERE user_id = :user_id AND id <> :id AND state IN ('open', 'complete', 'applying') ORDER BY seq
""")

# Its completion may have been heard of before.
_OPENED = text("""
    UPDATE checkouts
    SET state = CASE WHEN state = 'opening' THEN 'open' ELSE state END, stripe_session_id = :session_id, mode = :mode
    WHERE id = :id AND state IN ('opening', 'complete')
""")

_MARK = text("""
    UPDATE checkouts c
    SET state = new.state, stripe_session_id = new.session_id, mode = coalesce(c.mode, new.mode),
        ended_at = CASE WHEN new.state = 'expired' THEN now() END
    FROM unnest(
        CAST(:ids AS uuid[]), CAST(:sessions AS text[]), CAST(:modes AS text[]), CAST(:states AS text[])
    ) AS new (id, session_id, mode, state)
    WHERE c.id = new.id AND coalesce(c.stripe_session_id, new.session_id) = new.session_id
        AND (c.state = 'open' OR (c.state = 'opening' AND new.state = 'complete'))
""")

# One whose event came first, and told no mode, waits for the change that opens it: that tells the mode, or ends the
# page.
_COMPLETE = text("""
    SELECT id, user_id, plan, mode, stripe_session_id FROM checkouts
    WHERE state = 'complete' AND mode IS NOT NULL ORDER BY seq LIMIT :limit FOR UPDATE SKIP LOCKED
""")

_APPLYING = text("UPDATE checkouts SET state = 'applying' WHERE id = :id")

_SUPERSEDED = text("""
    SELECT 1 FROM checkouts later JOIN checkouts c ON later.user_id = c.user_id AND later.seq > c.seq
    WHERE c.id = :id AND later.plan IS NOT NULL AND later.state IN ('complete', 'applying', 'applied') LIMIT 1
""")

_END = text("""
    UPDATE checkouts SET state = :state, code = :code, ended_at = now() WHERE id = :id AND ended_at IS NULL
""")

# Of an error the constant that it begins with: the rest is for the log.
_FIND = text("""
    SELECT c.id, c.user_id, c.plan, c.state, coalesce(c.code, split_part(waits.last_error, ':', 1)) AS code,
        opened.result ->> 'url' AS url
    FROM checkouts c LEFT JOIN account_changes opened ON opened.id = c.id
    LEFT JOIN account_changes waits ON waits.caller = 'checkout' AND waits.idempotency_key = CAST(c.id AS text)
    WHERE c.id = CAST(:id AS uuid) OR c.stripe_session_id = :session_id
""")

_TO_REFUND = text("""
    SELECT count(*) FROM checkouts
    WHERE code = 'second_subscription' AND ended_at > now() - CAST(:within AS interval)
""")

_PRUNE = text("""
    DELETE FROM checkouts WHERE id IN (
        SELECT id FROM checkouts WHERE ended_at < now() - CAST(:kept AS interval) ORDER BY ended_at LIMIT :limit)
""")

COMPLETING = "checkout"
"""The caller of the changes that complete checkouts; their key is the checkout's id, so that each has one."""


class Standing(NamedTuple):
    """A user's page that hasn't ended."""

    id: UUID
    state: CheckoutState
    session_id: str


class Told(NamedTuple):
    """What an event says of a page: it is complete, or has expired."""

    id: UUID
    session_id: str
    mode: str | None
    state: CheckoutState


class Complete(NamedTuple):
    """A page that is complete, of which nothing has been done yet. `plan` None: it only collected a card."""

    id: UUID
    user_id: str
    plan: str | None
    mode: Mode
    session_id: str


class ToldCheckout(NamedTuple):
    """A row as its owner is told of it. `code`: why it failed, or what its completion waits for; `url`: sealed."""

    id: UUID
    user_id: str
    plan: str | None
    state: CheckoutState
    code: str | None
    url: str | None


def insert(tx: Connection, identifier: UUID, user_id: str, plan: str | None) -> None:
    tx.execute(_INSERT, {"id": identifier, "user_id": user_id, "plan": plan})


def standing(tx: Connection, user_id: str, but: UUID) -> list[Standing]:
    """The user's pages that are open, or complete and not applied yet, the oldest first."""
    return [
        Standing(row.id, CheckoutState(row.state), row.stripe_session_id)
        for row in tx.execute(_STANDING, {"user_id": user_id, "id": but})
    ]


def opened(tx: Connection, identifier: UUID, session_id: str, mode: str) -> None:
    tx.execute(_OPENED, {"id": identifier, "session_id": session_id, "mode": mode})


def mark(tx: Connection, told: Sequence[Told]) -> None:
    """What events say of pages, one of each, in the order of their ids."""
    parameters = {
        "ids": arrays.texts(str(each.id) for each in told),
        "sessions": arrays.texts(each.session_id for each in told),
        "modes": arrays.texts(each.mode for each in told),
        "states": arrays.texts(each.state.value for each in told),
    }
    tx.execute(_MARK, parameters)


def complete(tx: Connection, limit: int) -> list[Complete]:
    """Up to `limit` that are complete, locked, and nobody else's at the moment."""
    return [
        Complete(row.id, row.user_id, row.plan, Mode(row.mode), row.stripe_session_id)
        for row in tx.execute(_COMPLETE, {"limit": limit})
    ]


def applying(tx: Connection, identifier: UUID) -> None:
    tx.execute(_APPLYING, {"id": identifier})


def is_superseded(tx: Connection, identifier: UUID) -> bool:
    """Whether a later one of the same user's has chosen a plan and is complete."""
    return tx.execute(_SUPERSEDED, {"id": identifier}).one_or_none() is not None


def end(tx: Connection, identifier: UUID, state: CheckoutState, code: str | None = None) -> None:
    tx.execute(_END, {"id": identifier, "state": state.value, "code": code})


def find(tx: Connection, named: UUID | str) -> ToldCheckout | None:
    """By its id, or by its session's."""
    is_id = isinstance(named, UUID)
    row = tx.execute(_FIND, {"id": named if is_id else None, "session_id": None if is_id else named}).one_or_none()
    return None if row is None else ToldCheckout(*row)._replace(state=CheckoutState(row.state))


def to_refund(tx: Connection, within: timedelta) -> int:
    """How many second subscriptions were canceled within that time, whose payment a person gives back."""
    return int(tx.execute(_TO_REFUND, {"within": within}).scalar_one())


def prune(tx: Connection, kept: timedelta, limit: int) -> int:
    """Deletes up to `limit` that ended before `kept` ago. Returns how many."""
    return tx.execute(_PRUNE, {"kept": kept, "limit": limit}).rowcount
