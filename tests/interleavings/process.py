"""One worker's process: the services of production, with gates at each request to Stripe and around each commit."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from typing import Any

from sqlalchemy import Connection

from tests.interleavings.desk import Desk, Told
from tests.interleavings.puppet import Gate, Order, Place, Puppet
from tests.interleavings.time import Time
from tests.interleavings.wire import Flight, Wire, WireClient, lost
from worker.domain.account_changes import Wish
from worker.domain.messages import Message
from worker.errors import TryLater, Unavailable
from worker.events.envelope import Envelopes
from worker.events.reading import pruned
from worker.runtime.events import StripeEvents
from worker.runtime.outside import Outside
from worker.runtime.provisioning import Provisioning
from worker.runtime.resources import Resources
from worker.settings.model import Settings
from worker.settings.sections import DatabaseSettings
from worker.store.engine.database import Database
from worker.telemetry import Health, Metrics

NAMESPACE, PLAN = "interleavings", "pending"
LEASE, TRIAL, MAX_LAG = timedelta(seconds=60), timedelta(days=31), timedelta(hours=72)
LIVE_TOPIC, BACKFILL_TOPIC, EVENTS_TOPIC = "profile_created", "profile_backfill", "stripe_events"
REQUEST_TIMEOUT = 10.0
PRICES = "/v1/prices"
ANOTHER_KEY = "another-example-of-a-secret-key-of-32-characters-or-more"
LOCK_TIMEOUT = 0.02
"""Seconds. One thread runs at a time, so whoever waits for a lock waits for somebody who waits for him."""

ENVIRON = {
    "SUBKEEPER_NAMESPACE": NAMESPACE,
    "SUBKEEPER_SECRET_KEY": "an-example-of-a-secret-key-of-more-than-32-characters",
    "SUBKEEPER_DATABASE__LOCK_TIMEOUT": str(LOCK_TIMEOUT),
    "SUBKEEPER_DATABASE__POOL_SIZE": "3",
    "SUBKEEPER_PLANS__PENDING__UNIT_AMOUNT": "0",
    "SUBKEEPER_PLANS__PRO__UNIT_AMOUNT": "900",
    "SUBKEEPER_NSQ__PROFILE_TOPIC": LIVE_TOPIC,
    "SUBKEEPER_NSQ__BACKFILL_TOPIC": BACKFILL_TOPIC,
    "SUBKEEPER_SETTLE__LEASE": str(LEASE.total_seconds()),
    "SUBKEEPER_SETTLE__THREADS": "4",
    "SUBKEEPER_STRIPE__API_BASE": "http://127.0.0.1:1",
    "SUBKEEPER_STRIPE__REQUEST_TIMEOUT": str(REQUEST_TIMEOUT),
    "SUBKEEPER_STRIPE__REQUESTS_PER_SECOND": "1000000",
    "SUBKEEPER_STRIPE__ENDPOINT_REQUESTS_PER_SECOND": "1000000",
    "SUBKEEPER_TRIAL__MAX_LAG_HOURS": str(MAX_LAG // timedelta(hours=1)),
}
"""The limiter holds nobody back, however little time passes."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """What the workers' settings differ in."""

    trial: timedelta
    missing_payment_method: str


CONFIGURATIONS = (Configuration(TRIAL, "pause"), Configuration(timedelta(days=14), "cancel"))


@dataclass(frozen=True, slots=True)
class Site:
    """What the processes share."""

    database_url: str
    wire: Wire
    stripe_key: str
    time: Time
    metrics: Metrics

    def settings(self, configuration: Configuration) -> Settings:
        own = {
            "SUBKEEPER_DATABASE__URL": self.database_url,
            "STRIPE_SECRET_KEY": self.stripe_key,
            "SUBKEEPER_TRIAL__DAYS": str(configuration.trial.days),
            "SUBKEEPER_TRIAL__MISSING_PAYMENT_METHOD": configuration.missing_payment_method,
        }
        return Settings.load(None, {**ENVIRON, **own})


class GatedDatabase(Database):
    """Its transactions stop before and after they commit."""

    def __init__(self, puppet: Puppet, settings: DatabaseSettings) -> None:
        super().__init__(settings)
        self._puppet = puppet

    @contextmanager
    def transaction(self, lock_timeout: float | None = None) -> Iterator[Connection]:
        with super().transaction(lock_timeout) as tx:
            yield tx
            self._stop_at(Place.COMMIT)
        self._stop_at(Place.COMMITTED)

    def _stop_at(self, place: Place) -> None:
        if self._puppet.pass_gate(Gate(place)) is not Order.GO:
            raise Unavailable("postgres", "the answer to COMMIT is lost")


