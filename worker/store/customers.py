"""SQL of `billing_customers`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, func, select, update
from sqlalchemy.dialects.postgresql import insert

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


def bury(tx: Connection, user_id: str, stripe_customer_id: str) -> None:
    """The tombstone of a user's customer that we never knew."""
    tx.execute(
        insert(customers)
        .values(user_id=user_id, stripe_customer_id=stripe_customer_id, deleted_at=func.now())
        .on_conflict_do_nothing()
    )


def mark_deleted(tx: Connection, stripe_customer_id: str) -> None:
    """The tombstone of a customer that was deleted at Stripe; it stays for ever, so that no event revives it."""
    tx.execute(
        update(customers)
        .where(customers.c.stripe_customer_id == stripe_customer_id, customers.c.deleted_at.is_(None))
        .values(deleted_at=func.now())
    )


def add(tx: Connection, user_id: str, stripe_customer_id: str) -> bool:
    """A customer for a user who never had one; False: the user has, or had one that was deleted, or it is another's."""
    had = select(customers.c.id).where(customers.c.user_id == user_id).limit(1)
    if tx.execute(had).one_or_none() is not None:
        return False
    added = insert(customers).values(user_id=user_id, stripe_customer_id=stripe_customer_id).on_conflict_do_nothing()
    return tx.execute(added.returning(customers.c.id)).one_or_none() is not None


class Owner(NamedTuple):
    """Whose customer it is. `deleted`: at Stripe; its tombstone is kept for ever."""

    user_id: str
    deleted: bool


def owners(tx: Connection, stripe_customer_ids: Sequence[str]) -> dict[str, Owner]:
    """Those of these customers that are ours, by Stripe's id."""
    found = tx.execute(
        select(customers.c.stripe_customer_id, customers.c.user_id, customers.c.deleted_at).where(
            customers.c.stripe_customer_id.in_(stripe_customer_ids)
        )
    )
    return {row.stripe_customer_id: Owner(row.user_id, row.deleted_at is not None) for row in found}


def living(tx: Connection, user_ids: Sequence[str]) -> dict[str, str]:
    """The customer that each of these users has at Stripe, where it isn't deleted."""
    found = tx.execute(
        select(customers.c.user_id, customers.c.stripe_customer_id).where(
            customers.c.user_id.in_(user_ids), customers.c.deleted_at.is_(None)
        )
    )
    return {row.user_id: row.stripe_customer_id for row in found}
