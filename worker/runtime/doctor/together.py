"""What takes two of the parts: whose database it is, and whether the clocks agree."""

from __future__ import annotations

import random
import time
from datetime import timedelta
from functools import partial

from worker.errors import Misconfigured, SubkeeperError
from worker.runtime.doctor.findings import Bounded, Finding, Findings, ok, problem, refused, skipped, warning
from worker.runtime.doctor.postgres import PostgresCheck
from worker.runtime.doctor.stripe import StripeCheck
from worker.runtime.resources import stripe_side
from worker.settings.model import Settings
from worker.store import deployment
from worker.stripe_api.product_owner import ProductOwner
from worker.telemetry import Metrics
from worker.version import VERSION

DEPLOYMENT, PRODUCTS, CLOCKS = "deployment", "deployment.products", "clocks"

PATIENCE = 10.0
"""Seconds for two questions to Stripe for each plan."""

CLOSE, LOUD = timedelta(seconds=2), timedelta(minutes=1)
"""Stripe tells whole seconds, and an answer takes a while. From a minute on, trials and the age of keys are wrong."""


def check_together(settings: Settings, postgres: PostgresCheck, stripe: StripeCheck, rng: random.Random) -> Findings:
    """Once the others are done: also where one of them took all of the time."""
    yield _deployment(settings, postgres, stripe)
    if postgres.owner is None or stripe.account is None:
        yield skipped(PRODUCTS, "the database's id or the key's account is not known")
    else:
        database_id = str(postgres.owner["database_id"])
        yield from Bounded(PRODUCTS, partial(_products, settings, database_id, rng)).results(
            time.monotonic() + PATIENCE
        )
    yield from check_clocks(postgres.ahead, stripe.ahead)


def _deployment(settings: Settings, postgres: PostgresCheck, stripe: StripeCheck) -> Finding:
    if not postgres.owner_known:
        return skipped(DEPLOYMENT, "the database doesn't tell whose it is")
    owner = postgres.owner
    if owner is None:
        return warning(DEPLOYMENT, "this database is nobody's yet", "Run `subkeeper setup`")
    ours: dict[str, object] = {"livemode": settings.stripe.livemode, "namespace": settings.namespace}
    if stripe.account is not None:
        ours["stripe_account_id"] = stripe.account.id
    try:
        deployment.compare(owner, ours)
    except Misconfigured as another:
        return refused(DEPLOYMENT, another, "")
    said = f"this database belongs to account {owner['stripe_account_id']} and namespace {owner['namespace']}"
    return ok(DEPLOYMENT, said if stripe.account else f"{said}; the key's account is not known")


def _products(settings: Settings, database_id: str, rng: random.Random) -> Findings:
    """Another database with this account and namespace would be given the same users, and this one theirs."""
    stripe = stripe_side(settings, Metrics(VERSION), rng)
    try:
        ProductOwner(stripe.gateway, settings.plans, settings.namespace).require(database_id)
    except SubkeeperError as another:
        yield refused(PRODUCTS, another, "Try again")
    else:
        yield ok(PRODUCTS, f"no plan's product names another database for namespace {settings.namespace}")
    finally:
        stripe.gateway.close()


def check_clocks(postgres: timedelta | None, stripe: timedelta | None) -> Findings:
    """How far they are ahead of this machine's; None: not known."""
    for whose, ahead in (("Postgres's", postgres), ("Stripe's", stripe)):
        if ahead is None:
            yield skipped(CLOCKS, f"{whose} is not known")
            continue
        seconds = round(ahead.total_seconds(), 1)
        said = f"{whose} is {abs(seconds):g} s {'ahead of' if seconds > 0 else 'behind'} this machine's"
        fix = "Look at NTP on both machines: chronyc tracking, or timedatectl"
        if abs(ahead) < CLOSE:
            yield ok(CLOCKS, f"{whose} and this machine's agree")
        else:
            yield problem(CLOCKS, said, fix) if abs(ahead) > LOUD else warning(CLOCKS, said, fix)
