"""The events that Stripe told of and that aren't known to be processed. The cursor waits for them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from worker.domain.polling import AGAIN


@dataclass(slots=True)
class _Entry:
    created: datetime
    published_at: float | None = None
    is_listed: bool = True


class Awaited:
    """By their ids. When one was published is told by a clock in seconds."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self._unrecordable: set[str] = set()
        self._listed_to: datetime | None = None
        self._listed_at: datetime | None = None

    def ids(self) -> dict[str, datetime]:
        """All of them, with when they were created."""
        return {event_id: entry.created for event_id, entry in self._entries.items()}

    @property
    def caught_up_at(self) -> datetime | None:
        """When all that Stripe had is processed now; None while that isn't known."""
        return None if self._entries else self._listed_at

    def place(self, cursor: datetime) -> datetime:
        """Where the cursor belongs: before it, all events were processed. One that appeared late takes it back."""
        place = max(cursor, self._listed_to or cursor)
        return min([place, *(entry.created for entry in self._entries.values())])

    # Listing

    def begin_listing(self) -> None:
        """Everything from the cursor on is about to be listed."""
        for entry in self._entries.values():
            entry.is_listed = False

    def listed(self, event_id: str, created: datetime) -> None:
        """It was listed, and isn't processed."""
        self._entries.setdefault(event_id, _Entry(created)).is_listed = True

    def listed_to(self, created: datetime) -> None:
        """Everything up to then was."""
        self._listed_to = max(created, self._listed_to or created)

    def end_listing(self, at: datetime) -> None:
        """Everything was that there was at this time: Stripe has no more what wasn't among it."""
        self._entries = {event_id: entry for event_id, entry in self._entries.items() if entry.is_listed}
        self._listed_at = at

    # Publishing

    def is_due(self, event_id: str, at: float) -> bool:
        """Whether it is to be published: it never was, or so long ago that the broker may have lost it."""
        entry = self._entries.get(event_id)
        if entry is None:
            return event_id not in self._unrecordable
        return entry.published_at is None or at - entry.published_at >= AGAIN.total_seconds()

    def published(self, event_ids: Iterable[str], at: float) -> int:
        """How many of them had been published before. One that a webhook brought meanwhile may be processed by now."""
        entries = [self._entries[event_id] for event_id in event_ids if event_id in self._entries]
        again = sum(entry.published_at is not None for entry in entries)
        for entry in entries:
            entry.published_at = at
        return again

    def passed(self, event_ids: Iterable[str]) -> None:
        """These hold the cursor no longer."""
        for event_id in event_ids:
            self._entries.pop(event_id, None)

    def unrecordable(self, event_ids: Iterable[str]) -> None:
        """These were published, and more than that can't be known of them."""
        for event_id in event_ids:
            self._entries.pop(event_id, None)
            self._unrecordable.add(event_id)
