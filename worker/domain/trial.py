"""When a trial ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from worker.domain.clocks import CLOCKS_AGREE
from worker.domain.profile import ProfileCreated


@dataclass(frozen=True, slots=True)
class TrialPolicy:
    """How long a trial is, and how old a profile may be to have its trial counted from its creation."""

    length: timedelta
    max_lag: timedelta


@dataclass(frozen=True, slots=True)
class TrialLengths:
    """How long a user's first subscription is on trial: on plans that have a trial of their `own`, and on others."""

    usual: timedelta
    own: Mapping[str, timedelta]

    def of(self, plan: str) -> timedelta:
        return self.own.get(plan, self.usual)


def trial_end(profile: ProfileCreated, first_seen: datetime, trial: TrialPolicy) -> datetime:
    """When this profile's trial ends (UTC, whole seconds).

    Counted from the profile's creation, so that a slow queue neither lengthens nor shortens a trial; from `first_seen`
    where the profile doesn't say or is older than `trial.max_lag` (a backfill). A creation in the future counts as now.
    """
    created = min(profile.created_at or first_seen, first_seen)
    start = created if first_seen - created <= trial.max_lag else first_seen
    return (start + trial.length).replace(microsecond=0)


def capped_trial_end(end: datetime, stripe_now: datetime, length: timedelta) -> datetime:
    """`end`, but no later than a full trial from now by Stripe's clock (UTC, whole seconds).

    Clocks that were ahead at first sight have made the trial as much too long. Those that agree change nothing.
    """
    longest = (stripe_now + length).replace(microsecond=0)
    return end if end - longest <= CLOCKS_AGREE else longest
