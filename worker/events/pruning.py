"""What was sent long ago leaves the outbox."""

from __future__ import annotations

import threading
from datetime import timedelta

import structlog

from worker.errors import SubkeeperError
from worker.store import outbox
from worker.store.engine.database import Database
from worker.telemetry import Health, Watchdog

BATCH = 5_000
"""Changes that one transaction looks at."""

PAUSE = 0.1
"""Seconds between two of them, so that they leave room for others."""

INTERVAL = 3_600.0
"""Seconds between two walks."""


class Pruner:
    """Deletes changes that were sent more than `kept` ago, in steps, until `stop`."""

    def __init__(self, database: Database, kept: timedelta, health: Health, watchdog: Watchdog) -> None:
        self._database = database
        self._kept = kept
        self._health = health
        self._watchdog = watchdog
        self._stopping = threading.Event()

    def stop(self) -> None:
        self._stopping.set()

    def run(self) -> None:
        while not self._stopping.is_set():
            with self._watchdog.work():
                self._walk()
            self._stopping.wait(INTERVAL)

    def _walk(self) -> None:
        last, pruned, ended = 0, 0, False
        while not ended and not self._stopping.is_set():
            try:
                last, ended, changes = self._step(last)
            except SubkeeperError as error:  # the next walk begins anew
                self._health.away("postgres", error)
                return
            pruned += changes
            self._watchdog.progress()
            self._stopping.wait(PAUSE)
        if pruned:
            structlog.get_logger(__name__).info("changes.pruned", changes=pruned)

    def _step(self, after: int) -> outbox.Pruned:
        with self._database.transaction() as tx:
            return outbox.prune(tx, after, BATCH, self._kept)
