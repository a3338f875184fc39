"""The outbox's way to NSQ: every change of a subscription is published, at least once, and then flagged as sent.

It is looked for every `POLL` seconds, by Postgres itself. It could call instead (NOTIFY), and would take one lock for
the whole server at each commit of a change to do so, its flush to disk included: commits of signups would queue up.
Nor does a call reach who listens through a pooler. What a look finds goes as one batch.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import structlog

from worker.broker.publisher import TOO_BIG, Publisher
from worker.domain.backoff import backoff
from worker.domain.change import Change
from worker.errors import Rejected, SubkeeperError, Unavailable
from worker.events.floor import Floor
from worker.store import outbox
from worker.store.engine.database import Database
from worker.telemetry import Health, Metrics, Watchdog

PART = "relay"

POLL = 0.01
"""Seconds between two looks."""

WAIT = 1.0
"""Seconds for which Postgres is asked to look, at most; less where it would break the statement off by then."""

BATCH = 500
"""Changes that are published together, at most. Fewer after a failure: an nsqd that fsyncs each message may be so slow
that it doesn't answer a whole batch in time, and it would be sent again and again."""

PUBLISH_TIMEOUT = 5.0
"""Seconds for a batch, its transaction being open meanwhile; less where Postgres would end the idle session by then."""

CONNECT_INTERVAL = 5.0
"""Seconds between two looks whether nsqd is there, while there is nothing to publish."""

FIRST_RETRY, LAST_RETRY = 0.1, 2.0


class Attempt(NamedTuple):
    """What became of a batch; the rest of it was not sent because of `failure`."""

    sent: list[Change]
    refused: list[tuple[Change, Rejected]]
    failure: Unavailable | None


class Relay:
    """`run` publishes on `topic` until `stop`. `statement_timeout`: for how many seconds Postgres bears with a
    statement, or with a session that is idle in a transaction."""

    def __init__(
        self,
        database: Database,
        publisher: Publisher,
        topic: str,
        metrics: Metrics,
        health: Health,
        watchdog: Watchdog,
        rng: random.Random,
        *,
        statement_timeout: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._publisher = publisher
        self._topic = topic
        self._metrics = metrics
        self._health = health
        self._watchdog = watchdog
        self._rng = rng
        self._timeout = min(PUBLISH_TIMEOUT, statement_timeout / 2)
        self._wait = min(WAIT, statement_timeout / 2)
        self._clock = clock
        self._floor = Floor(clock)
        self._batch = BATCH
        self._failures = 0
        self._connects_at = clock()
        self._stopping = threading.Event()
        self._log = structlog.get_logger(__name__)

    def stop(self) -> None:
        """Thread-safe: `run` ends after the batch in hand."""
        self._stopping.set()

    def run(self) -> None:
        with self._watchdog.work():
            while not self._stopping.is_set():
                self._stopping.wait(self._turn())
                self._watchdog.progress()

    def _turn(self) -> float:
        """Waits until there is something to publish, and does, or until it is time to see whether nsqd is there.
        Returns how many seconds to wait before the next turn."""
        limit = self._batch
        try:
            sent = self.publish_waiting() if self._await_changes() else 0
            if not sent and not self._stopping.is_set():
                self._publisher.connect(self._topic, self._timeout)
        except SubkeeperError as error:
            self._tell_away(error)
            self._failures += 1
            self._batch = max(1, self._batch // 4)
            return backoff(self._failures, FIRST_RETRY, LAST_RETRY, self._rng)
        self._failures = 0
        self._batch = min(BATCH, 2 * self._batch)
        self._connects_at = self._clock() + CONNECT_INTERVAL
        self._health.set(PART, ok=True)
        return 0.0 if sent == limit else POLL

    def _await_changes(self) -> bool:
        """On one connection as long as it lasts: to take it out of the pool costs as much as to look."""
        with self._database.question() as connection:
            questions = outbox.Questions(connection)
            while not (found := self._look(questions)) and self._clock() < self._connects_at:
                questions.await_waiting(self._floor.next(), POLL, self._wait)
                if self._stopping.is_set():
                    return False
        return found

    def _look(self, questions: outbox.Questions) -> bool:
        floor, began = self._floor.next(), self._clock()
        if floor > 0:
            return questions.is_waiting(floor)
        newest = questions.newest()
        found = questions.is_waiting(floor)
        if not found:
            self._floor.nothing_waits(newest, self._clock() - began)
        return found

    def publish_waiting(self) -> int:
        """Publishes up to a batch of changes, and returns how many were taken up.

        A kill between nsqd's OK and the commit sends them twice, which readers bear; never does one go unsent. Raises
        `Unavailable` and what `Database.transaction` raises.
        """
        with self._database.transaction() as tx:
            changes = outbox.take_unsent(tx, self._floor.next(), self._batch)
            if not changes:
                return 0
            attempt = self._publish(changes)
            waited = outbox.mark_sent(tx, [change.id for change in attempt.sent]) if attempt.sent else []
            if attempt.refused:
                outbox.mark_refused(tx, [change.id for change, _ in attempt.refused])
        self._tell(attempt, waited)
        if attempt.sent:
            self._floor.was_sent(max(change.id for change in attempt.sent))
        if attempt.failure is not None:
            raise attempt.failure
        return len(changes)

    def _publish(self, changes: Sequence[Change]) -> Attempt:
        """A batch with a change that nsqd refuses for its size is halved until that one is found: all others go. What
        that leaves no time for stays for the next turn."""
        deadline = time.monotonic() + self._timeout
        sent: list[Change] = []
        refused: list[tuple[Change, Rejected]] = []
        parts = [[(change, change.body()) for change in changes]]
        while parts and time.monotonic() < deadline:
            part = parts.pop()
            try:
                self._publisher.publish(self._topic, [body for _, body in part], deadline - time.monotonic())
            except Rejected as too_big:
                if too_big.reason != TOO_BIG:
                    raise
                if len(part) == 1:
                    refused.append((part[0][0], too_big))
                else:
                    parts += [part[len(part) // 2 :], part[: len(part) // 2]]
            except Unavailable as away:
                return Attempt(sent, refused, away)
            else:
                sent += [change for change, _ in part]
        return Attempt(sent, refused, None)

    def _tell(self, attempt: Attempt, waited: Sequence[float]) -> None:
        for seconds in waited:
            self._metrics.change_sent(seconds)
        for change, why in attempt.refused:
            self._log.error(
                "change.refused", change=change.id, user_id=change.user_id, reason=why.reason, detail=why.detail
            )

    def _tell_away(self, error: SubkeeperError) -> None:
        """nsqd is told as this part's: whoever reads from it in the same process has another view of it."""
        self._connects_at = self._clock()
        self._floor.forget()
        if isinstance(error, Unavailable) and error.dependency != "postgres":
            self._health.set(PART, ok=False, detail=f"changes wait: {error}", kind=type(error).__name__)
        else:
            self._health.away(PART, error)
