"""SQL that shows ledger rows as they stand, without what is sealed in them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection, text

from worker.domain.provisioning import State
from worker.store.subscriptions import THEIRS


class LedgerRow(NamedTuple):
    """One user's row of `provisionings` (times are UTC). `profile_kept`: whether a sealed profile is still there."""

    user_id: str
    state: str
    plan: str
    trial_end: datetime
    lane: int
    generation: int
    attempts: int
    look_first: bool
    last_error: str | None
    first_seen_at: datetime
    due_at: datetime
    lease_token: int
    lease_until: datetime | None
    customer_requested_at: datetime | None
    customer_last_requested_at: datetime | None
    stripe_customer_id: str | None
    subscription_requested_at: datetime | None
    subscription_last_requested_at: datetime | None
    stripe_subscription_id: str | None
    quarantined_at: datetime | None
    completed_at: datetime | None
    erased_at: datetime | None
    profile_kept: bool


class SubscriptionRow(NamedTuple):
    """A row of `billing_subscriptions` with its customer; `deleted_at`: the customer's tombstone."""

    stripe_subscription_id: str
    stripe_customer_id: str
    plan: str
    status: str
    canceling: bool
    trial_end: datetime | None
    period_end: datetime | None
    version: int
    updated_at: datetime
    deleted_at: datetime | None


_COLUMNS = ", ".join(field for field in LedgerRow._fields if field != "profile_kept")
_SELECT = f"SELECT {_COLUMNS}, customer_request IS NOT NULL AS profile_kept FROM provisionings"  # noqa: S608 - constants

_FIND = text(f"{_SELECT} WHERE user_id = :user_id")
_PAGE = text(f"""
    {_SELECT} WHERE state = ANY(:states) AND first_seen_at <= now() - CAST(:older_than AS interval)
    ORDER BY first_seen_at, user_id LIMIT :limit OFFSET :offset
""")
_SEALED = text("SELECT customer_request FROM provisionings WHERE user_id = :user_id")
_SUBSCRIPTIONS = text(f"""
    SELECT s.stripe_subscription_id, c.stripe_customer_id, s.plan, s.stripe_subscription_status AS status, s.canceling,
           s.trial_end, s.period_end, s.version, s.updated_at, c.deleted_at
    FROM billing_customers c JOIN billing_subscriptions s ON s.billing_customer_id = c.id
    WHERE s.id IN ({THEIRS}) ORDER BY s.id
""")  # noqa: S608 - a constant


def find(tx: Connection, user_id: str) -> LedgerRow | None:
    row = tx.execute(_FIND, {"user_id": user_id}).one_or_none()
    return LedgerRow(*row) if row else None


def page(tx: Connection, states: Sequence[State], older_than: timedelta, *, limit: int, offset: int) -> list[LedgerRow]:
    """Rows in one of `states` that were first seen at least `older_than` ago, the oldest first."""
    parameters = {"states": [state.value for state in states], "older_than": older_than}
    return [LedgerRow(*row) for row in tx.execute(_PAGE, parameters | {"limit": limit, "offset": offset})]


def sealed_request(tx: Connection, user_id: str) -> bytes | None:
    """The customer's request, sealed with the user's id as context; None once it is erased."""
    sealed: bytes | None = tx.execute(_SEALED, {"user_id": user_id}).scalar()
    return sealed


def subscriptions(tx: Connection, user_id: str) -> list[SubscriptionRow]:
    """All that our tables hold of the user's, deleted customers' included."""
    return [SubscriptionRow(*row) for row in tx.execute(_SUBSCRIPTIONS, {"user_id": user_id})]
