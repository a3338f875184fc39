"""Leases of invoices whose payment failed, and what their holders commit: each a transaction of its own, under the
mark's fence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import NamedTuple

from worker.domain.charging import Attempt, InvoiceNow, Try, TryOutcome
from worker.domain.deadline import Clock, Deadline, boot_time
from worker.domain.lanes import Lane
from worker.domain.subscription import Subscription
from worker.store import account_changes, charges, erasures, payment_methods, refreshes, subscriptions
from worker.store.charges import FailingInvoice
from worker.store.engine.database import Database, Transaction
from worker.store.engine.errors import LeaseLost


@dataclass(slots=True)
class ChargeLease:
    """An invoice that this process alone may work on, until the deadline."""

    invoice: FailingInvoice
    deadline: Deadline
    lane: Lane = field(default=Lane.RETRY)


class Known(NamedTuple):
    """What we know of an invoice: the cards of its customer, in their order, and whether its subscription is one of
    ours, or is about to be (None)."""

    cards: Sequence[str]
    is_ours: bool | None


class ChargeLeases:
    """Leases of `length`. Every write may raise `LeaseLost`."""

    def __init__(self, database: Database, *, length: timedelta, clock: Clock = boot_time) -> None:
        self._database = database
        self._length = length
        self._clock = clock

    def lease_due(self, count: int) -> list[ChargeLease]:
        deadline = self._deadline()
        with self._database.transaction() as tx:
            return [ChargeLease(each, deadline) for each in charges.lease(tx, count, self._length)]

    def tries(self, lease: ChargeLease) -> list[Try]:
        """All of the invoice, in their order."""
        with self._database.question() as tx:
            return charges.tries(tx, lease.invoice.id)

    def known(self, invoice: InvoiceNow) -> Known:
        with self._database.question() as tx:
            kept = payment_methods.kept(tx, invoice.customer_id)
            named = [] if invoice.subscription_id is None else [invoice.subscription_id]
            rows = subscriptions.read(tx, named) if named else {}
            if any(_is_leaving(tx, row) for row in rows.values()):
                return Known([], is_ours=False)
            is_ours: bool | None = bool(rows)
            if not is_ours and refreshes.coming(tx, named):
                is_ours = None
        return Known([each.id for each in kept if each.is_attached], is_ours)

    def begin(self, lease: ChargeLease, invoice: InvoiceNow, attempt: Attempt) -> Try:
        """The try is about to be sent. Raises `LeaseLost` where the user is being erased by now: whoever erases waits
        for tries that were begun, and none begins after."""
        deadline, asked = self._deadline(), Try(invoice.id, invoice.attempt_count, attempt.payment_method)
        with self._database.transaction() as tx:
            row = subscriptions.read(tx, [str(invoice.subscription_id)]).get(str(invoice.subscription_id))
            if row is not None and row.user_id is not None:
                account_changes.lock_user(tx, row.user_id)
            if row is None or _is_leaving(tx, row):
                raise LeaseLost(lease.invoice.id)
            charges.hold(tx, lease.invoice, self._length)
            charges.begin(tx, asked, invoice.customer_id, attempt.elsewhere)
        lease.deadline = deadline
        return asked

    def renew(self, lease: ChargeLease, asked: Try) -> Try:
        """It is about to be sent in the next generation."""
        deadline, renewed = self._deadline(), asked.renewed()
        with self._database.transaction() as tx:
            charges.hold(tx, lease.invoice, self._length)
            charges.renew(tx, renewed)
        lease.deadline = deadline
        return renewed

    def answered(self, lease: ChargeLease, asked: Try, outcome: TryOutcome, code: str | None = None) -> None:
        """What a try has come to; the invoice is looked at again at once where that may lead to another one."""
        with self._database.transaction() as tx:
            charges.hold(tx, lease.invoice, self._length)
            charges.end_try(tx, asked, outcome, code)
            if outcome in {TryOutcome.DECLINED, TryOutcome.OVERTAKEN}:
                charges.postpone(tx, lease.invoice, timedelta(), None)
            else:
                charges.end(tx, lease.invoice)

    def leave(self, lease: ChargeLease) -> None:
        """There is nothing to try."""
        with self._database.transaction() as tx:
            charges.end(tx, lease.invoice)

    def postpone(self, lease: ChargeLease, delay: timedelta, error: str | None) -> None:
        """Gives it back, due after `delay`; without an `error` it counts as not tried."""
        with self._database.transaction() as tx:
            charges.postpone(tx, lease.invoice, delay, error)

    def _deadline(self) -> Deadline:
        return Deadline.after(self._length.total_seconds(), self._clock)


def _is_leaving(tx: Transaction, row: Subscription) -> bool:
    return row.user_id is not None and erasures.is_asked_for(tx, row.user_id)
