"""The pace of one budget: even, never too fast, slower after a 429 and back again."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.stripe_api.limiter.pace import CUT, LEAST, Cap, Pace, Stamp

JITTER = 0.002
"""How late a thread may wake, in seconds."""


def saturate(pace: Pace, start: float, seconds: float, lateness: list[float]) -> list[float]:
    """Take every permit as soon as it is free, each a little late (cycling through `lateness`)."""
    taken: list[float] = []
    now = start
    while now < start + seconds:
        pace.take(Stamp(now))
        taken.append(now)
        now = pace.free_at(now) + lateness[len(taken) % len(lateness)]
    return taken


def most_in(seconds: float, times: list[float]) -> int:
    first = most = 0
    for last, time in enumerate(times):
        while times[first] <= time - seconds:
            first += 1
        most = max(most, last - first + 1)
    return most


rates = st.one_of(st.integers(1, 120).map(float), st.floats(0.5, 120))
lateness = st.lists(st.floats(0, 0.2), min_size=1, max_size=20)


@given(rate=rates, late=lateness)
def test_no_second_holds_more_than_the_rate(rate: float, late: list[float]) -> None:
    taken = saturate(Pace(rate, 0.0), 0.0, 4.0, late)
    assert most_in(1, taken) <= math.ceil(rate)


@given(rate=st.integers(1, 60), dawdling=st.lists(st.floats(0, 0.3), min_size=1, max_size=20))
def test_no_second_holds_more_than_the_rate_although_requests_leave_after_their_permit(
    rate: int, dawdling: list[float]
) -> None:
    pace, stamps, now = Pace(float(rate), 0.0), list[tuple[float, Stamp]](), 0.0
    for number in range(rate * 4):
        while (free := pace.free_at(now)) > now or any(stamp.at < leaves <= now for leaves, stamp in stamps):
            now = free
            for leaves, stamp in stamps:
                stamp.at = leaves if leaves <= now else stamp.at
        stamps.append((now + dawdling[number % len(dawdling)], Stamp(now)))
        pace.take(stamps[-1][1])
    assert most_in(1, sorted(leaves for leaves, _ in stamps)) <= rate


@given(rate=rates, idle=st.lists(st.floats(0, 3), max_size=5))
def test_idle_time_is_not_saved_up(rate: float, idle: list[float]) -> None:
    pace, taken = Pace(rate, 0.0), []
    now = 0.0
    for pause in idle:
        run = saturate(pace, pace.free_at(now + pause), 1.0, [0.0])
        taken += run
        now = run[-1]
    assert most_in(1, taken) <= math.ceil(rate)


@pytest.mark.parametrize("rate", [100.0, 80.0, 25.0, 20.0])
def test_a_saturated_pace_reaches_98_percent_of_the_rate_although_threads_wake_late(rate: float) -> None:
    taken = saturate(Pace(rate, 0.0), 0.0, 60.0, [0.0, JITTER, JITTER / 2])
    assert len(taken) >= 0.98 * rate * 60


def test_requests_are_spread_over_the_second() -> None:
    taken = saturate(Pace(100.0, 0.0), 0.0, 5.0, [0.0])
    assert most_in(0.1, taken) <= 10 + 3


def test_a_429_slows_down_once_however_many_follow_in_the_same_second() -> None:
    pace = Pace(100.0, 0.0)
    for at in (10.0, 10.1, 10.9):
        pace.cut(at)
    assert pace.rate(10.9) == pytest.approx(100 * CUT + 0.9 * 2)


@given(cuts=st.lists(st.floats(0, 300), max_size=50))
def test_the_rate_stays_within_bounds_and_recovers(cuts: list[float]) -> None:
    pace = Pace(50.0, 0.0)
    for at in sorted(cuts):
        pace.cut(at)
        assert 50 * LEAST <= pace.rate(at) <= 50
    assert pace.rate(300 + 1 / 0.02) == 50


def test_after_a_cut_the_lower_rate_is_kept() -> None:
    pace = Pace(100.0, 0.0)
    last = saturate(pace, 0.0, 2.0, [0.0])[-1]
    pace.cut(last)
    taken = saturate(pace, pace.free_at(last), 1.0, [0.0])
    assert len(taken) <= 100 * (CUT + 0.03)


def test_a_cap_comes_with_a_complaint_and_goes_again() -> None:
    cap = Cap()
    cap.in_flight = 10
    assert cap.free(0.0)
    cap.cut(0.0)
    assert not cap.free(0.0)
    cap.in_flight = 6
    assert cap.free(0.0)
    cap.in_flight = 10
    assert cap.free(4.0)
    cap.in_flight = 10_000
    assert not cap.free(13.9)
    assert cap.free(14.1)


@given(rates, rates, st.floats(0, 3), lateness)
def test_a_rate_that_changes_is_kept_from_then_on_and_used_soon(
    before: float, after: float, when: float, lateness: list[float]
) -> None:
    pace = Pace(before, 0.0)
    saturate(pace, 0.0, when, lateness)
    pace.configure(after, when)
    assert pace.free_at(when) <= when + 1.1 * math.ceil(after) / after
    taken = saturate(pace, max(when, pace.free_at(when)), 5.0, lateness)
    window = math.ceil(after) / after
    assert most_in(window, taken) <= math.ceil(after)


def test_what_a_429_has_cut_stays_cut_in_proportion() -> None:
    pace = Pace(100.0, 0.0)
    pace.cut(0.0)
    pace.configure(50.0, 0.0)
    assert pace.rate(0.0) == pytest.approx(50 * CUT)
