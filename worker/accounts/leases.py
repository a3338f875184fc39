"""Leases of changes, and what their holders commit: each a transaction of its own, under the row's fence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from worker.accounts import answer_rows, checkout_rows
from worker.accounts.answer_rows import PlanName, Watched
from worker.accounts.checkout_rows import PageRows
from worker.domain.account_changes import (
    PAGES,
    PAYS,
    WITHOUT_SUBSCRIPTION,
    AccountChange,
    ChangeRefused,
    Kind,
    Step,
    told_of,
)
from worker.domain.deadline import Clock, Deadline, boot_time
from worker.domain.default_card import DefaultCard
from worker.domain.lanes import Lane
from worker.domain.stripe_facts import Answer, ExpandedCustomer, FetchedSubscription
from worker.domain.subscription import Subscription
from worker.store import account_changes, answers, customers, ended_changes, subscriptions, tombstones
from worker.store.answers import Written
from worker.store.engine.database import Database, Transaction
from worker.store.provisioning import pointers, views
from worker.store.told_changes import ToldChange

_OF_DEFAULTS = frozenset({Step.DEFAULT, Step.DETACH})


@dataclass(slots=True)
class ChangeLease:
    """A change that this process alone may work on, until the deadline."""

    change: AccountChange
    deadline: Deadline
    lane: Lane = field(default=Lane.LIVE)
    is_new: bool = False
    """Whether what it is about was looked at just now, as it was taken in."""
    watched: Watched | None = None
    """Of the request that was last begun."""
    told: ToldChange | None = None
    """Once the change has ended: as it is told."""


class ChangeLeases:
    """Leases of `length`. Every write may raise `LeaseLost`."""

    def __init__(
        self,
        database: Database,
        plan_name: PlanName,
        openable: Callable[[], Sequence[bytes]],
        *,
        length: timedelta,
        clock: Clock = boot_time,
    ) -> None:
        self._database = database
        self._plan_name = plan_name
        self._openable = openable
        self._length = length
        self._clock = clock
        self.pages = PageRows(database)

    def lease_due(self, count: int, user_id: str | None = None) -> list[ChangeLease]:
        """Up to `count` changes that are due (of one user), the longest due first."""
        deadline, openable = self._deadline(), self._openable()
        with self._database.transaction() as tx:
            if user_id is None:
                checkout_rows.take_up(tx)
            found = account_changes.lease(tx, count, self._length, openable, user_id)
        return [ChangeLease(each, deadline) for each in found]

    def require(self, lease: ChangeLease) -> None:
        """Raises `ChangeRefused` as `begin`: before Stripe is asked what is so."""
        with self._database.question() as tx:
            _meant(tx, lease.change)

    def begin(self, lease: ChangeLease, changed: AccountChange, *, watched: bool) -> Watched | None:
        """The step is about to be asked for, as `changed` has it; `watched`: its answer is the subscription.

        Raises `ChangeRefused` where there is no such subscription any more, or, before anything was asked for, where it
        isn't in the state that was meant.
        """
        deadline, watching = self._deadline(), None
        with self._database.transaction() as tx:
            if watched:
                watching = self._watch(tx, lease.change, changed)
            else:
                if changed.kind not in WITHOUT_SUBSCRIPTION:
                    _meant(tx, lease.change)
                if changed.step in _OF_DEFAULTS:
                    watching = Watched(default=_known_default(tx, changed.stripe_customer_id))
                account_changes.begin(tx, changed, self._length)
        lease.change, lease.deadline = replace(changed, asked_for=changed.asked_for or timedelta(0)), deadline
        lease.watched = watching
        return watching

    def _watch(self, tx: Transaction, change: AccountChange, changed: AccountChange) -> Watched:
        begun = answers.begin(tx, changed, change.meant_version, self._length)
        if begun is None:
            raise _removed()
        if begun.mark is None:
            raise _changed_meanwhile()
        return Watched(begun.version, begun.status, begun.mark)

    def advance(
        self,
        lease: ChangeLease,
        changed: AccountChange,
        watched: Watched | None = None,
        answer: Answer[FetchedSubscription] | None = None,
        default: Answer[ExpandedCustomer] | None = None,
    ) -> None:
        """The step holds, and `changed` is what comes of it; with the last one the change has ended. An `answer` is
        written to the row as any fetch's that began when it was sent, and a customer's `default` payment method, as
        Stripe answered it, to the customer's row and its subscriptions'."""
        deadline, written = self._deadline(), None
        changed = replace(changed, done=changed.done + 1, request=None, asked_for=None, generation=1)
        with self._database.transaction() as tx:
            if watched is not None and answer is not None:
                identifier = str(changed.stripe_subscription_id)
                written = answer_rows.take(tx, identifier, watched, answer, self._plan_name)
            if default is not None:
                beside = None if watched is None else watched.default
                answer_rows.take_default(tx, changed, beside, default)
            if changed.step is None:
                result = self._result(tx, changed, written)
                kept = checkout_rows.without_urls(changed)
                lease.told = ended_changes.end(tx, kept, "applied", result, written)
                checkout_rows.follow(tx, changed)
            else:
                if written is not None:
                    answers.write(tx, written)
                account_changes.advance(tx, changed, self._length)
        lease.change, lease.deadline = changed, deadline

    def _result(self, tx: Transaction, change: AccountChange, written: Written | None) -> dict[str, object]:
        if change.kind in PAGES:
            return {"url": change.wanted["url"], "applied": []}
        if change.kind is Kind.DETACHMENT:
            return {"subscription": None, "applied": []}
        if change.kind is Kind.DETAILS:
            return {"subscription": None, "applied": change.held}
        identifier = str(change.stripe_subscription_id)
        row = written.row if written is not None else subscriptions.read(tx, [identifier]).get(identifier)
        return {"subscription": _told(row), "applied": change.held}

    def remove(self, lease: ChangeLease) -> None:
        """The subscription has ended at Stripe: here it is removed for good, and the change with it has ended."""
        change = replace(lease.change, done=lease.change.done + 1)
        identifier = str(change.stripe_subscription_id)
        with self._database.transaction() as tx:
            row = subscriptions.locked(tx, [identifier]).get(identifier)
            if row is not None:
                pointers.hold(tx, row.user_id)
                tombstones.bury(tx, row)
                pointers.move(tx, {row.user_id})
            lease.told = ended_changes.end(tx, change, "applied", {"subscription": None, "applied": []})
        lease.change = change

    def refuse(self, lease: ChangeLease, refused: ChangeRefused) -> None:
        """It can't be made; what holds of it is told."""
        told = {"code": refused.code, "detail": refused.detail, "errors": [each._asdict() for each in refused.errors]}
        with self._database.transaction() as tx:
            change = checkout_rows.without_urls(lease.change)
            if lease.watched is not None and lease.watched.mark is not None and _is_as_before(change, refused):
                answers.unwatch(tx, str(change.stripe_subscription_id), lease.watched.mark)
            result = {"error": told, "applied": lease.change.held}
            lease.told = ended_changes.end(tx, change, "failed", result)
            checkout_rows.give_up(tx, lease.change, refused)

    def postpone(self, lease: ChangeLease, delay: timedelta, error: str | None) -> None:
        """Gives it back, due after `delay`; without an `error` it counts as not tried."""
        with self._database.transaction() as tx:
            account_changes.postpone(tx, lease.change, delay, error)

    # What a new subscription waits for

    def settled(self, user_id: str) -> tuple[str, str] | None:
        """The customer and the subscription that the ledger has come to; None: it hasn't yet. Raises `ChangeRefused`
        where it is set aside."""
        with self._database.question() as tx:
            row = views.find(tx, user_id)
        if row is not None and row.state in {"pending", "customer_created"}:
            return None
        if row is None or row.stripe_customer_id is None or row.stripe_subscription_id is None:
            raise _set_aside(row.last_error if row is not None else None)
        return row.stripe_customer_id, row.stripe_subscription_id

    def _deadline(self) -> Deadline:
        return Deadline.after(self._length.total_seconds(), self._clock)


