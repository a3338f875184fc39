"""Who polls: one process at a time, the one that holds the lease of the cursor's row."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from worker.domain.deadline import Clock, Deadline
from worker.store import event_cursor
from worker.store.engine.database import Database
from worker.store.event_cursor import Row, Standing

LEASE = timedelta(seconds=8)
"""Another process takes over within this and a second, by which it looks. A request to Stripe ends within it, too."""

LOCK_TIMEOUT = 2.0
"""Seconds. Whoever holds the row's lock longer than a moment hangs; nobody is to lose the lease by waiting for him."""


class Leadership:
    """The lease, once `take` has got it. `write` renews it and raises `LeaseLost` where it is another's by now.

    `deadline` counts suspension, and began before the lease was written: it ends before another process may poll.
    """

    def __init__(self, database: Database, monthly_reads: int, clock: Clock) -> None:
        self._database = database
        self._monthly_reads = monthly_reads
        self._clock = clock
        self._token: int | None = None
        self.deadline = Deadline(clock(), clock)

    @property
    def is_held(self) -> bool:
        return self._token is not None

    def within(self, seconds: float) -> Deadline:
        """The deadline of something that may take so long, and no longer than the lease."""
        return Deadline(min(self.deadline.at, self._clock() + seconds), self._clock)

    def take(self) -> Standing | None:
        """Takes the lease if nobody holds it. What the row said before; None where there was none."""
        deadline = Deadline.after(LEASE.total_seconds(), self._clock)
        with self._database.transaction(LOCK_TIMEOUT) as tx:
            standing = event_cursor.find(tx, self._monthly_reads)
            if standing is None:
                event_cursor.begin(tx)
            token = event_cursor.take(tx, LEASE)
        self._token, self.deadline = token, deadline
        return standing

    @contextmanager
    def write(self) -> Iterator[Row]:
        """A transaction of the leader's."""
        assert self._token is not None
        deadline = Deadline.after(LEASE.total_seconds(), self._clock)
        with self._database.transaction(LOCK_TIMEOUT) as tx:
            yield Row(tx, self._token, LEASE, self._monthly_reads)
        self.deadline = deadline

    def lost(self) -> None:
        """Another one leads."""
        self._token = None

    def resign(self) -> None:
        """Lets another one lead at once."""
        with self.write() as row:
            row.resign()
        self._token = None
