"""Which customer is charged for a user, and whether the user may pay there."""

from __future__ import annotations

from typing import NamedTuple

from worker.domain.account_changes import ChangeRefused
from worker.domain.owners import Role, user
from worker.store import customers, owners, subscriptions
from worker.store.engine.database import Transaction
from worker.store.provisioning import following


def not_payer() -> ChangeRefused:
    return ChangeRefused("not_payer", "the user isn't a payer of the customer, which is shared")


class Charged(NamedTuple):
    """`role`: the user's on this customer; None: they own it no more. `subscription_id`: the one that the user has by
    the ledger, ended or not."""

    customer_id: str
    role: Role | None
    subscription_id: str | None


def charged(tx: Transaction, user_id: str) -> Charged | None:
    """The customer of the user's subscription while that lives, else their own. None: there is none (yet)."""
    owned = owners.owned_by(tx, user(user_id))
    current = next(iter(subscriptions.current(tx, [user_id])), None)
    if current is not None and not current.is_terminal:
        return Charged(current.customer_id, owned.get(current.customer_id), current.id)
    own = customers.living(tx, [user_id]).get(user_id)
    return None if own is None else Charged(own, owned.get(own), None if current is None else current.id)


def payer_of(tx: Transaction, user_id: str) -> Charged:
    """The same, for what only its payers may. Raises `ChangeRefused`: `not_payer`, and where there is none."""
    if following.unfinished(tx, [user_id]):  # what the signup will come to decides
        raise ChangeRefused("signup_unfinished", "the user's signup is being settled: try again")
    found = charged(tx, user_id)
    if found is None:
        raise ChangeRefused("no_customer", "the user has no customer at Stripe: everybody has one by their signup")
    if found.role is not Role.PAYER:
        raise not_payer()
    return found
