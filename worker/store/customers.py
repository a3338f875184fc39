"""SQL of `billing_customers`."""

from __future__ import annotations

from sqlalchemy import Connection, func, select, update

from schema.tables import billing_customers as customers
from worker.store.engine.errors import CustomerAlreadyExists, StripeCustomerAlreadyExists


def require(tx: Connection, user_id: str, stripe_customer_id: str) -> None:
    """Raises `StripeCustomerAlreadyExists` where the customer is another user's or deleted, and `CustomerAlreadyExists`
    where the user has another one; else this pair is there."""
    there = tx.execute(
        select(customers.c.user_id, customers.c.deleted_at).where(customers.c.stripe_customer_id == stripe_customer_id)
    ).one_or_none()
    if there is None:
        raise CustomerAlreadyExists(user_id)
    if there.user_id != user_id or there.deleted_at is not None:
        raise StripeCustomerAlreadyExists(stripe_customer_id)


def mark_deleted(tx: Connection, stripe_customer_id: str) -> None:
    """The tombstone of a customer that was deleted at Stripe; it stays for ever, so that no event revives it."""
    tx.execute(
        update(customers)
        .where(customers.c.stripe_customer_id == stripe_customer_id, customers.c.deleted_at.is_(None))
        .values(deleted_at=func.now())
    )
