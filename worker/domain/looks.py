"""When a look may rely on what was read of Stripe before."""

from __future__ import annotations

from datetime import datetime, timedelta

from worker.domain.provisioning import RENEWAL_MARGIN, Provisioning


def quiet_for(row: Provisioning, now: datetime) -> timedelta:
    """For how long no request of the row's step can have taken effect, if none is sent under the present lease. `now`:
    Stripe's time.

    If none was sent before, since the row was first seen here: another database's workers had sent theirs by then.
    Never less than nothing: a database restored onto a machine whose clock is behind saw its rows in times to come.
    """
    if row.requested_before is None:
        return max(timedelta(0), row.seen_for)
    return max(timedelta(0), now - row.requested_before.last - RENEWAL_MARGIN)
