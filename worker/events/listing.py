"""A window of Stripe's events, from the oldest to the newest, in bounded memory.

Stripe lists the newest first, so all pages of a window are read before its first event is known. A window with more
than `MOST_PAGES` is cut into slices of time, each of which has no more.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from worker.domain.event import Event
from worker.domain.stripe_facts import EventPage
from worker.errors import Rejected
from worker.events.reading import pruned
from worker.stripe_api.event_list import PAGE, EventWindow

MOST_PAGES = 20
SECOND = timedelta(seconds=1)
"""The narrowest slice, since `created` has whole seconds: all pages of one are read."""

_NAME = re.compile(r"[\w.]{1,255}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Malformed:
    """An event that is not as Stripe's are. `id`, `type`, `created`: as far as it says them."""

    id: str | None
    type: str
    created: datetime | None
    refusal: Rejected


Found = Event | Malformed
ReadPage = Callable[[EventWindow, str | None], EventPage]


def slices(read: ReadPage, since: datetime, *, undelivered: bool = False) -> Iterator[list[Found]]:
    """The events from `since` (whole seconds) on, oldest first, slice after slice. Raises what `read` raises."""
    at, until, newest = since, None, since
    while True:
        events, are_all = _read(read, EventWindow(at, until, undelivered))
        if not are_all:
            newest = max(newest, *(each.created or at for each in events))
            until = at + _narrower(at, until or newest + SECOND, events)
            continue
        events.reverse()  # of those of one second, the oldest first
        yield sorted(events, key=lambda each: each.created or at)
        if until is None:
            return
        width = until - at
        if len(events) <= MOST_PAGES * PAGE // 2:
            width *= 2
        at, until = until, until + width
        if until > newest:
            until = None


def _narrower(at: datetime, until: datetime, events: list[Found]) -> timedelta:
    """As wide as what was read, if that is at most half of what was asked for."""
    times = [each.created or at for each in events]
    wanted = min(max(times) - min(times), (until - at) / 2)
    return max(SECOND, timedelta(seconds=int(wanted.total_seconds())))


def _read(read: ReadPage, window: EventWindow) -> tuple[list[Found], bool]:
    """The window's events, newest first, as far as they are few enough; whether these are all."""
    bounded = window.until is None or window.until - window.since > SECOND
    events: list[Found] = []
    after: str | None = None
    for pages in itertools.count(1):
        page = read(window, after)
        events += map(_parsed, page.events)
        after = page.last
        if after is None or (bounded and pages == MOST_PAGES):
            break
    return events, after is None


def _parsed(data: object) -> Found:
    said = data if isinstance(data, dict) else {}
    try:
        return pruned(said, "poll")
    except Rejected as refusal:
        return Malformed(_name(said.get("id")), _name(said.get("type")) or "", _time(said.get("created")), refusal)


def _name(value: object) -> str | None:
    return value if isinstance(value, str) and _NAME.fullmatch(value) else None


def _time(value: object) -> datetime | None:
    try:
        return datetime.fromtimestamp(value, UTC) if isinstance(value, int) else None
    except (OverflowError, ValueError, OSError):
        return None
