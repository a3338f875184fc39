"""What an event does to a row, rule by rule."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from worker.domain.event import Event
from worker.domain.subscription import ENDED, State, Subscription, applied
from worker.events.snapshots import read
from worker.stripe_api.credentials import API_VERSION

START = datetime(2026, 11, 1, tzinfo=UTC)
TRIAL_END = START + timedelta(days=20)
STATE: State = {
    "plan": "pending",
    "stripe_subscription_status": "trialing",
    "canceling": False,
    "trial_end": TRIAL_END,
}
ROW = Subscription("sub_1", "ada", STATE, START, START, 1)


@pytest.mark.parametrize(
    ("status", "at", "cause"),
    [
        ("active", TRIAL_END, ENDED),
        ("paused", TRIAL_END + timedelta(hours=1), ENDED),
        ("active", TRIAL_END - timedelta(seconds=2), ENDED),
        ("active", START, ENDED),  # on a test clock
        ("canceled", START + timedelta(days=2), "customer.subscription.deleted"),
        ("canceled", TRIAL_END, ENDED),
    ],
)
def test_a_trials_end_is_told_where_its_time_has_come(status: str, at: datetime, cause: str) -> None:
    state = {**STATE, "stripe_subscription_status": status, "ended_at": at if status == "canceled" else None}
    row, change = applied(ROW, state, at, "customer.subscription.deleted")
    assert change is not None
    assert change.cause == cause
    assert row.last_notified == (TRIAL_END if cause == ENDED else None)


def test_a_trials_end_is_told_once() -> None:
    ended, _ = applied(ROW, {**STATE, "stripe_subscription_status": "active"}, TRIAL_END, "updated")
    again = replace(ended, state=STATE)
    _, change = applied(again, {**STATE, "stripe_subscription_status": "paused"}, TRIAL_END, "updated")
    assert change is not None
    assert change.cause == "updated"


@pytest.mark.parametrize("absurd", [10**15, -(10**15)])
def test_a_time_that_no_calendar_has_is_asked_for(absurd: int) -> None:
    price = {"id": "price_1", "lookup_key": None}
    item = {"id": "si_1", "current_period_start": 1, "current_period_end": 2, "price": price}
    content = {
        "id": "sub_1", "created": 1, "customer": "cus_1", "metadata": {}, "status": "active", "trial_end": absurd,
        "trial_start": None, "canceled_at": None, "ended_at": None, "cancel_at": None, "cancel_at_period_end": False,
        "default_payment_method": None,
        "items": {"has_more": False, "data": [item]},
    }  # fmt: skip
    event = Event("evt_1", "customer.subscription.updated", START, API_VERSION, False, "webhook", content, {})
    assert read(event, lambda _: None).state is None
    assert read(event._replace(object={**content, "trial_end": 5}), lambda _: None).state is not None
