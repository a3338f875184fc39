"""The loop that absorbs: read a batch, commit what it means, and only then finish it."""

from __future__ import annotations

import math
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from datetime import UTC, datetime
from typing import NamedTuple

import structlog

from worker.broker.reader import Reader
from worker.broker.stuck_batch import Report, StuckBatch
from worker.domain.backoff import backoff
from worker.domain.messages import Absorbed, Message
from worker.errors import Contended
from worker.telemetry import Metrics, Watchdog

PART = "absorbing"

Commit = Callable[[], Absorbed]
"""Commits a prepared batch, on any thread. Whatever it raises, nothing is known to be committed, and the same batch may
be prepared and committed again."""

Prepare = Callable[[Sequence[Message]], Commit]
"""Does what a batch needs no database for."""

AbsorbApart = Callable[[Sequence[Message]], Absorbed]
"""Absorbs a batch that met somebody's lock, without those that are locked; `Contended`: everything is."""

AHEAD_FROM = 50
"""Messages in a batch from which on another thread commits it while the next one is read and prepared. Below, handing
over costs more than it hides: a single signup is committed where it was read, if nothing else is in hand."""

READ_TIMEOUT, CONNECTING_TIMEOUT = 1.0, 0.1
"""Seconds a read waits for a message; shorter while there is no connection, to tell of it soon."""

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0
"""Seconds between attempts to absorb a batch that can't be committed. The batch stays in hand, and the loop keeps
answering heartbeats; what nsqd meanwhile times out and delivers again is a known row by then."""

FIRST_REQUEUE, LONGEST_REQUEUE = 5.0, 60.0
"""Seconds after which nsqd delivers a message again whose row somebody holds: doubled with each of its deliveries."""

TROUBLES_SHOWN = 3
"""Of nsqds that can't be reached, so many are named."""


class _Batch(NamedTuple):
    """`read_at`: when, on the monotonic clock."""

    messages: Sequence[Message]
    read_at: float
    commit: Commit


