"""What may be asked of a subscription, and by whom."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

import pytest

from worker.domain.accounts import (
    USER_CONTROLLED,
    SubscriptionChange,
    is_acceptable_plan,
    read_change,
    validate_change_request,
    validate_create_request,
)
from worker.domain.callers import ADMIN, READ, Caller
from worker.settings.sections import PlanSettings

NOW = datetime(2026, 11, 30, tzinfo=UTC)
VALUES: dict[str, Any] = {
    "stripe_subscription": "sub_1",
    "stripe_source": "pm_1",
    "email": "ann@example.org",
    "plan": "pro",
    "status": "active",
    "canceling": False,
    "trial_start": NOW,
    "trial_end": NOW,
    "period_start": NOW,
    "period_end": NOW,
    "canceled_at": NOW,
    "failed_charge_attempts": 0,
    "last_failed_charge": NOW,
    "last_notified": NOW,
}
PLANS = {
    name: PlanSettings(name=name, lookup_key=name, admin_only=admin_only)
    for name, admin_only in {"pending": True, "free": True, "pro": False}.items()
}
USER = Caller("u-1", frozenset(), "user u-1")
READER = Caller("u-1", frozenset({READ.id}), "user u-1")
AN_ADMIN = Caller(None, frozenset({ADMIN.id}), "admin")


def test_every_property_has_a_value_in_these_tests() -> None:
    assert set(VALUES) == {each.name for each in fields(SubscriptionChange)}


def test_a_change_of_nothing_is_empty() -> None:
    change = SubscriptionChange()
    assert (change.is_empty, change.changing_system_properties, change.concerns_stripe) == (True, [], False)


@pytest.mark.parametrize("name", VALUES)
def test_a_property_is_the_users_or_the_systems(name: str) -> None:
    change = SubscriptionChange(**{name: VALUES[name]})
    assert not change.is_empty
    assert change.changing_system_properties == ([] if name in USER_CONTROLLED else [f"/{name}"])
    assert {"plan", "stripe_source", "email", "canceling"} == USER_CONTROLLED
    assert change.concerns_stripe == (name in USER_CONTROLLED or name == "trial_end")


@pytest.mark.parametrize("name", ["trial_end", "canceled_at", "last_failed_charge"])
def test_to_clear_a_property_is_to_change_it(name: str) -> None:
    cleared: dict[str, Any] = {name: None}
    assert SubscriptionChange(**cleared).changing_system_properties == [f"/{name}"]


def test_system_properties_are_told_in_their_order() -> None:
    change = SubscriptionChange(**VALUES)
    assert change.changing_system_properties == [f"/{name}" for name in VALUES if name not in USER_CONTROLLED]


@pytest.mark.parametrize(
    ("plan", "users", "readers", "admins"),
    [
        ("pro", True, True, True),
        ("pending", False, False, True),
        ("free", False, False, True),
        ("gold", False, False, False),
        ("", False, False, False),
    ],
)
def test_a_plan_is_acceptable_by_who_chooses_it(plan: str, users: bool, readers: bool, admins: bool) -> None:
    callers = (USER, READER, AN_ADMIN)
    assert [is_acceptable_plan(plan, caller, PLANS) for caller in callers] == [users, readers, admins]


@pytest.mark.parametrize(
    ("asked", "errors"),
    [
        ({}, [("", "empty")]),
        ({"plan": "pro"}, []),
        ({"plan": "pro", "stripe_source": "pm_1", "email": "ann@example.org", "canceling": False}, []),
        ({"email": "ann@example.org"}, [("/plan", "missing")]),
        ({"plan": "pro", "status": "active"}, [("/status", "system_controlled")]),
        ({"plan": "pro", "trial_end": None}, [("/trial_end", "system_controlled")]),
        ({"plan": "pro", "stripe_source": "tok_visa"}, [("/stripe_source", "not_a_payment_method")]),
        ({"plan": "pro", "stripe_source": "src_1"}, [("/stripe_source", "not_a_payment_method")]),
        ({"plan": "pro", "stripe_source": "pm_"}, [("/stripe_source", "not_a_payment_method")]),
        ({"plan": "pro", "email": ""}, [("/email", "not_an_email")]),
        ({"plan": "pro", "email": "ann"}, [("/email", "not_an_email")]),
        ({"plan": "pro", "email": "a nn@example.org"}, [("/email", "not_an_email")]),
        ({"plan": "pro", "email": "ann@example.org\0"}, [("/email", "not_an_email")]),
        ({"plan": "pro", "email": f"{'a' * 501}@example.org"}, [("/email", "not_an_email")]),
        ({"plan": "pro", "email": f"{'a' * 500}@example.org"}, []),
        ({"plan": "pro", "canceling": True}, [("/canceling", "not_there_yet")]),
        (
            {"stripe_source": "card_1", "email": "@", "canceling": True, "last_notified": None},
            [
                ("/last_notified", "system_controlled"),
                ("/plan", "missing"),
                ("/stripe_source", "not_a_payment_method"),
                ("/email", "not_an_email"),
                ("/canceling", "not_there_yet"),
            ],
        ),
    ],
)
def test_all_that_keeps_a_subscription_from_being_created_is_told(
    asked: dict[str, Any], errors: list[tuple[str, str]]
) -> None:
    found = validate_create_request(SubscriptionChange(**asked))
    assert [(error.pointer, error.code) for error in found] == errors
    assert all(error.detail for error in found)


@pytest.mark.parametrize(
    ("asked", "errors"),
    [
        ({}, [("", "empty")]),
        ({"canceling": True}, []),
        ({"plan": "pro", "stripe_source": "pm_1", "email": "ann@example.org", "canceling": False}, []),
        ({"status": "active", "plan": "pro"}, [("/status", "system_controlled")]),
        (
            {"stripe_source": "src_1", "email": "@", "trial_end": None},
            [
                ("/trial_end", "system_controlled"),
                ("/stripe_source", "not_a_payment_method"),
                ("/email", "not_an_email"),
            ],
        ),
    ],
)
def test_all_that_keeps_a_subscription_from_being_changed_is_told(
    asked: dict[str, Any], errors: list[tuple[str, str]]
) -> None:
    found = validate_change_request(SubscriptionChange(**asked))
    assert [(error.pointer, error.code) for error in found] == errors


JSON: dict[str, Any] = {
    name: value.isoformat() if isinstance(value, datetime) else value for name, value in VALUES.items()
}


def test_every_property_is_read_from_json() -> None:
    assert read_change(JSON) == (SubscriptionChange(**VALUES), [])
    assert read_change({"trial_end": "2026-11-30T01:00:00+01:00"})[0].trial_end == NOW
    cleared: dict[str, Any] = {name: None for name, value in VALUES.items() if isinstance(value, datetime)}
    assert read_change(cleared) == (SubscriptionChange(**cleared), [])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[(name, None) for name, value in VALUES.items() if not isinstance(value, datetime)],
        *[(name, []) for name in VALUES],
        ("plan", 1),
        ("plan", "a\0b"),
        ("email", "\ud800"),
        ("canceling", 1),
        ("canceling", "true"),
        ("failed_charge_attempts", True),
        ("failed_charge_attempts", 1.0),
        ("trial_end", 1_900_000_000),
        ("trial_end", "tomorrow"),
        ("trial_end", "2026-11-30T00:00:00"),
        ("trial_end", "0001-01-01T00:00:00+23:00"),
    ],
)
def test_what_is_of_the_wrong_type_is_told_and_left_out(name: str, value: object) -> None:
    change, errors = read_change({name: value})
    assert change.is_empty
    assert [(each.pointer, each.code) for each in errors] == [(f"/{name}", "wrong_type")]


def test_what_is_no_property_is_told_by_its_pointer() -> None:
    change, errors = read_change({"plan": "pro", "user_id": "ann", "a/b": 1, "c~d": 2})
    assert change == SubscriptionChange(plan="pro")
    assert [(each.pointer, each.code) for each in errors] == [
        ("/user_id", "unknown"), ("/a~1b", "unknown"), ("/c~0d", "unknown"),
    ]  # fmt: skip
