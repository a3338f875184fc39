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


OVER_AFTER = timedelta(minutes=20)
"""So long after somebody has last had an invoice's lease, what was sent under it has had its effect, or never will."""


class ChargeLeases:
    """Leases of `length`. Every write may raise `LeaseLost`. `in_order`: whether charging in order is turned on: else
    they are of tries without an answer alone, and of none that may be under way, or another process's."""

    def __init__(
        self, database: Database, *, length: timedelta, in_order: bool = True, clock: Clock = boot_time
    ) -> None:
        self._database = database
        self._length = length
        self._in_order = in_order
        self._clock = clock

    def lease_due(self, count: int) -> list[ChargeLease]:
        deadline = self._deadline()
        with self._database.transaction() as tx:
            if self._in_order:
                found = charges.lease(tx, count, self._length)
            else:
                found = charges.lease_unanswered(tx, count, self._length, OVER_AFTER)
        return [ChargeLease(each, deadline) for each in found]

    def tries(self, lease: ChargeLease) -> list[Try]:
        """All of the invoice, in their order."""
        with self._database.question() as tx:
            return charges.tries(tx, lease.invoice.id)

    def known(self, invoice: InvoiceNow) -> Known:
        with self._database.question() as tx:
            kept = payment_methods.kept(tx, invoice.customer_id)
            named = [] if invoice.subscription_id is None else [invoice.subscription_id]
            coming = refreshes.coming(tx, named)  # before the row is: the fetch that makes it clears its mark at once
            rows = subscriptions.read(tx, named)
            if any(_is_leaving(tx, row) for row in rows.values()):
                return Known([], is_ours=False)
        is_ours = None if coming and not rows else bool(rows)
        return Known([each.id for each in kept if each.is_attached], is_ours)

    def begin(self, lease: ChargeLease, invoice: InvoiceNow, attempt: Attempt) -> Try:
        """The try is about to be sent. Raises `LeaseLost` where the user is leaving by now (whoever erases waits for
        tries that were begun, and none begins after), and `OutOfTime` where the look is older than the lease."""
        asked = Try(invoice.id, invoice.attempt_count, attempt.payment_method)
        deadline = self._renewed(lease)
        with self._database.transaction() as tx:
            self._hold_if_ours(tx, lease, invoice)
            charges.begin(tx, asked, invoice, attempt.elsewhere)
        lease.deadline = deadline
        return asked

    def renew(self, lease: ChargeLease, invoice: InvoiceNow, asked: Try) -> Try:
        """It is about to be sent in the next generation. Raises as `begin`."""
        deadline, renewed = self._renewed(lease), asked.renewed()
        with self._database.transaction() as tx:
            self._hold_if_ours(tx, lease, invoice)
            charges.renew(tx, renewed)
        lease.deadline = deadline
        return renewed

    def _renewed(self, lease: ChargeLease) -> Deadline:
        """Of a lease that still holds, though nobody else may have taken it: what was looked at is to be of now."""
        lease.deadline.check()
        return self._deadline()

    def _hold_if_ours(self, tx: Transaction, lease: ChargeLease, invoice: InvoiceNow) -> None:
        row = subscriptions.read(tx, [str(invoice.subscription_id)]).get(str(invoice.subscription_id))
        if row is not None and row.user_id is not None:
            account_changes.lock_user(tx, row.user_id)
        if row is None or _is_leaving(tx, row):
            raise LeaseLost(lease.invoice.id)
        charges.hold(tx, lease.invoice, self._length)

    def answered(self, lease: ChargeLease, asked: Try, outcome: TryOutcome, code: str | None = None) -> None:
        """What a try has come to; the invoice is looked at again at once where that may lead to another one, which it
        never does where charging is turned off."""
        with self._database.transaction() as tx:
            charges.hold(tx, lease.invoice, self._length)
            charges.end_try(tx, asked, outcome, code)
            if self._in_order and outcome in {TryOutcome.DECLINED, TryOutcome.OVERTAKEN}:
                charges.postpone(tx, lease.invoice, timedelta(), None)
            else:
                charges.end(tx, lease.invoice)

    def leave(self, lease: ChargeLease) -> None:
        """There is nothing to try."""
        with self._database.transaction() as tx:
            charges.end(tx, lease.invoice)

    def give_back(self, lease: ChargeLease) -> None:
        """Due at once."""
        self.postpone(lease, timedelta() if self._in_order else -OVER_AFTER, None)

    def postpone(self, lease: ChargeLease, delay: timedelta, error: str | None) -> None:
        """Gives it back, due after `delay`; without an `error` it counts as not tried."""
        with self._database.transaction() as tx:
            charges.postpone(tx, lease.invoice, delay, error)

    def _deadline(self) -> Deadline:
        return Deadline.after(self._length.total_seconds(), self._clock)


def _is_leaving(tx: Transaction, row: Subscription) -> bool:
    """Whether the user is to be erased, or to lose the subscription."""
    return row.user_id is not None and (
        erasures.is_asked_for(tx, row.user_id) or account_changes.is_removal_asked_for(tx, row.user_id)
    )
