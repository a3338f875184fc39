"""Charges invoices whose payment was declined by the next card in order, as leased work: a look, and a try at most, for
each lease (docs/design.md, *Charging in order*)."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta

import structlog

from worker.domain.charging import (
    Attempt,
    InvoiceNow,
    Leave,
    Try,
    TryOutcome,
    Wait,
    barred,
    come_to,
    given_up,
    next_try,
)
from worker.domain.deadline import OutOfTime
from worker.domain.lanes import Lane
from worker.domain.provisioning import rarer_delay
from worker.errors import Misconfigured, Rejected, SubkeeperError, TryLater
from worker.events.charge_leases import ChargeLease, ChargeLeases
from worker.store.engine.errors import LeaseLost
from worker.stripe_api.charge_calls import ChargeCalls
from worker.stripe_api.errors import KeyBurnt, refusal_of
from worker.work.owner import BlamesNobody, Ended

MISSING, DECLINED = "resource_missing", 402

LONGEST_WAIT = timedelta(minutes=10)
"""After so long an invoice is looked at again that waits for a time of Stripe's: a test clock's may come sooner."""

COMING = timedelta(minutes=1)
"""After so long one is that is of a subscription whose row is about to be there."""


class ChargeWorker(BlamesNobody):
    """The owner of this leased work. `in_order`: whether it is turned on; else nothing is sent, and tries without an
    answer end by what Stripe says of them. `now`: Stripe's time; `wake` hears that an invoice is due at once; `rng`
    jitters retries."""

    def __init__(
        self,
        leases: ChargeLeases,
        calls: ChargeCalls,
        *,
        namespace: str,
        in_order: bool,
        now: Callable[[], datetime],
        wake: Callable[[], None],
        rng: random.Random,
    ) -> None:
        self._leases = leases
        self._calls = calls
        self._namespace = namespace
        self._in_order = in_order
        self._now = now
        self._wake = wake
        self._rng = rng
        self._log = structlog.get_logger(__name__)

    # As the owner of leased work

    def lease_due(self, wanted: Mapping[Lane, int]) -> list[ChargeLease]:
        """Up to so many due invoices; all of them are of one lane."""
        count = wanted.get(Lane.RETRY, 0)
        return self._leases.lease_due(count) if count else []

    def run(self, lease: ChargeLease) -> Ended:
        """A look, and what follows from it."""
        try:
            return self._run(lease)
        except LeaseLost:
            self._log.warning("charge.lost", stripe_invoice_id=lease.invoice.id)
            return Ended("lease_lost")

    def give_back(self, lease: ChargeLease) -> None:
        self._leases.give_back(lease)

    def crashed(self, lease: ChargeLease, error: Exception) -> None:
        self._log.critical("charge.crashed", stripe_invoice_id=lease.invoice.id, exc_info=error)
        with suppress(SubkeeperError):  # the lease runs out by itself
            self._put_off(lease, TryLater(f"crashed: {type(error).__name__}"))

    # What is refused is one invoice's, or else the key's

    def lease_untried(self, *, newest: bool) -> ChargeLease | None:  # noqa: ARG002 - as `Refusals` has it
        return next(iter(self._leases.lease_due(1)), None)

    # The work

    def _run(self, lease: ChargeLease) -> Ended:
        try:
            return self._look(lease)
        except Misconfigured:  # the key: nothing can be asked
            self.give_back(lease)
            raise
        except OutOfTime as late:
            self._leases.postpone(lease, timedelta(seconds=late.after), None)
            return Ended("postponed")
        except (TryLater, Rejected, KeyBurnt) as later:  # a refusal of a try is told: this is an answer unread
            self._put_off(lease, later)
            return Ended("postponed")

    def _look(self, lease: ChargeLease) -> Ended:
        tries = self._leases.tries(lease)
        unresolved = next((each for each in tries if each.outcome is None), None)
        invoice = self._invoice(lease)
        if invoice is None:
            return self._left(lease, Leave("missing")) if unresolved is None else self._gone(lease, unresolved)
        if not self._in_order:
            over = Leave("turned_off")
            return self._left(lease, over) if unresolved is None else self._end(lease, invoice, unresolved)
        now = self._time(invoice, lease)
        if unresolved is not None:
            return self._go_on(lease, invoice, unresolved, now)
        known = self._leases.known(invoice)
        if known.is_ours is None:
            return self._wait(lease, Wait(now + COMING, "subscription_to_be_fetched"), now)
        tried = {each.payment_method for each in tries if each.attempt_count == invoice.attempt_count}
        told = next_try(invoice, known.cards, tried, now) if known.is_ours else Leave("not_ours")
        if isinstance(told, Attempt):
            return self._send(lease, self._leases.begin(lease, invoice, told))
        return self._left(lease, told) if isinstance(told, Leave) else self._wait(lease, told, now)

    def _go_on(self, lease: ChargeLease, invoice: InvoiceNow, asked: Try, now: datetime) -> Ended:
        """With a try that has no answer: the same key, as long as that can be trusted, and never another card."""
        bar = barred(invoice, now)
        if isinstance(bar, Leave):
            return self._answered(lease, asked, given_up(invoice))
        if isinstance(bar, Wait):
            return self._wait(lease, bar, now)
        told = self._anew(lease, invoice, asked) if asked.is_forgotten else asked
        return self._send(lease, told) if isinstance(told, Try) else told

    def _end(self, lease: ChargeLease, invoice: InvoiceNow, asked: Try) -> Ended:
        """It isn't sent again, and what was has had its time."""
        return self._answered(lease, asked, come_to(invoice, asked) or TryOutcome.OVERTAKEN)

    def _anew(self, lease: ChargeLease, invoice: InvoiceNow, asked: Try) -> Ended | Try:
        """The key tells nothing any more: its payments do. A try: the one to be sent."""
        if come_to(invoice, asked) is not None or not self._leases.known(invoice).is_ours:
            return self._end(lease, invoice, asked)
        return self._leases.renew(lease, invoice, asked)

    def _send(self, lease: ChargeLease, asked: Try) -> Ended:
        key = asked.key(self._namespace)
        try:
            status = self._calls.pay(asked.invoice_id, asked.payment_method, key=key, deadline=lease.deadline)
        except SubkeeperError as error:
            return self._unpaid(lease, asked, error)
        return self._answered(lease, asked, TryOutcome.PAID if status == "paid" else TryOutcome.PENDING)

    def _unpaid(self, lease: ChargeLease, asked: Try, error: SubkeeperError) -> Ended:
        """A refusal is that, be it from memory: of the card, or of any attempt, as of an invoice that is paid. Raises
        what is none."""
        failure = refusal_of(error)
        if failure is not None and failure.status == DECLINED:
            return self._answered(lease, asked, TryOutcome.DECLINED, failure.code)
        if failure is None and not isinstance(error, KeyBurnt):
            raise error
        invoice = self._invoice(lease)
        if invoice is None:
            return self._gone(lease, asked)
        if failure is None:  # the key brings back a failure that is no refusal
            told = self._anew(lease, invoice, asked)
            if isinstance(told, Ended):
                return told
            raise TryLater("key_burnt")
        if invoice.status != "open":
            return self._answered(lease, asked, given_up(invoice))
        if failure.param == "payment_method":  # taken from the customer since, or none that can be charged for this
            return self._answered(lease, asked, TryOutcome.DECLINED, failure.code or failure.type)
        return self._answered(lease, asked, TryOutcome.REFUSED, failure.code or failure.type)

    def _answered(self, lease: ChargeLease, asked: Try, outcome: TryOutcome, code: str | None = None) -> Ended:
        self._leases.answered(lease, asked, outcome, code)
        self._log.log(
            logging.ERROR if outcome is TryOutcome.REFUSED else logging.INFO,
            "charge.tried",
            stripe_invoice_id=asked.invoice_id,
            attempt_count=asked.attempt_count,
            stripe_payment_method_id=asked.payment_method,
            outcome=outcome.value,
            code=code,
        )
        self._wake()
        return Ended(outcome.value, passed=True)

    def _gone(self, lease: ChargeLease, asked: Try) -> Ended:
        return self._answered(lease, asked, TryOutcome.OVERTAKEN, MISSING)

    def _left(self, lease: ChargeLease, leave: Leave) -> Ended:
        self._leases.leave(lease)
        self._log.info("charge.left", stripe_invoice_id=lease.invoice.id, reason=leave.why)
        return Ended("left", passed=True)

    def _wait(self, lease: ChargeLease, wait: Wait, now: datetime) -> Ended:
        delay = min(wait.until - now, LONGEST_WAIT)
        self._leases.postpone(lease, delay, None)
        self._log.info(
            "charge.waited", stripe_invoice_id=lease.invoice.id, seconds=delay.total_seconds(), reason=wait.why
        )
        return Ended("waiting", passed=True)

    def _put_off(self, lease: ChargeLease, why: SubkeeperError) -> None:
        """Tried again ever more rarely, every hour at last."""
        delay = rarer_delay(lease.invoice.attempts, self._rng)
        delay = max(delay, why.after) if isinstance(why, TryLater) else delay
        self._leases.postpone(lease, timedelta(seconds=delay), str(why))
        self._log.warning(
            "charge.postponed", stripe_invoice_id=lease.invoice.id, seconds=round(delay, 3), reason=str(why)
        )

    # What Stripe says right before

    def _invoice(self, lease: ChargeLease) -> InvoiceNow | None:
        """None: it was deleted."""
        try:
            return self._calls.invoice(lease.invoice.id, deadline=lease.deadline)
        except SubkeeperError as error:
            failure = refusal_of(error)
            if failure is None or failure.code != MISSING:
                raise
            return None

    def _time(self, invoice: InvoiceNow, lease: ChargeLease) -> datetime:
        if invoice.test_clock is None:
            return self._now()
        return self._calls.now(invoice.test_clock, deadline=lease.deadline)
