"""What `subkeeper setup` leaves at Stripe and in Postgres, kept and given to other deployments of that configuration.

It is the same whoever it is for, but for the account, and to have it made costs more than most tests do with it.
"""

from __future__ import annotations

import pickle
from typing import NamedTuple, Self
from uuid import UUID

from sandbox.stripe.control import Control
from sandbox.stripe.server import StripeServer
from tests.support.session import Session
from tests.support.waiting import wait_until

_OF_THE_LEDGER = ("tables", "idempotency", "search", "agenda")
"""What objects are in, and answers. An account that is new to its server is otherwise as at the start."""


class Prepared(NamedTuple):
    """`at_stripe`: parts of the ledger, and the log of requests, pickled; `deployment`: columns of that row."""

    at_stripe: bytes
    deployment: tuple[bool, str, UUID]

    @classmethod
    def of(cls, stripe: StripeServer, session: Session) -> Self:
        """Of a deployment that was just set up."""
        control, service = Control(stripe.url), stripe.service
        wait_until(lambda: all(each["handled_ms"] is not None for each in control.requests()), what="all is answered")
        parts = {name: getattr(service.ledger, name) for name in _OF_THE_LEDGER}
        row = session.rows("SELECT livemode, namespace, database_id FROM deployment")[0]
        return cls(pickle.dumps((parts, service.log)), (row["livemode"], row["namespace"], row["database_id"]))

    def give(self, stripe: StripeServer, session: Session) -> None:
        """To an account that was asked nothing yet, and a database that nobody has claimed."""
        assert not stripe.service.log.count
        parts, stripe.service.log = pickle.loads(self.at_stripe)
        vars(stripe.service.ledger).update(parts)
        session.rows(
            "INSERT INTO deployment (stripe_account_id, livemode, namespace, database_id) VALUES (%s, %s, %s, %s)",
            stripe.account,
            *self.deployment,
        )
