"""SQL of `provisionings`, the ledger: what absorbing writes of new users, and of quarantined ones heard of again.

The caller gives rows sorted by `user_id`: two batches in opposite orders would deadlock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection, Row, TextClause, text

from worker.domain.lanes import Lane
from worker.domain.provisioning import Provisioning, Requested, State
from worker.store.engine import arrays
from worker.store.provisioning.leases import KNOWN_CUSTOMER, NEW_TOKEN


@dataclass(slots=True)
class NewProvisioning:
    """What absorbing freezes of a profile. `leased`: the absorbing process settles the row at once.

    `key_possible_since` (UTC): see `Provisioning`. `look_first` says the same to processes that don't know of it.
    """

    user_id: str
    customer_request: bytes
    plan: str
    trial_end: datetime
    lane: Lane
    look_first: bool
    key_possible_since: datetime | None
    leased: bool = False


# ON CONFLICT alone decides. The look before it spares a replay the known rows' pages: the index is enough for it.
# OFFSET 0 keeps it a probe for each row; as a join it would at times be planned to read the whole table.
_INSERT = text(f"""
    INSERT INTO provisionings AS p
        (user_id, customer_request, plan, trial_end, lane, look_first, key_possible_since,
         attempts, due_at, lease_until, lease_token, customer_requested_at, customer_last_requested_at)
    SELECT user_id, customer_request, plan, trial_end, lane, look_first, key_possible_since,
           leased::int, now() + leased::int * :lease, CASE WHEN leased THEN now() + :lease END,
           CASE WHEN leased THEN {NEW_TOKEN} ELSE 0 END,
           CASE WHEN leased THEN :stripe_now END, CASE WHEN leased THEN :stripe_now END
    FROM unnest(CAST(:user_ids AS text[]), CAST(:requests AS bytea[]), CAST(:plans AS text[]),
                CAST(:trial_ends AS timestamptz[]), CAST(:lanes AS smallint[]), CAST(:looks AS boolean[]),
                CAST(:since AS timestamptz[]), CAST(:leased AS boolean[]))
         AS new (user_id, customer_request, plan, trial_end, lane, look_first, key_possible_since, leased)
    WHERE NOT EXISTS (SELECT FROM provisionings known WHERE known.user_id = new.user_id OFFSET 0)
    ON CONFLICT (user_id) DO NOTHING
    RETURNING p.user_id, p.lease_token, CASE WHEN p.lease_token > 0 THEN p.first_seen_at END AS first_seen_at,
              CASE WHEN p.lease_token > 0 THEN {KNOWN_CUSTOMER} END AS known_customer_id
""")  # noqa: S608 - the token and the subquery are constants

# Whoever was deleted at Stripe isn't revived by a replay: only a person does that (`quarantine retry`), for which a
# replay brings the sealed profile again where it has expired.
_REPLACEABLE = text("""
    SELECT user_id, state <> 'quarantined' AS erased, customer_request IS NULL AS expired, EXISTS (
        SELECT FROM billing_customers c WHERE c.user_id = p.user_id AND c.deleted_at IS NOT NULL) AS deleted
    FROM provisionings p
    WHERE user_id = ANY(:user_ids)
        AND (state IN ('erasing', 'erased') OR (state = 'quarantined' AND stripe_customer_id IS NULL))
""")


def _with_free(condition: str) -> str:
    """The quarantined rows of `:user_ids` that fulfil `condition` and that nobody holds, locked."""
    return f"""
        WITH free AS MATERIALIZED (
            SELECT user_id FROM provisionings
            WHERE user_id = ANY(CAST(:user_ids AS text[])) AND state = 'quarantined' AND {condition}
            ORDER BY user_id FOR UPDATE SKIP LOCKED
        )
    """  # noqa: S608 - a constant


_REPLACE_QUARANTINED = text(f"""
    {_with_free("stripe_customer_id IS NULL")}
    UPDATE provisionings p
    SET customer_request = new.customer_request, trial_end = new.trial_end, plan = new.plan, lane = new.lane,
        state = 'pending', generation = p.generation + 1, look_first = true, due_at = now(), lease_until = NULL,
        lease_token = {NEW_TOKEN}, quarantined_at = NULL, refusal = NULL,
        key_possible_since = CASE WHEN p.key_possible_since IS NOT NULL
            THEN least(p.key_possible_since, new.key_possible_since) END
    FROM unnest(CAST(:user_ids AS text[]), CAST(:requests AS bytea[]), CAST(:plans AS text[]),
                CAST(:trial_ends AS timestamptz[]), CAST(:lanes AS smallint[]), CAST(:since AS timestamptz[]))
         AS new (user_id, customer_request, plan, trial_end, lane, key_possible_since)
    JOIN free USING (user_id)
    WHERE p.user_id = new.user_id
    RETURNING p.user_id
