"""What time will change, and when: one order of due times for each clock, this Stripe's own and every test clock."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import TypeAlias

from sandbox.stripe.objects import Obj

HOUR = 3_600
DAY = 86_400
NOTICE = 3 * DAY  # seconds between the announcement of a trial's end and the end
FIRST_PAYMENT = 23 * HOUR  # how long a first invoice, or that of a resumption, may stay unpaid

Due: TypeAlias = tuple[int, str]
"""When, and the id of the object that changes then."""


class Agenda:
    """Due times by clock (None: this Stripe's own); the same one is noted once."""

    def __init__(self) -> None:
        self._heaps: dict[str | None, list[Due]] = {}
        self._noted: set[Due] = set()
        self._done: set[Due] = set()

    def note(self, clock: str | None, entries: Iterable[Due]) -> None:
        for entry in set(entries) - self._noted:
            self._noted.add(entry)
            heapq.heappush(self._heaps.setdefault(clock, []), entry)

    def take(self, clock: str | None, until: int) -> Due | None:
        """The first entry of `clock` up to `until`, taken off."""
        heap = self._heaps.get(clock)
        while heap and heap[0][0] <= until:
            entry = heapq.heappop(heap)
            self._noted.discard(entry)
            if entry not in self._done:
                return entry
            self._done.discard(entry)
        return None

    def done(self, entry: Due) -> None:
        """A process before this one has taken it."""
        if entry in self._noted:
            self._done.add(entry)

    def forget(self, clock: str | None) -> None:
        """The clock is deleted."""
        self._noted.difference_update(self._heaps.pop(clock, ()))


def due_times(obj: Obj) -> list[int]:
    """When time will change `obj`, past times included."""
    times = _TIMES.get(obj["object"])
    return [] if times is None or obj.get("deleted") else times(obj)


def _of_subscription(sub: Obj) -> list[int]:
    if sub["ended_at"] is not None:
        return []
    times = [sub["cancel_at"] or 0, (sub["pause_collection"] or {}).get("resumes_at") or 0]
    if sub["status"] == "trialing":
        times += [sub["trial_end"] - NOTICE, sub["trial_end"]]
    elif sub["status"] == "incomplete":
        times.append(sub["created"] + FIRST_PAYMENT)
    elif sub["status"] in ("active", "past_due", "unpaid"):
        times.append(sub["items"]["data"][0]["current_period_end"])
    return times


def _of_invoice(bill: Obj) -> list[int]:
    if bill["status"] == "draft":
        return [bill["automatically_finalizes_at"] or 0]
    if bill["status"] != "open":
        return []
    unpaid_until = bill["status_transitions"]["finalized_at"] + FIRST_PAYMENT
    return [bill["next_payment_attempt"] or 0, bill["due_date"] or 0, unpaid_until]


def _of_test_clock(clock: Obj) -> list[int]:
    return [clock["deletes_after"]]


_TIMES = {"subscription": _of_subscription, "invoice": _of_invoice, "test_helpers.test_clock": _of_test_clock}
