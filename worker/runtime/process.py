"""One process from start to exit."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from itertools import chain

import structlog

from worker.domain.backoff import backoff
from worker.errors import TryLater, Unavailable
from worker.runtime import interpreter, signals
from worker.runtime.disabled import Disabled, kept_parts
from worker.runtime.outside import OUTSIDE, Outside
from worker.runtime.provisioning import topic_lanes
from worker.runtime.resources import Resources
from worker.runtime.services import Job, Service, fronts, jobs
from worker.runtime.upkeep import Upkeep
from worker.settings.model import Settings
from worker.stripe_api.errors import Unauthorized
from worker.telemetry import Health, Metrics
from worker.threads import Threads
from worker.version import VERSION
from worker.web.health import health_server

DRAIN_SECONDS = 20.0
"""For what is in flight at SIGTERM; with the closing of connections it stays below the 25 s that supervisors grant."""

KEEPERS_SECONDS = 1.0
"""For what goes on until nothing is in flight any more."""

OPENING_PAUSE = 1.0


class Process:
    """Does `what` it is told (`worker.runtime.services`): `run` returns the exit code; `stop` may be called from any
    thread, but not from a signal handler."""

    def __init__(self, settings: Settings, what: str, rng: random.Random, outside: Outside = OUTSIDE) -> None:
        self.settings = settings
        self._outside = outside
        asked, has_key = jobs(what), settings.stripe_secret_key() is not None
        disabled = {name: job for name, job in asked.items() if job.asks and not has_key}
        self._jobs = [job for name, job in asked.items() if name not in disabled]
        self._asking = [job.asks for job in self._jobs if job.asks is not None]
        working = [*(job.parts for job in self._jobs), *(front.parts for front in fronts(what))]
        self.health = Health([*chain(*working), *kept_parts(disabled)])
        topics = {**topic_lanes(settings.nsq), settings.nsq.events_topic: None}
        self.metrics = Metrics(VERSION, self.health, topics)
        self._rng = rng
        with ExitStack() as closing:
            self.http = health_server(settings.health, self.health, self.metrics)
            closing.callback(self.http.stop)
            self.fronts = [front.build(settings, self.metrics, self.health, rng) for front in fronts(what)]
            if disabled:
                self.fronts.append(self._disabled(disabled))
            closing.pop_all()
        self._stopping = threading.Event()
        self._failed = False
        self._drained_by = 0.0
        self._threads = Threads(self._thread_failed)
        self._front_threads = Threads(self._thread_failed)
        self._keepers = Threads(self._thread_failed)
        self._log = structlog.get_logger(__name__)

    def _disabled(self, jobs: Mapping[str, Job]) -> Service:
        return Disabled(jobs, self.settings.nsq, self.metrics, self.health, self._rng, watches_depths=not self._jobs)

    def stop(self) -> None:
        """Asks the process to drain."""
        self._stopping.set()

    def stop_on_signals(self) -> None:
        """SIGTERM, SIGINT and SIGHUP drain; one that comes later ends the process at once."""
        signals.on_first(self.stop)

    def run(self) -> int:
        """Serves until `stop`, or until a thread dies. Raises `Misconfigured` where it must not start."""
        interpreter.tune()
        self.http.start()
        self._log.info("health.listening", host=self.http.host, port=self.http.port)
        with ExitStack() as closing:
            closing.callback(self.http.stop)
            for front in self.fronts:
                closing.callback(front.close)
                front.start(self._front_threads)
            closing.callback(self._end_fronts)
            if self._jobs:
                self._run_services()
            else:
                self._serve([])
        self._log.info("process.stopped")
        return 1 if self._failed else 0

    def _end_fronts(self) -> None:
        """They go on until all else has ended, or with it."""
        for front in self.fronts:
            front.stop()
        self._drain()

    def _drain(self) -> list[str]:
        """Waits for the threads, for what is left of the time that supervisors grant; returns those that go on."""
        self._drained_by = self._drained_by or time.monotonic() + DRAIN_SECONDS
        left = self._threads.join(max(0.0, self._drained_by - time.monotonic()))
        return [*left, *self._front_threads.join(max(0.0, self._drained_by - time.monotonic()))]

    def _thread_failed(self, name: str) -> None:
        self._failed = True
        self.health.fatal(f"thread {name} died")
        self._stopping.set()

    def _run_services(self) -> None:
        resources = Resources(self.settings, self.metrics, self.health, self._rng, self._outside)
        with ExitStack() as closing:
            closing.callback(resources.close)
            services: list[Service] = []
            for job in self._jobs:
                services.append(job.build(resources))
                closing.callback(services[-1].close)
            if self._asking:
                closing.callback(self._leave_budget, resources)
            if self._open(resources, services):
                self._serve([*services, Upkeep(resources, asks_stripe=bool(self._asking))])

    def _serve(self, services: Sequence[Service]) -> None:
        for service in services:
            service.start(self._threads)
        self._log.info("process.started", version=VERSION)
        self._stopping.wait()
        self._log.info("process.draining")
        for service in reversed([*self.fronts, *services]):
            service.stop()
        if left := self._drain():
            self._log.warning("process.cut_short", threads=left)

    def _leave_budget(self, resources: Resources) -> None:
        resources.budget.stop(drained=not self._threads.alive())
        self._keepers.join(KEEPERS_SECONDS)

    def _open(self, resources: Resources, services: Sequence[Service]) -> bool:
        """Waits until schema and deployment are known to be ours; False if stopped before that.

        Raises `Misconfigured` where they are not. A key that Stripe refuses is waited for: it may be replaced. nsqd is
        answered meanwhile.
        """
        opened = self._pass("postgres", resources.require_schema, services)
        if not self._asking:
            return opened
        if self._pass("postgres", resources.budget.join, services):
            self._keepers.spawn("budget", resources.budget.run)
        part = self._asking[0]
        return self._pass(part, lambda: resources.require_deployment(part), services)

    def _pass(self, part: str, gate: Callable[[], None], services: Sequence[Service]) -> bool:
        while not self._stopping.is_set():
            try:
                gate()
            except (Unavailable, TryLater, Unauthorized) as away:
                self.health.away(part, away)
                self._wait(services, backoff(1, OPENING_PAUSE, OPENING_PAUSE, self._rng))
            else:
                return not self._stopping.is_set()
        return False

    def _wait(self, services: Sequence[Service], timeout: float) -> None:
        """In turn, since whatever must be kept is one thread's: the heartbeats of nsqd are far longer than that."""
        deadline = time.monotonic() + timeout
        for service in services:
            service.wait(timeout / len(services))
        self._stopping.wait(max(0.0, deadline - time.monotonic()))