""")  # noqa: S608 - the token is a constant

# Not due, and no new generation: only the profile is there again, for as long as one in quarantine is kept.
_REFILL_QUARANTINED = text(f"""
    {_with_free("customer_request IS NULL")}
    UPDATE provisionings p SET customer_request = new.customer_request, quarantined_at = now()
    FROM unnest(CAST(:user_ids AS text[]), CAST(:requests AS bytea[])) AS new (user_id, customer_request)
    JOIN free USING (user_id)
    WHERE p.user_id = new.user_id
    RETURNING p.user_id
""")  # noqa: S608 - as above

_REQUIRE_TABLES = (
    text("LOCK TABLE provisionings, quarantined_messages IN ROW EXCLUSIVE MODE"),
    text("LOCK TABLE billing_customers IN ACCESS SHARE MODE"),
)
"""The locks that absorbing takes anyway, without a row."""


def insert_new(
    tx: Connection, rows: Sequence[NewProvisioning], *, lease: timedelta, stripe_now: datetime
) -> tuple[set[str], list[Provisioning]]:
    """Inserts those of `rows` that are new, in key order; known users are left untouched.

    Returns the new users, and the rows that were leased with their insertion.
    """
    parameters = _arrays(rows) | {
        "looks": arrays.booleans(row.look_first for row in rows),
        "leased": arrays.booleans(row.leased for row in rows),
        "lease": lease,
        "stripe_now": stripe_now,
    }
    inserted = {row.user_id: row for row in tx.execute(_INSERT, parameters)}
    leased = [
        _just_leased(row, inserted[row.user_id], stripe_now) for row in rows if row.leased and row.user_id in inserted
    ]
    return set(inserted), leased


class Replaced(NamedTuple):
    """Users whose quarantined rows have their newer profile and are due, and those whose rows somebody else holds; and
    those who were or are being erased: nothing is written of them."""

    done: set[str]
    held: set[str]
    erased: set[str]


def replace_quarantined(tx: Connection, rows: Sequence[NewProvisioning]) -> Replaced:
    """Gives quarantined rows without a Stripe object their newer profile, and a new chance; waits for nobody's lock.

    Replayed profiles are many and quarantined ones few, so it is asked first whose they are.
    """
    users = [row.user_id for row in rows]
    found = tx.execute(_REPLACEABLE, {"user_ids": users}).all() if users else []
    erased = {row.user_id for row in found if row.erased}
    revivable = {row.user_id for row in found if not row.deleted} - erased
    expired = {row.user_id for row in found if row.deleted and row.expired} - erased
    revived = _write_again(tx, _REPLACE_QUARANTINED, [row for row in rows if row.user_id in revivable])
    refilled = _write_again(tx, _REFILL_QUARANTINED, [row for row in rows if row.user_id in expired])
    return Replaced(revived, (revivable - revived) | (expired - refilled), erased)


def _write_again(tx: Connection, statement: TextClause, rows: Sequence[NewProvisioning]) -> set[str]:
    """The users whose rows it changed."""
    return set(tx.execute(statement, _arrays(rows)).scalars()) if rows else set()


def require_tables(tx: Connection) -> None:
    """Raises `Contended` while somebody holds a lock that keeps out whatever is absorbed."""
    for statement in _REQUIRE_TABLES:
        tx.execute(statement)


def _arrays(rows: Sequence[NewProvisioning]) -> dict[str, object]:
    return {
        "user_ids": arrays.texts(row.user_id for row in rows),
        "requests": arrays.byteas(row.customer_request for row in rows),
        "plans": arrays.texts(row.plan for row in rows),
        "trial_ends": arrays.times(row.trial_end for row in rows),
        "lanes": arrays.numbers(row.lane for row in rows),
        "since": arrays.times(row.key_possible_since for row in rows),
    }


def _just_leased(row: NewProvisioning, inserted: Row[tuple[object, ...]], stripe_now: datetime) -> Provisioning:
    """The row as `_INSERT` wrote it."""
    return Provisioning(
        user_id=row.user_id,
        state=State.PENDING,
        generation=1,
        plan=row.plan,
        trial_end=row.trial_end,
        lane=row.lane,
        attempts=1,
        look_first=row.look_first,
        lease_token=inserted.lease_token,
        customer_request=row.customer_request,
        customer_requested=Requested(stripe_now, stripe_now),
        known_customer_id=inserted.known_customer_id,
        key_possible_since=row.key_possible_since,
        first_seen=inserted.first_seen_at,
    )
