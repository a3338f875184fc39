"""Taking in what users and admins ask of subscriptions: a row each, leased by this process if it has a thread free."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from worker.accounts.card_rows import detachment_of
from worker.accounts.leases import ChangeLease
from worker.accounts.pages import page_for
from worker.accounts.paying import payer_of, require_payer
from worker.domain.account_changes import (
    OF_PAYERS,
    PAGES,
    WITHOUT_SUBSCRIPTION,
    ChangeRefused,
    Kind,
    Wish,
    digest_of,
    etag_of,
    planned,
)
from worker.domain.accounts import UNSET
from worker.domain.changing import forbidden
from worker.domain.deadline import Clock, Deadline, boot_time
from worker.domain.erasure import Erasure
from worker.domain.lanes import Lane
from worker.sealing import Sealer
from worker.store import account_changes, erasures, subscriptions, told_changes, tombstones
from worker.store.account_changes import NewChange
from worker.store.engine.database import Database, Transaction
from worker.store.provisioning import insert, views
from worker.store.provisioning.insert import NewProvisioning
from worker.store.told_changes import Standing, ToldChange
from worker.work.dispatcher import Dispatcher

MOST_WAITING = 20
"""Of a user's changes, before another one is taken in: they are made one after the other, and each asks Stripe."""

Freeze = Callable[[str, str, str | None], NewProvisioning]
"""The ledger's row of a user, with this plan and this email, as absorbing a message would have frozen it."""


