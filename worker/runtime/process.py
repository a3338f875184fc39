"""One process from start to exit."""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Callable

import structlog

from worker.domain.backoff import backoff
from worker.errors import TryLater, Unavailable
from worker.runtime import signals
from worker.runtime.outside import OUTSIDE, Outside
from worker.runtime.provisioning import Provisioning, profile_reader, topic_lanes
from worker.runtime.resources import Resources
from worker.runtime.watch import DepthWatch
from worker.settings.model import Settings
from worker.stripe_api.errors import Unauthorized
from worker.telemetry import Health, Metrics, Watchdog
from worker.threads import Threads
from worker.version import VERSION
from worker.web.health import health_server

DRAIN_SECONDS = 20.0
"""For what is in flight at SIGTERM; with the closing of connections it stays below the 25 s that supervisors grant."""

KEEPERS_SECONDS = 1.0
"""For what goes on until nothing is in flight any more."""

SWITCH_INTERVAL = 0.001
"""Seconds after which a thread that runs Python makes way for one that wants to (Python's default: 0.005). A batch is
committed while the next one is decoded, and would wait that long for its turn after each answer of Postgres."""

OPENING_PAUSE = 1.0


class Process:
    """`run` returns the exit code; `stop` may be called from any thread, but not from a signal handler."""

    def __init__(self, settings: Settings, rng: random.Random, outside: Outside = OUTSIDE) -> None:
        self.settings = settings
        self._outside = outside
        billing = settings.stripe_secret_key() is not None
        self.health = Health(["postgres", "nsqd", "stripe"] if billing else ["nsqd"])
        self.metrics = Metrics(VERSION, self.health, topic_lanes(settings.nsq))
        self.http = health_server(settings.health, self.health, self.metrics)
        self._rng = rng
        self._stopping = threading.Event()
        self._failed = False
        self._threads = Threads(self._thread_failed)
        self._keepers = Threads(self._thread_failed)
        self._log = structlog.get_logger(__name__)

    def stop(self) -> None:
        """Asks the process to drain."""
        self._stopping.set()

    def stop_on_signals(self) -> None:
        """SIGTERM, SIGINT and SIGHUP drain; one that comes later ends the process at once."""
        signals.on_first(self.stop)

    def run(self) -> int:
        """Serves until `stop`, or until a thread dies. Raises `Misconfigured` where it must not start."""
        sys.setswitchinterval(SWITCH_INTERVAL)
        self.http.start()
        try:
            if self.settings.stripe_secret_key() is None:
                self._run_disabled()
            else:
                self._run_provisioning()
        finally:
            self.http.stop()
        return 1 if self._failed else 0

    def _thread_failed(self, name: str) -> None:
        self._failed = True
        self.health.fatal(f"thread {name} died")
        self._stopping.set()

    def _run_disabled(self) -> None:
        """Keeps the channel, so that nothing published meanwhile is lost; consumes nothing; reports its depth."""
        nsq = self.settings.nsq
        self._log.warning("billing.disabled", channel=nsq.channel)
        depths = DepthWatch(nsq, self.metrics, Watchdog(self.health))
        self._threads.spawn("depths", lambda: depths.run(self._stopping))
        reader = profile_reader(nsq, self._rng, self.metrics)
        reader.pause()
        while not self._stopping.is_set():
            reader.read(1, timeout=1.0)
            kept = "billing is disabled: messages are kept in their channel"
            self.health.set("nsqd", ok=reader.connected, detail="; ".join([kept, *reader.troubles]))
            self.metrics.nsqd_links(connected=reader.links.connected, wanted=reader.links.wanted)
        reader.close(timeout=2.0)
        self._threads.join(DRAIN_SECONDS)

    def _run_provisioning(self) -> None:
        resources = Resources(self.settings, self.metrics, self.health, self._rng, self._outside)
        service = Provisioning(resources)
        try:
            if self._open(resources, service):
                service.start(self._threads)
                self._log.info("process.started", version=VERSION)
                self._stopping.wait()
                self._log.info("process.draining")
                service.stop()
                if left := self._threads.join(DRAIN_SECONDS):
                    self._log.warning("process.cut_short", threads=left)
        finally:
            resources.budget.stop(drained=not self._threads.alive())
            self._keepers.join(KEEPERS_SECONDS)
            service.close()
            resources.close()
        self._log.info("process.stopped")

    def _open(self, resources: Resources, service: Provisioning) -> bool:
        """Waits until schema and deployment are known to be ours; False if stopped before that.

        Raises `Misconfigured` where they are not. A key that Stripe refuses is waited for: it may be replaced. nsqd is
        answered meanwhile.
        """
        self._pass("postgres", resources.require_schema, service)
        if self._pass("postgres", resources.budget.join, service):
            self._keepers.spawn("budget", resources.budget.run)
        return self._pass("stripe", resources.require_deployment, service)

    def _pass(self, part: str, gate: Callable[[], None], service: Provisioning) -> bool:
        while not self._stopping.is_set():
            try:
                gate()
            except (Unavailable, TryLater, Unauthorized) as away:
                self.health.away(part, away)
                service.wait(backoff(1, OPENING_PAUSE, OPENING_PAUSE, self._rng))
            else:
                return not self._stopping.is_set()
        return False
