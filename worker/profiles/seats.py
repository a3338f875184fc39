"""Room among the settling threads for rows that are leased in the very transaction that inserts them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from worker.domain.provisioning import Lane, Provisioning
from worker.profiles.ledger import Lease, Ledger


class Seats:
    """Granted room; `settle` what was inserted under it."""

    def __init__(self, ledger: Ledger, granted: Counter[Lane]) -> None:
        self.lease = ledger.length
        self.leases: list[Lease] = []
        self._left = Counter(granted)
        self._deadline = ledger.new_deadline()
        self.stripe_now = ledger.now()

    def take(self, lane: Lane) -> bool:
        """Whether one more row of `lane` is to be leased at once."""
        self._left[lane] -= 1
        return self._left[lane] >= 0

    def settle(self, rows: Sequence[Provisioning]) -> None:
        """Hands committed, leased rows to the threads (when the block ends)."""
        self.leases.extend(Lease(row, self._deadline.copy()) for row in rows)
