"""SQL of `billing_customers`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, TextClause, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from schema.tables import billing_customers as customers
from worker.domain.default_card import NOTHING, DefaultCard
from worker.store.engine import arrays
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
    """Whose customer it is, and what is known of its default payment method. `deleted`: at Stripe; its tombstone is
    kept for ever."""

    user_id: str
    deleted: bool
    default: DefaultCard = NOTHING


_OWNERS = """
    SELECT stripe_customer_id, user_id, deleted_at IS NOT NULL AS deleted, default_payment_method, default_seen_from,
        default_seen_to
    FROM billing_customers WHERE stripe_customer_id = ANY(CAST(:ids AS text[])) ORDER BY stripe_customer_id
"""
_READ = text(_OWNERS)
_LOCKED = text(f"{_OWNERS} FOR NO KEY UPDATE")

DEFAULTS = """
    UPDATE billing_customers c
    SET default_payment_method = new.payment_method, default_seen_from = new.seen_from, default_seen_to = new.seen_to
    FROM unnest(CAST(:customers AS text[]), CAST(:defaults AS text[]), CAST(:defaults_from AS timestamptz[]),
                CAST(:defaults_to AS timestamptz[])) AS new (id, payment_method, seen_from, seen_to)
    WHERE c.stripe_customer_id = new.id
"""
"""Writes what is known of customers whose rows are locked (`of_defaults`)."""
_WRITE_DEFAULTS = text(DEFAULTS)


def owners(tx: Connection, stripe_customer_ids: Sequence[str]) -> dict[str, Owner]:
    """Those of these customers that are ours, by Stripe's id."""
    return _owners(tx, _READ, stripe_customer_ids)


def locked(tx: Connection, stripe_customer_ids: Sequence[str]) -> dict[str, Owner]:
    """The same, locked until the transaction ends: before any subscription is, or two would wait for each other."""
    return _owners(tx, _LOCKED, stripe_customer_ids)


def learn_default(tx: Connection, stripe_customer_id: str, known: DefaultCard) -> None:
    """By an answer, where nothing was ever heard of it; else what is there stays, and is in doubt or not."""
    tx.execute(
        update(customers)
        .where(customers.c.stripe_customer_id == stripe_customer_id, customers.c.default_seen_to.is_(None))
        .values(
            default_payment_method=known.payment_method,
            default_seen_from=known.seen_from,
            default_seen_to=known.seen_to,
        )
    )


def write_defaults(tx: Connection, defaults: Mapping[str, DefaultCard]) -> None:
    """What is known now of customers whose rows are locked. Their subscriptions' rows have it, too."""
    tx.execute(_WRITE_DEFAULTS, of_defaults(defaults))


def of_defaults(defaults: Mapping[str, DefaultCard]) -> dict[str, str]:
    """The parameters of `DEFAULTS`."""
    found = sorted(defaults.items())
    return {
        "customers": arrays.texts(each for each, _ in found),
        "defaults": arrays.texts(known.payment_method for _, known in found),
        "defaults_from": arrays.times(known.seen_from for _, known in found),
        "defaults_to": arrays.times(known.seen_to for _, known in found),
    }


def _owners(tx: Connection, statement: TextClause, stripe_customer_ids: Sequence[str]) -> dict[str, Owner]:
    found = tx.execute(statement, {"ids": arrays.texts(stripe_customer_ids)})
    return {
        row.stripe_customer_id: Owner(
            row.user_id,
            row.deleted,
            DefaultCard(row.default_payment_method, row.default_seen_from, row.default_seen_to),
        )
        for row in found.all()
    }


def living(tx: Connection, user_ids: Sequence[str]) -> dict[str, str]:
    """The customer that each of these users has at Stripe, where it isn't deleted."""
    found = tx.execute(
        select(customers.c.user_id, customers.c.stripe_customer_id).where(
            customers.c.user_id.in_(user_ids), customers.c.deleted_at.is_(None)
        )
    )
    return {row.user_id: row.stripe_customer_id for row in found}
