"""SQL of `payment_methods`: Stripe's ids of a customer's payment methods, and their order.

Whoever writes has the customer's row locked (`customers.locked`), so that each priority is given once. Of a customer
that was deleted nothing is written: what was asked for before may be answered after it was erased.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, text

from worker.domain.payment_methods import Kept, Missed, missed
from worker.store.engine import arrays


class Heard(NamedTuple):
    """What an event says of a payment method: of which customer, and when."""

    id: str
    customer_id: str
    at: datetime


_ATTACH = text("""
    INSERT INTO payment_methods AS known (billing_customer_id, stripe_payment_method_id, priority, as_of)
    SELECT c.id, new.id,
        coalesce((SELECT max(priority) FROM payment_methods WHERE billing_customer_id = c.id), 0)
            + CAST(row_number() OVER (PARTITION BY c.id ORDER BY new.number) AS int),
        new.as_of
    FROM unnest(CAST(:ids AS text[]), CAST(:customers AS text[]), CAST(:times AS timestamptz[]))
        WITH ORDINALITY AS new (id, customer_id, as_of, number)
    JOIN billing_customers c ON c.stripe_customer_id = new.customer_id AND c.deleted_at IS NULL
    ORDER BY new.id
    ON CONFLICT (stripe_payment_method_id) DO UPDATE
    SET billing_customer_id = excluded.billing_customer_id, priority = excluded.priority, as_of = excluded.as_of
    WHERE known.priority IS NULL AND :revives
""")

_DETACH = text("""
    INSERT INTO payment_methods AS known (billing_customer_id, stripe_payment_method_id, priority, as_of)
    SELECT c.id, new.id, NULL, new.as_of
    FROM unnest(CAST(:ids AS text[]), CAST(:customers AS text[]), CAST(:times AS timestamptz[]))
        AS new (id, customer_id, as_of)
    JOIN billing_customers c ON c.stripe_customer_id = new.customer_id AND c.deleted_at IS NULL
    ORDER BY new.id
    ON CONFLICT (stripe_payment_method_id) DO UPDATE SET priority = NULL, as_of = excluded.as_of
    WHERE known.priority IS NOT NULL
""")

_KEPT = text("""
    SELECT p.stripe_payment_method_id, p.priority IS NOT NULL AS is_attached, p.as_of
    FROM payment_methods p JOIN billing_customers c ON c.id = p.billing_customer_id
    WHERE c.stripe_customer_id = :customer_id
    ORDER BY p.priority, p.stripe_payment_method_id
""")

_ORDER = text("""
    UPDATE payment_methods p SET priority = new.priority
    FROM unnest(CAST(:ids AS text[])) WITH ORDINALITY AS new (id, priority)
    WHERE p.stripe_payment_method_id = new.id AND p.priority IS NOT NULL
""")


def attach(tx: Connection, heard: Sequence[Heard]) -> None:
    """Each that isn't known goes last, in this order; one that is detached stays that."""
    tx.execute(_ATTACH, {**_parameters(heard), "revives": False})


def detach(tx: Connection, heard: Sequence[Heard]) -> None:
    """Each is detached, for ever; also one that isn't known, so that its attachment may come later."""
    tx.execute(_DETACH, _parameters(heard))


def kept(tx: Connection, stripe_customer_id: str) -> list[Kept]:
    """All that are known of a customer, in their order, those that are detached last."""
    return [Kept(*row) for row in tx.execute(_KEPT, {"customer_id": stripe_customer_id})]


def take_list(
    tx: Connection, stripe_customer_id: str, listed: Sequence[str], seen: tuple[datetime, datetime]
) -> Missed:
    """With what Stripe lists as the customer's, newest first: returns what wasn't known, and is now."""
    found = missed(kept(tx, stripe_customer_id), listed, seen[0])
    attached, detached = (_seen(ids, stripe_customer_id, seen[1]) for ids in found)
    if attached:
        tx.execute(_ATTACH, {**_parameters(attached), "revives": True})
    if detached:
        detach(tx, detached)
    return found


def reorder(tx: Connection, stripe_payment_method_ids: Sequence[str]) -> None:
    """These are all that a customer has, in their new order."""
    tx.execute(_ORDER, {"ids": arrays.texts(stripe_payment_method_ids)})


def _seen(ids: Sequence[str], customer_id: str, at: datetime) -> list[Heard]:
    return [Heard(each, customer_id, at) for each in ids]


def _parameters(heard: Sequence[Heard]) -> dict[str, str]:
    return {
        "ids": arrays.texts(each.id for each in heard),
        "customers": arrays.texts(each.customer_id for each in heard),
        "times": arrays.times(each.at for each in heard),
    }
