"""SQL of giving a lease back: the row is due again, and what was not sent under the lease was not asked."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Connection, text

from worker.domain.lanes import Lane
from worker.domain.provisioning import Provisioning
from worker.store.provisioning.leases import FENCE, fenced

AS_BEFORE = """
    customer_requested_at = CASE WHEN state = 'pending' AND state = :unsent_in
        THEN CAST(:first_before AS timestamptz) ELSE customer_requested_at END,
    customer_last_requested_at = CASE WHEN state = 'pending' AND state = :unsent_in
        THEN CAST(:last_before AS timestamptz) ELSE customer_last_requested_at END,
    subscription_requested_at = CASE WHEN state = 'customer_created' AND state = :unsent_in
        THEN CAST(:first_before AS timestamptz) ELSE subscription_requested_at END,
    subscription_last_requested_at = CASE WHEN state = 'customer_created' AND state = :unsent_in
        THEN CAST(:last_before AS timestamptz) ELSE subscription_last_requested_at END
"""
"""With the parameters `as_before`."""

_POSTPONE = text(f"""
    UPDATE provisionings
    SET due_at = now() + :delay, lease_until = NULL, lane = :lane, last_error = coalesce(:error, last_error),
        {AS_BEFORE}
    {FENCE}
""")  # noqa: S608 - constants


def as_before(row: Provisioning, *, sent: bool) -> dict[str, object]:
    """If nothing was `sent` of the row's step under the lease, the step's requests are again as they were before: one
    that never left must not make its key look old, nor a look reach further."""
    before = row.requested_before
    return {
        "unsent_in": None if sent else row.state.value,
        "first_before": before and before.first,
        "last_before": before and before.last,
    }


def postpone(tx: Connection, row: Provisioning, *, delay: timedelta, lane: Lane, error: str | None, sent: bool) -> None:
    """Gives the lease back; the row is due again after `delay`."""
    fenced(tx, _POSTPONE, row, delay=delay, lane=int(lane), error=error, **as_before(row, sent=sent))
