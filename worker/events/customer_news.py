"""What Stripe says of customers, decided with their rows locked where anything moves: which payment method is the
default, and which there are. It comes before subscriptions' rows are locked, which have the default, too."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from worker.domain.default_card import DefaultCard, doubted, heard
from worker.domain.subscription import Verdict
from worker.events.snapshots import Said
from worker.store import customers, payment_methods
from worker.store.customers import Owner
from worker.store.engine.database import Transaction
from worker.store.payment_methods import Heard


class CustomerNews:
    """What a batch's events say. `owners`: of all customers (`asked`) that such events are of, as they are now.
    `known`: defaults to be written, by customer; `changed` and `in_doubt` are those whose subscriptions it concerns.

    Where there are none of these events nothing is asked of Postgres, and nothing locked where they tell nothing new,
    as those of our own signups. `now`: of what has no place in Stripe's time.
    """

    def __init__(self, tx: Transaction, said: Sequence[Said], now: datetime) -> None:
        self._now = now
        self._said = sorted(
            (each for each in said if _is_customers(each)), key=lambda one: (one.event.created, one.event.id)
        )
        self._cards = [each for each in said if each.event.type.startswith("payment_method.")]
        with_cards = {each.customer_id for each in self._cards if each.customer_id is not None}
        self.asked = {each.event.object_id for each in self._said} | with_cards
        self.owners: dict[str, Owner] = customers.owners(tx, sorted(self.asked)) if self.asked else {}
        self._decide()
        ends = {each.event.object_id for each in self._said if each.event.type == "customer.deleted"}
        if moving := sorted(self.known.keys() | ((ends | with_cards) & self.owners.keys())):
            self.owners |= customers.locked(tx, moving)
            self._decide()

    @property
    def concerned(self) -> list[str]:
        """Customers whose subscriptions' rows are needed."""
        return sorted(self.changed | self.in_doubt)

    def write(self, tx: Transaction) -> None:
        if self.known:
            customers.write_defaults(tx, self.known)
        if attached := self._heard_of("payment_method.attached"):
            payment_methods.attach(tx, attached)
        if detached := self._heard_of("payment_method.detached"):
            payment_methods.detach(tx, detached)

    def _heard_of(self, kind: str) -> list[Heard]:
        """In the order in which Stripe did it, as far as that is known."""
        theirs = [
            Heard(each.event.object_id, each.customer_id, each.event.created)
            for each in self._cards
            if each.event.type == kind and each.customer_id is not None and self._is_ours(each.customer_id)
        ]
        return sorted(theirs, key=lambda each: (each.at, each.id))

    def _is_ours(self, customer_id: str) -> bool:
        owner = self.owners.get(customer_id)
        return owner is not None and not owner.deleted

    def _decide(self) -> None:
        self.known: dict[str, DefaultCard] = {}
        self.outcomes: dict[str, Verdict] = {}
        self.in_doubt: set[str] = set()
        for each in self._said:
            customer_id = each.event.object_id
            owner = self.owners.get(customer_id)
            if owner is None or owner.deleted or each.event.type == "customer.deleted":
                continue
            before = self.known.get(customer_id, owner.default)
            verdict, after = self._heard(before, each)
            self.outcomes[each.event.id] = verdict
            if verdict is Verdict.REFRESHING:
                self.in_doubt.add(customer_id)
            elif verdict is Verdict.APPLIED:
                self.in_doubt.discard(customer_id)
            if after != before:
                self.known[customer_id] = after
        self.changed = {each for each, after in self.known.items() if _is_other(after, self.owners[each].default)}

    def _heard(self, before: DefaultCard, said: Said) -> tuple[Verdict, DefaultCard]:
        event = said.event
        if said.comparable:
            return heard(before, said.customer_default, event.created)
        return Verdict.REFRESHING, doubted(before, self._now if event.object.get("test_clock") else event.created)


def _is_customers(said: Said) -> bool:
    return said.event.type.startswith("customer.") and said.subscription_id is None


def _is_other(after: DefaultCard, before: DefaultCard) -> bool:
    return after.payment_method != before.payment_method
