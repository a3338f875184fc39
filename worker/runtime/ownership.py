"""Whom a database belongs to. Nothing settles before the account behind the key was compared with that: a worker with
another account's key would give every user a second customer."""

from __future__ import annotations

from worker.domain.stripe_facts import AccountFact
from worker.settings import Settings
from worker.store import deployment
from worker.store.database import Database
from worker.stripe_api.deadline import Deadline
from worker.stripe_api.gateway import StripeGateway


class Ownership:
    """The row of `deployment`, beside this process's namespace, mode and key."""

    def __init__(self, settings: Settings, database: Database, gateway: StripeGateway) -> None:
        self._settings = settings
        self._database = database
        self._gateway = gateway
        self._compared = False

    def is_recorded(self) -> bool:
        """Whether a process has claimed this database before. Raises `Misconfigured` where it was one of another
        namespace or mode."""
        with self._database.transaction() as tx:
            return deployment.is_recorded(
                tx, livemode=self._settings.stripe.livemode, namespace=self._settings.namespace
            )

    def claim(self) -> AccountFact:
        """Compares the account behind the key with the row, which the first process writes. From then on the gateway
        refuses a new key of any other account.

        Raises `Misconfigured` where they differ or Stripe refuses the key, `TryLater` or `Unavailable` while that
        can't be told.
        """
        account = self._gateway.account(Deadline.after(self._settings.stripe.request_timeout))
        with self._database.transaction() as tx:
            deployment.claim(tx, account, self._settings.namespace)
        self._gateway.opened_on(account)
        self._compared = True
        return account

    def require(self) -> None:
        """`claim`, unless that has passed."""
        if not self._compared:
            self.claim()
