"""The loop that absorbs: read a batch, commit what it means, and only then finish it."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from worker.broker.messages import Message
from worker.broker.reader import Reader
from worker.errors import TryLater, Unavailable
from worker.telemetry import Metrics

Absorb = Callable[[Sequence[Message]], Counter[tuple[str, str]]]
"""Commits a batch; counts its messages by (topic, outcome). Raises `Unavailable` or `TryLater`: nothing is known to be
committed, and the same batch may be absorbed again."""

READ_TIMEOUT, CONNECTING_TIMEOUT = 1.0, 0.1
"""Seconds a read waits for a message; shorter while there is no connection, to tell of it soon."""

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0
"""Seconds between attempts to absorb a batch while Postgres is away. The batch stays in hand, and the loop keeps
answering heartbeats; what nsqd meanwhile times out and delivers again is a known row by then."""


class Consumer:
    """Owns `reader` from `run` on. `report(ok, detail)` hears of the state of the brokers' connections."""

    def __init__(
        self,
        reader: Reader,
        absorb: Absorb,
        metrics: Metrics,
        *,
        batch: int,
        rng: random.Random,
        report: Callable[[bool, str], None],
    ) -> None:
        self._reader = reader
        self._absorb = absorb
        self._metrics = metrics
        self._batch = batch
        self._rng = rng
        self._report = report
        self._began = False
        self._stopping = threading.Event()

    def run(self) -> None:
        """Absorbs until `stop`, then gives back what is left and closes every connection."""
        self._began = True
        while not self._stopping.is_set():
            batch = self._reader.read(self._batch, READ_TIMEOUT if self._reader.connected else CONNECTING_TIMEOUT)
            self._report_connections()
            if batch:
                self._take(batch)
        self._reader.close(timeout=2.0)

    def close(self) -> None:
        """Closes the connections of a reader that `run` never took over; else `run` has closed them."""
        if not self._began:
            self._reader.close(timeout=0)

    def stop(self) -> None:
        """Thread-safe: `run` ends after the batch in hand."""
        self._stopping.set()
        self._reader.wake()

    def _take(self, batch: Sequence[Message]) -> None:
        started = time.monotonic()
        counts = self._absorbed(batch)
        if counts is None:
            return
        self._reader.finish(batch)
        self._metrics.batch(len(batch), time.monotonic() - started)
        for (topic, outcome), count in counts.items():
            self._metrics.messages(topic, outcome, count)
        now = datetime.now(UTC)
        for message in batch:
            self._metrics.persisted((now - message.published_at).total_seconds())

    def _absorbed(self, batch: Sequence[Message]) -> Counter[tuple[str, str]] | None:
        """What the batch came to; None when the process is stopping before it could be committed."""
        pause = FIRST_PAUSE
        while True:
            try:
                counts = self._absorb(batch)
            except (Unavailable, TryLater):
                self._reader.pause()
                self._reader.read(self._batch, pause * self._rng.uniform(0.5, 1.0))
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                self._reader.resume()
                return counts
            if self._stopping.is_set():
                self._reader.requeue(batch)
                return None

    def _report_connections(self) -> None:
        states = self._reader.connections
        alive = sum(state.alive for state in states)
        self._metrics.nsqd_connections(alive)
        self._report(self._reader.connected, f"{alive} of {len(states)} connections")
