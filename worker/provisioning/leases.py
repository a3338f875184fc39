"""Leases of ledger rows, and what their holders commit: each a transaction of its own, under the row's fence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from worker.domain.deadline import Clock, Deadline, OutOfTime, boot_time
from worker.domain.doubt import Refusal
from worker.domain.lanes import Lane
from worker.domain.provisioning import Provisioning
from worker.domain.stripe_facts import Answer, SubscriptionFact
from worker.store import customers
from worker.store.engine.clock import transaction_time
from worker.store.engine.database import Database
from worker.store.provisioning import leases, postponing, refused, steps


@dataclass(slots=True)
class Lease:
    """A row that this process may settle, as last written under the lease, until the deadline.

    The deadline counts suspension and began before the lease was written, so it ends before the database lets another
    worker have the row.
    """

    row: Provisioning
    deadline: Deadline
    sent: bool = False
    """Whether a request that creates the object of the row's step may have left under this lease."""
    made_customer: bool = False
    """Whether Stripe made the row's customer under this lease: it wasn't there before."""

    @property
    def lane(self) -> Lane:
        return self.row.lane

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Around such a request."""
        sent_before, self.sent = self.sent, True
        try:
            yield
        except OutOfTime as late:
            self.sent = sent_before or late.sent
            raise


class Leases:
    """Leases of `length`, stamped with Stripe's time by `now` (UTC), of rows that begin with one of `openable()`.
    `progress` hears of each step of a long search.

    Every write may raise `LeaseLost`.
    """

    def __init__(
        self,
        database: Database,
        *,
        length: timedelta,
        now: Callable[[], datetime],
        openable: Callable[[], Sequence[bytes]],
        progress: Callable[[], None],
        clock: Clock = boot_time,
    ) -> None:
        self._database = database
        self.length = length
        self.now = now
        self.clock = clock
        self._openable = openable
        self._progress = progress
        self._log = structlog.get_logger(__name__)

    def new_deadline(self) -> Deadline:
        """The deadline of leases that are about to be written."""
        return Deadline.after(self.length.total_seconds(), self.clock)

    def lease_due(self, wanted: Mapping[Lane, int]) -> list[Lease]:
        """Up to so many due rows of each lane, the longest due first."""
        deadline, openable = self.new_deadline(), self._openable()
        with self._database.transaction() as tx:
            rows = [
                row
                for lane, limit in sorted(wanted.items())
                for row in leases.lease_due(
                    tx, lane, limit, lease=self.length, stripe_now=self.now(), openable=openable
                )
            ]
        return [Lease(row, deadline) for row in rows]

    def record_customer(self, lease: Lease, frozen: Provisioning, *, made: tuple[datetime, datetime] | None) -> None:
        """The user has the customer of `frozen` (`Terms.freeze`), and is asked a subscription for with its request.
        `made`: when at Stripe it was made, under this lease; None: it was there.

        Raises `CustomerAlreadyExists`, `StripeCustomerAlreadyExists`.
        """
        deadline = self.new_deadline()
        with self._database.transaction() as tx:
            row = steps.record_customer(
                tx,
                frozen,
                look_first=made is None,
                lease=self.length,
                stripe_now=self.now(),
                made=made,
            )
        self._tell_shortened(lease.row, row)
        lease.row, lease.sent, lease.made_customer = row, False, made is not None
        lease.deadline = deadline

    def next_generation(self, lease: Lease, changed: Provisioning, error: str) -> None:
        """The step starts over with a new key and with the requests and trial of `changed`."""
        deadline = self.new_deadline()
        with self._database.transaction() as tx:
            row = leases.next_generation(tx, lease.row, changed, error=error, lease=self.length, stripe_now=self.now())
        lease.row, lease.deadline = row, deadline

    def freeze_subscription_request(self, lease: Lease, frozen: Provisioning) -> None:
        """The request of `frozen` (`Terms.freeze`) is what every attempt of this generation sends."""
        with self._database.transaction() as tx:
            leases.freeze_subscription_request(tx, frozen)
        self._tell_shortened(lease.row, frozen)
        lease.row = frozen

    def _tell_shortened(self, before: Provisioning, frozen: Provisioning) -> None:
        if frozen.trial_end != before.trial_end:
            seconds = (before.trial_end - frozen.trial_end).total_seconds()
            self._log.warning("trial.shortened", user_id=before.user_id, seconds=seconds)

    def complete(self, lease: Lease, answer: Answer[SubscriptionFact], *, plan: str, cause: str) -> None:
        """The user has this subscription, on what we call `plan`."""
        with self._database.transaction() as tx:
            steps.complete(tx, lease.row, answer, plan=plan, cause=cause)

    def postpone(self, lease: Lease, *, delay: float, lane: Lane, error: str | None) -> None:
        """Gives the row back, due after `delay` seconds; what was not sent under the lease counts as not asked."""
        with self._database.transaction() as tx:
            postponing.postpone(tx, lease.row, delay=timedelta(seconds=delay), lane=lane, error=error, sent=lease.sent)

    def quarantine(self, lease: Lease, error: str, *, customer_gone: bool = False) -> None:
        """Sets the row aside until somebody acts; a customer that is gone gets its tombstone."""
        with self._database.transaction() as tx:
            if customer_gone and lease.row.stripe_customer_id is not None:
                customers.mark_deleted(tx, lease.row.stripe_customer_id)
            leases.quarantine(tx, lease.row, error=error, customer_gone=customer_gone)

    # Rows that were refused while it is in doubt who is at fault (`worker.domain.doubt`)

    def refuse(self, lease: Lease, refusal: str, error: str, *, delay: float, lane: Lane, may_blame: bool) -> bool:
        """Gives a refused row back, due after `delay` seconds; or quarantines it, if the same refusal met it before,
        another row has passed since, and nothing else stands against it (`may_blame`). Returns whether it did."""
        with self._database.transaction() as tx:
            if may_blame and refused.is_its_own(tx, lease.row, refusal):
                leases.quarantine(tx, lease.row, error=error, customer_gone=False)
                return True
            wait = timedelta(seconds=delay)
            refused.note(tx, lease.row, refusal=refusal, error=error, delay=wait, lane=lane, sent=lease.sent)
            return False

    def refusals(self) -> list[Refusal]:
        """What was refused, and of how many, while nobody passed."""
        with self._database.transaction() as tx:
            return refused.find(tx)

    def release_refused(self, began: float, whole: float | None) -> int:
        """A row whose settling began at `began` (by `clock`) has passed: those refused before that are tried again,
        and the same refusal will be their own. Returns how many.

        `whole`: the same of a row that was made its customer, too; others are no measure of who has none yet.
        """
        with self._database.transaction() as tx:
            now = transaction_time(tx)  # read before our own clock: it must not seem to have begun later than it did
            before, whole_before = (
                None if each is None else now - timedelta(seconds=self.clock() - each) for each in (began, whole)
            )
            return refused.release(tx, before, whole_before)

    def lease_untried(self, *, newest: bool) -> Lease | None:
        """One due row that was not refused, the newest or the oldest."""
        deadline, openable = self.new_deadline(), self._openable()
        with self._database.transaction() as tx:
            rows = refused.lease_untried(tx, newest=newest, lease=self.length, stripe_now=self.now(), openable=openable)
        return Lease(rows[0], deadline) if rows else None

    def lease_refused(self) -> Lease | None:
        """One row that was refused while nobody passed, in turn."""
        deadline, openable = self.new_deadline(), self._openable()
        with self._database.transaction() as tx:
            rows = refused.lease_refused(tx, lease=self.length, stripe_now=self.now(), openable=openable)
        return Lease(rows[0], deadline) if rows else None

    def keep(self, lease: Lease) -> Deadline:
        """Renews a lease that is half used up, in the middle of a long search. Returns the deadline from now on."""
        self._progress()
        if lease.deadline.remaining() <= self.length.total_seconds() / 2:
            deadline = self.new_deadline()
            with self._database.transaction() as tx:
                leases.extend(tx, lease.row, lease=self.length)
            lease.deadline = deadline
        return lease.deadline
