"""The steps of a change, and what each of them asks of Stripe."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from worker.domain.account_changes import (
    AccountChange,
    ChangeRefused,
    Kind,
    Step,
    digest_of,
    etag_of,
    planned,
    told_of,
    version_of,
)
from worker.domain.accounts import SubscriptionChange
from worker.domain.changing import Changeable, canceling_request, forbidden, own_default_request, plan_request
from worker.domain.statuses import MEANINGS
from worker.domain.subscription import Subscription

CHANGE = AccountChange(
    id=uuid.UUID(int=1),
    kind=Kind.UPDATE,
    user_id="ann",
    steps=(Step.ATTACH, Step.DEFAULT, Step.OWN_DEFAULT, Step.EMAIL, Step.PLAN),
    done=0,
    wanted={"plan": "pro"},
    sealed_email=b"sealed",
    etag=None,
    stripe_subscription_id="sub_1",
    stripe_customer_id="cus_1",
    request=None,
    generation=1,
    asked_for=None,
    attempts=1,
    token=7,
)
NOW = Changeable(
    status="trialing",
    item_id="si_1",
    price_id="price_old",
    trial_end=1_900_000_000,
    default_payment_method=None,
    cancel_at=None,
    cancel_at_period_end=False,
)
SEEN = datetime(2026, 1, 1, tzinfo=UTC)
CARD = [Step.ATTACH, Step.DEFAULT, Step.OWN_DEFAULT]


@pytest.mark.parametrize(
    ("kind", "asked", "steps"),
    [
        (Kind.UPDATE, {"canceling": True, "plan": "pro", "email": "a@b", "stripe_source": "pm_1"},
         [*CARD, Step.EMAIL, Step.PLAN, Step.CANCELING]),
        (Kind.UPDATE, {"canceling": False}, [Step.CANCELING]),
        (Kind.UPDATE, {"stripe_source": "pm_1"}, CARD),
        (Kind.UPDATE, {"email": "a@b", "plan": "pro"}, [Step.EMAIL, Step.PLAN]),
        (Kind.CREATE, {"plan": "pro", "email": "a@b"}, [Step.PROVISION]),
        (Kind.CREATE, {"plan": "pro", "stripe_source": "pm_1"}, [Step.PROVISION, *CARD]),
        (Kind.DELETE, {}, [Step.REMOVE]),
        (Kind.DETACHMENT, {}, [Step.DETACH]),
    ],
)  # fmt: skip
def test_a_change_is_made_in_one_order_however_it_is_written(
    kind: Kind, asked: dict[str, Any], steps: list[Step]
) -> None:
    assert list(planned(kind, SubscriptionChange(**asked))) == steps


def test_a_property_holds_once_all_its_steps_do() -> None:
    held = [replace(CHANGE, done=done).held for done in range(6)]
    assert held == [[], [], [], ["stripe_source"], ["stripe_source", "email"], ["stripe_source", "email", "plan"]]
    assert [replace(CHANGE, done=done).step for done in (0, 4, 5)] == [Step.ATTACH, Step.PLAN, None]
    assert replace(CHANGE, steps=(Step.PROVISION, Step.REMOVE), done=2).held == []


def test_nothing_was_asked_before_the_first_step_began() -> None:
    assert CHANGE.is_untouched
    assert not replace(CHANGE, asked_for=timedelta(0)).is_untouched
    assert not replace(CHANGE, done=1).is_untouched


def test_a_key_is_trusted_for_23_hours() -> None:
    ages = (None, timedelta(hours=23), timedelta(hours=23, seconds=1))
    assert [replace(CHANGE, asked_for=age).is_forgotten for age in ages] == [False, False, True]


def test_each_step_and_generation_of_each_change_has_a_key_of_its_own() -> None:
    others = [
        CHANGE,
        replace(CHANGE, done=1),
        replace(CHANGE, generation=2),
        replace(CHANGE, id=uuid.UUID(int=2)),
        replace(CHANGE, attempts=9, token=8, request={}),
    ]
    keys = [each.key("n") for each in others] + [CHANGE.key("other")]
    assert len(set(keys)) == 5
    assert keys[4] == keys[0], "every attempt has the same"
    assert all(len(key) <= 255 and "ann" not in key for key in keys)


def test_requests_are_the_same_by_what_they_ask_and_of_whom() -> None:
    asked = SubscriptionChange(plan="pro", email="a@b")
    same = digest_of(Kind.UPDATE, "ann", asked, "")
    assert digest_of(Kind.UPDATE, "ann", SubscriptionChange(email="a@b", plan="pro"), "") == same
    others = [
        digest_of(Kind.CREATE, "ann", asked, ""),
        digest_of(Kind.UPDATE, "bob", asked, ""),
        digest_of(Kind.UPDATE, "ann", SubscriptionChange(plan="pro"), ""),
        digest_of(Kind.UPDATE, "ann", asked, "sub_1.1"),
    ]
    assert len({same, *others}) == 5


def test_a_row_is_told_with_its_etag() -> None:
    state = {"plan": "pro", "stripe_subscription_status": "active"}
    row = Subscription("sub_1", "ann", state, SEEN, SEEN, 3)
    told = told_of(row)
    assert etag_of(row.id, row.version) == "sub_1.3"
    assert version_of("sub_1.3") == 3
    assert (told["user_id"], told["stripe_subscription"], told["version"]) == (row.user_id, row.id, 3)
    assert told["stripe_subscription_status"] == row.state["stripe_subscription_status"]


@pytest.mark.parametrize(
    ("status", "request_"),
    [
        ("trialing", {"proration_behavior": "none", "trial_end": 1_900_000_000}),
        ("paused", {"proration_behavior": "none"}),
        ("active", {"proration_behavior": "always_invoice", "payment_behavior": "error_if_incomplete"}),
        ("past_due", {"proration_behavior": "always_invoice", "payment_behavior": "error_if_incomplete"}),
        ("unpaid", {"proration_behavior": "always_invoice", "payment_behavior": "error_if_incomplete"}),
    ],
)
def test_a_plan_is_changed_by_the_status(status: str, request_: Mapping[str, object]) -> None:
    item = {"items": [{"id": "si_1", "price": "price_new"}]}
    assert plan_request(NOW._replace(status=status), "price_new", "always_invoice") == item | dict(request_)


def test_a_plan_that_it_has_is_not_asked_for_and_several_prices_are_not_ours_to_change() -> None:
    assert plan_request(NOW._replace(item_id=None), "price_old", "none") is None
    with pytest.raises(ChangeRefused, match="several_items"):
        plan_request(NOW._replace(item_id=None), "price_new", "none")


@pytest.mark.parametrize(
    ("cancel_at", "at_period_end", "canceling", "request_"),
    [
        (None, False, True, {"cancel_at_period_end": True}),
        (1_900_000_000, True, True, None),
        (1_900_000_000, False, True, None),
        (None, False, False, None),
        (1_900_000_000, True, False, {"cancel_at_period_end": False}),
        (None, True, False, {"cancel_at_period_end": False}),
        (1_900_000_000, False, False, {"cancel_at": ""}),
    ],
)
def test_an_end_is_set_or_cleared_whichever_way_it_was_set(
    cancel_at: int | None, at_period_end: bool, canceling: bool, request_: Mapping[str, object] | None
) -> None:
    now = NOW._replace(cancel_at=cancel_at, cancel_at_period_end=at_period_end)
    assert canceling_request(now, canceling=canceling) == request_


@pytest.mark.parametrize(
    ("own", "status", "request_"),
    [
        (None, "active", None),
        ("pm_1", "active", None),
        ("pm_0", "active", {"default_payment_method": "pm_1"}),
        ("pm_0", "incomplete", {"default_payment_method": "pm_1"}),
        ("pm_0", "canceled", None),
    ],
)
def test_a_card_becomes_the_subscriptions_own_where_it_has_one(
    own: str | None, status: str, request_: Mapping[str, object] | None
) -> None:
    assert own_default_request(NOW._replace(default_payment_method=own, status=status), "pm_1") == request_


@pytest.mark.parametrize("status", MEANINGS)
def test_what_a_status_forbids_is_told_for_what_was_asked(status: str) -> None:
    means = MEANINGS[status]
    for steps, allowed in (
        ([Step.PLAN], means.may_change_plan),
        ([Step.CANCELING], means.may_cancel),
        ([*CARD, Step.EMAIL, Step.REMOVE], True),
    ):
        refused = forbidden(status, steps)
        assert (refused is None) == allowed, (status, steps)
        if refused is not None:
            assert [each.pointer for each in refused.errors] == [f"/{steps[0]}"]


def test_a_status_that_stripe_will_have_invented_forbids_nothing() -> None:
    assert forbidden("frozen", [Step.PLAN, Step.CANCELING]) is None


def test_a_refusal_is_told_by_its_name() -> None:
    assert str(ChangeRefused("exists", "there is one")) == "exists: there is one"
