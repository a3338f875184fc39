"""The main job's parts, put together: profiles in, subscriptions out."""

from __future__ import annotations

import random
from contextlib import suppress
from datetime import timedelta

from worker.broker.consumer import Consumer
from worker.broker.reader import Reader
from worker.domain.lanes import Lane, LaneSchedule
from worker.domain.terms import Terms
from worker.domain.trial import TrialPolicy
from worker.errors import SubkeeperError
from worker.provisioning.customer_step import CustomerStep
from worker.provisioning.inbox import ProfileInbox
from worker.provisioning.leases import Lease, Leases
from worker.provisioning.provisioner import Provisioner
from worker.provisioning.subscription_step import SubscriptionStep
from worker.runtime.operations import message_shape
from worker.runtime.resources import Resources, lane_weights
from worker.settings.sections import NsqSettings
from worker.stripe_api.catalogue import UnusablePlan
from worker.telemetry import Metrics
from worker.threads import Threads
from worker.work.dispatcher import Dispatcher
from worker.work.halting import Halting


def topic_lanes(settings: NsqSettings) -> dict[str, Lane]:
    """The topics that are read, each with the lane that it feeds."""
    return {settings.profile_topic: Lane.LIVE, settings.backfill_topic: Lane.BACKFILL}


def profile_reader(settings: NsqSettings, rng: random.Random, metrics: Metrics) -> Reader:
    """Reads both topics, which subscribes our channel to them."""
    weights = {settings.profile_topic: settings.live_weight, settings.backfill_topic: settings.backfill_weight}
    return Reader(settings, weights, rng=rng, counts=metrics.broker)


class Provisioning:
    """A `Service` of a process."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        leases = Leases(
            resources.database,
            length=timedelta(seconds=resources.settings.settle.lease),
            now=resources.gateway.clock.now,
            openable=resources.keys.openable,
            progress=resources.watchdog.progress,
            clock=resources.clock,
        )
        self.dispatcher = self._dispatcher(leases)
        self.inbox = self._inbox(leases)
        self.consumer = self._consumer()

    def _dispatcher(self, leases: Leases) -> Dispatcher[Lease]:
        resources, settings = self._resources, self._resources.settings
        return Dispatcher(
            self._provisioner(leases),
            Halting(
                leases,
                preflight=self._preflight,
                shared_problem=self._shared_problem,
                report=self._report_settling,
                key=resources.gateway.configured_key,
                clock=resources.clock,
            ),
            LaneSchedule(settings.settle.threads, lane_weights(settings)),
            observe=resources.metrics.settled,
            threads=settings.settle.threads,
            sweep_interval=settings.settle.sweep_interval,
            watchdog=resources.watchdog,
            clock=resources.clock,
        )

    def _provisioner(self, leases: Leases) -> Provisioner:
        resources, settings, gateway = self._resources, self._resources.settings, self._resources.gateway
        terms = Terms(
            namespace=settings.namespace,
            trials=settings.trial_lengths,
            missing_payment_method=settings.trial.missing_payment_method,
            billing_mode=settings.stripe.billing_mode,
            price_id=resources.catalogue.price_id,
            plan_of=resources.catalogue.plan_of,
        )
        return Provisioner(
            CustomerStep(gateway, leases, resources.keys.sealer, terms),
            SubscriptionStep(gateway, leases, terms, recheck=resources.catalogue.recheck),
            leases,
            resources.metrics,
            resources.rng,
            may_blame=lambda: self._shared_problem() is None,
        )

    def _inbox(self, leases: Leases) -> ProfileInbox:
        resources, settings = self._resources, self._resources.settings
        return ProfileInbox(
            resources.database,
            leases,
            self.dispatcher,
            resources.keys.sealer,
            resources.metrics,
            shape=message_shape(settings),
            namespace=settings.namespace,
            plan=settings.pending_plan,
            trial=TrialPolicy(timedelta(days=settings.trial.days), timedelta(hours=settings.trial.max_lag_hours)),
            lanes=topic_lanes(settings.nsq),
            quarantine_for=timedelta(days=settings.quarantine.expiry_days),
            now=resources.clocks.now,
            apart_within=settings.nsq.msg_timeout / 2,
            test_clock=settings.stripe.test_clock,
        )

    def _consumer(self) -> Consumer:
        resources, settings = self._resources, self._resources.settings
        return Consumer(
            profile_reader(settings.nsq, resources.rng, resources.metrics),
            self.inbox.prepare,
            self.inbox.absorb_apart,
            resources.metrics,
            batch=settings.absorb.batch,
            rng=resources.rng,
            report=resources.health.report,
            watchdog=resources.watchdog,
        )

    # What must hold before anything settles

    def _preflight(self) -> None:
        """What must hold for any row to settle: a key of this database's account that works. The price of the plan that
        we give is looked at too, but rows of other plans, or with a frozen request, settle without it."""
        resources = self._resources
        resources.gateway.reload()
        resources.ownership.require()
        with suppress(UnusablePlan):  # `_shared_problem` says so
            resources.catalogue.refresh(resources.settings.pending_plan)

    def _shared_problem(self) -> SubkeeperError | None:
        """What is known to be wrong with what every new row needs."""
        return self._resources.catalogue.problem(self._resources.settings.pending_plan)

    def _report_settling(self, halted: SubkeeperError | None) -> None:
        health = self._resources.health
        if halted is None:
            health.set("stripe", ok=True)
        else:
            health.away("stripe", halted)

    # Running

    def wait(self, timeout: float) -> None:
        """For up to `timeout` seconds keeps the subscriptions, before `start`, and takes nothing."""
        self.consumer.wait(timeout)

    def start(self, threads: Threads) -> None:
        self.dispatcher.start(threads.spawn)
        threads.spawn("absorber", self.consumer.run)

    def stop(self) -> None:
        """Takes no new work; the threads end once what they hold is finished or given back."""
        self.consumer.stop()
        self.dispatcher.stop()

    def close(self) -> None:
        self.consumer.close()
