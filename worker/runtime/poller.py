"""The poller's parts, put together: Stripe's events onto NSQ."""

from __future__ import annotations

from worker.broker.publisher import Publisher
from worker.errors import SubkeeperError
from worker.events.envelope import Envelopes
from worker.events.leadership import Leadership
from worker.events.outlet import Outlet
from worker.events.poller import Poller
from worker.events.voice import PART, Voice
from worker.runtime.resources import Resources
from worker.threads import Threads

POLLER = PART

ASK_AGAIN = 5.0
"""Seconds between two questions whose the key is."""


class Polling:
    """A service of a process."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._is_compared = False
        self._unknown: SubkeeperError | None = None
        self._ask_at = resources.clock()
        settings = resources.settings
        publisher = Publisher(settings.nsq, rng=resources.rng)
        self._outlet = Outlet(settings.nsq, publisher, Envelopes(resources.keys.sealer))
        self.poller = Poller(
            Leadership(resources.database, settings.stripe.monthly_reads, resources.clock),
            resources.gateway,
            self._outlet,
            Voice(resources.health, resources.metrics.polls),
            require_ours=self._require_ours,
            watchdog=resources.watchdog,
            clock=resources.clock,
        )

    def _require_ours(self) -> None:
        """Raises unless the account behind the key was compared with the database's; Stripe isn't asked for it again at
        once, and what was said last holds meanwhile."""
        if self._is_compared:
            return
        if self._unknown is not None and self._resources.clock() < self._ask_at:
            raise self._unknown.with_traceback(None)
        self._ask_at = self._resources.clock() + ASK_AGAIN
        try:
            self._resources.ownership.require()
        except SubkeeperError as unknown:
            self._unknown = unknown
            raise
        self._is_compared = True

    def wait(self, timeout: float) -> None:
        """There is no connection to keep."""

    def start(self, threads: Threads) -> None:
        threads.spawn("poller", self.poller.run)

    def stop(self) -> None:
        self.poller.stop()

    def close(self) -> None:
        self._outlet.close()
