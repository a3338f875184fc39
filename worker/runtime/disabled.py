"""What is left of jobs that ask Stripe where no key is given: their channels are kept, and nothing is consumed."""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping

import structlog

from worker.runtime.services import Job
from worker.runtime.watch import DepthWatch
from worker.settings.sections import NsqSettings
from worker.telemetry import Health, Metrics, Watchdog
from worker.threads import Threads

INTERVAL = 1.0
"""Seconds in which each of the connections is heard once."""

DISABLED = "disabled: STRIPE_SECRET_KEY is not set"
KEPT = f"{DISABLED}; messages are kept in their channel"


class Disabled:
    """A `Service` that passes no gate, in place of `jobs` (by name). `watches_depths`: nobody else of the process
    does."""

    def __init__(
        self,
        jobs: Mapping[str, Job],
        nsq: NsqSettings,
        metrics: Metrics,
        health: Health,
        rng: random.Random,
        *,
        watches_depths: bool,
    ) -> None:
        self._jobs = jobs
        self._nsq = nsq
        self._metrics = metrics
        self._health = health
        self._readers = [job.reader(nsq, rng, metrics) for job in jobs.values() if job.reader]
        self._depths = DepthWatch(nsq, metrics, Watchdog(health)) if watches_depths else None
        self._began = False
        self._stopping = threading.Event()

    def wait(self, timeout: float) -> None:
        """It begins before anything is waited for."""

    def start(self, threads: Threads) -> None:
        structlog.get_logger(__name__).warning(
            "billing.disabled", missing="STRIPE_SECRET_KEY", jobs=list(self._jobs), channel=self._nsq.channel
        )
        for job in self._jobs.values():
            if job.asks and not job.reader:
                self._health.set(job.asks, ok=True, detail=DISABLED)
        if depths := self._depths:
            threads.spawn("kept-depths", lambda: depths.run(self._stopping))
        if self._readers:
            self._began = True
            threads.spawn("channel-keeper", self._keep)

    def stop(self) -> None:
        self._stopping.set()

    def close(self) -> None:
        if not self._began:  # else its thread closes them
            for reader in self._readers:
                reader.close(timeout=0)

    def _keep(self) -> None:
        for reader in self._readers:
            reader.pause()
        while not self._stopping.is_set():
            for reader in self._readers:
                reader.read(1, timeout=INTERVAL / len(self._readers))
            self._tell()
        for reader in self._readers:
            reader.close(timeout=2.0)

    def _tell(self) -> None:
        troubles = dict.fromkeys(trouble for reader in self._readers for trouble in reader.troubles)
        is_well = all(reader.connected for reader in self._readers)
        for part in kept_parts(self._jobs):
            self._health.set(part, ok=is_well, detail="; ".join([KEPT, *troubles]))
        links = [reader.links for reader in self._readers]
        self._metrics.nsqd_links(
            connected=sum(each.connected for each in links), wanted=sum(each.wanted for each in links)
        )


def kept_parts(jobs: Mapping[str, Job]) -> list[str]:
    """The parts of readiness that are left of these jobs."""
    return [part for job in jobs.values() for part in job.parts if part.startswith("nsqd")]
