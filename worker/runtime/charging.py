"""Charging in order, put together: leased work beside the questions to Stripe."""

from __future__ import annotations

from datetime import timedelta

from worker.domain.lanes import Lane, LaneSchedule
from worker.errors import SubkeeperError
from worker.events.charge_leases import ChargeLease, ChargeLeases
from worker.events.charging import ChargeWorker
from worker.runtime.resources import Resources, lane_weights
from worker.threads import Threads
from worker.work.dispatcher import Dispatcher
from worker.work.halting import Halting

PART = "charging"
"""Of the process's health: whether anything can be tried."""

THREADS = 2
"""Of a process: a try takes seconds of Stripe's time, and nobody waits for it."""

LONGEST_PAUSE = 600.0
"""Seconds between two attempts to go on, at most, while the key may not charge: each is a read of the month's."""

SWEEP_INTERVAL = 60.0
"""Seconds between two looks for tries without an answer where charging is turned off."""


class ChargingInOrder:
    """Threads of a process that absorbs events. `is_on`: whether new tries are made; those of before get their answer
    in any case, as an erasure waits for it."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        settings = resources.settings
        self.is_on = settings.charging.in_order
        length, threads = timedelta(seconds=settings.settle.lease), THREADS if self.is_on else 1
        worker = ChargeWorker(
            ChargeLeases(resources.database, length=length, in_order=self.is_on, clock=resources.clock),
            resources.gateway.charges,
            namespace=settings.namespace,
            in_order=self.is_on,
            now=resources.gateway.clock.now,
            wake=self.wake,
            rng=resources.rng,
        )
        self._dispatcher: Dispatcher[ChargeLease] = Dispatcher(
            worker,
            Halting(
                worker,
                preflight=self._preflight,
                shared_problem=lambda: None,
                report=self._report,
                key=resources.gateway.configured_key,
                longest_pause=LONGEST_PAUSE,
                clock=resources.clock,
            ),
            LaneSchedule(threads, lane_weights(settings)),
            observe=lambda _lane, outcome, seconds: resources.metrics.charges.ended(outcome, seconds),
            threads=threads,
            sweep_interval=settings.settle.sweep_interval if self.is_on else SWEEP_INTERVAL,
            watchdog=resources.watchdog,
            clock=resources.clock,
            name="charging",
        )

    def wake(self) -> None:
        """An invoice is due at once."""
        self._dispatcher.more_is_due(Lane.RETRY)

    def start(self, threads: Threads) -> None:
        self._dispatcher.start(threads.spawn)

    def stop(self) -> None:
        self._dispatcher.stop()

    def _preflight(self) -> None:
        """What must hold before anything is asked: a key of this database's account that works."""
        self._resources.gateway.reload()
        self._resources.ownership.require()

    def _report(self, halted: SubkeeperError | None) -> None:
        if halted is None:
            self._resources.health.set(PART, ok=True)
        else:
            self._resources.health.away(PART, halted)
