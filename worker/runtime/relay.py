"""The relay's parts, put together: the outbox, out to NSQ."""

from __future__ import annotations

from datetime import timedelta

from worker.broker.publisher import Publisher
from worker.events.pruning import Pruner
from worker.events.relay import Relay
from worker.runtime.resources import Resources
from worker.threads import Threads


class Relaying:
    """A `Service` of a process."""

    def __init__(self, resources: Resources) -> None:
        settings = resources.settings
        self._publisher = Publisher(settings.nsq, rng=resources.rng)
        self.relay = Relay(
            resources.database,
            self._publisher,
            settings.nsq.changes_topic,
            resources.metrics,
            resources.health,
            resources.watchdog,
            resources.rng,
            statement_timeout=settings.database.statement_timeout,
        )
        self.pruner = Pruner(
            resources.database, timedelta(days=settings.changes.kept_days), resources.health, resources.watchdog
        )

    def wait(self, timeout: float) -> None:
        """There is no connection to keep yet."""

    def start(self, threads: Threads) -> None:
        threads.spawn("relay", self.relay.run)
        threads.spawn("pruner", self.pruner.run)

    def stop(self) -> None:
        self.relay.stop()
        self.pruner.stop()

    def close(self) -> None:
        self._publisher.close()
