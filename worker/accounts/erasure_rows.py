"""What an erasure reads and writes here, each a transaction of its own; the last one under the change's fence."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import NamedTuple

from worker.domain.account_changes import AccountChange
from worker.domain.erasure import PORTAL_LASTS, ErasureState, names_user
from worker.domain.owners import user
from worker.errors import TryLater
from worker.sealing import CannotOpen, Sealer
from worker.store import (
    account_changes,
    charges,
    customers,
    ended_changes,
    erasures,
    owners,
    quarantine,
    subscriptions,
    tombstones,
)
from worker.store.engine.database import Database, Transaction
from worker.store.provisioning import pointers
from worker.store.told_changes import ToldChange

AT_ONCE = 100
"""Messages of the quarantine that are looked through in a transaction."""


class Theirs(NamedTuple):
    """What our tables know of a user's, by Stripe's ids. `shared`: the customers that others own, too. `rows`: whether
    those subscriptions are the user's that have rows there."""

    customers: list[str]
    shared: set[str]
    rows: dict[str, bool]


class ErasureRows:
    def __init__(self, database: Database, sealer: Sealer) -> None:
        self._database = database
        self._sealer = sealer

    def settle(self, user_id: str) -> None:
        """From now on nothing is taken in for the user. Raises `TryLater` while their signup is under way, whose
        requests decide first what there is to delete."""
        with self._database.transaction() as tx:
            account_changes.lock_user(tx, user_id)
            state = erasures.begin(tx, user_id)
        if state not in set(ErasureState):
            raise TryLater("signup_unfinished")

    def of(self, user_id: str) -> Theirs:
        """Raises `TryLater` while something of the user's may still be charged, and while the user may still be in a
        page of the portal's on a customer that others keep."""
        with self._database.transaction() as tx:
            found = erasures.customers_of(tx, user_id)
            shared = erasures.shared(tx, found, user_id)
            _require_no_charge(tx, user_id, found, shared)  # and no other try begins from now on
            rows = {each: whose == user_id for each, whose in subscriptions.users_on(tx, shared).items()}
            wait = erasures.portal_wait(tx, user_id, PORTAL_LASTS) if shared else None
        if wait:
            raise TryLater("portal_open", after=wait.total_seconds())
        return Theirs(found, shared, rows)

    def claim(self, customer_id: str, user_id: str) -> bool:
        """Whether the customer is the user's alone: then it has its tombstone before it is deleted at Stripe, so that
        nobody else is given it meanwhile. Raises `TryLater` while something may still be charged there: of somebody's
        who has left it since."""
        with self._database.transaction() as tx:
            customers.locked(tx, [customer_id])
            if owners.has_others(tx, customer_id, user_id):
                return False
            _require_no_charge(tx, user_id, [customer_id])
            customers.bury(tx, user_id, customer_id)
            customers.mark_deleted(tx, customer_id)
        return True

    def forget_messages(self, user_id: str) -> None:
        """Deletes what is in quarantine and names the user, as far as we have its key: what we don't expires."""
        with self._database.question() as tx:
            last, after = quarantine.newest(tx), 0
        while after < last:
            with self._database.transaction() as tx:
                ids = quarantine.ids_between(tx, after, last, None, AT_ONCE)
                theirs = [each.id for each in quarantine.read(tx, ids) if self._names(each, user_id)]
                if theirs:
                    quarantine.take(tx, theirs)
            after = ids[-1] if ids else last

    def _names(self, message: quarantine.KeptMessage, user_id: str) -> bool:
        try:
            return names_user(self._sealer.open(message.sealed_body, message.topic.encode()), user_id)
        except CannotOpen:
            return False

    def forget_pages(self, user_id: str) -> None:
        """By itself: whoever takes up what is complete locks pages first and the user then, events have the ledger
        locked before. What was taken up by then is a change, and goes with those."""
        with self._database.transaction() as tx:
            erasures.forget_pages(tx, user_id)

    def erase(self, change: AccountChange, customer_ids: Sequence[str]) -> tuple[AccountChange, ToldChange]:
        """All is done at Stripe: of the user the id stays here, tombstones and the outbox's last words. Raises
        `TryLater` where a customer has lost its last other owner just now: it is to be deleted, too."""
        change, user_id = replace(change, done=change.done + 1), change.user_id
        with self._database.transaction() as tx:
            known = customers.locked(tx, sorted(customer_ids))
            shared = erasures.shared(tx, customer_ids, user_id)
            alone = [each for each in customer_ids if each not in shared]
            if not all(known[each].deleted for each in alone):
                raise TryLater("customer_not_deleted")
            rows = subscriptions.locked(tx, erasures.subscriptions_of(tx, user_id, alone))
            account_changes.lock_user(tx, user_id)
            pointers.hold(tx, user_id)
            for identifier in sorted(rows):
                tombstones.bury(tx, rows[identifier])
            for each in sorted(shared):
                owners.take_away(tx, each, user(user_id))
            erasures.forget_customers(tx, alone)
            erasures.forget_user(tx, user_id)
            told = ended_changes.end(tx, replace(change, wanted={}), "applied", {"applied": []})
        return change, told


def _require_no_charge(
    tx: Transaction, user_id: str, customer_ids: Sequence[str], shared: Collection[str] = ()
) -> None:
    """As `charges.under_way`. Raises `TryLater` while one is."""
    if charges.under_way(tx, user_id, customer_ids, shared):
        raise TryLater("charge_under_way")
