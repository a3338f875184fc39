"""Stripe's time, and the span in which an answer was true."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from worker.domain.clocks import StripeClock
from worker.domain.deadline import boot_time
from worker.errors import Misconfigured

DATE = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)
HEADERS = {"date": "Tue, 06 May 2031 07:08:09 GMT"}
A_LITTLE = timedelta(milliseconds=500)


def test_before_any_answer_it_is_the_local_time() -> None:
    assert abs(StripeClock().now() - datetime.now(UTC)) < A_LITTLE


def test_after_an_answer_it_is_stripes_time() -> None:
    clock = StripeClock()
    clock.read(HEADERS)
    assert timedelta() <= clock.now() - DATE < A_LITTLE


def test_an_answer_was_true_between_sending_and_the_end_of_its_second() -> None:
    seen_from, seen_to = StripeClock().seen(HEADERS, boot_time() - 3)
    assert timedelta() <= DATE - timedelta(seconds=4) - seen_from < A_LITTLE
    assert seen_to == DATE + timedelta(seconds=1)


@pytest.mark.parametrize("headers", [{}, {"date": "yesterday"}])
def test_an_answer_without_a_date_is_for_a_person_to_mend(headers: dict[str, str]) -> None:
    with pytest.raises(Misconfigured, match="Date"):
        StripeClock().seen(headers, boot_time())