def _meant(tx: Transaction, change: AccountChange) -> Subscription:
    """The row that it is about, in the state that it is meant for. Raises `ChangeRefused`."""
    identifier = change.stripe_subscription_id
    assert identifier is not None, "known by now"
    row = subscriptions.read(tx, [identifier]).get(identifier)
    if row is None:
        raise _removed()
    if change.meant_version not in {None, row.version}:
        raise _changed_meanwhile()
    return row


def _removed() -> ChangeRefused:
    return ChangeRefused("no_subscription", "the subscription was removed")


def _changed_meanwhile() -> ChangeRefused:
    return ChangeRefused("changed_meanwhile", "the subscription is no longer as If-Match has it")


def _is_as_before(change: AccountChange, refused: ChangeRefused) -> bool:
    """Whether the subscription is what it was: declined, while what is paid or resumed has been tried by then."""
    return refused.code == "card_declined" and change.step not in PAYS | {Step.RESUME}


def _known_default(tx: Transaction, customer_id: str | None) -> DefaultCard | None:
    owner = customers.owners(tx, [str(customer_id)]).get(str(customer_id))
    return None if owner is None else owner.default


def _told(row: Subscription | None) -> Mapping[str, object] | None:
    return None if row is None else told_of(row)


def _set_aside(error: str | None) -> ChangeRefused:
    if error is not None and error.startswith(_TAKEN):
        return ChangeRefused("stripe_id_taken", "what Stripe has for this user is another user's here")
    return ChangeRefused("set_aside", "Stripe refuses this user; an admin finds why in the quarantine")


_TAKEN = ("billing_customers_stripe_customer_id_key", "provisionings_stripe_subscription_id_key", "cus_")
"""How the ledger's last error begins where an object at Stripe is another user's (`Provisioner`)."""
