"""Which time it is, where clocks disagree."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from worker.domain.clocks import SAME_MOMENT, time_by_majority

NOW = datetime(2026, 11, 21, 12, 0, 0, 300_000, tzinfo=UTC)
FORTY_DAYS = timedelta(days=40)
offs = st.timedeltas(timedelta(days=-400), timedelta(days=400))
within_a_second = st.timedeltas(timedelta(0), SAME_MOMENT)


def test_one_clock_that_is_wrong_changes_nothing() -> None:
    for wrong in (NOW - FORTY_DAYS, NOW + FORTY_DAYS):
        assert time_by_majority(wrong, NOW, NOW) == NOW
        assert time_by_majority(NOW, wrong, NOW) == NOW
        assert time_by_majority(NOW, NOW, wrong) == NOW


@given(offs, offs, offs)
def test_the_middle_of_three_counts(one: timedelta, two: timedelta, three: timedelta) -> None:
    clocks = NOW + one, NOW + two, NOW + three
    assert abs(time_by_majority(*clocks) - sorted(clocks)[1]) <= SAME_MOMENT


@given(within_a_second, within_a_second, within_a_second)
def test_within_a_second_the_local_clock_counts(one: timedelta, two: timedelta, three: timedelta) -> None:
    local, postgres, stripe = NOW + one, NOW + two, NOW + three
    assert time_by_majority(local, postgres, stripe) == local
    assert time_by_majority(local, None, stripe) == local
    assert time_by_majority(local, postgres, None) == local


def test_the_later_of_two_counts_as_what_is_too_late_is_mended() -> None:
    for other in (NOW - FORTY_DAYS, NOW + FORTY_DAYS):
        assert time_by_majority(NOW, other, None) == max(NOW, other)
        assert time_by_majority(NOW, None, other) == max(NOW, other)


def test_alone_the_local_clock_counts() -> None:
    assert time_by_majority(NOW, None, None) == NOW
