"""What a fetch would change of a row is what differs; charges are merged, as there."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from msgspec import structs

from worker.domain.drift import differences, is_unmoved
from worker.domain.invoice import Charge, Charged
from worker.domain.subscription import State, Subscription, fetched

NOW = datetime(2026, 11, 22, tzinfo=UTC)
STATE: State = {
    "plan": "pending",
    "stripe_subscription_status": "trialing",
    "canceling": False,
    "trial_start": NOW,
    "trial_end": NOW + timedelta(days=31),
    "period_start": NOW,
    "period_end": NOW + timedelta(days=31),
    "canceled_at": None,
    "ended_at": None,
    "default_payment_method": None,
}
FAILING = Charge("in_1", NOW, Charged.FAILING, attempts=2, failed_at=NOW)
ROW = Subscription("sub_1", "ada", STATE, seen_from=NOW, seen_to=NOW, version=1)


def test_each_column_that_stripe_has_otherwise_is_a_difference() -> None:
    canceled = {**STATE, "stripe_subscription_status": "canceled", "ended_at": NOW}
    assert differences(ROW, STATE, None, None) == ()
    assert differences(ROW, canceled, None, None) == (
        ("stripe_subscription_status", "trialing", "canceled"),
        ("ended_at", None, NOW),
    )


def test_an_invoice_that_was_paid_since_is_a_difference_of_the_charge() -> None:
    paid, row = Charge("in_1", NOW, Charged.PAID), structs.replace(ROW, charge=FAILING)
    found = {name: (ours, theirs) for name, ours, theirs in differences(row, STATE, paid, None)}
    assert found == {"charge_invoice_paid": (False, True), "failed_charge_attempts": (2, 0)}


def test_an_invoice_that_is_later_than_the_one_of_stripes_answer_is_no_difference() -> None:
    later = replace(FAILING, invoice_id="in_2", created=NOW + timedelta(days=1))
    assert differences(structs.replace(ROW, charge=later), STATE, Charge("in_1", NOW, Charged.PAID), None) == ()
    assert differences(structs.replace(ROW, charge=later), STATE, None, None) == ()


def test_what_is_told_is_what_a_fetch_writes() -> None:
    told, state = Charge("in_1", NOW, Charged.PAID), {**STATE, "canceling": True}
    row = structs.replace(ROW, charge=FAILING)
    written, change = fetched(row, state, told, (NOW, NOW), "refresh", customer_default=None)
    assert change is not None
    assert {each.field: each.theirs for each in differences(row, state, told, None)} == {
        name: value
        for name, value in change.after.items()
        if value != change.before[name]  # type: ignore[index]
    }
    assert differences(written, state, told, None) == ()


def test_a_customers_other_default_payment_method_is_a_difference() -> None:
    assert differences(ROW, STATE, None, "pm_1") == (("customer_default_payment_method", None, "pm_1"),)
    assert differences(structs.replace(ROW, customer_default="pm_1"), STATE, None, "pm_1") == ()


def test_a_row_of_which_something_was_heard_has_moved() -> None:
    assert is_unmoved(ROW, structs.replace(ROW, notices=("x",)))
    assert not is_unmoved(ROW, structs.replace(ROW, version=2))
    assert not is_unmoved(ROW, structs.replace(ROW, customer_default="pm_1"))
    assert not is_unmoved(ROW, structs.replace(ROW, seen_to=NOW + timedelta(seconds=1)))
