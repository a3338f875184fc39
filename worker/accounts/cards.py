"""A user's payment methods and billing details, as they are shown, and the order in which cards are to be tried.

They are the payers' of a customer. Which there are, and their order, is in our rows; the rest is read at Stripe each
time. What Stripe lists then is taken into the rows, too: that mends what no event has told.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from worker.accounts.paying import paid_for
from worker.domain.billing import Card, NoCustomer, NoStripe, ShownCustomer, ShownMethod, WrongOrder
from worker.domain.deadline import Deadline
from worker.domain.lanes import Lane
from worker.domain.payment_methods import is_an_order_of
from worker.store import customers, payment_methods
from worker.store.engine.database import Database, Transaction
from worker.stripe_api.errors import CustomerGone
from worker.stripe_api.showing import Showing

ANSWER_WITHIN = 4.0
"""Seconds that Stripe may take, or whoever asked has left."""


class Cards:
    """`stripe` gives what to ask with; None where there is no key. It raises `SubkeeperError` where it can't be asked
    now."""

    def __init__(self, database: Database, stripe: Callable[[], Showing | None]) -> None:
        self._database = database
        self._stripe = stripe

    def of(self, user_id: str) -> list[Card]:
        """In their order. Raises `NoCustomer`."""
        customer_id, stripe = self._customer(user_id), self._stripe()
        if stripe is None:
            return self._known(customer_id)
        try:
            answer = stripe.payment_methods(customer_id, lane=Lane.LIVE, deadline=Deadline.after(ANSWER_WITHIN))
        except CustomerGone as gone:
            raise NoCustomer("Stripe has none any more") from gone
        shown = {each.id: each for each in answer.value}
        with self._database.transaction() as tx:
            if customers.locked(tx, [customer_id])[customer_id].deleted:  # meanwhile
                raise NoCustomer("it was deleted")
            payment_methods.take_list(tx, customer_id, list(shown), (answer.seen_from, answer.seen_to))
            return self._read(tx, customer_id, shown)

    def reorder(self, user_id: str, ids: Sequence[str]) -> list[Card]:
        """The new order. Raises `NoCustomer` and `WrongOrder`."""
        customer_id = self._customer(user_id)
        with self._database.transaction() as tx:
            customers.locked(tx, [customer_id])
            present = [each.id for each in self._read(tx, customer_id, {})]
            if not is_an_order_of(ids, present):
                raise WrongOrder(present)
            payment_methods.reorder(tx, ids)
            return self._read(tx, customer_id, {})

    def customer(self, user_id: str) -> ShownCustomer:
        """Raises `NoCustomer` and `NoStripe`."""
        customer_id, stripe = self._customer(user_id), self._stripe()
        if stripe is None:
            raise NoStripe("no key to ask Stripe with")
        try:
            found = stripe.customer(customer_id, lane=Lane.LIVE, deadline=Deadline.after(ANSWER_WITHIN))
        except CustomerGone:
            found = None
        if found is None:
            raise NoCustomer("Stripe has none any more")
        return found

    def _customer(self, user_id: str) -> str:
        with self._database.question() as tx:
            found = paid_for(tx, user_id)
        if found is None:
            raise NoCustomer("the user has none (yet)")
        return found.customer_id

    def _known(self, customer_id: str) -> list[Card]:
        with self._database.transaction() as tx:
            return self._read(tx, customer_id, {})

    def _read(self, tx: Transaction, customer_id: str, shown: dict[str, ShownMethod]) -> list[Card]:
        default = customers.owners(tx, [customer_id])[customer_id].default.payment_method
        kept = payment_methods.kept(tx, customer_id)
        return [Card(each.id, each.id == default, shown.get(each.id)) for each in kept if each.is_attached]
