"""SQL of erasing a user: from `erasing` on nothing is taken in for them, and of an `erased` one the id stays.

The order of locks: customers, subscriptions, the user (`account_changes.lock_user`), the ledger, marks.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

from sqlalchemy import Connection, text

from worker.domain.erasure import Erasure, ErasureState
from worker.domain.lanes import Lane
from worker.domain.owners import user
from worker.store import owners
from worker.store.engine import arrays
from worker.store.provisioning.leases import NEW_TOKEN
from worker.store.subscriptions import THEIRS

_UNASKED = "p.state = 'pending' AND p.customer_requested_at IS NULL"

# What may have been asked for goes on: its answer says what there is to delete.
_BEGIN = text(f"""
    INSERT INTO provisionings AS p (user_id, state, plan, trial_end, lane)
    VALUES (:user_id, 'erasing', '', now(), :lane)
    ON CONFLICT (user_id) DO UPDATE
    SET state = 'erasing', customer_request = NULL, subscription_request = NULL, quarantined_at = NULL, refusal = NULL,
        last_error = NULL, lease_token = {NEW_TOKEN}, lease_until = NULL
    WHERE p.state IN ('completed', 'quarantined') OR ({_UNASKED})
""")  # noqa: S608 - constants

_STATE = text("SELECT state FROM provisionings WHERE user_id = :user_id")

IS_ASKED = """
    (EXISTS (SELECT FROM account_changes WHERE user_id = :user_id AND state = 'pending' AND kind = 'erase')
        OR EXISTS (SELECT FROM provisionings WHERE user_id = :user_id AND state IN ('erasing', 'erased')))
"""
_IS_ASKED = text(f"SELECT {IS_ASKED}")

# Deleted ones too: what a tombstone says is asked of Stripe once more.
_CUSTOMERS = text("""
    SELECT stripe_customer_id FROM billing_customers WHERE user_id = :user_id
    UNION SELECT stripe_customer_id FROM provisionings WHERE user_id = :user_id AND stripe_customer_id IS NOT NULL
""")

_SUBSCRIPTIONS = text(f"""
    SELECT s.stripe_subscription_id FROM billing_customers c
    JOIN billing_subscriptions s ON s.billing_customer_id = c.id
    WHERE c.stripe_customer_id = ANY(CAST(:alone AS text[]))
    UNION SELECT stripe_subscription_id FROM billing_subscriptions WHERE id IN ({THEIRS})
    ORDER BY 1
""")  # noqa: S608 - constants

_PORTAL_WAIT = text("""
    SELECT greatest(max(ended_at) + :lasts - now(), interval '0') FROM account_changes
    WHERE user_id = :user_id AND kind = 'portal' AND state = 'applied'
""")

_FORGET_CUSTOMERS = text("""
    WITH alone AS (
        SELECT id FROM billing_customers WHERE stripe_customer_id = ANY(CAST(:alone AS text[]))
    ), cards AS (
        DELETE FROM payment_methods WHERE billing_customer_id IN (SELECT id FROM alone)
    ), owned AS (
        DELETE FROM billing_owners WHERE billing_customer_id IN (SELECT id FROM alone)
    ), unmatched AS (
        DELETE FROM unmatched_subscriptions WHERE stripe_customer_id = ANY(CAST(:alone AS text[]))
    ), tried AS (
        DELETE FROM charge_tries WHERE stripe_customer_id = ANY(CAST(:alone AS text[])) RETURNING stripe_invoice_id
    ), failing AS (
        DELETE FROM failing_invoices WHERE stripe_invoice_id IN (SELECT stripe_invoice_id FROM tried)
    )
    UPDATE billing_customers SET default_payment_method = NULL WHERE id IN (SELECT id FROM alone)
""")

_FORGET_PAGES = text("DELETE FROM checkouts WHERE user_id = :user_id")

_FORGET_CHANGES = text("DELETE FROM account_changes WHERE user_id = :user_id AND kind <> 'erase'")

_ERASED = text("""
    UPDATE provisionings
    SET state = 'erased', erased_at = now(), generation = 1, plan = '', trial_end = now(), lane = :lane, attempts = 0,
        look_first = false, customer_request = NULL, subscription_request = NULL, due_at = now(), lease_token = 0,
        lease_until = NULL, last_error = NULL, stripe_customer_id = NULL, stripe_subscription_id = NULL,
        first_seen_at = now(), customer_requested_at = NULL, customer_last_requested_at = NULL,
        subscription_requested_at = NULL, subscription_last_requested_at = NULL, quarantined_at = NULL,
        completed_at = NULL, key_possible_since = NULL, refusal = NULL, refused_at = NULL, others_passed = false
    WHERE user_id = :user_id AND state = 'erasing'
