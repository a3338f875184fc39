"""One worker's process: the parts of production, with gates at each request to Stripe and around each commit."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection

from tests.interleavings.puppet import Gate, Order, Place, Puppet
from tests.interleavings.wire import Flight, Wire, WireClient, lost
from worker.domain import deadline
from worker.domain.deadline import Deadline
from worker.domain.lanes import Lane, LaneSchedule
from worker.domain.messages import Message
from worker.domain.profile import MessageShape
from worker.domain.terms import Terms
from worker.domain.trial import TrialPolicy
from worker.errors import TryLater, Unavailable
from worker.provisioning.customer_step import CustomerStep
from worker.provisioning.inbox import Freeze, ProfileInbox
from worker.provisioning.leases import Lease, Leases
from worker.provisioning.provisioner import Provisioner, Settled
from worker.provisioning.subscription_step import SubscriptionStep
from worker.sealing import Sealer
from worker.settings import PlanSettings, StripeSettings
from worker.store.engine.database import Database
from worker.stripe_api.catalogue import Catalogue
from worker.stripe_api.gateway import StripeGateway
from worker.stripe_api.limiter.limiter import Limiter
from worker.telemetry import Health, Metrics, Watchdog
from worker.work.dispatcher import Dispatcher
from worker.work.halting import Halting

NAMESPACE, PLAN = "interleavings", "pending"
LEASE, TRIAL, MAX_LAG = timedelta(seconds=60), timedelta(days=31), timedelta(hours=72)
TOPICS = {"profile_created": Lane.LIVE, "profile_backfill": Lane.BACKFILL}
REQUEST_TIMEOUT = 10.0
WEIGHTS = {Lane.LIVE: 80, Lane.RETRY: 15, Lane.BACKFILL: 5}
PRICES = "/v1/prices"
SECRET = "an-example-of-a-secret-key-of-more-than-32-characters"


@dataclass(frozen=True, slots=True)
class Configuration:
    """What the workers' settings differ in."""

    trial: timedelta
    missing_payment_method: str


CONFIGURATIONS = (Configuration(TRIAL, "pause"), Configuration(timedelta(days=14), "cancel"))


@dataclass(frozen=True, slots=True)
class Outside:
    """What the processes share."""

    database: Database
    wire: Wire
    stripe_key: str
    metrics: Metrics


class GatedDatabase(Database):
    """Another process's database: its transactions stop before and after they commit."""

    def __init__(self, shared: Database, puppet: Puppet) -> None:
        self._engine, self._place = shared._engine, shared._place
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


class Watched(Provisioner):
    """Says which lease it settles under, and what nobody foresaw, which production logs and goes on after."""

    token: int | None = None

    def settle(self, lease: Lease) -> Settled:
        self.token = lease.row.lease_token
        return super().settle(lease)

    def crashed(self, lease: Lease, error: Exception) -> None:
        raise AssertionError("settling crashed") from error


