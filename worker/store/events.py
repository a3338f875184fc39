"""SQL of `processed_stripe_events`, the dedupe table, and of subscriptions that are nobody's yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from typing import NamedTuple

from sqlalchemy import Connection, text

from worker.domain.event import Event
from worker.store import event_list
from worker.store.engine import arrays
from worker.store.engine.errors import EventsHeardTwice


class Days(NamedTuple):
    """The table has partitions for events that were created from `first` to before `end` (UTC), and will have them for
    a day."""

    first: datetime
    end: datetime

    def hold(self, created: datetime) -> bool:
        return self.first <= created < self.end


_MAINTAIN = text("SELECT first, last FROM maintain_event_partitions()")

_KNOWN = text("""
    SELECT p.stripe_event_id, p.outcome = 'quarantined' AS is_aside
    FROM unnest(CAST(:ids AS text[]), CAST(:created AS bigint[])) AS new (id, created)
    JOIN processed_stripe_events p ON p.stripe_event_id = new.id AND p.created = to_timestamp(new.created)
""")

_RECORD = text("""
    INSERT INTO processed_stripe_events (stripe_event_id, created, type, object_id, source, outcome)
    SELECT * FROM unnest(CAST(:ids AS text[]), CAST(:created AS timestamptz[]), CAST(:types AS text[]),
                         CAST(:objects AS text[]), CAST(:sources AS text[]), CAST(:outcomes AS text[]))
    ON CONFLICT DO NOTHING
    RETURNING stripe_event_id
""")

_UNMATCHED = text("""
    INSERT INTO unmatched_subscriptions (stripe_subscription_id, stripe_customer_id)
    SELECT * FROM unnest(CAST(:ids AS text[]), CAST(:customers AS text[]))
    ON CONFLICT DO NOTHING
""")

_PRUNE_UNMATCHED = text("""
    DELETE FROM unmatched_subscriptions WHERE stripe_subscription_id IN (
        SELECT stripe_subscription_id FROM unmatched_subscriptions WHERE recorded_at < now() - CAST(:kept AS interval)
        ORDER BY stripe_subscription_id LIMIT :limit)
""")

_MATCHED = text("DELETE FROM unmatched_subscriptions WHERE stripe_subscription_id = :id")


def maintain_days(tx: Connection) -> Days:
    """Makes the partitions that will be needed, and drops those that are past. The oldest goes at midnight, by
    whichever process is first: it is none of these days."""
    found = tx.execute(_MAINTAIN).one()
    first, last = (datetime.combine(day, time(), UTC) for day in found)
    return Days(first + timedelta(days=1), last + timedelta(days=1))


def known(tx: Connection, created: Mapping[str, int]) -> set[str]:
    """Which events were heard before, of these ids; `created` by id, in Unix time. Those that were set aside are not:
    somebody has them taken in again, and they are off the list of those."""
    asked = {"ids": arrays.texts(created), "created": arrays.numbers(created.values())}
    found = tx.execute(_KNOWN, asked).all()
    if aside := [row.stripe_event_id for row in found if row.is_aside]:
        event_list.remove(tx, aside)
    return {row.stripe_event_id for row in found if not row.is_aside}


def record(tx: Connection, events: Sequence[Event], outcomes: Sequence[str]) -> None:
    """Records what became of events that weren't known, sorted by id. Raises `EventsHeardTwice` where somebody else has
    recorded one of them since: then nothing of this transaction may stay."""
    parameters = {
        "ids": arrays.texts(event.id for event in events),
        "created": arrays.times(event.created for event in events),
        "types": arrays.texts(event.type for event in events),
        "objects": arrays.texts(event.object_id for event in events),
        "sources": arrays.texts(event.source for event in events),
        "outcomes": arrays.texts(outcomes),
    }
    if len(tx.execute(_RECORD, parameters).all()) < len(events):
        raise EventsHeardTwice


def add_unmatched(tx: Connection, subscriptions: Sequence[tuple[str, str]]) -> None:
    """Subscriptions (in order) with their customers, who are nobody's we know."""
    ids, customers = (arrays.texts(column) for column in zip(*subscriptions, strict=True))
    tx.execute(_UNMATCHED, {"ids": ids, "customers": customers})


def prune_unmatched(tx: Connection, kept: timedelta, limit: int) -> int:
    """Forgets up to `limit` that were recorded before `kept` ago; one that lives is recorded anew by its next event.
    Returns how many."""
    return tx.execute(_PRUNE_UNMATCHED, {"kept": kept, "limit": limit}).rowcount


def matched(tx: Connection, stripe_subscription_id: str) -> None:
    """It is somebody's now."""
    tx.execute(_MATCHED, {"id": stripe_subscription_id})
