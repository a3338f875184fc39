"""Whom a database belongs to. Nothing settles before the account behind the key was compared with that: a worker with
another account's key would give every user a second customer."""

from __future__ import annotations

from worker.domain.deadline import Deadline
from worker.domain.stripe_facts import AccountFact
from worker.settings.model import Settings
from worker.store import deployment
from worker.store.engine.database import Database
from worker.stripe_api.gateway import StripeGateway
from worker.stripe_api.product_owner import ProductOwner


class Ownership:
    """The row of `deployment`, beside this process's namespace, mode and key."""

    def __init__(self, settings: Settings, database: Database, gateway: StripeGateway) -> None:
        self._settings = settings
        self._database = database
        self._gateway = gateway
        self._products = ProductOwner(gateway, settings.plans, settings.namespace)
        self._compared = False

    def is_recorded(self) -> bool:
        """Whether a process has claimed this database before. Raises `Misconfigured` where it was one of another
        namespace or mode."""
        with self._database.transaction() as tx:
            return deployment.is_recorded(
                tx, livemode=self._settings.stripe.livemode, namespace=self._settings.namespace
            )

    def claim(self, *, signed: bool = True) -> AccountFact:
        """Compares the account behind the key with the row, which the first process writes, and this database with the
        one that the plans' products name, if they are `signed` yet. From then on the gateway refuses a new key of any
        other account.

        Raises `Misconfigured` where they differ or Stripe refuses the key, `TryLater` or `Unavailable` while that
        can't be told.
        """
        account = self._gateway.account(Deadline.after(self._settings.stripe.request_timeout))
        with self._database.transaction() as tx:
            deployment.claim(tx, account, self._settings.namespace)
            database_id = deployment.database_id(tx)
        self._gateway.opened_on(account)
        if signed:
            self._products.require(database_id)
        self._compared = True
        return account

    def sign(self, plan: str, *, take_over: bool) -> str:
        """Makes the plan's product name this database, once it was claimed; what was done. Raises `Misconfigured` where
        it names another one, unless that is to be taken over."""
        with self._database.transaction() as tx:
            database_id = deployment.database_id(tx)
        return self._products.write(plan, database_id, take_over=take_over)

    def require(self) -> None:
        """`claim`, unless that has passed."""
        if not self._compared:
            self.claim()
