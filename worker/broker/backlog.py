"""Messages that have arrived and were not asked for yet."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from worker.broker.messages import Message


class Backlog:
    """Queues by topic; a batch is shared among them by weight, and what one leaves goes to the others.

    A topic whose share of a small batch is less than one message keeps it as credit: with weights 3 and 1 and batches
    of one, every fourth is of the second topic.
    """

    def __init__(self, weights: Mapping[str, int]) -> None:
        self._weights = dict(sorted(weights.items(), key=lambda item: -item[1]))
        self._queues: dict[str, deque[Message]] = {topic: deque() for topic in self._weights}
        self._credits = dict.fromkeys(self._weights, 0.0)

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
        whole = sum(self._weights[topic] for topic in waiting)
        for topic in self._queues:
            due = limit * self._weights[topic] / whole if topic in waiting else 0.0
            self._credits[topic] = self._credits[topic] + due if due else 0.0
        counts: dict[str, int] = dict.fromkeys(waiting, 0)
        for credited in (True, False):
            for topic, length in waiting.items():
                most = min(length - counts[topic], limit - sum(counts.values()))
                counts[topic] += max(0, min(most, int(self._credits[topic] + 1e-9))) if credited else most
        for topic, count in counts.items():
            self._credits[topic] -= count
        return counts
