"""The demo's count must fail on what is wrong: it is what people believe."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sandbox.demo.traffic import Published
from sandbox.demo.verdict import Events, Expected, Percentiles, Provisioned, Verdict, percentiles, provisioned
from sandbox.demo.verdict import verdict as final
from sandbox.stripe.control import LoggedRequest, State
from worker.store.overview import Account

CREATED = datetime(2026, 11, 20, 12, 0, 0, 750_000, UTC)
TRIAL_END = datetime(2026, 12, 21, 12, 0, 0, tzinfo=UTC)
EXPECTED = Expected("pending", timedelta(days=31))
HEARD = Events(received=9, duplicates=2, stale=1, refreshed=3, applied=2)
ACCOUNT = Account(
    "ann", "completed", "cus_1", "sub_1", "pending", "trialing", TRIAL_END, CREATED + timedelta(milliseconds=250)
)
CUSTOMER = {"id": "cus_1", "metadata": {"user_id": "ann"}}
SUBSCRIPTION = {
    "id": "sub_1",
    "customer": "cus_1",
    "status": "trialing",
    "trial_end": int(TRIAL_END.timestamp()),
    "metadata": {"user_id": "ann"},
}
REQUESTS: Any = [{"user_id": "ann", "handled_ms": 110.0}, {"user_id": "ann", "handled_ms": 130.0}]


def at_stripe(customers: list[Any] | None, subscriptions: list[Any] | None) -> State:
    state: Any = {
        "customers": [CUSTOMER] if customers is None else customers,
        "subscriptions": [SUBSCRIPTION] if subscriptions is None else subscriptions,
    }
    stripe: State = state
    return stripe


def at_first(accounts: list[Account], stripe: State, expected: Expected = EXPECTED) -> Provisioned:
    requests: list[LoggedRequest] = REQUESTS
    return provisioned({"ann": Published(CREATED, CREATED)}, accounts, stripe, requests, expected, seconds=1.0)


def verdict(
    *,
    customers: list[Any] | None = None,
    subscriptions: list[Any] | None = None,
    accounts: list[Account] | None = None,
    drift: int = 0,
) -> Verdict:
    stripe, held = at_stripe(customers, subscriptions), [ACCOUNT] if accounts is None else accounts
    return final(at_first(held, stripe), held, stripe, HEARD, changes=5, drift=drift, seed=7)


def test_one_of_each_with_the_right_trial_is_right() -> None:
    found = verdict()
    assert found.right
    assert (found.profiles, found.customers, found.subscriptions, found.duplicates, found.missing) == (1, 1, 1, 0, 0)


def test_overhead_is_the_time_that_stripe_did_not_take() -> None:
    found = verdict()
    assert found.publish_to_persisted_ms == Percentiles(250.0, 250.0)
    assert found.overhead_ms == Percentiles(10.0, 10.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"customers": []},
        {"subscriptions": []},
        {"accounts": []},
        {"subscriptions": [{**SUBSCRIPTION, "status": "canceled"}]},
        {"subscriptions": [{**SUBSCRIPTION, "trial_end": int(TRIAL_END.timestamp()) - 1}]},
        {"subscriptions": [{**SUBSCRIPTION, "customer": "cus_2"}]},
        {"accounts": [replace(ACCOUNT, state="customer_created")]},
        {"accounts": [replace(ACCOUNT, stripe_subscription_id="sub_2")]},
        {"accounts": [replace(ACCOUNT, stripe_customer_id="cus_2")]},
        {"accounts": [replace(ACCOUNT, plan="free")]},
        {"accounts": [replace(ACCOUNT, trial_end=TRIAL_END + timedelta(seconds=1))]},
    ],
)
def test_whoever_lacks_anything_is_missing(wrong: dict[str, Any]) -> None:
    found = verdict(**wrong)
    assert found.missing == 1
    assert not found.right


@pytest.mark.parametrize(
    "double",
    [
        {"customers": [CUSTOMER, {**CUSTOMER, "id": "cus_2"}]},
        {"subscriptions": [SUBSCRIPTION, {**SUBSCRIPTION, "id": "sub_2"}]},
        {"accounts": [ACCOUNT, replace(ACCOUNT, stripe_subscription_id="sub_2")]},
    ],
)
def test_whatever_is_double_is_counted(double: dict[str, Any]) -> None:
    found = verdict(**double)
    assert found.duplicates == 1
    assert not found.right


def test_a_row_that_differs_from_stripe_is_not_right() -> None:
    assert not verdict(drift=1).right


@pytest.mark.parametrize("lost", [{"customers": []}, {"subscriptions": []}, {"accounts": []}])
def test_whoever_has_lost_it_since_is_missing(lost: dict[str, Any]) -> None:
    before = at_first([ACCOUNT], at_stripe(None, None))
    held = lost.get("accounts", [ACCOUNT])
    stripe = at_stripe(lost.get("customers"), lost.get("subscriptions"))
    assert final(before, held, stripe, HEARD, changes=5, drift=0, seed=7).missing == 1


@pytest.mark.parametrize(("late", "right"), [(0, True), (-2, True), (-4, False), (3, False)])
def test_on_a_test_clock_a_trial_is_timed_by_what_had_passed_of_it(late: int, right: bool) -> None:
    """The clock stands a year ahead; the profile was a quarter of a second old when it was settled."""
    clock = CREATED.replace(year=2027, microsecond=0)
    ends = clock + EXPECTED.trial + timedelta(seconds=late)
    stripe = at_stripe(None, [{**SUBSCRIPTION, "trial_end": int(ends.timestamp())}])
    found = at_first([replace(ACCOUNT, trial_end=ends)], stripe, replace(EXPECTED, clock=clock))
    assert (found.missing == 0) == right


def test_the_json_has_what_it_always_had_and_the_events() -> None:
    told = verdict().as_json()
    assert list(told) == [
        "profiles", "customers", "subscriptions", "duplicates", "missing", "seconds", "publish_to_persisted_ms",
        "overhead_ms", "events", "changes", "drift", "seed",
    ]  # fmt: skip
    assert told["events"] == {"received": 9, "duplicates": 2, "stale": 1, "refreshed": 3, "applied": 2}


def test_percentiles_go_by_nearest_rank() -> None:
    assert percentiles([float(n) for n in range(1, 101)]) == Percentiles(50.0, 99.0)
    assert percentiles([]) == Percentiles(0.0, 0.0)
