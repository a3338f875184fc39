"""Room among the working threads for what is leased in the very transaction that inserts it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Generic

from worker.domain.lanes import Lane
from worker.work.owner import LeaseT


class Reservation(Generic[LeaseT]):
    """Granted room; hand over what was leased under it."""

    def __init__(self, granted: Counter[Lane]) -> None:
        self.leases: list[LeaseT] = []
        self._left = Counter(granted)

    def take(self, lane: Lane) -> bool:
        """Whether one more of `lane` is to be leased at once."""
        self._left[lane] -= 1
        return self._left[lane] >= 0

    def hand_over(self, leases: Iterable[LeaseT]) -> None:
        """Committed leases, which the threads take up when the block ends."""
        self.leases.extend(leases)
