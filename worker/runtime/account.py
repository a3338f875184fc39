"""Database and Stripe for a command: with a part of the deployment's rate, as every process has one."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta

from worker.errors import SubkeeperError
from worker.events.read_meter import ReadMeter
from worker.events.refresher import Refresher
from worker.runtime.budget import BUDGET_DATABASE, Budget
from worker.runtime.operations import open_database
from worker.runtime.ownership import Ownership
from worker.runtime.resources import stripe_side
from worker.settings.model import Settings
from worker.store.engine.database import Database
from worker.stripe_api.catalogue import Catalogue
from worker.stripe_api.gateway import StripeGateway
from worker.telemetry import Health, Metrics
from worker.version import VERSION


@dataclass(frozen=True, slots=True)
class Account:
    """A deployment's tables, and its account at Stripe."""

    database: Database
    gateway: StripeGateway
    catalogue: Catalogue
    meter: ReadMeter

    def refresher(self, settings: Settings, rng: random.Random) -> Refresher:
        """Fetches and writes as the workers do."""
        return Refresher(
            self.database,
            self.gateway,
            namespace=settings.namespace,
            plan_of=self.catalogue.plan_of,
            length=timedelta(seconds=settings.settle.lease),
            rng=rng,
        )


@contextmanager
def open_account(settings: Settings, command: str, rng: random.Random) -> Iterator[Account]:
    """For as long as `command` (its application name) runs. Raises `Misconfigured` without a key of the account that
    the database belongs to, and what `open_database` raises."""
    metrics = Metrics(VERSION)
    stripe = stripe_side(settings, metrics, rng)
    budget = Budget(
        Database(settings.database.model_copy(update=BUDGET_DATABASE), application_name=f"subkeeper {command} budget"),
        stripe.limiter,
        metrics,
        Health(),
        longest_request=settings.stripe.request_timeout,
    )
    renewing = threading.Thread(target=budget.run, name="budget", daemon=True)
    try:
        with open_database(settings, command) as database:
            budget.join()
            renewing.start()
            Ownership(settings, database, stripe.gateway).claim()
            meter = ReadMeter(database, settings.stripe.monthly_reads)
            try:
                yield Account(database, stripe.gateway, stripe.catalogue, meter)
            finally:
                with suppress(SubkeeperError):  # it is little
                    meter.give_back()
    finally:
        budget.stop(drained=True)
        if renewing.ident is not None:
            renewing.join(timeout=5.0)
        budget.close()
        stripe.gateway.close()
