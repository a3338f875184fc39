"""Publishes a file of profiles again: what the ledger knows changes nothing, what it lacks is healed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Protocol

from worker.backfill.back_pressure import BackPressure, Stalled
from worker.backfill.progress import Progress, Rejects, UnusableProgress, Users
from worker.backfill.records import Record, Records
from worker.broker.publisher import Publisher
from worker.domain.profile import MessageShape
from worker.errors import Rejected
from worker.store.engine.clock import transaction_time
from worker.store.engine.database import Database
from worker.store.provisioning.census import Census, census

BATCH_MESSAGES, BATCH_BYTES = 200, 1024 * 1024
"""What is published, and then noted as done, at once: at most that much is published twice after a kill. An nsqd that
fsyncs each message takes 2 ms for one, and its answer must come within `worker.broker.publisher.ANSWER_TIMEOUT`."""

PUBLISH_SECONDS = 30.0
"""How long to try for nsqd's OK to one batch; meanwhile the publisher reconnects."""

DRAIN_POLL = 0.5


class Watch(Protocol):
    """Who is told how it goes on."""

    def refused(self, record: Record, refusal: Rejected) -> None: ...

    def skipped(self, size: int) -> None: ...

    def advanced(self, progress: Progress, size: int) -> None: ...

    def finished(self) -> None: ...

    def paused(self, depth: int) -> None: ...

    def draining(self, left: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Keeping:
    """What a run keeps: refused records (None: nowhere), the users it met, and how far it got."""

    rejects: Rejects | None
    users: Users
    save: Callable[[Progress], None]


class Outlet:
    """Where messages go: to `topic`, no faster than `pressure` lets them through."""

    def __init__(self, publisher: Publisher, topic: str, pressure: BackPressure) -> None:
        self._publisher = publisher
        self._topic = topic
        self._pressure = pressure

    def send(self, bodies: Sequence[bytes]) -> None:
        """Returns after nsqd's OK. Raises `Rejected`, `Unavailable`, `Stalled`."""
        self._pressure.admit(len(bodies))
        self._publisher.publish(self._topic, bodies, PUBLISH_SECONDS)


class Backfill:
    """Gives the messages of records to `send`, in batches."""

    def __init__(
        self,
        send: Callable[[Sequence[bytes]], None],
        shape: MessageShape,
        *,
        max_message_bytes: int,
        keeping: Keeping,
        watch: Watch,
    ) -> None:
        self._send = send
        self._shape = shape
        self._max_message_bytes = max_message_bytes
        self._keeping = keeping
        self._watch = watch
        self._digest = hashlib.sha256()

    def run(self, records: Records, progress: Progress) -> None:
        """Publishes what comes after `progress`, which is kept current: after each batch that nsqd has confirmed.

        Raises `UnusableProgress` where the input is not the one it was, `Unavailable`, `Stalled`, OSError.
        """
        left = self._skip_done(records, progress)
        for batch in _batches(left):
            good = [(record, body) for record in batch if (body := self._checked(record, progress)) is not None]
            self._publish(good, progress)
            self._note(batch, progress)
            self._keeping.save(progress)
            self._watch.advanced(progress, sum(len(record.raw) for record in batch))
        self._watch.finished()

    def _skip_done(self, records: Records, progress: Progress) -> Iterator[Record]:
        """What is left to do; the part that is done is read again to see that it is the same."""
        self._digest.update(records.header)
        left, skipped, reached = iter(records), 0, 0
        for record in left:
            if record.last > progress.line:
                self._require_same(progress)
                return chain([record], left)
            reached = record.last
            self._digest.update(record.raw)
            self._remember(record)
            skipped += len(record.raw)
            if skipped > BATCH_BYTES:
                self._watch.skipped(skipped)
                skipped = 0
        self._require_same(progress)
        if reached < progress.line:
            raise UnusableProgress(f"the input ends with line {reached}, and was to go on after line {progress.line}")
        return left

    def _require_same(self, progress: Progress) -> None:
        if progress.digest and progress.digest != self._digest.hexdigest():
            problem = f"the input was changed since it was published up to line {progress.line}"
            raise UnusableProgress(f"{problem}; begin anew with --restart")

    def _checked(self, record: Record, progress: Progress) -> bytes | None:
        """The message, by the rules of those who will absorb it; a refused one is set aside."""
        try:
            return self._valid(record)
        except Rejected as refusal:
            self._set_aside(record, refusal, progress)
            return None

    def _valid(self, record: Record) -> bytes:
        if record.refusal is not None or record.message is None:
            raise record.refusal or Rejected("not_json", "the line holds no message")
        profile = self._shape.decode(record.message)
        if len(record.message) > self._max_message_bytes:
            raise Rejected("message_too_big", f"{len(record.message)} bytes; see nsq.max_message_bytes")
        self._keeping.users.add(profile.user_id)
        return record.message

    def _remember(self, record: Record) -> None:
        with suppress(Rejected):  # set aside by the run that met it first
            self._valid(record)

    def _set_aside(self, record: Record, refusal: Rejected, progress: Progress) -> None:
        progress.rejected[refusal.reason] += 1
        self._watch.refused(record, refusal)
        if self._keeping.rejects is not None:
            self._keeping.rejects.add(record.raw)

    def _publish(self, good: list[tuple[Record, bytes]], progress: Progress) -> None:
        if not good:
            return
        try:
            self._send([body for _, body in good])
        except Rejected as refusal:  # nsqd takes less than we do: find the message, so that the others go
            if refusal.reason == "topic_invalid":
                raise
            if len(good) == 1:
                self._set_aside(good[0][0], refusal, progress)
                return
            for one in good:
                self._publish([one], progress)
        else:
            progress.published += len(good)

    def _note(self, batch: list[Record], progress: Progress) -> None:
        for record in batch:
            self._digest.update(record.raw)
        progress.line = batch[-1].last
        progress.records += len(batch)
        progress.digest = self._digest.hexdigest()
        if self._keeping.rejects is not None:
            progress.rejects_bytes = self._keeping.rejects.flushed()


def await_drained(
    unfinished: Callable[[], int],
    *,
    patience: float,
    clock: Callable[[], float],
    wait: Callable[[float], None],
    draining: Callable[[int], None],
) -> None:
    """Returns once no message is left (seen twice: one on its way between two queues of nsqd's is seen in neither).

    Raises `Stalled` when their number hasn't fallen within `patience` seconds, and what `unfinished` raises.
    """
    lowest, since, empty = None, clock(), 0
    while True:
        left = unfinished()
        empty = 0 if left else empty + 1
        if empty == 2:
            return
        if lowest is None or left < lowest:
            lowest, since = left, clock()
        if left and clock() - since > patience:
            raise Stalled(f"{left} messages are not absorbed yet, and for {patience:g} s none was")
        draining(left)
        wait(DRAIN_POLL)


def take_census(database: Database, users: Users, since: datetime | None) -> Census:
    """Where the users of the input stand in the ledger now; found anew are those first seen at `since` or later (None:
    nobody is)."""
    with database.transaction() as tx:
        return census(tx, users, since)


def begin(database: Database, topic: str, line: int = 0) -> Progress:
    """The progress of a backfill that begins now, after line `line`."""
    with database.transaction() as tx:
        return Progress(started_at=transaction_time(tx), topic=topic, line=line)


def _batches(records: Iterator[Record]) -> Iterator[list[Record]]:
    batch: list[Record] = []
    size = 0
    for record in records:
        batch.append(record)
        size += len(record.raw)
        if len(batch) == BATCH_MESSAGES or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
