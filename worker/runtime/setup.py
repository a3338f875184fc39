"""`subkeeper setup`: what must exist before a process starts. Safe to repeat, and to run twice at once."""

from __future__ import annotations

import random
from collections.abc import Iterator

from worker.broker.admin import ensure_channel
from worker.runtime.ownership import Ownership
from worker.runtime.resources import stripe_side
from worker.settings.model import Settings
from worker.store.engine import migrations
from worker.store.engine.access import require_grants
from worker.store.engine.database import Database
from worker.store.engine.revision import require_compatible
from worker.telemetry import Metrics
from worker.version import VERSION


def setup(settings: Settings, rng: random.Random, *, take_over: bool = False) -> Iterator[str]:
    """Schema, deployment, Stripe's products and prices, topics and channels; yields a line for each, as it is done.

    `take_over`: also where Stripe's products name another database, which is lost.

    Raises `Misconfigured`, `Unavailable` and what the Stripe gateway raises; what was done before that stays.
    """
    database = Database(settings.database, application_name="subkeeper setup")
    try:
        yield _schema(database)
        yield from _stripe(settings, database, rng, take_over=take_over)
    finally:
        database.close()
    nsq = settings.nsq
    for topic in (nsq.profile_topic, nsq.backfill_topic, nsq.events_topic):
        created = ensure_channel(nsq, topic, nsq.channel)
        done = {True: "created", False: "was there", None: "is there"}[created]
        yield f"channel {topic}/{nsq.channel}: {done}"


def upgrade_schema(settings: Settings) -> str:
    """Applies missing migrations; a line that says what was done."""
    database = Database(settings.database, application_name="subkeeper db upgrade")
    try:
        return _schema(database)
    finally:
        database.close()


def schema_differences(settings: Settings) -> list[str]:
    """What tables and migrations disagree on. Raises `Misconfigured` where this code can't, or may not, work on it."""
    database = Database(settings.database, application_name="subkeeper db check")
    try:
        with database.connection() as connection:
            require_grants(connection)
            require_compatible(connection)
            return migrations.differences(connection)
    finally:
        database.close()


def _schema(database: Database) -> str:
    with database.connection() as connection:
        upgraded = migrations.upgrade(connection)
    if upgraded.before == upgraded.after:
        return f"schema: {upgraded.after} was there"
    if upgraded.before is None:
        return f"schema: created, at {upgraded.after}"
    return f"schema: upgraded from {upgraded.before} to {upgraded.after}"


def _stripe(settings: Settings, database: Database, rng: random.Random, *, take_over: bool) -> Iterator[str]:
    if settings.stripe_secret_key() is None:
        yield "stripe: skipped, STRIPE_SECRET_KEY is not set (billing is disabled)"
        return
    stripe = stripe_side(settings, Metrics(VERSION), rng)
    try:
        ownership = Ownership(settings, database, stripe.gateway)
        account = ownership.claim(signed=False)
        yield f"deployment: account {account.id}, {'live' if account.livemode else 'test'} mode"
        for plan in settings.plans:
            yield from stripe.catalogue.ensure(plan)
            yield ownership.sign(plan, take_over=take_over)
    finally:
        stripe.gateway.close()
