"""What a process does beside its jobs, once: it looks after its threads, its gauges, what has expired, and prices."""

from __future__ import annotations

import threading

from worker.runtime.resources import Resources
from worker.runtime.watch import DepthWatch, Watch
from worker.store.provisioning.backlog import Queues
from worker.threads import Threads


class Upkeep:
    """A `Service` without work of its own."""

    def __init__(self, resources: Resources, *, asks_stripe: bool = True) -> None:
        """Whoever asks nothing of Stripe shows no rates; without sealing keys it isn't known what they would open."""
        self._resources = resources
        self._asks_stripe = asks_stripe
        self._stopping = threading.Event()
        openable = resources.keys.openable if resources.settings.has_secret_key else None
        rates = resources.limiter.rates if asks_stripe else None
        self._watch = Watch(resources, Queues(openable), rates)
        self._depths = DepthWatch(resources.settings.nsq, resources.metrics, resources.watchdog)

    def wait(self, timeout: float) -> None:
        """There is no connection to keep."""

    def start(self, threads: Threads) -> None:
        threads.spawn("watchdog", self._resources.watchdog.run)
        threads.spawn("watcher", lambda: self._watch.run(threads.alive))
        threads.spawn("depths", lambda: self._depths.run(self._stopping))
        if self._asks_stripe:
            threads.spawn("catalogue", lambda: self._resources.catalogue.keep_fresh(self._stopping))

    def stop(self) -> None:
        self._stopping.set()
        self._watch.stop()
        self._resources.watchdog.stop()

    def close(self) -> None:
        """Nothing is held."""