class Asking:
    """Any number of threads may ask. `lease`: how long a leased row is this process's; `now` (UTC)."""

    def __init__(
        self,
        database: Database,
        sealer: Sealer,
        freeze: Freeze,
        *,
        lease: timedelta,
        now: Callable[[], datetime],
        clock: Clock = boot_time,
    ) -> None:
        self._database = database
        self._sealer = sealer
        self._freeze = freeze
        self._lease = lease
        self._now = now
        self._clock = clock

    def ask(self, wish: Wish, dispatcher: Dispatcher[ChangeLease]) -> ToldChange | None:
        """The row, and a thread of `dispatcher` for it, if one is free. Returns the row of before, where the same was
        asked for under its key. Raises `ChangeRefused`."""
        with dispatcher.reserve({Lane.LIVE: 1}) as reservation:
            known, leased = self.insert(wish, leased=reservation.take(Lane.LIVE))
            reservation.hand_over([leased] if leased is not None else [])
        return known

    def insert(self, wish: Wish, *, leased: bool) -> tuple[ToldChange | None, ChangeLease | None]:
        """The row, committed, and its lease, where it was to be `leased` and nothing of the user's is before it; or the
        row of before. Raises `ChangeRefused`."""
        details = {"details": wish.details.as_json()} if wish.kind is Kind.DETAILS else {}
        etags = ",".join(sorted(wish.etags))
        asked = digest_of(wish.kind, wish.user_id, wish.change, etags, {**wish.about, **details})
        deadline = Deadline.after(self._lease.total_seconds(), self._clock)
        with self._database.transaction() as tx:
            account_changes.lock_user(tx, wish.user_id)
            standing = told_changes.standing(tx, wish.user_id, wish.caller, wish.idempotency_key)
            if standing.known is not None:
                if not self._sealer.is_fingerprint(asked, standing.known.digest):
                    raise _key_reused()
                return standing.known, None
            if wish.wrong:
                raise ChangeRefused("parameters_wrong", "see errors", wish.wrong)
            new = self._checked(tx, wish, self._new(wish, self._sealer.fingerprint(asked)), standing)
            row = account_changes.insert(tx, new, self._lease if leased else None)
            if row is None:  # for another user, at the same time
                raise _key_reused()
        return None, ChangeLease(row, deadline, is_new=True) if row.token else None

    def find(self, identifier: UUID) -> ToldChange | None:
        with self._database.question() as tx:
            return told_changes.find(tx, identifier)

    def erasure(self, user_id: str) -> Erasure | None:
        """How it stands with the user's erasure; None: nobody has asked for it."""
        with self._database.question() as tx:
            return erasures.find(tx, user_id)

    def _new(self, wish: Wish, digest: bytes) -> NewChange:
        change, identifier = wish.change, wish.id
        asked = {"stripe_source": change.stripe_source, "plan": change.plan, "canceling": change.canceling}
        sealed = None
        if wish.kind is Kind.DETAILS:
            sealed = wish.details.as_json()
        elif wish.kind is Kind.UPDATE and change.email is not UNSET:
            sealed = change.email
        return NewChange(
            id=identifier,
            kind=wish.kind,
            user_id=wish.user_id,
            caller=wish.caller,
            idempotency_key=wish.idempotency_key,
            digest=digest,
            steps=planned(wish.kind, change, wish.details),
            wanted={**wish.about, **{name: value for name, value in asked.items() if value is not UNSET}},
            sealed_email=None if sealed is None else self._sealer.seal(sealed.encode(), identifier.bytes),
        )

    def _checked(self, tx: Transaction, wish: Wish, new: NewChange, standing: Standing) -> NewChange:
        """With what it is about, if it can be made by what we know."""
        if wish.kind is Kind.ERASE:
            erasures.begin(tx, wish.user_id)
            return new
        if standing.is_erased:
            raise ChangeRefused("erased", "the user was erased, or is being so: nothing is done for them any more")
        if wish.kind is Kind.CREATE:
            self._provision(tx, wish)
            return new
        return self._of_whom_it_is(tx, wish, new, standing.waiting)

    @staticmethod
    def _of_whom_it_is(tx: Transaction, wish: Wish, new: NewChange, waiting: int) -> NewChange:
        """With the customer and the subscription of the user who is in the ledger."""
        may_pile_up = wish.kind in {Kind.UPDATE, Kind.DETAILS, Kind.DETACHMENT} or wish.kind in PAGES
        if may_pile_up and waiting >= MOST_WAITING:
            raise ChangeRefused("too_many_waiting", "changes of this user are still to be made")
        if wish.kind in PAGES:
            return page_for(tx, wish, new)
        if wish.kind in WITHOUT_SUBSCRIPTION:
            return _of_the_customer(tx, wish, new)
        row = next(iter(subscriptions.current(tx, [wish.user_id])), None)
        if row is None:
            raise ChangeRefused("no_subscription", "the user has none (yet)")
        if wish.etags and etag_of(row.id, row.version) not in wish.etags:
            raise ChangeRefused("changed_meanwhile", "the subscription is no longer as If-Match has it")
        if (refused := forbidden(str(row.state["stripe_subscription_status"]), new.steps)) is not None:
            raise refused
        if not OF_PAYERS.isdisjoint(new.steps):
            require_payer(tx, wish.user_id, row.customer_id)
        return replace(
            new,
            etag=etag_of(row.id, row.version) if wish.etags else None,
            stripe_subscription_id=row.id,
            stripe_customer_id=row.customer_id,
        )

    def _provision(self, tx: Transaction, wish: Wish) -> None:
        """The ledger's row, as a message would have made it; due at once, for whoever settles."""
        if (known := views.find(tx, wish.user_id)) is not None:
            removed = tombstones.among(tx, [known.stripe_subscription_id or ""])
            raise ChangeRefused("exists", _REMOVED if removed else f"the user is in the ledger already ({known.state})")
        change = wish.change
        assert change.plan is not UNSET, "validated"
        email = None if change.email is UNSET else change.email
        row = self._freeze(wish.user_id, change.plan, email)
        new, _ = insert.insert_new(tx, [row], lease=timedelta(0), stripe_now=self._now())
        if not new:
            raise ChangeRefused("exists", "the user is in the ledger already")


_REMOVED = "the user had one, which was removed: nothing starts another one"


def _of_the_customer(tx: Transaction, wish: Wish, new: NewChange) -> NewChange:
    """With whose it is. Raises `ChangeRefused`."""
    if wish.kind is Kind.DETACHMENT:
        return detachment_of(tx, wish, new)
    return replace(new, stripe_customer_id=payer_of(tx, wish.user_id).customer_id)


def _key_reused() -> ChangeRefused:
    return ChangeRefused("key_reused", "this Idempotency-Key was used with another request")
