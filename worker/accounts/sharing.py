"""Roles on customers: who has which, and giving and taking them away. Stripe knows nothing of it."""

from __future__ import annotations

from collections.abc import Sequence

from worker.domain.account_changes import ChangeRefused
from worker.domain.owners import Owner, OwnerKind, Role, Share
from worker.store import account_changes, customers, erasures, owners, refreshes
from worker.store.engine.database import Database, Transaction
from worker.store.owners import Owned
from worker.store.provisioning import following


class Sharing:
    """All raise `ChangeRefused` where it can't be."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, customer_id: str, after: Owner | None, limit: int) -> Sequence[Share]:
        """Who owns it, and as what; `limit` at most, from behind `after` on."""
        with self._database.question() as tx:
            _require(customers.owners(tx, [customer_id]).get(customer_id))
            return owners.page(tx, customer_id, after, limit)

    def owned_by(self, owner: Owner, after: int, limit: int) -> Sequence[Owned]:
        """The customers that it owns, `limit` at most, from behind the number `after` on."""
        with self._database.question() as tx:
            return owners.owned_by(tx, owner, after, limit)

    def set(self, customer_id: str, owner: Owner, role: Role | None) -> None:
        """It has this role there from now on (None: it owns the customer no more)."""
        with self._database.transaction() as tx:
            customer = _require(customers.locked(tx, [customer_id]).get(customer_id))
            if following.unfinished(tx, [customer.user_id]):  # it makes a subscription there, and finds its own
                raise ChangeRefused("signup_unfinished", "the signup of its user is being settled: try again")
            if role is None:
                _require_nothing_left(tx, customer_id, owner)
                owners.take_away(tx, customer_id, owner)
                return
            if owner.kind is OwnerKind.USER:
                _require_not_erased(tx, owner.id)
                if role is Role.MEMBER and owners.role(tx, customer_id, owner) is Role.PAYER:
                    _require_no_work(tx, customer_id, owner)
            owners.give(tx, customer_id, Share(owner, role))
            refreshes.revisit(tx, customer_id)  # what was nobody's there may be this one's


def _require(customer: customers.Owner | None) -> customers.Owner:
    if customer is None or customer.deleted:
        raise ChangeRefused("no_customer", "there is no such customer (any more)")
    return customer


def _require_not_erased(tx: Transaction, user_id: str) -> None:
    account_changes.lock_user(tx, user_id)  # it isn't asked for meanwhile
    if erasures.is_asked_for(tx, user_id):
        raise ChangeRefused("erased", "the user was erased, or is being so")


def _require_nothing_left(tx: Transaction, customer_id: str, owner: Owner) -> None:
    if owner.kind is OwnerKind.USER:
        account_changes.lock_user(tx, owner.id)  # nothing else is asked for meanwhile
        _require_no_work(tx, customer_id, owner)
    if owners.has_living(tx, customer_id, owner):
        raise ChangeRefused("owns_subscriptions", "this owner has subscriptions there that haven't ended")


def _require_no_work(tx: Transaction, customer_id: str, owner: Owner) -> None:
    """Of the user, who is locked: it was asked for in a role that they have no more, then."""
    if owners.has_work(tx, customer_id, owner.id):
        raise ChangeRefused("under_way", "changes or pages of this owner's are under way there")
