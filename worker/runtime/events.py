"""What Stripe says becomes our state: the parts of that, put together."""

from __future__ import annotations

import random
import threading
from datetime import timedelta

from worker.broker.consumer import Consumer
from worker.broker.reader import Reader
from worker.domain.lanes import Lane, LaneSchedule
from worker.errors import SubkeeperError
from worker.events.inbox import EventInbox
from worker.events.refresher import Refresher, RefreshLease
from worker.runtime.charging import ChargingInOrder
from worker.runtime.resources import Resources, lane_weights
from worker.settings.sections import NsqSettings
from worker.telemetry import Metrics
from worker.threads import Threads
from worker.work.dispatcher import Dispatcher
from worker.work.halting import Halting

NSQD, ABSORBING, ASKING = "nsqd_events", "absorbing_events", "stripe_events"
"""The parts of readiness that tell of it: connections to nsqd, commits, and questions to Stripe."""

GATHER = 0.01
"""Seconds. A flood of events is taken in by a hundred transactions a second, which signups beside it feel, not by as
many as there is time for (docs/benchmarks.md, `flood`)."""

COMMITTERS = 2
"""Batches that are committed at a time: while Postgres has one, what the next says is judged."""

LONGEST_PAUSE = 300.0
"""Seconds between two attempts to go on, at most, while the key may not read: each is a read of the month's."""

MAINTENANCE_INTERVAL = 3600.0
"""Seconds between two looks at the partitions; they are made a week ahead."""


def event_reader(settings: NsqSettings, rng: random.Random, metrics: Metrics) -> Reader:
    """Reads the topic of Stripe's events, which subscribes our channel to it."""
    return Reader(settings, {settings.events_topic: 1}, rng=rng, counts=metrics.events_broker)


class StripeEvents:
    """A service of a process: absorbs events, and asks Stripe where they don't tell."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._stopping = threading.Event()
        settings = resources.settings
        self.refresher = Refresher(
            resources.database,
            resources.gateway,
            namespace=settings.namespace,
            plan_of=resources.catalogue.plan_of,
            length=timedelta(seconds=settings.settle.lease),
            rng=resources.rng,
            clock=resources.clock,
        )
        self.dispatcher = self._dispatcher()
        self.charging = ChargingInOrder(resources)
        self.inbox = EventInbox(
            resources.database,
            resources.keys.sealer,
            resources.metrics,
            namespace=settings.namespace,
            plan_of=resources.catalogue.plan_of,
            livemode=settings.stripe.livemode,
            wake=lambda: self.dispatcher.more_is_due(Lane.RETRY),
            quarantine_for=timedelta(days=settings.quarantine.expiry_days),
            now=resources.clocks.now,
            apart_within=settings.nsq.msg_timeout / 2,
            wake_charging=self.charging.wake if self.charging.is_on else None,
        )
        self.consumer = Consumer(
            event_reader(settings.nsq, resources.rng, resources.metrics),
            self.inbox.prepare,
            self.inbox.absorb_apart,
            resources.metrics,
            batch=settings.absorb.batch,
            rng=resources.rng,
            report=lambda part, ok, detail: resources.health.report(NSQD if part == "nsqd" else part, ok, detail),
            watchdog=resources.watchdog,
            part=ABSORBING,
            gather=GATHER,
            committers=COMMITTERS,
        )

    def _dispatcher(self) -> Dispatcher[RefreshLease]:
        resources, settings = self._resources, self._resources.settings
        return Dispatcher(
            self.refresher,
            Halting(
                self.refresher,
                preflight=self._preflight,
                shared_problem=lambda: None,
                report=self._report,
                key=resources.gateway.configured_key,
                longest_pause=LONGEST_PAUSE,
                clock=resources.clock,
            ),
            LaneSchedule(settings.events.refresh_threads, lane_weights(settings)),
            observe=lambda _lane, outcome, seconds: resources.metrics.refreshes.ended(outcome, seconds),
            threads=settings.events.refresh_threads,
            sweep_interval=settings.settle.sweep_interval,
            watchdog=resources.watchdog,
            clock=resources.clock,
            name="refresher",
        )

    def _preflight(self) -> None:
        """What must hold before anything is asked: a key of this database's account that works."""
        self._resources.gateway.reload()
        self._resources.ownership.require()

    def _report(self, halted: SubkeeperError | None) -> None:
        if halted is None:
            self._resources.health.set(ASKING, ok=True)
        else:
            self._resources.health.away(ASKING, halted)

    # Running

    def wait(self, timeout: float) -> None:
        self.consumer.wait(timeout)

    def start(self, threads: Threads) -> None:
        self.dispatcher.start(threads.spawn)
        self.charging.start(threads)
        threads.spawn("event-absorber", self._absorb)
        threads.spawn("event-days", self._maintain)

    def _absorb(self) -> None:
        """Nothing is taken before the days are known that the table holds: all would seem out of their range."""
        while not self._stopping.is_set() and not self._days_are_known():
            self.consumer.wait(1.0)
        self.consumer.run()

    def _maintain(self) -> None:
        while not self._stopping.wait(MAINTENANCE_INTERVAL):
            self._days_are_known()

    def _days_are_known(self) -> bool:
        try:
            self.inbox.maintain()
        except SubkeeperError as away:
            self._resources.health.away("postgres", away)
            return False
        return True

    def stop(self) -> None:
        self._stopping.set()
        self.consumer.stop()
        self.dispatcher.stop()
        self.charging.stop()

    def close(self) -> None:
        self.consumer.close()