class Consumer:
    """Owns `reader` from `run` on. `report` hears of the brokers' connections (`nsqd`) and of `part`.

    `gather`: a batch that wasn't full is followed by the next one so many seconds after it was read, not before. What
    comes alone is taken at once; of many, more go in one commit.

    `committers`: so many batches are committed at a time, in any order, where what they say may come in any order.
    """

    def __init__(
        self,
        reader: Reader,
        prepare: Prepare,
        absorb_apart: AbsorbApart,
        metrics: Metrics,
        *,
        batch: int,
        rng: random.Random,
        report: Report,
        watchdog: Watchdog,
        part: str = PART,
        gather: float = 0.0,
        committers: int = 1,
    ) -> None:
        self._reader = reader
        self._part = part
        self._prepare = prepare
        self._absorb_apart = absorb_apart
        self._metrics = metrics
        self._watchdog = watchdog
        self._limit = batch
        self._gather = gather
        self._committers = committers
        self._due_at = -math.inf
        self._rng = rng
        self._report = report
        self._log = structlog.get_logger(__name__)
        self._began = False
        self._stopping = threading.Event()

    def wait(self, timeout: float) -> None:
        """For `timeout` seconds, or until `stop`, keeps the subscriptions and takes nothing: before `run`, while
        nothing could be committed yet. nsqd hangs up on a client that it doesn't hear for two heartbeats."""
        self._reader.pause()
        self._pause(timeout)

    def run(self) -> None:
        """Absorbs until `stop`, then gives back what is left and closes every connection."""
        self._began = True
        self._reader.resume()
        self._report(self._part, True, "")
        with (
            self._watchdog.work(),
            ThreadPoolExecutor(self._committers, thread_name_prefix="committer") as committers,
        ):
            self._absorb(committers)
        self._reader.close(timeout=2.0)

    def close(self) -> None:
        """Closes the connections of a reader that `run` never took over; else `run` has closed them."""
        if not self._began:
            self._reader.close(timeout=0)

    def stop(self) -> None:
        """Thread-safe: `run` ends after the batch in hand."""
        self._stopping.set()
        self._reader.wake()

    def _patience(self) -> float:
        return READ_TIMEOUT if self._reader.connected else CONNECTING_TIMEOUT

    def _next(self, timeout: float) -> _Batch | None:
        early = self._due_at - time.monotonic()
        if early > timeout:
            if timeout:
                self._read(timeout)  # connections are looked after, however long is gathered
            return None
        if early > 0:
            self._stopping.wait(early)
        messages = self._read(timeout, self._limit)
        if not messages:
            return None
        read_at = time.monotonic()
        self._due_at = read_at + (self._gather if len(messages) < self._limit else 0.0)
        return _Batch(messages, read_at, self._prepare(messages))

    def _read(self, timeout: float, limit: int = 0) -> Sequence[Message]:
        messages = self._reader.read(limit, timeout)
        self._watchdog.progress()
        self._report_connections()
        return messages

    def _absorb(self, committers: Executor) -> None:
        """Until `stop`; what is being committed then is finished, too."""
        under_way: deque[tuple[_Batch, Future[Absorbed]]] = deque()
        following: _Batch | None = None
        while not self._stopping.is_set():
            following = following or self._next(0 if under_way else self._patience())
            if following and len(under_way) < self._committers:
                if under_way or len(following.messages) >= AHEAD_FROM:
                    under_way.append((following, committers.submit(following.commit)))
                else:
                    self._end(following, following.commit, committers)
                following = None
            elif under_way:
                batch, committed = under_way.popleft()
                if not self._end(batch, committed.result, committers) and following:
                    # What it froze at its first sight may be hours old by now.
                    following = following._replace(commit=self._prepare(following.messages))
        for batch, committed in under_way:
            self._end(batch, committed.result, committers)

    def _end(self, batch: _Batch, commit: Commit, committers: Executor) -> bool:
        """Sees `batch` committed and finished; whether it was so at once."""
        try:
            absorbed = commit()
        except Exception as error:  # noqa: BLE001 - the batch stays in hand, whatever it is, and `StuckBatch` is loud
            retried = self._retried(batch, error, committers)
            if retried is not None:
                self._finish(batch, retried)
            return False
        self._finish(batch, absorbed)
        return True

    def _retried(self, batch: _Batch, error: Exception, committer: Executor) -> Absorbed | None:
        """What a batch came to that could not be committed at first; None when the process stops before it can be:
        closing the reader gives it back."""
        stuck = StuckBatch(self._part, len(batch.messages), batch.read_at, self._metrics, self._report)
        apart = False
        self._reader.pause()
        while True:
            self._pause(backoff(stuck.failed(error), FIRST_PAUSE, LONGEST_PAUSE, self._rng))
            if self._stopping.is_set():
                return None
            apart = isinstance(error, Contended) and not apart
            try:
                absorbed = self._meanwhile(committer.submit(self._attempt, batch.messages, apart=apart), stuck)
            except Exception as again:  # noqa: BLE001 - as above
                error = again
            else:
                stuck.over()
                self._reader.resume()
                return absorbed

    def _pause(self, seconds: float) -> None:
        """Keeps the paused connections for so long, or until `stop`, whatever else ends a read: an attempt that nobody
        waited for any more, a connection that is made or lost."""
        until = time.monotonic() + seconds
        while not self._stopping.is_set() and (left := until - time.monotonic()) > 0:
            self._read(left)

    def _attempt(self, messages: Sequence[Message], *, apart: bool) -> Absorbed:
        return self._absorb_apart(messages) if apart else self._prepare(messages)()

    def _meanwhile(self, attempt: Future[Absorbed], stuck: StuckBatch) -> Absorbed:
        """What `attempt` comes to; until then heartbeats are answered, and the connections' state is told."""
        attempt.add_done_callback(lambda _: self._reader.wake())
        while not attempt.done():
            self._read(READ_TIMEOUT)
            stuck.show()
        return attempt.result()

    def _finish(self, batch: _Batch, absorbed: Absorbed) -> None:
        done = batch.messages
        if absorbed.requeued:
            done = self._requeue(batch.messages, absorbed.requeued)
        self._reader.finish(done)
        self._metrics.batch(len(batch.messages), time.monotonic() - batch.read_at)
        for (topic, outcome), count in absorbed.counts.items():
            self._metrics.messages(topic, outcome, count)
        now = datetime.now(UTC)
        for message in done:
            self._metrics.persisted((now - message.published_at).total_seconds())

    def _requeue(self, messages: Sequence[Message], held: Sequence[Message]) -> list[Message]:
        """Gives back those that are held; returns the others."""
        delays = [min(FIRST_REQUEUE * 2 ** min(message.attempts - 1, 10), LONGEST_REQUEUE) for message in held]
        for message, delay in zip(held, delays, strict=True):
            self._reader.requeue([message], delay)
        self._log.warning("message.requeued", messages=len(held), seconds=max(delays))
        taken_out = {id(message) for message in held}
        return [message for message in messages if id(message) not in taken_out]

    def _report_connections(self) -> None:
        links = self._reader.links
        self._metrics.nsqd_links(connected=links.connected, wanted=links.wanted, part=self._part)
        said = [f"{links.connected} of {links.wanted} connections", *self._reader.troubles[:TROUBLES_SHOWN]]
        self._report("nsqd", self._reader.connected, "; ".join(said))