class Process:
    """A worker, from its start to its death; `puppet` does one thing at a time."""

    def __init__(self, site: Site, configuration: Configuration) -> None:
        self.configuration = configuration
        self.puppet = Puppet()
        self._settings, self._metrics = site.settings(configuration), site.metrics
        self._outside = Outside(
            database=partial(GatedDatabase, self.puppet),
            stripe=lambda origin, _: WireClient(origin, site.wire, self._wait_for_answer),
            clock=site.time,
            local_time=site.time.now,
            sleep=lambda _: None,
        )
        self._resources = Resources(self._settings, self._metrics, Health([]), random.Random(1), self._outside)
        self._service = Provisioning(self._resources)
        self._resources.catalogue.ensure(PLAN)
        self._resources.require_deployment()

    @cached_property
    def _events(self) -> StripeEvents:
        return StripeEvents(self._resources)

    @cached_property
    def _desk(self) -> Desk:
        return Desk(self._settings, self._metrics, self._outside)

    @property
    def idle(self) -> bool:
        return self.puppet.at is None

    def refresh_prices(self) -> None:
        """As every process does each minute; one that is asking for them already waits for that answer."""
        flight = self.puppet.at.flight if self.puppet.at is not None else None
        if flight is None or flight.call.path != PRICES:
            self._resources.catalogue.refresh(PLAN)

    def lose_key(self) -> None:
        """Its key file is another now; it is read again with the next leases."""
        self._resources.keys.sealer.use([ANOTHER_KEY])

    def deliver(self, topic: str, body: bytes) -> None:
        """Begins to absorb a message; the row is leased with it if settling isn't halted."""
        message = Message(topic, body, b"0123456789abcdef", 1, datetime.now(UTC))
        self.puppet.perform(lambda: self._absorb(message))

    def work(self) -> None:
        """Begins to settle what is due."""
        self.puppet.perform(self._work)

    def lease_due(self) -> None:
        """Begins a turn of the sweeper's; `settle_leased` settles what it has leased."""
        self.puppet.perform(self._service.dispatcher.take_turn)

    def settle_leased(self) -> None:
        self.puppet.perform(self._settle_leased)

    def know_days(self) -> None:
        """As each process does at its start: which days of events the tables hold."""
        self._events.inbox.maintain()

    def hear(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Begins to absorb a batch of Stripe's events."""
        envelopes = Envelopes(self._resources.keys.sealer)
        bodies = [envelopes.seal(pruned(event, "webhook")) for event in events]
        now = datetime.now(UTC)
        batch = [Message(EVENTS_TOPIC, body, b"%016d" % number, 1, now) for number, body in enumerate(bodies)]
        self.puppet.perform(lambda: self._hear(batch))

    def refetch(self) -> None:
        """Begins to ask Stripe for what is marked."""
        self.puppet.perform(self._refetch)

    def open_desk(self) -> None:
        """As each web process does at its start: nothing is taken in before the key is known to be good."""
        self._desk.open()

    def ask(self, wish: Wish, told: Callable[[Told], None]) -> None:
        """Begins to take in what somebody asks for, and to make it, if nothing is before it."""
        self.puppet.perform(lambda: self._desk.ask(wish, told))

    def make_changes(self) -> None:
        """Begins to make what was asked for and is due."""
        self.puppet.perform(self._desk.make_changes)

    def stop(self) -> None:
        self.puppet.kill()
        if "_desk" in vars(self):
            self._desk.close()
        if "_events" in vars(self):
            self._events.close()
        self._service.close()
        self._resources.close()

    def _absorb(self, message: Message) -> None:
        try:
            self._service.inbox.prepare([message])()
        except (Unavailable, TryLater):
            return  # NSQ delivers it again, perhaps

    def _hear(self, batch: Sequence[Message]) -> None:
        try:
            self._events.inbox.prepare(batch)()
        except (Unavailable, TryLater):
            return  # NSQ delivers it again

    def _refetch(self) -> None:
        try:
            self._events.dispatcher.take_turn()
        except (Unavailable, TryLater):
            return
        while self._events.dispatcher.settle_next(wait=False):
            pass

    def _work(self) -> None:
        """A turn of the sweeper's, and what it has leased."""
        try:
            self._service.dispatcher.take_turn()
        except (Unavailable, TryLater):
            return
        self._settle_leased()

    def _settle_leased(self) -> None:
        while self._service.dispatcher.settle_next(wait=False):
            pass

    def _wait_for_answer(self, flight: Flight) -> None:
        order = self.puppet.pass_gate(Gate(Place.REQUEST, flight))
        if order is not Order.GO:
            raise lost(at_once=order is Order.FAIL_AT_ONCE)
