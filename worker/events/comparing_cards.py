"""A customer's payment methods at Stripe beside our rows: what differs, once it has held still."""

from __future__ import annotations

from collections.abc import Sequence

from worker.domain.deadline import Deadline
from worker.domain.drift import Difference, Finding, Kind, Repair
from worker.domain.lanes import Lane
from worker.domain.payment_methods import Kept, Missed, missed
from worker.domain.stripe_facts import Answer
from worker.events.patience import Patience
from worker.store import customers, payment_methods
from worker.store.drift import CustomerRow
from worker.store.engine.database import Database
from worker.stripe_api.errors import CustomerGone
from worker.stripe_api.gateway import StripeGateway


class CardComparison:
    """`repairs`: what a list tells is taken into the rows, as where they are shown."""

    def __init__(self, database: Database, gateway: StripeGateway, patiently: Patience, *, repairs: bool) -> None:
        self._database = database
        self._gateway = gateway
        self._patiently = patiently
        self._repairs = repairs

    def ask(self, row: CustomerRow, grace: float) -> Finding | None:
        """Stripe is asked for this customer's, and again `grace` seconds later if something differs: what has just
        happened is on its way. None where nothing does, or Stripe has no such customer."""
        try:
            if _nothing(self._missed(row, self._listed(row))):
                return None
            self._patiently.sleep(grace)
            answer = self._listed(row)
        except CustomerGone:
            return None
        if _nothing(self._missed(row, answer)):
            return None
        return self._told(row, answer)

    def _told(self, row: CustomerRow, answer: Answer[list[str]]) -> Finding:
        customer_id, seen = row.stripe_customer_id, (answer.seen_from, answer.seen_to)
        with self._database.transaction() as tx:
            if self._repairs:
                customers.locked(tx, [customer_id])
            ours = _attached(payment_methods.kept(tx, customer_id))
            if self._repairs:
                payment_methods.take_list(tx, customer_id, answer.value, seen)
        difference = Difference("payment_methods", " ".join(ours), " ".join(reversed(answer.value)))
        repair = Repair.DONE if self._repairs else None
        return Finding(Kind.CARDS, row.user_id, None, customer_id, (difference,), mendable=True, repair=repair)

    def _missed(self, row: CustomerRow, answer: Answer[list[str]]) -> Missed:
        with self._database.transaction() as tx:
            return missed(payment_methods.kept(tx, row.stripe_customer_id), answer.value, answer.seen_from)

    def _listed(self, row: CustomerRow) -> Answer[list[str]]:
        """Newest first."""

        def ask(deadline: Deadline) -> Answer[list[str]]:
            answer = self._gateway.showing.payment_methods(
                row.stripe_customer_id, lane=Lane.BACKFILL, deadline=deadline
            )
            ids = [each.id for each in answer.value]
            return Answer(ids, answer.seen_from, answer.seen_to, answer.replayed, answer.request_id)

        return self._patiently(ask)


def _attached(kept: Sequence[Kept]) -> list[str]:
    return [each.id for each in kept if each.is_attached]


def _nothing(found: Missed) -> bool:
    return not (found.attached or found.detached)
