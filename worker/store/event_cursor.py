"""SQL of `stripe_event_cursor`: how far Stripe's events were polled, and who polls.

One row, one leader: whoever holds its lease (`lease_until`, by the database's clock) under a random token. Every write
of the leader names the token and raises `LeaseLost` where the row has another one.

`created` never comes from a clock of Stripe's: it is an event's `created`, or when this database was claimed. All
events before it were processed. `caught_up_at` (the database's clock): everything that Stripe had by then was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy
from sqlalchemy import Connection, TextClause, text

from worker.domain.polling import KEPT, Allotment
from worker.store import stripe_reads
from worker.store.engine import arrays
from worker.store.engine.errors import LeaseLost
from worker.store.events import Days, maintain_days
from worker.store.provisioning.leases import NEW_TOKEN


@dataclass(frozen=True, slots=True)
class Standing:
    """The row, `now` (the database's clock), and this month's reads. `gap_from`, `gap_to`: events between them could
    not be had from Stripe any more; None: none are missing."""

    now: datetime
    created: datetime
    caught_up_at: datetime | None
    poll_at: datetime | None
    gap_from: datetime | None
    gap_to: datetime | None
    allotment: Allotment

    @property
    def known_until(self) -> datetime:
        """Until when all events are known to be processed."""
        return max(self.created, self.caught_up_at or self.created)

    @property
    def behind(self) -> timedelta:
        return max(timedelta(0), self.now - self.known_until)

    @property
    def left(self) -> timedelta:
        """Until events that were missed can't be had any more."""
        return max(timedelta(0), KEPT - self.behind)

    @property
    def gap(self) -> timedelta:
        return self.gap_to - self.gap_from if self.gap_from and self.gap_to else timedelta(0)


_COLUMNS = "now() AS now, created, caught_up_at, poll_at, gap_from, gap_to"

# Nothing of ours was there before the database was claimed; an hour is for clocks that disagree.
_BEGIN = text("""
    INSERT INTO stripe_event_cursor (created) SELECT created_at - interval '1 hour' FROM deployment
    ON CONFLICT DO NOTHING
""")
_LOOK = text(f"SELECT {_COLUMNS} FROM stripe_event_cursor")  # noqa: S608 - the constant above
_TAKE = text(f"""
    UPDATE stripe_event_cursor SET lease_token = {NEW_TOKEN}, lease_until = now() + :lease
    WHERE lease_until IS NULL OR lease_until <= now() RETURNING lease_token
""")  # noqa: S608 - the token is a constant

_FENCE = "WHERE lease_token = :token"
_KEEP = text(f"UPDATE stripe_event_cursor SET lease_until = now() + :lease {_FENCE}")  # noqa: S608 - as above
_ADVANCE = text(f"""
    UPDATE stripe_event_cursor SET created = :created, caught_up_at = greatest(caught_up_at, :caught_up_at) {_FENCE}
""")  # noqa: S608 - as above
_POLL_AT = text(f"UPDATE stripe_event_cursor SET poll_at = :poll_at {_FENCE}")  # noqa: S608 - as above
_GAP = text(f"""
    UPDATE stripe_event_cursor SET gap_from = coalesce(gap_from, :since), gap_to = greatest(gap_to, :until) {_FENCE}
""")  # noqa: S608 - as above
_RESIGN = text(f"UPDATE stripe_event_cursor SET lease_until = now() {_FENCE}")  # noqa: S608 - as above
_HEAL = text("UPDATE stripe_event_cursor SET gap_from = NULL, gap_to = NULL WHERE gap_to <= :until")

_REFUSE = text("""
    INSERT INTO processed_stripe_events (stripe_event_id, created, type, source, outcome)
    VALUES (:id, :created, :type, 'poll', 'refused') ON CONFLICT DO NOTHING
""")

_PROCESSED = text("""
    SELECT e.stripe_event_id, e.source
    FROM unnest(CAST(:ids AS text[]), CAST(:created AS timestamptz[])) AS asked (id, created)
    JOIN processed_stripe_events e ON e.stripe_event_id = asked.id AND e.created = asked.created
    WHERE e.created BETWEEN :first AND :last
""")
"""The bounds leave out partitions."""


def find(tx: Connection, monthly_reads: int) -> Standing | None:
    """The row as it is; None before anybody has polled."""
    row = tx.execute(_LOOK).one_or_none()
    return None if row is None else _standing(tx, row, monthly_reads)


def begin(tx: Connection) -> None:
    """Makes the row where there is none, once the database was claimed."""
    tx.execute(_BEGIN)


def take(tx: Connection, lease: timedelta) -> int | None:
    """Leases the row, if nobody holds it: the new leader's token."""
    token: int | None = tx.execute(_TAKE, {"lease": lease}).scalar()
    return token


class Row:
    """The row in a transaction of whoever leads under `token`. Renews the lease."""

    def __init__(self, tx: Connection, token: int, lease: timedelta, monthly_reads: int) -> None:
        self._tx = tx
        self._token = token
        self._write(_KEEP, lease=lease)
        self.standing = _standing(tx, tx.execute(_LOOK).one(), monthly_reads)

    def advance(self, created: datetime, caught_up_at: datetime | None) -> None:
        """All events before `created` were processed; and all that there were at `caught_up_at`, if that is known."""
        self._write(_ADVANCE, created=created, caught_up_at=caught_up_at)

    def poll_at(self, at: datetime) -> None:
        """No poll before that, whoever leads then."""
        self._write(_POLL_AT, poll_at=at)

    def note_gap(self, since: datetime, until: datetime) -> None:
        """Events between the two can't be had any more."""
        self._write(_GAP, since=since, until=until)

    def count_read(self) -> bool:
        """A read is about to be sent; False: the month has none left for polls."""
        return stripe_reads.count(self._tx, stripe_reads.POLLS, self.standing.allotment.most)

    def processed(self, events: Mapping[str, datetime]) -> dict[str, str]:
        """Which of the events (ids, and when they were created) were processed, and which source had brought them."""
        if not events:
            return {}
        asked = {"ids": arrays.texts(events), "created": arrays.times(events.values())}
        bounds = {"first": min(events.values()), "last": max(events.values())}
        return {row.stripe_event_id: row.source for row in self._tx.execute(_PROCESSED, {**asked, **bounds})}

    def days(self) -> Days:
        """The days of which events can be recorded; of any other one, that it was published is all that is known."""
        return maintain_days(self._tx)

    def refuse(self, event_id: str, created: datetime, event_type: str) -> bool:
        """The event was processed, by being refused; whether nobody had processed it before."""
        values = {"id": event_id, "created": created, "type": event_type}
        return self._tx.execute(_REFUSE, values).rowcount == 1

    def resign(self) -> None:
        """Anybody may lead."""
        self._write(_RESIGN)

    def _write(self, statement: TextClause, **values: object) -> None:
        if self._tx.execute(statement, {"token": self._token, **values}).rowcount != 1:
            raise LeaseLost("stripe_event_cursor")


def heal_gap(tx: Connection, until: datetime) -> bool:
    """What Stripe says was compared with every row, as it was at `until` or later; whether a gap has ended by that."""
    return tx.execute(_HEAL, {"until": until}).rowcount == 1


def _standing(tx: Connection, row: sqlalchemy.Row[tuple[object, ...]], monthly_reads: int) -> Standing:
    polls, others = stripe_reads.this_month(tx, stripe_reads.POLLS)
    return Standing(**row._asdict(), allotment=Allotment(monthly_reads, polls, others))
