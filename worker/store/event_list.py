"""SQL that shows events that were heard, and takes them off the list of those, so that they are taken in again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection, text

from worker.store.engine import arrays
from worker.store.subscriptions import THEIRS


class HeardEvent(NamedTuple):
    """A row of `processed_stripe_events` (times are UTC)."""

    stripe_event_id: str
    created: datetime
    type: str
    object_id: str | None
    source: str
    outcome: str
    processed_at: datetime


class EventCounts(NamedTuple):
    """Events that Stripe made yesterday and today (UTC), by what became of them, and when the last one of each source
    was taken in. `is_cut`: of a day that has more than are counted."""

    outcomes: Mapping[str, int]
    last_taken_in: Mapping[str, datetime]
    is_cut: bool


class Chosen(NamedTuple):
    """Events that were created since so long ago; of a `type`, and about these objects, where that is said."""

    since: timedelta
    type: str | None = None
    objects: Sequence[str] | None = None


_COLUMNS = ", ".join(HeardEvent._fields)

# There is no index on objects: `since` bounds what is read, by the days that the table is cut into.
_PAGE = text(f"""
    SELECT {_COLUMNS} FROM processed_stripe_events
    WHERE created >= now() - CAST(:since AS interval) AND (CAST(:type AS text) IS NULL OR type = :type)
        AND (CAST(:objects AS text[]) IS NULL OR object_id = ANY(CAST(:objects AS text[])))
    ORDER BY created DESC, stripe_event_id LIMIT :limit OFFSET :offset
""")  # noqa: S608 - constants

_FIND = text(f"""
    SELECT {_COLUMNS} FROM processed_stripe_events WHERE stripe_event_id = ANY(CAST(:ids AS text[])) ORDER BY created
""")  # noqa: S608 - constants

_REMOVE = text("DELETE FROM processed_stripe_events WHERE stripe_event_id = ANY(CAST(:ids AS text[]))")

# Whole partitions, of which every row counts: so `most` bounds what is read, too.
_TODAY = "date_trunc('day', now(), 'UTC')"
_OUTCOMES = text(f"""
    WITH today AS MATERIALIZED (
        SELECT outcome, source, processed_at FROM processed_stripe_events WHERE created >= {_TODAY} LIMIT :most
    ), yesterday AS MATERIALIZED (
        SELECT outcome, source, processed_at FROM processed_stripe_events
        WHERE created >= {_TODAY} - interval '1 day' AND created < {_TODAY} LIMIT :most
    )
    SELECT outcome, source, count(*) AS events, max(processed_at) AS last,
           greatest((SELECT count(*) FROM today), (SELECT count(*) FROM yesterday)) AS of_a_day
    FROM (SELECT * FROM today UNION ALL SELECT * FROM yesterday) AS heard GROUP BY outcome, source
""")  # noqa: S608 - constants

# On a customer that several own, each one's; what is nobody's there is told of its own user.
_OBJECTS = text(f"""
    WITH theirs AS MATERIALIZED (
        SELECT s.stripe_subscription_id, s.charge_invoice, c.stripe_customer_id
        FROM billing_subscriptions s JOIN billing_customers c ON c.id = s.billing_customer_id WHERE s.id IN ({THEIRS})
    )
    SELECT stripe_customer_id FROM billing_customers WHERE user_id = :user_id
    UNION SELECT stripe_customer_id FROM theirs
    UNION SELECT stripe_subscription_id FROM theirs
    UNION SELECT charge_invoice FROM theirs WHERE charge_invoice IS NOT NULL
    UNION SELECT u.stripe_subscription_id
    FROM billing_customers c JOIN unmatched_subscriptions u USING (stripe_customer_id) WHERE c.user_id = :user_id
    ORDER BY 1
""")  # noqa: S608 - a constant


def page(tx: Connection, chosen: Chosen, *, limit: int, offset: int = 0) -> list[HeardEvent]:
    """The newest of them."""
    objects = None if chosen.objects is None else arrays.texts(chosen.objects)
    parameters = {"since": chosen.since, "type": chosen.type, "objects": objects, "limit": limit, "offset": offset}
    return [HeardEvent(*row) for row in tx.execute(_PAGE, parameters)]


def outcomes(tx: Connection, most: int) -> EventCounts:
    """What became of those that Stripe made yesterday and today (UTC); of each day `most` are counted."""
    rows = tx.execute(_OUTCOMES, {"most": most}).all()
    counts, last = Counter[str](), dict[str, datetime]()
    for row in rows:
        counts[row.outcome] += row.events
        last[row.source] = max(row.last, last.get(row.source, row.last))
    is_cut = any(row.of_a_day >= most for row in rows)
    return EventCounts(dict(counts.most_common()), last, is_cut)


def find(tx: Connection, event_ids: Sequence[str]) -> dict[str, HeardEvent]:
    """Those of these that were heard, by id."""
    rows = tx.execute(_FIND, {"ids": arrays.texts(event_ids)})
    return {row.stripe_event_id: HeardEvent(*row) for row in rows}


def remove(tx: Connection, event_ids: Sequence[str]) -> None:
    """From now on these were not heard."""
    tx.execute(_REMOVE, {"ids": arrays.texts(event_ids)})


def objects_of(tx: Connection, user_id: str) -> list[str]:
    """The objects that a user has at Stripe, as far as our tables name them: of invoices only the one last charged."""
    return list(tx.execute(_OBJECTS, {"user_id": user_id}).scalars())
