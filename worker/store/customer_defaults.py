"""What an answer of Stripe's says of a customer's default payment method, written to its row and to those of its
subscriptions, which have it, too."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Self

from sqlalchemy import Connection

from worker.domain.default_card import NOTHING, DefaultCard, answered, wait_for
from worker.domain.subscription import Subscription, Verdict, given_default
from worker.store import customers, subscriptions
from worker.store.customers import Owner


class FetchedDefault:
    """What was true somewhere in `seen` of Stripe's time, decided with the customer's row locked, as `owner` has it.
    `payment_method`: what is known now; `sure_after`: after how long Stripe is to be asked again, as this may be older
    than what was heard meanwhile.

    `asked_beside`: what was known before this was asked for. Where that is unmoved, the answer is taken for later,
    however close it is: whoever asked for a card is told that it is there. It is asked again all the same.
    """

    def __init__(
        self,
        owner: Owner | None,
        customer_id: str,
        said: str | None,
        seen: tuple[datetime, datetime],
        asked_beside: DefaultCard | None = None,
    ) -> None:
        self._customer_id = customer_id
        self.owner = owner
        # Of a deleted one a tombstone is all that is kept.
        self._before = owner.default if owner is not None and not owner.deleted else None
        verdict, self._known = answered(self._before or NOTHING, said, seen)
        in_doubt = verdict is Verdict.REFRESHING
        self.sure_after = wait_for(self._known, seen[0]) if in_doubt else None
        if in_doubt and asked_beside is not None and asked_beside == self._before:
            self._known = DefaultCard(said, *seen)
        self.payment_method = self._known.payment_method

    @classmethod
    def locking(
        cls,
        tx: Connection,
        customer_id: str,
        said: str | None,
        seen: tuple[datetime, datetime],
        asked_beside: DefaultCard | None = None,
    ) -> Self:
        """With the customer's row, which is locked from here on."""
        return cls(customers.locked(tx, [customer_id]).get(customer_id), customer_id, said, seen, asked_beside)

    @property
    def moved(self) -> DefaultCard | None:
        """What the customer's row is to say, if that is something else."""
        return self._known if self._before is not None and self._known != self._before else None

    @property
    def concerned(self) -> list[str]:
        """The customer whose other subscriptions' rows are needed, if they are."""
        is_other = self._before is not None and self._known.payment_method != self._before.payment_method
        return [self._customer_id] if is_other else []

    def write(self, tx: Connection, others: Collection[Subscription], cause: str) -> None:
        """Into the customer's row, if there is one, and those of its other subscriptions."""
        if self.moved is not None:
            customers.write_defaults(tx, {self._customer_id: self.moved})
        if others:
            told = [given_default(row, self.payment_method, cause) for row in others]
            subscriptions.write(tx, [row for row, _ in told], [change for _, change in told if change is not None])

    def write_new(self, tx: Connection) -> None:
        """Into the row of a customer that has just come to be."""
        customers.write_defaults(tx, {self._customer_id: self._known})
