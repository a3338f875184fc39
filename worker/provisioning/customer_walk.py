"""One walk through the account's customers, newest first, for all ledger rows that look for theirs.

With a list by `created` for each row of a backlog the same pages are read again and again: 4,470 by 900 rows after an
outage. Here a page that one row needs is read once, by whichever thread comes first, and every digest on it is
remembered. A row is answered by a walk that began when its last request could take effect no more, and that went down
to the beginning of its window.

    began ────┐
              │  newer than what the walk before this one saw: read
    ceiling ──┤
              │  remembered: skipped
    floor ────┤
              │  not read yet: read as far down as the rows that wait need it
    reached ──▼
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from worker.domain.deadline import Clock, Deadline, boot_time
from worker.domain.lanes import Lane
from worker.domain.stripe_facts import CustomerFact, CustomerPage
from worker.errors import Rejected, TryLater
from worker.provisioning.remembered_customers import EVER, NOTHING_YET, RememberedCustomers
from worker.stripe_api.errors import CursorGone, SharedRefusal
from worker.stripe_api.gateway import StripeGateway

OVERLAP = timedelta(seconds=10)
"""How far a walk reads again what the one before it had seen: a customer can be shown later than its `created` says, by
what its request took. One that took longer was made under a key so young that it brings the customer back."""

TURN = 10.0
"""Seconds that a thread reads pages for a row before that is given back; the next one goes on where it was."""

WAIT, MOST_WAITING = 2.0, 3
"""Seconds that a row waits on its thread for the pages that another one reads, and how many may do so at once. The
others are given back, so that threads stay free for what needs no look."""

RETURNS_PER_SECOND, SHORTEST_RETURN, LONGEST_RETURN = 50, 0.5, 30.0
"""So often, all in all, rows come back to see how far the walk is; and after so many seconds each of them."""

LEFT_AFTER = 600.0
"""Seconds after which a row that hasn't come back is no longer waited for: somebody else settled it."""


class WalkUnderWay(TryLater):
    """The walk isn't far enough for this row, which needs no thread to wait: give it back for `after` seconds."""


@dataclass(slots=True, eq=False)
class Wanted:
    """A row that waits. `asked` (by the clock): the walk must have begun since. `start`: as far down it must go."""

    digest: str
    asked: float
    start: datetime
    seen_to: datetime = NOTHING_YET
    """Nothing of the row was created after this, as a walk told that began late enough."""
    told: bool = False
    """Whether there is such a walk."""
    found: CustomerFact | None = None
    came: float = 0.0
    """When it last asked (by the clock)."""

    @property
    def waits(self) -> bool:
        return self.found is None and self.seen_to >= self.start


