"""Who is served next when lanes share something scarce: weighted, with a floor for each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from enum import IntEnum
from typing import Generic, TypeVar

from worker.domain.shares import Turns

T = TypeVar("T")


class Lane(IntEnum):
    """Who waits for whom: shares of NSQ's in-flight budget, of the settling threads and of Stripe's rate."""

    LIVE = 0
    RETRY = 1
    BACKFILL = 2


PREFETCH = 0.5
"""Rows of a lane that are leased ahead, for each that its threads may be settling: what they take up while the sweeper
fetches more. Without them a quarter of the threads was idle at any moment of a backlog."""


class LaneSchedule:
    """Shares `seats` (settling threads) among lanes by weight.

    A free seat goes to the waiting lane whose turn it is (`Turns`), so an idle lane's share goes to the others. The
    floor keeps seats free for lanes that are not there yet: a million backfilled rows, or retries that hang in
    timeouts, never hold the last seats that a live signup needs.
    """

    def __init__(self, seats: int, weights: Mapping[Lane, int]) -> None:
        self._weights = dict(weights)
        self._turns: Turns[Lane] = Turns()
        floor = {Lane.LIVE: seats // 4, Lane.RETRY: seats // 16, Lane.BACKFILL: seats // 16}
        self._most = {lane: seats - sum(n for other, n in floor.items() if other is not lane) for lane in weights}

    def most(self, lane: Lane) -> int:
        """How many seats `lane` may hold at once."""
        return self._most[lane]

    def most_ahead(self, lane: Lane) -> int:
        """How many may be held besides, for seats that become free."""
        return self.most_held(lane) - self.most(lane)

    def most_held(self, lane: Lane) -> int:
        """How many may be held at once, with a seat or without."""
        return round(self._most[lane] * (1 + PREFETCH))

    def next(self, waiting: Collection[Lane], running: Mapping[Lane, int]) -> Lane | None:
        """The lane to serve now; None when every waiting lane holds all it may."""
        allowed = {lane: self._weights[lane] for lane in sorted(waiting) if running.get(lane, 0) < self._most[lane]}
        return self._turns.next(allowed) if allowed else None


class Reservation(Generic[T]):
    """Room among the working threads for what is leased in the very transaction that inserts it; hand over what was."""

    def __init__(self, granted: Counter[Lane]) -> None:
        self.leases: list[T] = []
        self._left = Counter(granted)

    def take(self, lane: Lane) -> bool:
        """Whether one more of `lane` is to be leased at once."""
        self._left[lane] -= 1
        return self._left[lane] >= 0

    def hand_over(self, leases: Iterable[T]) -> None:
        """Committed leases, which the threads take up when the block ends."""
        self.leases.extend(leases)
