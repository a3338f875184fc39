"""Which event still has to reach which endpoint, and when it is tried next. Times: seconds of the sandbox's clock.

Stripe repeats for up to three days with exponential backoff, in test mode three times over a few hours; the single
intervals aren't published (https://docs.stripe.com/webhooks#retries).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from sandbox.stripe.objects import Obj

Outcome: TypeAlias = Literal["delivered", "failed", "abandoned"]
"""Of an attempt: answered with 2xx; anything else; never to be tried again (its endpoint is gone, or disabled)."""

_MINUTE, _HOUR = 60, 3600
SCHEDULES: Final[dict[str, tuple[int, ...]]] = {
    "test": (10 * _MINUTE, _HOUR, 3 * _HOUR),
    "live": (
        5 * _MINUTE,
        30 * _MINUTE,
        2 * _HOUR,
        5 * _HOUR,
        10 * _HOUR,
        12 * _HOUR,
        12 * _HOUR,
        12 * _HOUR,
        18 * _HOUR,
    ),
}
"""Seconds between an attempt and the one after it."""


@dataclass(slots=True)
class Delivery:
    """An event on its way to an endpoint.

    `counted`: the event's `pending_webhooks` waits for it. `ticket`: its place in the queue, 0 for none.
    """

    event: str
    endpoint: str
    attempts: int = 0
    counted: bool = True
    ticket: int = 0


class Deliveries:
    """All that has not arrived; those that are given up stay known, so that they can be sent again on demand."""

    def __init__(self) -> None:
        self.changed: Callable[[], None] = lambda: None
        self.clear()

    def clear(self) -> None:
        self.schedule = SCHEDULES["test"]
        self._open: dict[tuple[str, str], Delivery] = {}
        self._queue: list[tuple[float, int, Delivery]] = []
        self._tickets = 0

    def add(self, event: str, endpoint: str, *, counted: bool = True) -> None:
        """Due at once, whatever time the event carries; `counted` False for one that had arrived before."""
        delivery = self._open.setdefault((event, endpoint), Delivery(event, endpoint, counted=counted))
        self._enqueue(0.0, delivery)

    def _enqueue(self, when: float, delivery: Delivery) -> None:
        self._tickets += 1
        delivery.ticket = self._tickets
        heapq.heappush(self._queue, (when, delivery.ticket, delivery))
        self.changed()

    def take_due(self, now: float) -> list[Delivery]:
        """What is to be tried now, in order; each must end in `finish`."""
        due = []
        while (when := self.next_due()) is not None and when <= now:
            delivery = heapq.heappop(self._queue)[2]
            delivery.ticket = 0
            due.append(delivery)
        return due

    def next_due(self) -> float | None:
        """When the next attempt is to be made; 0 for at once."""
        while self._queue and self._queue[0][1] != self._queue[0][2].ticket:
            heapq.heappop(self._queue)
        return self._queue[0][0] if self._queue else None

    def knows(self, event: str, endpoint: str) -> bool:
        """Whether that is still to arrive, or was given up."""
        return (event, endpoint) in self._open

    def finish(self, event: str, endpoint: str, outcome: Outcome, at: float) -> bool:
        """Takes an attempt's outcome; True if its event has one endpoint less to wait for."""
        delivery = self._open.get((event, endpoint))
        if delivery is None:
            return False
        delivery.attempts += 1
        delivery.ticket = 0
        if outcome == "delivered":
            del self._open[event, endpoint]
            return delivery.counted
        if outcome == "failed" and delivery.attempts <= len(self.schedule):
            self._enqueue(at + self.schedule[delivery.attempts - 1], delivery)
        return False


def recipients(endpoints: Iterable[Obj], kind: str) -> list[str]:
    """Whom an event of `kind` is delivered to: the ids of the endpoints that are enabled and listen to it."""
    return [
        endpoint["id"]
        for endpoint in endpoints
        if endpoint["status"] == "enabled" and not {"*", kind}.isdisjoint(endpoint["enabled_events"])
    ]
