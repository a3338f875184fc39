"""What a process can be told to do (`subkeeper run WHAT`): a new job is one line in `JOBS`, or in `FRONTS`."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from worker.broker.reader import Reader
from worker.runtime.events import ABSORBING, ASKING, NSQD, StripeEvents, event_reader
from worker.runtime.poller import POLLER, Polling
from worker.runtime.provisioning import Provisioning, profile_reader
from worker.runtime.relay import Relaying
from worker.runtime.resources import Resources
from worker.settings.model import Settings
from worker.settings.sections import NsqSettings
from worker.telemetry import Health, Metrics
from worker.threads import Threads

ALL = "all"


class Service(Protocol):
    """One job of a process, beside others on the same resources: so its threads' names are its own."""

    def wait(self, timeout: float) -> None:
        """Before `start`, for `timeout` seconds at most: keeps connections alive that would be lost, and takes
        nothing."""

    def start(self, threads: Threads) -> None:
        """Begins, once the gates of the resources are passed."""

    def stop(self) -> None:
        """Takes no new work; the threads end once what they hold is finished or given back."""

    def close(self) -> None:
        """Lets go of everything, started or not."""


@dataclass(frozen=True, slots=True)
class Job:
    """`build` connects to nothing yet. `parts`: what must have reported before the process counts as ready. `asks`: the
    one of them that tells whether Stripe answers; only with one does the process ask Stripe anything, share in its
    rate, and need a key. `reader` reads the topics whose channel is kept while there is none."""

    build: Callable[[Resources], Service]
    parts: tuple[str, ...]
    asks: str | None = None
    reader: Callable[[NsqSettings, random.Random, Metrics], Reader] | None = None


JOBS: Mapping[str, Job] = {
    "profiles": Job(Provisioning, ("postgres", "nsqd", "stripe"), "stripe", profile_reader),
    "events": Job(StripeEvents, ("postgres", NSQD, ABSORBING, ASKING), ASKING, event_reader),
    "poller": Job(Polling, ("postgres", POLLER), POLLER),
    "relay": Job(Relaying, ("postgres", "relay")),
}


@dataclass(frozen=True, slots=True)
class Front:
    """A service that begins without Postgres and Stripe, and so passes no gate: it begins first, whether billing is
    disabled or not. `build` may listen."""

    build: Callable[[Settings, Metrics, Health, random.Random], Service]
    parts: tuple[str, ...]


def _web(settings: Settings, metrics: Metrics, health: Health, rng: random.Random) -> Service:
    from worker.runtime.web import Web  # noqa: PLC0415 - who runs something else starts without it

    return Web(settings, metrics, health, rng)


FRONTS: Mapping[str, Front] = {
    "web": Front(_web, ("webhook", "api", "accounts")),
}


def jobs(what: str) -> dict[str, Job]:
    """Those of a process that runs `what`, a job's name or `ALL`; by name."""
    return {name: job for name, job in JOBS.items() if what in {name, ALL}}


def fronts(what: str) -> list[Front]:
    """Likewise."""
    return [front for name, front in FRONTS.items() if what in {name, ALL}]