class CustomerWalk:
    """Shared by all threads. One that finds nobody reading reads the next page; the others wait or come back."""

    def __init__(
        self, gateway: StripeGateway, remembered: RememberedCustomers | None = None, clock: Clock = boot_time
    ) -> None:
        self._gateway = gateway
        self._clock = clock
        self._moved = threading.Condition()
        # All of the following under the condition's lock; but who has the turn reads the place without it.
        self._remembered = remembered or RememberedCustomers()
        self._wanted: dict[str, Wanted] = {}
        self._reading = False
        self._waiting = 0
        self._began = float("-inf")  # by the clock
        self._top: datetime | None = None  # the same in Stripe's time, once it has answered
        self._ceiling: datetime | None = None  # until this walk has come down to what is remembered
        self._risen: list[CustomerFact] = []  # seen above that
        self._reached = NOTHING_YET
        self._after: str | None = None

    def remembered(self, digest: str) -> CustomerFact | None:
        """The customer as some walk saw it; it may have been deleted since."""
        with self._moved:
            return self._remembered.get(digest)

    def forget(self, digest: str) -> None:
        """That customer is gone."""
        with self._moved:
            self._remembered.forget(digest)

    def witnesses(self, now: datetime) -> list[str]:
        """Digests of customers of ours that are there, of different ages, the youngest first."""
        with self._moved:
            return self._remembered.witnesses(now)

    def find(
        self, wanted: Wanted, *, lane: Lane, deadline: Deadline, keep: Callable[[], Deadline]
    ) -> CustomerFact | None:
        """The customer that carries the digest, or None where none was created since `wanted.start`.

        `keep` is called after each page that this thread reads: it renews the row's lease, and tells its deadline.
        Raises `WalkUnderWay`, and what the gateway raises for a page; what was read until then stays.
        """
        began = self._clock()
        while True:
            with self._moved:
                self._join(wanted)
                if not wanted.waits:
                    del self._wanted[wanted.digest]
                    return wanted.found
                if self._clock() - began > (WAIT if self._reading else TURN):
                    raise WalkUnderWay("customer_walk", after=self._pause())
                if self._reading:
                    self._wait(min(WAIT, deadline.remaining() / 2))
                    continue
                self._reading = True
                self._choose_place(wanted)
            self._read_page(lane, deadline)
            deadline = keep()

    # Who waits

    def _join(self, wanted: Wanted) -> None:
        wanted.came = self._clock()
        wanted.found = wanted.found or self._remembered.get(wanted.digest)
        self._wanted.pop(wanted.digest, None)
        self._wanted[wanted.digest] = wanted  # the last one that came is the last one here
        while (first := next(iter(self._wanted.values()))).came < wanted.came - LEFT_AFTER:
            del self._wanted[first.digest]
        if not wanted.told and self._ceiling is None and self._began >= wanted.asked:
            wanted.told, wanted.seen_to = True, self._remembered.floor

    def _wait(self, seconds: float) -> None:
        if self._waiting >= MOST_WAITING:
            raise WalkUnderWay("customer_walk", after=self._pause())
        self._waiting += 1
        try:
            self._moved.wait(max(0.0, seconds))
        finally:
            self._waiting -= 1

    def _pause(self) -> float:
        return min(LONGEST_RETURN, max(SHORTEST_RETURN, len(self._wanted) / RETURNS_PER_SECOND))

    # Reading

    def _choose_place(self, wanted: Wanted) -> None:
        """From where the next page is read.

        On from the last one, as long as somebody who has seen all above it waits for that; so rows that come later
        never send the walk back. They are served from where they stand once nobody else waits.
        """
        if self._ceiling is not None:
            return
        if self._began < wanted.asked:
            self._ceiling, self._risen = self._top and self._top - OVERLAP, []
            self._began, self._top = self._clock(), None
            self._reached, self._after = NOTHING_YET, None
            return
        seen = [each.seen_to for each in self._wanted.values() if each.told and each.waits]
        place = max([each for each in seen if each <= self._reached] or seen)
        if place != self._reached:
            self._reached, self._after = place, None

    def _read_page(self, lane: Lane, deadline: Deadline) -> None:
        until = self._reached if self._after is None and self._reached < NOTHING_YET else None
        page: CustomerPage | None = None
        try:
            page = self._gateway.customers_page(until=until, after=self._after, lane=lane, deadline=deadline)
        except CursorGone:  # that customer was deleted; its place in time will do
            self._after = None
        except (Rejected, SharedRefusal) as odd:  # of a page that all share: no row is at fault
            raise TryLater(f"customer_walk_refused: {odd}") from odd
        finally:
            with self._moved:
                self._reading = False
                if page is not None:
                    self._take(page)
                self._moved.notify_all()

    def _take(self, page: CustomerPage) -> None:
        before, facts = self._reached, page.customers
        self._reached, self._after = (facts[-1].created, facts[-1].id) if page.more else (EVER, None)
        self._top = self._top or page.seen_from
        for fact in facts:
            if (wanted := self._wanted.get(fact.user_digest or "")) is not None:
                wanted.found = fact
        if self._ceiling is not None:
            self._rise(facts)
        else:
            self._sink(facts, before)

    def _rise(self, facts: list[CustomerFact]) -> None:
        """A page above what is remembered; once it has come down to that, the walk goes on below."""
        assert self._ceiling is not None, "what is remembered is still to be met"
        self._risen += [fact for fact in facts if fact.user_digest is not None]
        if self._reached >= self._ceiling:
            return
        self._remembered.add(self._risen, floor=self._remembered.floor)
        self._ceiling, self._risen = None, []
        self._reached, self._after = self._remembered.floor, None

    def _sink(self, facts: list[CustomerFact], before: datetime) -> None:
        """A page below all that is remembered, which is remembered as well while there is room."""
        if self._remembered.floor == before and not self._remembered.is_full:
            self._remembered.add(facts, floor=self._reached)
        for wanted in self._wanted.values():
            if wanted.told and wanted.seen_to <= before:
                wanted.seen_to = min(wanted.seen_to, self._reached)