class Process:
    """A worker, from its start to its death; `puppet` does one thing at a time."""

    def __init__(self, outside: Outside, configuration: Configuration) -> None:
        self.configuration = configuration
        self.puppet = Puppet()
        self._gateway = _gateway(outside, self._wait_for_answer)
        self._gateway.account(Deadline.after(REQUEST_TIMEOUT))  # as every process does at its start
        self._catalogue = catalogue = Catalogue(
            self._gateway,
            {PLAN: PlanSettings(name="Pending", lookup_key=PLAN)},
            NAMESPACE,
            clock=lambda: deadline.boot_time(),  # noqa: PLW0108 - the test puts its own clock there
        )
        catalogue.ensure(PLAN)
        catalogue.refresh(PLAN)
        database = GatedDatabase(outside.database, self.puppet)
        sealer = Sealer([SECRET])
        watchdog = Watchdog(Health())
        self._leases = Leases(
            database,
            length=LEASE,
            now=self._gateway.clock.now,
            openable=lambda: sealer.headers,
            progress=watchdog.progress,
        )
        self._provisioner = _provisioner(self._gateway, catalogue, self._leases, sealer, outside.metrics, configuration)
        self._dispatcher = _dispatcher(self._leases, self._provisioner, outside.metrics, watchdog)
        self._inbox = ProfileInbox(
            database,
            self._leases,
            self._dispatcher,
            sealer,
            outside.metrics,
            shape=MessageShape(user_id="/id", email="/email", name="/name", created_at="/created_at"),
            freeze=Freeze(NAMESPACE, PLAN, TrialPolicy(configuration.trial, MAX_LAG)),
            lanes=TOPICS,
            quarantine_for=timedelta(days=30),
            now=self._gateway.clock.now,
            apart_within=10.0,
        )

    @property
    def idle(self) -> bool:
        return self.puppet.at is None

    @property
    def token(self) -> int | None:
        """The fencing token of the lease that it settles under, or did last."""
        return self._provisioner.token

    def refresh_prices(self) -> None:
        """As every process does each minute; one that is asking for them already waits for that answer."""
        flight = self.puppet.at.flight if self.puppet.at is not None else None
        if flight is None or flight.call.path != PRICES:
            self._catalogue.refresh(PLAN)

    def deliver(self, topic: str, body: bytes) -> None:
        """Begins to absorb a message; the row is leased with it if settling isn't halted."""
        message = Message(topic, body, b"0123456789abcdef", 1, datetime.now(UTC))
        self.puppet.perform(lambda: self._absorb(message))

    def work(self) -> None:
        """Begins to settle what is due."""
        self.puppet.perform(self._work)

    def stop(self) -> None:
        self.puppet.kill()
        self._gateway.close()

    def _absorb(self, message: Message) -> None:
        try:
            self._inbox.prepare([message])()
        except (Unavailable, TryLater):
            return  # NSQ delivers it again, perhaps

    def _work(self) -> None:
        """What the sweeper's and a settling thread's loop do, once."""
        dispatcher = self._dispatcher
        try:
            dispatcher._take_turn()
        except (Unavailable, TryLater):
            return
        while any(dispatcher._queues.values()):
            lease = dispatcher._next_lease()
            assert lease is not None
            self._provisioner.token = lease.row.lease_token
            try:
                dispatcher._settle(lease)
            finally:
                dispatcher._running[lease.lane] -= 1

    def _wait_for_answer(self, flight: Flight) -> None:
        order = self.puppet.pass_gate(Gate(Place.REQUEST, flight))
        if order is not Order.GO:
            raise lost(at_once=order is Order.FAIL_AT_ONCE)


def _gateway(outside: Outside, wait: Callable[[Flight], None]) -> StripeGateway:
    settings = StripeSettings(api_base="http://127.0.0.1:1", request_timeout=REQUEST_TIMEOUT)
    return StripeGateway(
        settings,
        lambda: outside.stripe_key,
        Limiter(10_000, 10_000, weights=WEIGHTS),
        rng=random.Random(1),
        observe=outside.metrics,
        http=WireClient(settings.api_base, outside.wire, wait),
        sleep=lambda _: None,
    )


def _provisioner(
    gateway: StripeGateway,
    catalogue: Catalogue,
    leases: Leases,
    sealer: Sealer,
    metrics: Metrics,
    configuration: Configuration,
) -> Watched:
    terms = Terms(
        namespace=NAMESPACE,
        trial=configuration.trial,
        missing_payment_method=configuration.missing_payment_method,
        billing_mode="flexible",
        price_id=catalogue.price_id,
        plan_of=catalogue.plan_of,
    )
    customer, subscription = (
        CustomerStep(gateway, leases, sealer, terms),
        SubscriptionStep(gateway, leases, terms, recheck=catalogue.recheck),
    )
    return Watched(customer, subscription, leases, metrics, random.Random(1), may_blame=lambda: True)


def _dispatcher(leases: Leases, provisioner: Provisioner, metrics: Metrics, watchdog: Watchdog) -> Dispatcher[Lease]:
    return Dispatcher(
        provisioner,
        Halting(
            leases,
            preflight=lambda: None,
            shared_problem=lambda: None,
            report=lambda _: None,
            clock=lambda: deadline.boot_time(),  # noqa: PLW0108 - the test puts its own clock there
        ),
        LaneSchedule(4, WEIGHTS),
        observe=metrics.settled,
        threads=1,
        sweep_interval=1.0,
        watchdog=watchdog,
    )
