"""SQL of `provisionings`, the ledger: leasing, and the fenced writes of a lease's holder.

A lease is `due_at = lease_until = now() + lease` by the database's clock, under a `lease_token` that is drawn anew for
each lease. A leased row is simply not due; when its worker dies it becomes due by itself. Every write of a holder names
its token and raises `LeaseLost` where the row has another one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import Connection, Row, TextClause, text

from worker.domain.lanes import Lane
from worker.domain.provisioning import Provisioning, Requested, State
from worker.sealing import HEADER_BYTES
from worker.store.engine import arrays
from worker.store.engine.errors import LeaseLost

NEW_TOKEN = "(1 + floor(random() * 4611686018427387904))::bigint"  # noqa: S105 - SQL
"""A fencing token: 1 to 2^62, compared for equality only. A token that counts up is given twice by a database that was
set back under running workers, and both holders' writes would pass. Postgres seeds `random()` for each session from the
system's strong source, and draws 53 bits: enough, as a token need only not meet one that is still held, and nobody has
to be kept from guessing it. Processes of the first release add 1, for which a bigint has room."""

KNOWN_CUSTOMER = """
    (SELECT c.stripe_customer_id FROM billing_customers c WHERE c.user_id = p.user_id AND c.deleted_at IS NULL)
"""

_COLUMNS = f"""
    p.user_id, p.state, p.generation, p.plan, p.trial_end, p.lane, p.attempts, p.look_first, p.lease_token,
    p.customer_request, p.subscription_request, p.stripe_customer_id,
    p.customer_requested_at, p.customer_last_requested_at,
    p.subscription_requested_at, p.subscription_last_requested_at, due.first_before, due.last_before,
    p.key_possible_since, p.first_seen_at, now() - p.first_seen_at AS seen_for,
    {KNOWN_CUSTOMER} AS known_customer_id
"""

UNFINISHED = "state IN ('pending', 'customer_created')"
"""Whether a row is still to be settled; in these words, since the index of unfinished rows has them."""

OPENABLE = f"""
    (state <> 'pending' OR customer_request IS NULL
     OR substring(customer_request FROM 1 FOR {HEADER_BYTES}) = ANY(CAST(:openable AS bytea[])))
"""
"""Whether whoever has the keys `:openable` can settle the row: its first step opens what is sealed, its second nothing.

The sealed value itself says under which key it was sealed, whoever wrote it: a process of an older release too.
"""

LEASED = """
    p.user_id,
    CASE WHEN p.state = 'pending' THEN p.customer_requested_at ELSE p.subscription_requested_at END AS first_before,
    CASE WHEN p.state = 'pending' THEN p.customer_last_requested_at
         ELSE p.subscription_last_requested_at END AS last_before
"""
"""What leasing needs of a row: whose it is, and when its step was asked before."""

_LEASE = f"""
    UPDATE provisionings p
    SET lease_token = {NEW_TOKEN}, lease_until = now() + :lease, due_at = now() + :lease,
        attempts = p.attempts + 1,
        customer_requested_at = CASE WHEN p.state = 'pending'
            THEN coalesce(p.customer_requested_at, :stripe_now) ELSE p.customer_requested_at END,
        customer_last_requested_at = CASE WHEN p.state = 'pending'
            THEN :stripe_now ELSE p.customer_last_requested_at END,
        subscription_requested_at = CASE WHEN p.state = 'customer_created'
            THEN coalesce(p.subscription_requested_at, :stripe_now) ELSE p.subscription_requested_at END,
        subscription_last_requested_at = CASE WHEN p.state = 'customer_created'
            THEN :stripe_now ELSE p.subscription_last_requested_at END
    FROM due WHERE p.user_id = due.user_id
    RETURNING {_COLUMNS}
"""  # noqa: S608 - the columns are the constant above


def leasing(due: str) -> TextClause:
    """The statement that leases the rows that the query `due` finds, and locks: of `provisionings p`, `LEASED`."""
    return text(f"WITH due AS MATERIALIZED ({due}) {_LEASE}")


_LEASE_DUE = leasing(f"""
    SELECT {LEASED} FROM provisionings p
    WHERE lane = :lane AND {UNFINISHED} AND due_at <= now() AND {OPENABLE}
    ORDER BY due_at LIMIT :limit FOR UPDATE SKIP LOCKED
""")  # noqa: S608 - the condition is the constant above

FENCE = f"WHERE user_id = :user_id AND lease_token = :lease_token AND {UNFINISHED}"

_NEXT_GENERATION = text(f"""
    UPDATE provisionings
    SET generation = generation + 1, look_first = :look_first, last_error = :error, trial_end = :trial_end,
        customer_request = :customer_request, subscription_request = :subscription_request,
        lease_until = now() + :lease, due_at = now() + :lease,
        customer_last_requested_at = CASE WHEN state = 'pending'
            THEN :stripe_now ELSE customer_last_requested_at END,
        subscription_last_requested_at = CASE WHEN state = 'customer_created'
            THEN :stripe_now ELSE subscription_last_requested_at END
    {FENCE}
