"""What the broker hands to the use cases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Source(Protocol):
    """The connection that a message came on. Both return whether nsqd still waited for that answer there."""

    def finish(self, message_id: bytes) -> bool: ...

    def requeue(self, message_id: bytes, delay: float) -> bool: ...


@dataclass(frozen=True, slots=True)
class Message:
    """One delivery of an NSQ message. Its repr never shows the body, which holds personal data.

    `id` is nsqd's (16 bytes, unique per nsqd, the same on redelivery); `attempts` counts deliveries from 1;
    `published_at` is nsqd's clock at publishing. `source` is for the broker's own use.
    """

    topic: str
    body: bytes = field(repr=False)
    id: bytes
    attempts: int
    published_at: datetime
    source: Source | None = field(default=None, repr=False, compare=False)


@dataclass(slots=True)
class Absorbed:
    """What became of a batch: each message is counted once, by (topic, outcome): `new`, `known`, `quarantined` or
    `requeued`. Those in `requeued` are not finished: they are to come again after a while."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    requeued: list[Message] = field(default_factory=list)

    def add(self, other: Absorbed) -> None:
        """What became of another part of the batch."""
        self.counts += other.counts
        self.requeued += other.requeued


def requeued(messages: Sequence[Message]) -> Absorbed:
    """None of these could be absorbed."""
    return Absorbed(Counter((message.topic, "requeued") for message in messages), list(messages))


def published_at(nanoseconds: int) -> datetime:
    """nsqd's timestamp (nanoseconds since 1970, 64 bits signed, so between 1677 and 2262) as UTC."""
    return _EPOCH + timedelta(microseconds=nanoseconds // 1000)
