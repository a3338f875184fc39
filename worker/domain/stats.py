"""How many subscriptions there are, by what people ask."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import NamedTuple

from worker.domain.statuses import meaning

SOON = timedelta(days=7)
FAILING = frozenset({"past_due", "unpaid"})


class Count(NamedTuple):
    """So many `subscriptions` are alike. `trial_end_day` in UTC, of those on trial."""

    plan: str
    status: str
    canceling: bool
    trial_end_day: date | None
    subscriptions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """`subscriptions` haven't ended; of those `canceling` end with their period, `failing` owe a payment, and
    `trials_ending` end their trial today or in the seven days after (UTC). `by_plan` is of those too, `by_status` of
    all."""

    subscriptions: int
    canceling: int
    failing: int
    trials_ending: int
    by_plan: Mapping[str, int]
    by_status: Mapping[str, int]


def stats(counts: Iterable[Count], today: date) -> Stats:
    by_plan, by_status = Counter[str](), Counter[str]()
    canceling = failing = trials_ending = 0
    for each in counts:
        by_status[each.status] += each.subscriptions
        if not meaning(each.status, is_pending=False).current:
            continue
        by_plan[each.plan] += each.subscriptions
        canceling += each.subscriptions if each.canceling else 0
        failing += each.subscriptions if each.status in FAILING else 0
        is_soon = each.trial_end_day is not None and today <= each.trial_end_day <= today + SOON
        trials_ending += each.subscriptions if is_soon and each.status == "trialing" else 0
    return Stats(
        subscriptions=by_plan.total(),
        canceling=canceling,
        failing=failing,
        trials_ending=trials_ending,
        by_plan=_ordered(by_plan),
        by_status=_ordered(by_status),
    )


def trials_by_day(counts: Iterable[Count], today: date) -> dict[date, int]:
    """How many trials end on each day from `today` to `SOON` after it (UTC)."""
    days = {today + timedelta(days=number): 0 for number in range(SOON.days + 1)}
    for each in counts:
        if each.status == "trialing" and each.trial_end_day in days:
            days[each.trial_end_day] += each.subscriptions
    return days


def _ordered(counts: Counter[str]) -> dict[str, int]:
    """Those that there are, by name."""
    return {name: count for name, count in sorted(counts.items()) if count}
