"""Messages that have arrived and were not asked for yet."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from worker.domain.messages import Message
from worker.domain.shares import due_shares


class Backlog:
    """Queues by topic; a batch is shared among them by weight, and what one leaves goes to the others.

    A topic whose share of a small batch is less than one message keeps it as credit: with weights 3 and 1 and batches
    of one, every fourth is of the second topic. It is credit for what waits only: an emptied queue has none.
    """

    def __init__(self, weights: Mapping[str, int]) -> None:
        self._weights = dict(sorted(weights.items(), key=lambda item: -item[1]))
        self._queues: dict[str, deque[Message]] = {topic: deque() for topic in self._weights}
        self._credits: dict[str, float] = {}

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def add(self, message: Message) -> None:
        self._queues[message.topic].append(message)

    def take(self, limit: int) -> list[Message]:
        """Up to `limit` messages, those of heavier topics first."""
        if limit <= 0:
            return []
        counts = self._share(limit)
        return [queue.popleft() for topic, queue in self._queues.items() for _ in range(counts.get(topic, 0))]

    def _share(self, limit: int) -> dict[str, int]:
        waiting = {topic: len(queue) for topic, queue in self._queues.items() if queue}
        due = due_shares(limit, {topic: self._weights[topic] for topic in waiting}, waiting)
        owed = {topic: self._credits.get(topic, 0.0) + due[topic] for topic in waiting}
        counts: dict[str, int] = {}
        left = limit
        for topic, length in waiting.items():
            counts[topic] = max(0, min(length, left, int(owed[topic] + 1e-9)))
            left -= counts[topic]
        for topic in sorted(waiting, key=lambda topic: counts[topic] - owed[topic]):  # who is owed most comes first
            more = min(left, waiting[topic] - counts[topic])
            counts[topic] += more
            left -= more
        self._credits = {topic: owed[topic] - counts[topic] for topic in waiting if counts[topic] < waiting[topic]}
        return counts
