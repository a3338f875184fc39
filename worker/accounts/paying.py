"""Which customer is charged for a user, and whether the user may pay there."""

from __future__ import annotations

from typing import NamedTuple

from worker.domain.account_changes import ChangeRefused
from worker.domain.owners import Role, user
from worker.store import customers, owners, subscriptions
from worker.store.engine.database import Transaction
from worker.store.provisioning import following


class Charged(NamedTuple):
    """`subscription_id`: the one that the user has by the ledger, ended or not."""

    customer_id: str
    subscription_id: str | None


def charged(tx: Transaction, user_id: str) -> Charged | None:
    """The customer of the user's subscription while that lives, else their own. None: there is none (yet)."""
    current = next(iter(subscriptions.current(tx, [user_id])), None)
    if current is not None and not current.is_terminal:
        return Charged(current.customer_id, current.id)
    own = customers.living(tx, [user_id]).get(user_id)
    return None if own is None else Charged(own, None if current is None else current.id)


def require_payer(tx: Transaction, user_id: str, customer_id: str) -> None:
    """Raises `ChangeRefused` (`not_payer`) where the user may not pay there."""
    if owners.role(tx, customer_id, user(user_id)) is not Role.PAYER:
        raise ChangeRefused("not_payer", "the user isn't a payer of the customer, which is shared")


def paid_for(tx: Transaction, user_id: str) -> Charged | None:
    """What is charged for the user, for what only its payers may. Raises as `require_payer`."""
    found = charged(tx, user_id)
    if found is not None:
        require_payer(tx, user_id, found.customer_id)
    return found


def payer_of(tx: Transaction, user_id: str) -> Charged:
    """The same. Raises `ChangeRefused` where there is none, too."""
    if following.unfinished(tx, [user_id]):  # what the signup will come to decides
        raise ChangeRefused("signup_unfinished", "the user's signup is being settled: try again")
    found = paid_for(tx, user_id)
    if found is None:
        raise ChangeRefused("no_customer", "the user has no customer at Stripe: everybody has one by their signup")
    return found
