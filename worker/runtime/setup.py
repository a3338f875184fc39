"""`subkeeper setup`: what must exist before a process starts. Safe to repeat, and to run twice at once."""

from __future__ import annotations

import random
from collections.abc import Iterator

from worker.broker.admin import ensure_channel
from worker.errors import Misconfigured
from worker.runtime.ownership import Ownership
from worker.runtime.pages import own_portal
from worker.runtime.resources import StripeSide, stripe_side
from worker.runtime.webhook_setup import WebhookSetup
from worker.settings.model import Settings
from worker.store import deployment
from worker.store.engine import migrations
from worker.store.engine.access import require_grants
from worker.store.engine.database import Database
from worker.store.engine.revision import require_compatible
from worker.stripe_api.own_endpoints import OwnEndpoints
from worker.telemetry import Metrics
from worker.version import VERSION


def setup(
    settings: Settings, rng: random.Random, *, take_over: bool = False, webhook: WebhookSetup | None = None
) -> Iterator[str]:
    """Schema, deployment, Stripe's products and prices, topics and channels, and the webhook's endpoint if that is
    asked for; yields a line for each, as it is done.

    `take_over`: also where Stripe's products name another database, which is lost.

    Raises `Misconfigured`, `Unavailable` and what the Stripe gateway raises; what was done before that stays.
    """
    stripe = _stripe_side(settings, rng, webhook)
    database = Database(settings.database, application_name="subkeeper setup")
    try:
        yield _schema(database)
        yield from _stripe(settings, database, stripe, take_over=take_over)
        yield from _channels(settings)  # before the endpoint: what is delivered finds its channel
        if stripe is not None and webhook is not None:
            yield from _webhook(settings, database, stripe, webhook, take_over=take_over)
    finally:
        if stripe is not None:
            stripe.gateway.close()
        database.close()


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


def _stripe_side(settings: Settings, rng: random.Random, webhook: WebhookSetup | None) -> StripeSide | None:
    if webhook is not None:
        webhook.require_place()
    if settings.stripe_secret_key() is not None:
        return stripe_side(settings, Metrics(VERSION), rng)
    if webhook is not None:
        raise Misconfigured("STRIPE_SECRET_KEY", "is not set, and --webhook needs it", "Give a key of your account")
    return None


def _stripe(settings: Settings, database: Database, stripe: StripeSide | None, *, take_over: bool) -> Iterator[str]:
    if stripe is None:
        yield "stripe: skipped, STRIPE_SECRET_KEY is not set (billing is disabled)"
        return
    ownership = Ownership(settings, database, stripe.gateway)
    account = ownership.claim(signed=False)
    yield f"deployment: account {account.id}, {'live' if account.livemode else 'test'} mode"
    for plan in settings.plans:
        yield from stripe.catalogue.ensure(plan)
        yield ownership.sign(plan, take_over=take_over)
    if settings.api.opens_pages:
        yield own_portal(settings, stripe.gateway).ensure()


def _channels(settings: Settings) -> Iterator[str]:
    nsq = settings.nsq
    for topic in (nsq.profile_topic, nsq.backfill_topic, nsq.events_topic):
        created = ensure_channel(nsq, topic, nsq.channel)
        done = {True: "created", False: "was there", None: "is there"}[created]
        yield f"channel {topic}/{nsq.channel}: {done}"


def _webhook(
    settings: Settings, database: Database, stripe: StripeSide, webhook: WebhookSetup, *, take_over: bool
) -> Iterator[str]:
    with database.transaction() as tx:
        database_id = deployment.database_id(tx)
    endpoints = OwnEndpoints(stripe.gateway, settings.namespace, database_id)
    yield from endpoints.ensure(webhook.url, webhook.show, secret_lost=webhook.secret_lost, take_over=take_over)
    if webhook.secret_file is not None and not webhook.secret_file.exists():
        yield (
            f"webhook secret: told when the endpoint was created, so {webhook.secret_file} was not written;"
            " if it is lost, add --webhook-secret-lost"
        )
    if webhook.retire:
        yield from endpoints.retire()
