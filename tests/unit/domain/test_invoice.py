"""What is known of charges doesn't depend on the order in which it was heard, nor on how often."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from worker.domain.invoice import Charge, Charged, charge, merged
from worker.domain.stripe_facts import InvoiceFact

START = datetime(2026, 1, 1, tzinfo=UTC)
FACTS = st.builds(
    lambda number, status, total, attempts: InvoiceFact(
        f"in_{number}", "sub_1", status, total, attempts, START + timedelta(days=number // 2)
    ),
    st.integers(0, 3),
    st.sampled_from(["draft", "open", "paid", "void", "uncollectible", "new_one"]),
    st.sampled_from([0, 900]),
    st.integers(0, 3),
)
FAILED_AT = st.none() | st.integers(0, 9).map(lambda hours: START + timedelta(hours=hours))
CHARGES = st.builds(charge, FACTS, FAILED_AT)


@given(one=CHARGES, other=CHARGES)
def test_the_order_does_not_matter(one: Charge | None, other: Charge | None) -> None:
    assert merged(one, other) == merged(other, one)


@given(one=CHARGES, two=CHARGES, three=CHARGES)
def test_nor_does_what_is_put_together_first(one: Charge | None, two: Charge | None, three: Charge | None) -> None:
    assert merged(merged(one, two), three) == merged(one, merged(two, three))


@given(one=CHARGES, other=CHARGES)
def test_nor_how_often_it_is_heard(one: Charge | None, other: Charge | None) -> None:
    both = merged(one, other)
    assert merged(both, one) == merged(both, other) == merged(both, both) == both


def invoice(status: str, attempts: int = 1, number: int = 0, total: int = 900) -> InvoiceFact:
    return InvoiceFact(f"in_{number}", "sub_1", status, total, attempts, START + timedelta(days=number))


def test_paid_comes_after_failed() -> None:
    found = merged(charge(invoice("paid", 3)), charge(invoice("open", 2), START))
    assert found == Charge("in_0", START, Charged.PAID, 0, START)


def test_of_two_failures_the_higher_count_is_known() -> None:
    found = merged(charge(invoice("open", 2), START), charge(invoice("open", 1), START - timedelta(days=1)))
    assert found == Charge("in_0", START, Charged.FAILING, 2, START)


def test_what_was_given_up_is_not_failing_any_more_and_may_be_paid_yet() -> None:
    given_up = merged(charge(invoice("open", 4)), charge(invoice("uncollectible", 4)))
    assert given_up is not None
    assert (given_up.charged, given_up.attempts) == (Charged.GIVEN_UP, 0)
    paid = merged(given_up, charge(invoice("paid", 4)))
    assert paid is not None
    assert paid.charged is Charged.PAID


def test_the_latest_invoice_counts() -> None:
    found = merged(charge(invoice("open", 4)), charge(invoice("paid", number=1)))
    assert found is not None
    assert (found.invoice_id, found.charged) == ("in_1", Charged.PAID)


def test_nothing_was_charged_by_a_trials_invoice_a_draft_or_one_that_was_not_tried() -> None:
    assert [charge(invoice("paid", total=0)), charge(invoice("draft", 0)), charge(invoice("open", 0))] == [None] * 3
