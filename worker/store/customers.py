"""SQL of `billing_customers`."""

from __future__ import annotations

from sqlalchemy import Connection, func, select, text, update

from schema.tables import billing_customers as customers
from worker.store.errors import CustomerAlreadyExists, StripeCustomerAlreadyExists

_INSERT = text("""
    INSERT INTO billing_customers (user_id, stripe_customer_id) VALUES (:user_id, :stripe_customer_id)
    ON CONFLICT DO NOTHING
""")


def record(tx: Connection, user_id: str, stripe_customer_id: str) -> None:
    """The user has this customer; it may be there already (an event was first).

    Raises `StripeCustomerAlreadyExists` where the customer is another user's or deleted, `CustomerAlreadyExists` where
    the user has another one.
    """
    if tx.execute(_INSERT, {"user_id": user_id, "stripe_customer_id": stripe_customer_id}).rowcount:
        return
    there = tx.execute(
        select(customers.c.user_id, customers.c.deleted_at).where(customers.c.stripe_customer_id == stripe_customer_id)
    ).one_or_none()
    if there is None:
        raise CustomerAlreadyExists(user_id)
    if there.user_id != user_id or there.deleted_at is not None:
        raise StripeCustomerAlreadyExists(stripe_customer_id)


def bury(tx: Connection, stripe_customer_id: str) -> None:
    """The tombstone of a customer that was deleted at Stripe; it stays for ever, so that no event revives it."""
    tx.execute(
        update(customers)
        .where(customers.c.stripe_customer_id == stripe_customer_id, customers.c.deleted_at.is_(None))
        .values(deleted_at=func.now())
    )
