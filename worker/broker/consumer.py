"""The loop that absorbs: read a batch, commit what it means, and only then finish it."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from datetime import UTC, datetime
from typing import NamedTuple

from worker.broker.messages import Message
from worker.broker.reader import Reader
from worker.errors import TryLater, Unavailable
from worker.telemetry import Metrics

Commit = Callable[[], Counter[tuple[str, str]]]
"""Commits a prepared batch, on any thread; counts its messages by (topic, outcome). Raises `Unavailable` or `TryLater`:
nothing is known to be committed, and the same batch may be prepared and committed again."""

Prepare = Callable[[Sequence[Message]], Commit]
"""Does what a batch needs no database for."""

AHEAD_FROM = 50
"""Messages in a batch from which on another thread commits it while the next one is read and prepared. Below, handing
over costs more than it hides: a single signup is committed where it was read."""

READ_TIMEOUT, CONNECTING_TIMEOUT = 1.0, 0.1
"""Seconds a read waits for a message; shorter while there is no connection, to tell of it soon."""

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0
"""Seconds between attempts to absorb a batch while Postgres is away. The batch stays in hand, and the loop keeps
answering heartbeats; what nsqd meanwhile times out and delivers again is a known row by then."""


class _Batch(NamedTuple):
    """`read_at`: when, on the monotonic clock."""

    messages: Sequence[Message]
    read_at: float
    commit: Commit


class Consumer:
    """Owns `reader` from `run` on. `report(ok, detail)` hears of the state of the brokers' connections."""

    def __init__(
        self,
        reader: Reader,
        prepare: Prepare,
        metrics: Metrics,
        *,
        batch: int,
        rng: random.Random,
        report: Callable[[bool, str], None],
    ) -> None:
        self._reader = reader
        self._prepare = prepare
        self._metrics = metrics
        self._limit = batch
        self._rng = rng
        self._report = report
        self._began = False
        self._stopping = threading.Event()

    def run(self) -> None:
        """Absorbs until `stop`, then gives back what is left and closes every connection."""
        self._began = True
        with ThreadPoolExecutor(1, thread_name_prefix="committer") as committer:
            following: _Batch | None = None
            while not self._stopping.is_set():
                batch = following or self._next(READ_TIMEOUT if self._reader.connected else CONNECTING_TIMEOUT)
                following = self._take(batch, committer) if batch else None
        self._reader.close(timeout=2.0)

    def close(self) -> None:
        """Closes the connections of a reader that `run` never took over; else `run` has closed them."""
        if not self._began:
            self._reader.close(timeout=0)

    def stop(self) -> None:
        """Thread-safe: `run` ends after the batch in hand."""
        self._stopping.set()
        self._reader.wake()

    def _next(self, timeout: float) -> _Batch | None:
        messages = self._reader.read(self._limit, timeout)
        self._report_connections()
        return _Batch(messages, time.monotonic(), self._prepare(messages)) if messages else None

    def _take(self, batch: _Batch, committer: Executor) -> _Batch | None:
        """Sees `batch` committed and finished; returns what was prepared meanwhile."""
        following, commit = None, batch.commit
        if len(batch.messages) >= AHEAD_FROM:
            commit = committer.submit(batch.commit).result
            following = self._next(0)
        counts: Counter[tuple[str, str]] | None
        try:
            counts = commit()
        except (Unavailable, TryLater):
            counts = self._retried(batch.messages)
            if following:  # what it froze at its first sight may be hours old by now
                following = following._replace(commit=self._prepare(following.messages))
        if counts is not None:
            self._finish(batch, counts)
        return following

    def _retried(self, messages: Sequence[Message]) -> Counter[tuple[str, str]] | None:
        """What a batch came to that could not be committed at first; None when the process stops before it can be:
        closing the reader gives it back."""
        pause = FIRST_PAUSE
        self._reader.pause()
        while not self._stopping.is_set():
            self._reader.read(self._limit, pause * self._rng.uniform(0.5, 1.0))
            try:
                counts = self._prepare(messages)()
            except (Unavailable, TryLater):
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                self._reader.resume()
                return counts
        return None

    def _finish(self, batch: _Batch, counts: Counter[tuple[str, str]]) -> None:
        self._reader.finish(batch.messages)
        self._metrics.batch(len(batch.messages), time.monotonic() - batch.read_at)
        for (topic, outcome), count in counts.items():
            self._metrics.messages(topic, outcome, count)
        now = datetime.now(UTC)
        for message in batch.messages:
            self._metrics.persisted((now - message.published_at).total_seconds())

    def _report_connections(self) -> None:
        links = self._reader.links
        self._metrics.nsqd_links(connected=links.connected, wanted=links.wanted)
        self._report(self._reader.connected, f"{links.connected} of {links.wanted} connections")
