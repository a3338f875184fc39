"""Leases of changes, and what their holders commit: each a transaction of its own, under the row's fence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import NamedTuple

from worker.accounts import card_rows, checkout_rows
from worker.accounts.checkout_rows import PageRows
from worker.domain.account_changes import (
    PAGES,
    PAYS,
    WITHOUT_SUBSCRIPTION,
    AccountChange,
    ChangeRefused,
    Kind,
    Step,
    etag_of,
    told_of,
)
from worker.domain.deadline import Clock, Deadline, boot_time
from worker.domain.default_card import DefaultCard
from worker.domain.invoice import charge
from worker.domain.lanes import Lane
from worker.domain.stripe_facts import Answer, ExpandedCustomer, FetchedSubscription, SubscriptionFact
from worker.domain.subscription import Subscription, fetched
from worker.store import account_changes, answers, customers, refreshes, subscriptions, tombstones
from worker.store.answers import Mark
from worker.store.customer_defaults import FetchedDefault
from worker.store.engine.database import Database, Transaction
from worker.store.provisioning import pointers, views

CAUSE = "requested"
"""Of the changes that answers make."""

_OF_DEFAULTS = frozenset({Step.DEFAULT, Step.DETACH})

PlanName = Callable[[SubscriptionFact], str]
"""What our tables call a subscription's plan."""


@dataclass(slots=True)
class ChangeLease:
    """A change that this process alone may work on, until the deadline."""

    change: AccountChange
    deadline: Deadline
    lane: Lane = field(default=Lane.LIVE)
    watched: Watched | None = None
    """Of the request that was last begun."""


class Watched(NamedTuple):
    """What was known before something was asked of Stripe: of the subscription whose row was at `version`, where the
    answer is to be that, and of its customer's default payment method, where that may change."""

    version: int | None
    mark: Mark | None
    default: DefaultCard | None


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
        deadline, before = self._deadline(), None
        with self._database.transaction() as tx:
            if watched or changed.kind not in WITHOUT_SUBSCRIPTION:
                row = _meant(tx, lease.change)
                mark = answers.watch(tx, row.id, self._length) if watched else None
                before = Watched(row.version, mark, None)
            if changed.step in _OF_DEFAULTS:
                known = _known_default(tx, changed.stripe_customer_id)
                before = Watched(None if before is None else before.version, None, known)
            account_changes.begin(tx, changed, self._length)
        lease.change, lease.deadline = replace(changed, asked_for=changed.asked_for or timedelta(0)), deadline
        lease.watched = before
        return before

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
        deadline = self._deadline()
        changed = replace(changed, done=changed.done + 1, request=None, asked_for=None, generation=1)
        with self._database.transaction() as tx:
            if watched is not None and answer is not None:
                self._write(tx, str(changed.stripe_subscription_id), watched, answer)
            if default is not None:
                _write_default(tx, changed, watched, default)
                if changed.kind is Kind.DETACHMENT:
                    card_rows.detached(tx, changed, default.seen_to)
            if changed.step is None:
                account_changes.end(tx, checkout_rows.without_urls(changed), "applied", self._result(tx, changed))
                checkout_rows.follow(tx, changed)
            else:
                account_changes.advance(tx, changed, self._length)
        lease.change, lease.deadline = changed, deadline

    def _write(self, tx: Transaction, identifier: str, watched: Watched, answer: Answer[FetchedSubscription]) -> None:
        found, seen = answer.value, (answer.seen_from, answer.seen_to)
        default = FetchedDefault(tx, found.fact.customer_id, found.customer_default, seen)
        rows = subscriptions.locked(tx, [identifier], default.concerned)
        row = rows.pop(identifier, None)
        if row is None:
            return
        if row.version != watched.version or watched.mark is None:
            refreshes.mark(tx, [identifier])
            return
        pointers.hold(tx, row.user_id)
        if answers.answered(tx, identifier, watched.mark):
            default.write(tx, list(rows.values()), CAUSE)
            told = charge(found.latest_invoice) if found.latest_invoice is not None else None
            state = found.fact.columns(self._plan_name(found.fact))
            new, change = fetched(row, state, told, seen, CAUSE, customer_default=default.payment_method)
            subscriptions.write(tx, [new], [change] if change is not None else [])
            pointers.move(tx, {row.user_id})
            if default.sure_after is not None:
                refreshes.mark(tx, [identifier], default.sure_after)

    def _result(self, tx: Transaction, change: AccountChange) -> dict[str, object]:
        if change.kind in PAGES:
            return {"url": change.wanted["url"], "applied": []}
        if change.kind is Kind.DETACHMENT:
            return {"subscription": None, "applied": []}
        if change.kind is Kind.DETAILS:
            return {"subscription": None, "applied": change.held}
        identifier = str(change.stripe_subscription_id)
        row = subscriptions.read(tx, [identifier]).get(identifier)
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
            account_changes.end(tx, change, "applied", {"subscription": None, "applied": []})
        lease.change = change

    def refuse(self, lease: ChangeLease, refused: ChangeRefused) -> None:
        """It can't be made; what holds of it is told."""
        told = {"code": refused.code, "detail": refused.detail, "errors": [each._asdict() for each in refused.errors]}
        with self._database.transaction() as tx:
            change = checkout_rows.without_urls(lease.change)
            if lease.watched is not None and lease.watched.mark is not None and _is_as_before(change, refused):
                answers.unwatch(tx, str(change.stripe_subscription_id), lease.watched.mark)
            account_changes.end(tx, change, "failed", {"error": told, "applied": lease.change.held})
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
        raise ChangeRefused("no_subscription", "the subscription was removed")
    if change.is_untouched and change.etag not in {None, etag_of(row)}:
        raise ChangeRefused("changed_meanwhile", "the subscription is no longer as If-Match has it")
    return row


def _is_as_before(change: AccountChange, refused: ChangeRefused) -> bool:
    """Whether the subscription is what it was: declined, while what is paid or resumed has been tried by then."""
    return refused.code == "card_declined" and change.step not in PAYS | {Step.RESUME}


def _known_default(tx: Transaction, customer_id: str | None) -> DefaultCard | None:
    owner = customers.owners(tx, [str(customer_id)]).get(str(customer_id))
    return None if owner is None else owner.default


def _write_default(
    tx: Transaction, change: AccountChange, watched: Watched | None, answer: Answer[ExpandedCustomer]
) -> None:
    said, seen = answer.value.default_payment_method, (answer.seen_from, answer.seen_to)
    beside = None if watched is None else watched.default
    default = FetchedDefault(tx, str(change.stripe_customer_id), said, seen, beside)
    theirs = subscriptions.locked(tx, [], default.concerned) if default.concerned else {}
    default.write(tx, list(theirs.values()), CAUSE)
    if default.sure_after is not None and change.stripe_subscription_id is not None:
        refreshes.mark(tx, [change.stripe_subscription_id], default.sure_after)


def _told(row: Subscription | None) -> Mapping[str, object] | None:
    return None if row is None else told_of(row)


def _set_aside(error: str | None) -> ChangeRefused:
    if error is not None and error.startswith(_TAKEN):
        return ChangeRefused("stripe_id_taken", "what Stripe has for this user is another user's here")
    return ChangeRefused("set_aside", "Stripe refuses this user; an admin finds why in the quarantine")


_TAKEN = ("billing_customers_stripe_customer_id_key", "provisionings_stripe_subscription_id_key", "cus_")
"""How the ledger's last error begins where an object at Stripe is another user's (`Provisioner`)."""
