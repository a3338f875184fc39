"""SQL that tells what happened to one user, over all tables, without what is sealed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection, text

from worker.store.charges import OF_SUBSCRIPTION
from worker.store.engine import arrays
from worker.store.subscriptions import THEIRS, USER


class ChangeRow(NamedTuple):
    """A row of the outbox. `after` is None for a row that was removed."""

    created_at: datetime
    stripe_subscription_id: str
    version: int
    cause: str
    before: Mapping[str, object] | None
    after: Mapping[str, object] | None
    sent_at: datetime | None


class Waiting(NamedTuple):
    """A mark: Stripe is to be asked for this subscription. `leased`: somebody is at it. `missing_since`: since when
    Stripe has had none such, where that was confirmed."""

    due_at: datetime
    stripe_subscription_id: str
    wanted: int
    attempts: int
    leased: bool
    last_error: str | None
    missing_since: datetime | None


class CustomerTimes(NamedTuple):
    """When our tables took a customer in, and when they heard that it was deleted."""

    stripe_customer_id: str
    created_at: datetime
    deleted_at: datetime | None


class TriedCard(NamedTuple):
    """A row of `charge_tries`. `is_ours`: we tried it; else it was declined before. `outcome`: None: no answer yet."""

    created_at: datetime
    stripe_invoice_id: str
    attempt_count: int
    stripe_payment_method_id: str
    is_ours: bool
    outcome: str | None
    code: str | None
    ended_at: datetime | None


class Failing(NamedTuple):
    """A mark: an invoice whose payment failed is to be looked at. `leased`: somebody is at it."""

    due_at: datetime
    stripe_invoice_id: str
    attempts: int
    leased: bool
    last_error: str | None


class AskedChange(NamedTuple):
    """A change that `caller` asked for. `done`: how many of its steps hold. `code`: why it failed; `last_error`: what
    it waits for."""

    id: str
    kind: str
    caller: str
    state: str
    steps: Sequence[str]
    done: int
    generation: int
    attempts: int
    code: str | None
    last_error: str | None
    stripe_subscription_id: str | None
    created_at: datetime
    due_at: datetime
    ended_at: datetime | None


# The outbox has no index on users, and keeps what was published for a month.
_CHANGES = text("""
    SELECT created_at, stripe_subscription_id, version, cause, before, after, sent_at FROM subscription_changes
    WHERE user_id = :user_id AND created_at >= now() - CAST(:since AS interval) ORDER BY id
""")

_WAITING = text("""
    SELECT due_at, stripe_subscription_id, wanted, attempts, coalesce(lease_until > now(), false) AS leased, last_error,
           CASE WHEN set_aside_at IS NOT NULL THEN missing_since END AS missing_since
    FROM subscription_refreshes WHERE stripe_subscription_id = ANY(CAST(:ids AS text[])) ORDER BY due_at
""")

_CUSTOMERS = text("""
    SELECT stripe_customer_id, created_at, deleted_at FROM billing_customers WHERE user_id = :user_id ORDER BY id
""")

_TRIES = text(f"""
    SELECT t.created_at, t.stripe_invoice_id, t.attempt_count, t.stripe_payment_method_id, t.is_ours, t.outcome, t.code,
        t.ended_at
    FROM charge_tries t JOIN billing_customers c USING (stripe_customer_id)
    LEFT JOIN billing_subscriptions s ON s.billing_customer_id = c.id AND {OF_SUBSCRIPTION}
    WHERE {USER} = :user_id AND t.created_at >= now() - CAST(:since AS interval) ORDER BY t.id
""")  # noqa: S608 - a constant

_IS_KNOWN = text(f"""
    SELECT EXISTS (SELECT FROM provisionings WHERE user_id = :user_id)
        OR EXISTS (SELECT FROM billing_customers WHERE user_id = :user_id)
        OR EXISTS ({THEIRS})
        OR EXISTS (SELECT FROM billing_owners WHERE owner_id = :user_id AND owner_kind = 'user')
        OR EXISTS (SELECT FROM account_changes WHERE user_id = :user_id)
""")  # noqa: S608 - as above

_FAILING = text("""
    SELECT due_at, stripe_invoice_id, attempts, coalesce(lease_until > now(), false) AS leased, last_error
    FROM failing_invoices WHERE stripe_invoice_id = ANY(CAST(:ids AS text[])) ORDER BY due_at
""")


def is_known(tx: Connection, user_id: str) -> bool:
    """Whether anything here is of that user."""
    return bool(tx.execute(_IS_KNOWN, {"user_id": user_id}).scalar_one())


def tries(tx: Connection, user_id: str, since: timedelta) -> list[TriedCard]:
    """With which payment methods invoices of the user were tried."""
    return [TriedCard(*row) for row in tx.execute(_TRIES, {"user_id": user_id, "since": since})]


def failing(tx: Connection, stripe_invoice_ids: Sequence[str]) -> list[Failing]:
    return [Failing(*row) for row in tx.execute(_FAILING, {"ids": arrays.texts(stripe_invoice_ids)})]


# What hasn't ended is told however old it is. Of an error the constant that it begins with.
_ASKED = text("""
    SELECT CAST(id AS text), kind, caller, state, steps, done, generation, attempts, result -> 'error' ->> 'code',
        split_part(last_error, ':', 1), stripe_subscription_id, created_at, due_at, ended_at
    FROM account_changes
    WHERE user_id = :user_id AND (state = 'pending' OR created_at >= now() - CAST(:since AS interval)) ORDER BY seq
""")


def asked(tx: Connection, user_id: str, since: timedelta) -> list[AskedChange]:
    """What was asked for, and what came of it; nothing of what was sealed, nor of where pages lead back to."""
    return [AskedChange(*row) for row in tx.execute(_ASKED, {"user_id": user_id, "since": since})]


def changes(tx: Connection, user_id: str, since: timedelta) -> list[ChangeRow]:
    """What was told of the user's subscriptions, or waits to be."""
    return [ChangeRow(*row) for row in tx.execute(_CHANGES, {"user_id": user_id, "since": since})]


def waiting(tx: Connection, stripe_subscription_ids: Sequence[str]) -> list[Waiting]:
    return [Waiting(*row) for row in tx.execute(_WAITING, {"ids": arrays.texts(stripe_subscription_ids)})]


def customers(tx: Connection, user_id: str) -> list[CustomerTimes]:
    return [CustomerTimes(*row) for row in tx.execute(_CUSTOMERS, {"user_id": user_id})]