""")  # noqa: S608 - the fence is the constant above

_FREEZE_SUBSCRIPTION = text(f"""
    UPDATE provisionings SET subscription_request = :request, trial_end = :trial_end {FENCE}
""")  # noqa: S608 - the fence is the constant above

_QUARANTINE = text(f"""
    UPDATE provisionings
    SET state = 'quarantined', quarantined_at = now(), lease_until = NULL, last_error = :error, refusal = NULL,
        stripe_customer_id = CASE WHEN :customer_gone THEN NULL ELSE stripe_customer_id END
    {FENCE}
""")  # noqa: S608 - the fence is the constant above

_EXTEND = text(f"""
    UPDATE provisionings SET lease_until = now() + :lease, due_at = now() + :lease {FENCE}
""")  # noqa: S608 - the fence is the constant above


def lease_due(
    tx: Connection, lane: Lane, limit: int, *, lease: timedelta, stripe_now: datetime, openable: Sequence[bytes]
) -> list[Provisioning]:
    """Leases up to `limit` due rows of `lane`, the longest due first, and notes that their step is about to be sent.

    `openable`: `Sealer.headers`. What is sealed under another key is left to a process that has it.
    """
    chosen = {"lane": int(lane), "limit": limit, "openable": arrays.byteas(openable)}
    return lease_by(tx, _LEASE_DUE, chosen, lease=lease, stripe_now=stripe_now)


def lease_by(
    tx: Connection, statement: TextClause, chosen: Mapping[str, object], *, lease: timedelta, stripe_now: datetime
) -> list[Provisioning]:
    """Leases what a statement of `leasing` finds with the parameters `chosen`."""
    parameters = {**chosen, "lease": lease, "stripe_now": stripe_now}
    return [_provisioning(row) for row in tx.execute(statement, parameters)]


def freeze_subscription_request(tx: Connection, frozen: Provisioning) -> None:
    """Keeps the request that every attempt of this generation sends, and the trial that it asks for."""
    fenced(tx, _FREEZE_SUBSCRIPTION, frozen, request=frozen.subscription_request, trial_end=frozen.trial_end)


def next_generation(
    tx: Connection, row: Provisioning, changed: Provisioning, *, error: str, lease: timedelta, stripe_now: datetime
) -> Provisioning:
    """The step's next generation, with the requests and the trial of `changed`. Renews the lease."""
    fenced(
        tx,
        _NEXT_GENERATION,
        row,
        look_first=changed.look_first,
        error=error,
        trial_end=changed.trial_end,
        customer_request=changed.customer_request,
        subscription_request=changed.subscription_request,
        lease=lease,
        stripe_now=stripe_now,
    )
    return replace(changed, generation=row.generation + 1)


def quarantine(tx: Connection, row: Provisioning, *, error: str, customer_gone: bool) -> None:
    """The row cannot be settled until somebody acts. A customer that is gone is forgotten: a retry makes another."""
    fenced(tx, _QUARANTINE, row, error=error, customer_gone=customer_gone)


def extend(tx: Connection, row: Provisioning, *, lease: timedelta) -> None:
    """Renews the lease in the middle of a long search."""
    fenced(tx, _EXTEND, row, lease=lease)


def fenced(tx: Connection, statement: TextClause, row: Provisioning, **values: object) -> None:
    """Executes a write of the lease's holder. Raises `LeaseLost`."""
    if tx.execute(statement, row.fence | values).rowcount != 1:
        raise LeaseLost(row.user_id)


def _provisioning(row: Row[tuple[object, ...]]) -> Provisioning:
    return Provisioning(
        user_id=row.user_id,
        state=State(row.state),
        generation=row.generation,
        plan=row.plan,
        trial_end=row.trial_end,
        lane=Lane(row.lane),
        attempts=row.attempts,
        look_first=row.look_first,
        lease_token=row.lease_token,
        customer_request=row.customer_request,
        subscription_request=row.subscription_request,
        stripe_customer_id=row.stripe_customer_id,
        customer_requested=_requested(row.customer_requested_at, row.customer_last_requested_at),
        subscription_requested=_requested(row.subscription_requested_at, row.subscription_last_requested_at),
        requested_before=_requested(row.first_before, row.last_before),
        known_customer_id=row.known_customer_id,
        key_possible_since=row.key_possible_since,
        first_seen=row.first_seen_at,
        seen_for=row.seen_for,
    )


def _requested(first: datetime | None, last: datetime | None) -> Requested | None:
    return Requested(first, last) if first and last else None
