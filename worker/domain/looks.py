"""When a look may rely on what was read of Stripe before."""

from __future__ import annotations

from datetime import datetime

from worker.domain.clocks import CLOCKS_AGREE
from worker.domain.provisioning import RENEWAL_MARGIN, Provisioning


def quiet_since(row: Provisioning, now: datetime) -> datetime:
    """Since when no request of the row's step can have taken effect, if none is sent under the present lease. At the
    latest `now` (Stripe's time).

    If none was sent before, since the row was first seen here: another database's workers had sent theirs by then.
    """
    if row.requested_before is not None:
        quiet = row.requested_before.last + RENEWAL_MARGIN
    else:
        quiet = now if row.first_seen is None else row.first_seen + CLOCKS_AGREE
    return min(quiet, now)
