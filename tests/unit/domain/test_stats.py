"""What is counted as what."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from worker.domain.stats import Count, stats

TODAY = date(2026, 12, 1)


def count(status: str = "active", subscriptions: int = 1, **changed: Any) -> Count:
    return Count("pro", status, False, None, subscriptions)._replace(**changed)


def test_what_has_ended_is_counted_by_its_status_alone() -> None:
    found = stats([count(subscriptions=3), count("canceled", 4, canceling=True), count("incomplete_expired", 5)], TODAY)
    assert (found.subscriptions, found.canceling) == (3, 0)
    assert found.by_plan == {"pro": 3}
    assert found.by_status == {"active": 3, "canceled": 4, "incomplete_expired": 5}


def test_plans_and_statuses_add_up_over_whatever_else_tells_them_apart() -> None:
    found = stats([count(subscriptions=2, canceling=True), count(subscriptions=3), count(plan="free")], TODAY)
    assert (found.subscriptions, found.canceling) == (6, 2)
    assert (found.by_plan, found.by_status) == ({"free": 1, "pro": 5}, {"active": 6})


def test_who_owes_a_payment_is_failing_and_a_pause_is_not() -> None:
    assert stats([count("past_due", 2), count("unpaid", 3), count("paused", 5)], TODAY).failing == 5


@pytest.mark.parametrize(("days", "ends_soon"), [(-1, 0), (0, 1), (7, 1), (8, 0)])
def test_a_trial_ends_soon_from_today_to_the_seventh_day_after(days: int, ends_soon: int) -> None:
    day = TODAY + timedelta(days=days)
    counts = [count("trialing", trial_end_day=day), count("active", trial_end_day=day), count("trialing")]
    assert stats(counts, TODAY).trials_ending == ends_soon


def test_what_has_come_to_nothing_is_left_out() -> None:
    assert stats([count(subscriptions=2), count(subscriptions=-2, canceling=True)], TODAY).by_status == {}
