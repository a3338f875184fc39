"""Which time it is, where clocks disagree."""

from __future__ import annotations

from datetime import datetime, timedelta
from statistics import median_high

CLOCKS_AGREE = timedelta(minutes=1)
"""What two clocks may differ by and still tell the same time; beyond it one of them is wrong."""

SAME_MOMENT = timedelta(seconds=1)
"""Stripe's `Date` has whole seconds: nearer than this no clock is better than another."""


def time_by_majority(local: datetime, postgres: datetime | None, stripe: datetime | None) -> datetime:
    """Now (UTC): the median of three clocks, so that one that is wrong changes nothing; the later of two, as what is
    too late is mended before a request is frozen (`capped_trial_end`), while what is too early shortens a trial.

    Within a second of that the local clock counts: `Date` would put a profile that was just created into the future.
    `postgres` and `stripe`: None where they are not known.
    """
    middle = median_high([clock for clock in (local, postgres, stripe) if clock is not None])
    return local if abs(middle - local) <= SAME_MOMENT else middle
