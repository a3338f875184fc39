"""What a command's reads take of the month's, which Stripe grants the account as a whole."""

from __future__ import annotations

from worker.domain.polling import Allotment
from worker.errors import Misconfigured
from worker.store import stripe_reads
from worker.store.engine.database import Database

BLOCK = 10
"""So many reads that nobody foresaw are counted at once."""


class ReadMeter:
    """Counts reads before they are sent, those that are foreseen at once. `monthly`: what Stripe grants."""

    def __init__(self, database: Database, monthly: int) -> None:
        self._database = database
        self._monthly = monthly
        self._counted = 0

    def foresee(self, reads: int) -> None:
        """Raises `Misconfigured` where they would leave less than the reserve for refreshes and looks."""
        with self._database.transaction() as tx:
            polls, others = stripe_reads.this_month(tx, stripe_reads.POLLS)
            spare = Allotment(self._monthly, polls, others).spare
            if reads > spare:
                raise Misconfigured(
                    "stripe.monthly_reads",
                    f"this takes {reads} reads of Stripe, and {spare} of this month's {self._monthly} are left for it",
                    "Set it to what Stripe grants the account (500 a transaction), or wait for the next month.",
                )
            stripe_reads.add(tx, stripe_reads.COMMANDS, reads)
        self._counted += reads

    def spend(self) -> None:
        """One is about to be sent."""
        if self._counted <= 0:
            with self._database.transaction() as tx:
                stripe_reads.add(tx, stripe_reads.COMMANDS, BLOCK)
            self._counted = BLOCK
        self._counted -= 1
