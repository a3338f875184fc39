"""What a command's reads take of the month's, which Stripe grants the account as a whole."""

from __future__ import annotations

import threading

from worker.domain.polling import Allotment
from worker.errors import Misconfigured
from worker.store import stripe_reads
from worker.store.engine.database import Database, Transaction

BLOCK = 10
"""So many reads that nobody foresaw are counted at once."""


class ReadMeter:
    """Counts reads before they are sent, those that are foreseen at once. `monthly`: what Stripe grants. Safe from any
    thread."""

    def __init__(self, database: Database, monthly: int) -> None:
        self._database = database
        self._monthly = monthly
        self._counted = 0
        self._leaves_reserve = False
        self._lock = threading.Lock()

    def foresee(self, reads: int) -> None:
        """From now on the reserve for refreshes and looks is left alone. Raises `Misconfigured` where so many reads
        would take of it."""
        self._leaves_reserve = True
        with self._database.transaction() as tx:
            spare = self._spare(tx)
            if reads > spare:
                raise self._refused(f"this takes {reads} reads of Stripe, and {spare}")
            stripe_reads.add(tx, stripe_reads.COMMANDS, reads)
        self._counted += reads

    def spend(self) -> None:
        """One is about to be sent. Raises `Misconfigured` where it was not foreseen and would take of the reserve."""
        with self._lock:
            if self._counted <= 0:
                with self._database.transaction() as tx:
                    block = min(BLOCK, self._spare(tx)) if self._leaves_reserve else BLOCK
                    if block == 0:
                        raise self._refused("this takes more reads of Stripe, and none")
                    stripe_reads.add(tx, stripe_reads.COMMANDS, block)
                self._counted = block
            self._counted -= 1

    def give_back(self) -> None:
        """What was counted and not sent is nobody's."""
        with self._lock:
            if self._counted > 0:
                with self._database.transaction() as tx:
                    stripe_reads.give_back(tx, stripe_reads.COMMANDS, self._counted)
                self._counted = 0

    def _spare(self, tx: Transaction) -> int:
        polls, others = stripe_reads.this_month(tx, stripe_reads.POLLS)
        return Allotment(self._monthly, polls, others).spare

    def _refused(self, what: str) -> Misconfigured:
        return Misconfigured(
            "stripe.monthly_reads",
            f"{what} of this month's {self._monthly} are left for it",
            "Set it to what Stripe grants the account (500 a transaction), or wait for the next month.",
        )
