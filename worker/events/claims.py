"""Whose a subscription is that Stripe has and our tables have not."""

from __future__ import annotations

from worker.domain.owners import Named, Owner, OwnerKind, named_owner
from worker.domain.stripe_facts import FetchedSubscription
from worker.store import owners
from worker.store.customers import Owner as Customer
from worker.store.engine.database import Transaction


def claimed(tx: Transaction, namespace: str, found: FetchedSubscription, customer: Customer | None) -> Owner | None:
    """By its customer's owners. Of one that isn't ours (None): the user whom its metadata names, if the digest with it
    is ours. None: nobody's that we know."""
    if customer is None:
        return named_user(namespace, found)
    return owners.whose(tx, customer, found.fact.customer_id, _named(namespace, found))


def named_user(namespace: str, found: FetchedSubscription) -> Owner | None:
    """The user whom its metadata names, if the digest with it is ours."""
    named = _named(namespace, found)
    return named if named is not None and named.kind is OwnerKind.USER else None


def _named(namespace: str, found: FetchedSubscription) -> Owner | None:
    return named_owner(Named(found.user_id, found.project_id, found.fact.user_digest), namespace)
