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
        self._noted: dict[str | None, set[Due]] = {}
        self._done: dict[str | None, set[Due]] = {}

    def note(self, clock: str | None, entries: Iterable[Due]) -> None:
        noted = self._noted.setdefault(clock, set())
        for entry in set(entries) - noted:
            noted.add(entry)
            heapq.heappush(self._heaps.setdefault(clock, []), entry)

    def take(self, clock: str | None, until: int) -> Due | None:
        """The first entry of `clock` up to `until`, taken off."""
        heap, done = self._heaps.get(clock), self._done.get(clock, set())
        while heap and heap[0][0] <= until:
            entry = heapq.heappop(heap)
            self._noted[clock].discard(entry)
            if entry not in done:
                return entry
            done.discard(entry)
        return None

    def done(self, entry: Due) -> None:
        """A process before this one has taken it, by whichever clock."""
        for clock, noted in self._noted.items():
            if entry in noted:
                self._done.setdefault(clock, set()).add(entry)

    def forget(self, clock: str | None) -> None:
        """The clock is deleted."""
        for known in (self._heaps, self._noted, self._done):
            known.pop(clock, None)


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


def _of_checkout(session: Obj) -> list[int]:
    return [session["expires_at"]] if session["status"] == "open" else []


_TIMES = {
    "checkout.session": _of_checkout,
    "subscription": _of_subscription,
    "invoice": _of_invoice,
    "test_helpers.test_clock": _of_test_clock,
}