""")

_WAITS_FOR = """
    coalesce(split_part(c.last_error, ':', 1), CASE WHEN EXISTS (
        SELECT FROM account_changes earlier
        WHERE earlier.user_id = c.user_id AND earlier.state = 'pending' AND earlier.seq < c.seq)
    THEN 'earlier_changes' END)
"""

_TOLD = text(f"""
    SELECT p.state = 'erased' AS is_erased, p.erased_at, c.created_at,
        {_WAITS_FOR} AS waits_for
    FROM (SELECT) AS one LEFT JOIN provisionings p ON p.user_id = :user_id
    LEFT JOIN LATERAL (
        SELECT user_id, seq, created_at, last_error FROM account_changes
        WHERE user_id = :user_id AND state = 'pending' AND kind = 'erase' ORDER BY seq LIMIT 1
    ) AS c ON true
    WHERE p.state IN ('erasing', 'erased') OR c.created_at IS NOT NULL
""")  # noqa: S608 - a constant

_BACKLOG = text(f"""
    SELECT count(*) OVER () AS waiting, extract(epoch FROM now() - c.created_at)::float8 AS age,
        coalesce({_WAITS_FOR}, 'under_way') AS waits_for
    FROM account_changes c WHERE state = 'pending' AND kind = 'erase' ORDER BY created_at LIMIT 1
""")  # noqa: S608 - as above


class Backlog(NamedTuple):
    """How many erasures haven't ended; of the oldest the age in seconds, and what it waits for (a constant)."""

    waiting: int = 0
    oldest: float = 0.0
    waits_for: str = ""


def begin(tx: Connection, user_id: str) -> str:
    """The user is being erased from now on, unless their signup is under way; whoever was never heard of, too. The user
    is locked. Returns the state of the ledger's row."""
    tx.execute(_BEGIN, {"user_id": user_id, "lane": int(Lane.LIVE)})
    return str(tx.execute(_STATE, {"user_id": user_id}).scalar_one())


def is_asked_for(tx: Connection, user_id: str) -> bool:
    """Whether the user was erased, or is to be."""
    return bool(tx.execute(_IS_ASKED, {"user_id": user_id}).scalar_one())


def customers_of(tx: Connection, user_id: str) -> list[str]:
    """All that were made for the user, or that they own, by Stripe's id."""
    made = set(tx.execute(_CUSTOMERS, {"user_id": user_id}).scalars())
    return sorted(made | {each.customer_id for each in owners.owned_by(tx, user(user_id))})


def shared(tx: Connection, stripe_customer_ids: Sequence[str], user_id: str) -> set[str]:
    """Those of these that somebody else owns, too."""
    return {each for each in stripe_customer_ids if owners.has_others(tx, each, user_id)}


def subscriptions_of(tx: Connection, user_id: str, alone: Sequence[str]) -> list[str]:
    """The rows that go with the user: theirs, and all of the customers that are theirs `alone`."""
    return list(tx.execute(_SUBSCRIPTIONS, {"user_id": user_id, "alone": arrays.texts(alone)}).scalars())


def portal_wait(tx: Connection, user_id: str, lasts: timedelta) -> timedelta:
    """How long the user may still be in a page of the portal's, that lasts so long."""
    wait: timedelta | None = tx.execute(_PORTAL_WAIT, {"user_id": user_id, "lasts": lasts}).scalar_one()
    return wait or timedelta(0)


def forget_customers(tx: Connection, alone: Sequence[str]) -> None:
    """Of customers that are deleted, and locked: only their tombstones stay."""
    tx.execute(_FORGET_CUSTOMERS, {"alone": arrays.texts(alone)})


def forget_pages(tx: Connection, user_id: str) -> None:
    """In a transaction of its own."""
    tx.execute(_FORGET_PAGES, {"user_id": user_id})


def forget_user(tx: Connection, user_id: str) -> None:
    """Of the user, who is locked and `erasing`, the id stays."""
    tx.execute(_FORGET_CHANGES, {"user_id": user_id})
    tx.execute(_ERASED, {"user_id": user_id, "lane": int(Lane.LIVE)})


def find(tx: Connection, user_id: str) -> Erasure | None:
    """How it stands with the user; None: nobody has asked for it."""
    row = tx.execute(_TOLD, {"user_id": user_id}).one_or_none()
    if row is None:
        return None
    if row.is_erased:
        return Erasure(user_id, ErasureState.ERASED, None, row.erased_at, None)
    return Erasure(user_id, ErasureState.ERASING, row.created_at, None, row.waits_for)


def backlog(tx: Connection) -> Backlog:
    row = tx.execute(_BACKLOG).one_or_none()
    return Backlog() if row is None else Backlog(row.waiting, row.age, row.waits_for)
