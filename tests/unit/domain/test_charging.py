"""Which card an invoice is tried with, by what Stripe says right before."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.charging import (
    CURED_BY_ANOTHER_CARD,
    MARGIN,
    Attempt,
    InvoiceNow,
    Leave,
    PaymentNow,
    Try,
    TryOutcome,
    Wait,
    barred,
    come_to,
    given_up,
    next_try,
)
from worker.domain.provisioning import KEY_TRUSTED_FOR

NOW = datetime(2026, 12, 1, tzinfo=UTC)
DECLINED = PaymentNow("requires_payment_method", "pm_a", "insufficient_funds")
FAILING = InvoiceNow(
    "in_1", "open", "charge_automatically", "subscription_cycle", "cus_1", "sub_1", "past_due", 1,
    NOW + timedelta(days=3), (DECLINED,),
)  # fmt: skip
CARDS = ("pm_a", "pm_b", "pm_c")


def test_the_next_card_in_order_is_tried_and_never_the_one_that_was_just_declined() -> None:
    assert next_try(FAILING, CARDS, (), NOW) == Attempt("pm_b", ("pm_a",))
    assert next_try(FAILING, ("pm_b", "pm_a"), (), NOW) == Attempt("pm_b", ("pm_a",))
    assert next_try(FAILING, CARDS, {"pm_b"}, NOW) == Attempt("pm_c", ("pm_a",))
    assert next_try(FAILING, CARDS, {"pm_b", "pm_c"}, NOW) == Leave("no_card_left")
    assert next_try(FAILING, (), (), NOW) == Leave("no_card_left")


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"status": "paid"}, "paid"),
        ({"status": "void"}, "void"),
        ({"status": "uncollectible"}, "uncollectible"),
        ({"status": "draft"}, "draft"),
        ({"collection_method": "send_invoice"}, "not_charged_automatically"),
        ({"subscription_id": None}, "no_subscription"),
        ({"subscription_status": None}, "no_subscription"),
        ({"subscription_status": "canceled"}, "subscription_ended"),
        ({"subscription_status": "incomplete_expired"}, "subscription_ended"),
        ({"subscription_status": "incomplete", "billing_reason": "subscription_create"}, "first_invoice"),
        ({"payments": (PaymentNow("processing"),)}, "payment_processing"),
        ({"payments": (DECLINED, PaymentNow("requires_action", "pm_b"))}, "payment_requires_action"),
        ({"payments": (PaymentNow("a_status_to_come"),)}, "payment_a_status_to_come"),
    ],
)
def test_some_invoices_are_left_alone(changed: dict[str, Any], why: str) -> None:
    invoice = replace(FAILING, **changed)
    assert barred(invoice, NOW) == next_try(invoice, CARDS, (), NOW) == Leave(why)


@pytest.mark.parametrize(
    "changed",
    [
        {"subscription_status": "incomplete"},
        {"subscription_status": "active", "billing_reason": "subscription_create"},
        {"subscription_status": "unpaid", "next_payment_attempt": None},
        {"billing_reason": None},
    ],
)
def test_others_are_not(changed: dict[str, Any]) -> None:
    assert next_try(replace(FAILING, **changed), CARDS, (), NOW) == Attempt("pm_b", ("pm_a",))


@pytest.mark.parametrize("minutes", [-10, -1, 0, 5, 10])
def test_around_stripes_own_attempt_nothing_is_tried(minutes: int) -> None:
    following = NOW + timedelta(minutes=minutes)
    told = next_try(replace(FAILING, next_payment_attempt=following), CARDS, (), NOW)
    assert told == Wait(following + MARGIN, "stripes_own_attempt")


@pytest.mark.parametrize("seconds", [-601, 601])
def test_further_from_it_one_is(seconds: int) -> None:
    following = NOW + timedelta(seconds=seconds)
    assert isinstance(next_try(replace(FAILING, next_payment_attempt=following), CARDS, (), NOW), Attempt)


@pytest.mark.parametrize(
    "code",
    [
        "authentication_required", "fraudulent", "merchant_blacklist", "stop_payment_order",
        "revocation_of_authorization", "revocation_of_all_authorizations", "duplicate_transaction", "invalid_amount",
        "testmode_decline", "invoice_payment_intent_requires_action", "card_declined", "a_code_to_come", None,
    ],
)  # fmt: skip
def test_what_another_card_cures_not_is_left(code: str | None) -> None:
    assert code not in CURED_BY_ANOTHER_CARD
    payment = PaymentNow("requires_payment_method", "pm_a", code)
    assert next_try(replace(FAILING, payments=(payment,)), CARDS, (), NOW) == Leave("another_card_cures_it_not")
    both = replace(FAILING, payments=(DECLINED, payment))
    assert next_try(both, CARDS, (), NOW) == Leave("another_card_cures_it_not")


@pytest.mark.parametrize("payments", [(), (PaymentNow("requires_payment_method"),)])
def test_without_a_decline_nothing_is_tried(payments: tuple[PaymentNow, ...]) -> None:
    """There was no card to charge: who has one makes it the default."""
    assert next_try(replace(FAILING, payments=payments), CARDS, (), NOW) == Leave("not_declined")


def test_a_try_without_an_answer_is_what_its_payments_say() -> None:
    asked = Try("in_1", 1, "pm_b")
    assert come_to(replace(FAILING, status="paid"), asked) is TryOutcome.PAID
    assert come_to(replace(FAILING, payments=(DECLINED._replace(tried="pm_b"),)), asked) is TryOutcome.DECLINED
    assert come_to(replace(FAILING, attempt_count=2), asked) is TryOutcome.OVERTAKEN
    assert come_to(FAILING, asked) is None
    assert given_up(replace(FAILING, status="paid")) is TryOutcome.PAID
    assert given_up(replace(FAILING, status="void")) is TryOutcome.OVERTAKEN


def test_a_key_is_a_trys_own() -> None:
    asked = Try("in_1", 1, "pm_b")
    others = [
        replace(asked, invoice_id="in_2"), replace(asked, attempt_count=2), replace(asked, payment_method="pm_c"),
        asked.renewed(),
    ]  # fmt: skip
    keys = {each.key("test") for each in [asked, *others]} | {asked.key("other")}
    assert len(keys) == 6
    assert replace(asked, asked_for=timedelta(hours=1), outcome=TryOutcome.PAID).key("test") == asked.key("test")
    assert "in_1" not in asked.key("test")


def test_a_key_is_forgotten_after_a_while_and_a_new_generation_is_young() -> None:
    asked = Try("in_1", 1, "pm_b", asked_for=KEY_TRUSTED_FOR)
    assert not asked.is_forgotten
    old = replace(asked, asked_for=KEY_TRUSTED_FOR + timedelta(seconds=1))
    assert old.is_forgotten
    assert not old.renewed().is_forgotten
    assert old.renewed().generation == 2


IDS = st.sampled_from(["pm_a", "pm_b", "pm_c", "pm_d"])
STATUSES = st.sampled_from(["requires_payment_method", "processing", "requires_action", "succeeded"])
PAYMENTS = st.builds(
    PaymentNow,
    STATUSES,
    st.none() | IDS,
    st.sampled_from([*sorted(CURED_BY_ANOTHER_CARD)[:3], "authentication_required"]) | st.none(),
)
INVOICES = st.builds(
    InvoiceNow,
    st.just("in_1"),
    st.sampled_from(["open", "paid", "void", "draft", "uncollectible"]),
    st.sampled_from(["charge_automatically", "send_invoice"]),
    st.sampled_from(["subscription_create", "subscription_cycle", None]),
    st.just("cus_1"),
    st.sampled_from(["sub_1", None]),
    st.sampled_from(["active", "past_due", "unpaid", "incomplete", "canceled", None]),
    st.integers(0, 5),
    st.none() | st.timedeltas(-timedelta(hours=1), timedelta(hours=1)).map(lambda ahead: NOW + ahead),
    st.lists(PAYMENTS, max_size=2).map(tuple),
)


@given(INVOICES, st.lists(IDS, unique=True), st.sets(IDS))
def test_whatever_stripe_says_a_card_is_tried_only_where_it_may_be(
    invoice: InvoiceNow, cards: list[str], tried: set[str]
) -> None:
    told = next_try(invoice, cards, tried, NOW)
    if isinstance(told, Wait):
        assert told.until > NOW - timedelta(microseconds=1)
    if not isinstance(told, Attempt):
        return
    assert (invoice.status, invoice.collection_method) == ("open", "charge_automatically")
    assert invoice.subscription_status in {"active", "past_due", "unpaid", "incomplete"}
    assert (invoice.subscription_status, invoice.billing_reason) != ("incomplete", "subscription_create")
    assert {each.status for each in invoice.payments} == {"requires_payment_method"}
    assert {each.code for each in invoice.payments if each.tried} <= CURED_BY_ANOTHER_CARD
    assert told.payment_method not in tried | set(invoice.tried)
    assert told.elsewhere
    before = cards[: cards.index(told.payment_method)]
    assert set(before) <= tried | set(invoice.tried), "the first in order"
    following = invoice.next_payment_attempt
    assert following is None or abs(following - NOW) > MARGIN


@given(INVOICES, st.lists(IDS, unique=True))
def test_trying_one_after_the_other_comes_to_an_end(invoice: InvoiceNow, cards: list[str]) -> None:
    """Each at most once, whatever each of them is declined with."""
    tried: list[str] = []
    while isinstance(told := next_try(invoice, cards, tried, NOW), Attempt):
        tried += [told.payment_method, *(each for each in told.elsewhere if each not in tried)]
        payment = PaymentNow("requires_payment_method", told.payment_method, "generic_decline")
        invoice = replace(invoice, payments=(payment,))
        assert len(tried) == len(set(tried))
    assert set(tried) - set(invoice.tried) <= {"pm_a", "pm_b", "pm_c", "pm_d"}
