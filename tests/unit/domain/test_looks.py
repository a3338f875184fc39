"""How old a walk through Stripe's customers may be for a row to be answered by it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from tests.unit.domain.rows import NOW, row
from worker.domain.looks import quiet_for
from worker.domain.provisioning import RENEWAL_MARGIN, Requested

ROW = row(
    attempts=2, look_first=True, customer_requested=Requested(NOW, NOW), seen_for=timedelta(hours=5),
    key_possible_since=None, first_seen=None,
)  # fmt: skip


def test_a_row_that_was_never_asked_for_is_quiet_since_it_was_seen() -> None:
    assert quiet_for(ROW, NOW) == timedelta(hours=5)


def test_a_row_that_was_asked_for_is_quiet_once_its_last_request_can_take_effect_no_more() -> None:
    first, last = NOW - timedelta(days=2), NOW - timedelta(hours=1)
    assert quiet_for(replace(ROW, requested_before=Requested(first, last)), NOW) == timedelta(hours=1) - RENEWAL_MARGIN


def test_a_row_that_was_asked_for_just_now_relies_on_nothing_that_was_read_before() -> None:
    before = Requested(NOW - timedelta(days=2), NOW - timedelta(minutes=5))
    assert quiet_for(replace(ROW, requested_before=before), NOW) == timedelta(0)


def test_a_row_that_was_seen_in_a_time_to_come_is_quiet_for_nothing() -> None:
    """Its database's clock was set back. A walk that had to begin later than now would be begun again for ever."""
    assert quiet_for(replace(ROW, seen_for=timedelta(days=-300)), NOW) == timedelta(0)
