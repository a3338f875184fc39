"""Which page is opened, what its completion asks by what the subscription is then, and what the portal may do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from worker.domain.account_changes import ChangeRefused, Step
from worker.domain.changing import Changeable
from worker.domain.checkouts import (
    PLACEHOLDER,
    Mode,
    Terms,
    Urls,
    completing_request,
    completing_steps,
    is_payable,
    is_second,
    may_return_to,
    must_resume_anew,
    require_living,
    served,
    setup_request,
    subscription_request,
    theirs,
)
from worker.domain.portal import Choice, Intent, differences, features, portal_refusal, portal_request
from worker.domain.statuses import MEANINGS
from worker.domain.stripe_facts import SubscriptionFact
from worker.errors import TryLater

BEGUN = datetime(2031, 1, 2, tzinfo=UTC)
TERMS, URLS = Terms("n", "flexible", "eur"), Urls(f"https://a.example/?s={PLACEHOLDER}", "https://a.example/")
ROW = UUID(int=7)
ORIGINS = ("https://a.example", "http://localhost:3000")


def fact(identifier: str, status: str = "active", digest: str | None = "d-ann", age: int = 0) -> SubscriptionFact:
    nothing = (None,) * 6
    created = BEGUN - timedelta(days=age)
    return SubscriptionFact(identifier, "cus_1", digest, "price_1", None, status, False, *nothing, created)


def now(status: str, invoice: str | None = "paid", default: str | None = None) -> Changeable:
    return Changeable(status, "si_1", "price_1", None, default, None, False, "in_1", invoice)


@pytest.mark.parametrize(
    ("found", "current", "which"),
    [
        ([], "sub_1", None),
        ([fact("sub_1", "canceled"), fact("sub_2", "incomplete_expired")], "sub_1", None),
        ([fact("sub_1"), fact("sub_2", age=9)], "sub_1", "sub_1"),
        ([fact("sub_1", "canceled"), fact("sub_2"), fact("sub_3", age=9)], "sub_1", "sub_3"),
        ([fact("sub_1", "incomplete", age=9), fact("sub_2")], None, "sub_2"),
        ([fact("sub_1", "incomplete")], None, "sub_1"),
        ([fact("sub_1", digest="d-bob")], "sub_1", None),
        ([fact("sub_1", "paused", digest=None)], None, "sub_1"),
    ],
)
def test_the_user_s_own_that_lives_is_served_else_the_oldest(
    found: list[SubscriptionFact], current: str | None, which: str | None
) -> None:
    chosen = served(theirs(found, "d-ann", None), current)
    assert (chosen and chosen.id) == which


def test_a_page_that_saves_a_card_names_its_row_and_what_it_serves_on_both_objects() -> None:
    request: Any = setup_request(TERMS, ROW, "ann", "d-ann", "cus_1", "sub_1", URLS)
    named = {
        "subkeeper": "d-ann",
        "user_id": "ann",
        "subkeeper_checkout": str(ROW),
        "subkeeper_subscription": "sub_1",
    }
    assert request["metadata"] == named
    assert request["setup_intent_data"] == {"metadata": named}
    assert (request["mode"], request["currency"], request["customer"]) == ("setup", "eur", "cus_1")
    assert (request["success_url"], request["cancel_url"]) == (URLS.success, URLS.cancel)
    assert "subkeeper_subscription" not in str(setup_request(TERMS, ROW, "ann", "d-ann", "cus_1", None, URLS))


def test_a_page_that_subscribes_gives_no_trial_and_says_whose_it_is() -> None:
    request: Any = subscription_request(TERMS, ROW, "ann", "d-ann", "cus_1", "price_2", URLS)
    assert "trial" not in str(request)
    assert request["line_items"] == [{"price": "price_2", "quantity": 1}]
    assert request["subscription_data"] == {
        "billing_mode": {"type": "flexible"},
        "metadata": {"subkeeper": "d-ann", "user_id": "ann"},
    }
    assert (request["mode"], request["customer"]) == ("subscription", "cus_1")


@pytest.mark.parametrize(
    ("url", "may"),
    [
        ("https://a.example/", True), ("https://A.example/x?y={CHECKOUT_SESSION_ID}#z", True),
        ("https://a.example", True), ("http://localhost:3000/x", True), ("http://localhost:3001/x", False),
        ("https://a.example:443/", False), ("http://a.example/", False), ("https://a.example.evil/", False),
        ("https://a.example@evil/", False), ("https://evil\\@a.example/", False), ("https://a.example/ x", False),
        ("https://a.example/\tx", False), ("https://a.example/\u00fc", False), ("a.example", False), ("", False),
        ("javascript://a.example/%0aalert(1)", False), (f"https://a.example/{'x' * 2030}", True),
        (f"https://a.example/{'x' * 2031}", False),
    ],
)  # fmt: skip
def test_pages_lead_back_to_listed_origins_alone(url: str, may: bool) -> None:
    assert may_return_to(url, ORIGINS) is may


def test_what_a_page_comes_to_has_its_steps_by_what_it_was_for() -> None:
    assert completing_steps(Mode.SUBSCRIPTION, "pro") == (Step.COLLECT, Step.ONLY, Step.TAKEN_IN)
    assert completing_steps(Mode.SETUP, None) == (Step.COLLECT, Step.CUSTOMER_CARD)
    steps = completing_steps(Mode.SETUP, "pro")
    order = [Step.CARD, Step.PAY, Step.PLAN, Step.RESUME, Step.PAY_RESUMED]
    assert [each for each in steps if each in order] == order


@pytest.mark.parametrize("status", MEANINGS)
def test_what_has_ended_is_left_alone(status: str) -> None:
    if MEANINGS[status].current:
        require_living(now(status))
        return
    for step in (Step.CARD, Step.PAY, Step.RESUME):
        with pytest.raises(ChangeRefused) as refused:
            completing_request(step, now(status, "open"), "pm_1")
        assert refused.value.code == "subscription_ended"


def test_the_card_becomes_the_subscription_s_default_unless_it_is() -> None:
    assert completing_request(Step.CARD, now("active", default="pm_0"), "pm_1") == {"default_payment_method": "pm_1"}
    assert completing_request(Step.CARD, now("active", default="pm_1"), "pm_1") is None


@pytest.mark.parametrize(
    ("status", "invoice", "owed"),
    [
        ("past_due", "open", True), ("unpaid", "open", True), ("unpaid", "draft", True), ("incomplete", "open", True),
        ("paused", "open", True), ("paused", "draft", False), ("past_due", "draft", False), ("active", "open", False),
        ("trialing", "open", False), ("past_due", "paid", False), ("past_due", None, False), ("paused", "void", False),
    ],
)  # fmt: skip
def test_what_is_owed_is_paid_by_the_new_card(status: str, invoice: str | None, owed: bool) -> None:
    asked = {"invoice": "in_1", "payment_method": "pm_1"} if owed else None
    assert is_payable(now(status, invoice)) is owed
    assert completing_request(Step.PAY, now(status, invoice), "pm_1") == asked


@pytest.mark.parametrize(
    ("status", "invoice", "resumes"),
    [("paused", "paid", True), ("paused", "void", True), ("paused", "open", False), ("active", "paid", False)],
)
def test_what_is_paused_is_resumed_unless_it_is_being(status: str, invoice: str, resumes: bool) -> None:
    asked = {"billing_cycle_anchor": "now"} if resumes else None
    assert completing_request(Step.RESUME, now(status, invoice), "pm_1") == asked
    assert must_resume_anew(now(status, invoice)) is (resumes and invoice == "void")


def test_a_resumption_ends_with_its_payment() -> None:
    assert completing_request(Step.PAY_RESUMED, now("active"), "pm_1") is None
    owed = {"invoice": "in_1", "payment_method": "pm_1"}
    assert completing_request(Step.PAY_RESUMED, now("paused", "open"), "pm_1") == owed
    assert completing_request(Step.PAY_RESUMED, now("past_due", "open"), "pm_1") == owed
    with pytest.raises(ChangeRefused) as expired:
        completing_request(Step.PAY_RESUMED, now("paused", "void"), "pm_1")
    assert expired.value.code == "payment_expired"
    with pytest.raises(TryLater) as pending:
        completing_request(Step.PAY_RESUMED, now("paused", "draft"), "pm_1")
    assert pending.value.reason == "payment_pending"


@pytest.mark.parametrize(
    ("others", "second"),
    [
        ([], False), ([fact("sub_0", age=9)], True), ([fact("sub_0", "canceled", age=9)], False),
        ([fact("sub_0", "incomplete", age=9)], False), ([fact("sub_0", age=-9)], False),
        ([fact("sub_0", digest="d-bob", age=9)], False), ([fact("sub_0", digest=None, age=9)], True),
        ([fact("sub_0")], True), ([fact("sub_9")], False),
    ],
)  # fmt: skip
def test_a_subscription_is_the_second_beside_an_older_one_that_lives(
    others: list[SubscriptionFact], second: bool
) -> None:
    """Of two of one second the order of their ids decides, so that they agree on it."""
    for mine in (fact("sub_1"), fact("sub_1", "canceled")):
        assert is_second("sub_1", theirs([mine, *others], "d-ann", None)) is second
    assert not is_second("sub_1", theirs(others, "d-ann", None))


def test_on_a_shared_customer_a_subscription_is_a_user_s_by_our_row_or_the_digest_alone() -> None:
    found = [fact("sub_1", digest=None), fact("sub_2", digest=None), fact("sub_3"), fact("sub_4", digest="d-bob")]
    assert [each.id for each in theirs(found, "d-ann", {"sub_1": True})] == ["sub_1", "sub_3"]
    assert [each.id for each in theirs(found, "d-ann", {"sub_1": True, "sub_3": False})] == ["sub_1"]
    assert [each.id for each in theirs(found, "d-ann", None)] == ["sub_1", "sub_2", "sub_3"]


def test_the_portal_s_page_does_one_thing_and_leads_back() -> None:
    request: Any = portal_request(Intent.UPDATE, "cus_1", "bpc_1", "sub_1", "https://a.example/")
    assert request["flow_data"]["subscription_update"] == {"subscription": "sub_1"}
    assert request["flow_data"]["after_completion"]["redirect"] == {"return_url": "https://a.example/"}
    card: Any = portal_request(Intent.PAYMENT_METHOD, "cus_1", "bpc_1", None, "https://a.example/")
    assert set(card["flow_data"]) == {"type", "after_completion"}
    assert {intent: portal_refusal(intent).code for intent in Intent} == {
        Intent.CANCEL: "portal_cannot_cancel",
        Intent.UPDATE: "portal_cannot_update",
        Intent.PAYMENT_METHOD: "refused",
    }


CHOICES = [Choice("prod_2", "price_2"), Choice("prod_1", "price_1")]


def test_the_portal_keeps_trials_and_ends_with_the_period() -> None:
    wanted = features(CHOICES, "none")
    assert wanted["subscription_update"]["trial_update_behavior"] == "continue_trial"
    assert wanted["subscription_cancel"]["mode"] == "at_period_end"
    assert [each["product"] for each in wanted["subscription_update"]["products"]] == ["prod_1", "prod_2"]
    assert features([], "none")["subscription_update"] == {"enabled": False}


def test_differences_are_named_and_neither_order_nor_more_is_one() -> None:
    wanted = features(CHOICES, "none")
    update = wanted["subscription_update"]
    more = [{**each, "adjustable_quantity": {"enabled": False}} for each in reversed(update["products"])]
    same = {**wanted, "subscription_update": {**update, "products": more, "other": 1}, "new_feature": {}}
    assert differences(same, wanted) == []
    assert differences({**wanted, "subscription_update": {**update, "products": more[:1]}}, wanted) == [
        "subscription_update.products"
    ]
    assert differences({**wanted, "subscription_cancel": {"enabled": False}}, wanted) == [
        "subscription_cancel.enabled", "subscription_cancel.mode", "subscription_cancel.proration_behavior",
    ]  # fmt: skip
    assert differences({}, {"invoice_history": {"enabled": True}}) == ["invoice_history.enabled"]
