"""An invoice as charging in order reads it: ids, states and codes, and nothing of whom it is about."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from worker.domain.charging import PaymentNow
from worker.stripe_api.charge_calls import invoice_now
from worker.stripe_api.errors import AnswerIncomplete

METHOD = {"id": "pm_1", "billing_details": {"email": "ada@example.org"}}
EXPIRED = {"code": "expired_card", "payment_method": METHOD}
ERROR = {"code": "card_declined", "decline_code": "insufficient_funds", "payment_method": METHOD}


def payment(intent: Any, status: str = "open") -> dict[str, Any]:
    return {"status": status, "payment": {"type": "payment_intent", "payment_intent": intent}}


def intent(error: Any = None, status: str = "requires_payment_method") -> dict[str, Any]:
    return {"id": "pi_1", "status": status, "last_payment_error": error}


def invoice(*payments: dict[str, Any], **changed: Any) -> dict[str, Any]:
    return {
        "id": "in_1",
        "status": "open",
        "collection_method": "charge_automatically",
        "billing_reason": "subscription_cycle",
        "customer": "cus_1",
        "attempt_count": 1,
        "next_payment_attempt": 1_764_547_200,
        "parent": {"subscription_details": {"subscription": {"id": "sub_1", "status": "past_due"}}},
        "payments": {"data": list(payments)},
        "test_clock": None,
        **changed,
    }


def test_an_invoice_is_read_with_its_subscription_and_the_last_decline() -> None:
    found = invoice_now(invoice(payment(intent(ERROR))))
    assert (found.subscription_id, found.subscription_status) == ("sub_1", "past_due")
    assert found.next_payment_attempt == datetime(2025, 12, 1, tzinfo=UTC)
    assert (found.test_clock, invoice_now(invoice(test_clock="clock_1")).test_clock) == (None, "clock_1")
    assert found.payments == (PaymentNow("requires_payment_method", "pm_1", "insufficient_funds"),)
    assert "ada" not in repr(found)


@pytest.mark.parametrize(
    ("intent", "told"),
    [
        (intent(), PaymentNow("requires_payment_method")),
        (intent(status="processing"), PaymentNow("processing")),
        (intent(EXPIRED), PaymentNow("requires_payment_method", "pm_1", "expired_card")),
        (intent({"payment_method": METHOD}), PaymentNow("requires_payment_method", "pm_1", None)),
        (intent({"code": "card_declined"}), PaymentNow("requires_payment_method")),
        (intent({"code": "card_declined", "payment_method": None}), PaymentNow("requires_payment_method")),
        (None, PaymentNow("unforeseen")),
        ("pi_that_was_not_expanded", PaymentNow("unforeseen")),
    ],
)  # fmt: skip
def test_what_a_payment_says(intent: Any, told: PaymentNow) -> None:
    assert invoice_now(invoice(payment(intent))).payments == (told,)


def test_payments_that_are_over_count_for_nothing() -> None:
    over = [payment(intent(ERROR), status) for status in ("paid", "canceled")]
    assert invoice_now(invoice(*over)).payments == ()


def test_payments_that_are_not_told_are_none_that_we_know_of() -> None:
    """Stripe lists the first ones: of the others one may be under way."""
    found = invoice_now(invoice(payments={"data": [payment(intent(ERROR))], "has_more": True}))
    assert found.payments == (
        PaymentNow("requires_payment_method", "pm_1", "insufficient_funds"), PaymentNow("unforeseen"),
    )  # fmt: skip


@pytest.mark.parametrize("parent", [None, {"quote_details": {}}, {"subscription_details": {"subscription": None}}])
def test_an_invoice_may_be_of_no_subscription(parent: Any) -> None:
    found = invoice_now(invoice(parent=parent))
    assert (found.subscription_id, found.subscription_status) == (None, None)


@pytest.mark.parametrize("missing", ["status", "collection_method", "customer", "attempt_count", "payments"])
def test_a_field_that_is_missing_is_named(missing: str) -> None:
    whole = invoice()
    del whole[missing]
    with pytest.raises(AnswerIncomplete, match=missing):
        invoice_now(whole)
