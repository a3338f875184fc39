"""Stripe's rate among processes: all of it is given, by what each wants, and nobody goes without."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.budget import FADES, HEADROOM, LEAST_RATE, Claim, demand, next_rate, share_out

demands = st.dictionaries(st.integers(), st.floats(0, 1000), min_size=1, max_size=20)


@given(st.floats(0.1, 1000), demands)
def test_all_is_given_and_everybody_has_the_least_or_an_equal_part(total: float, wanted: dict[int, float]) -> None:
    given = share_out(total, wanted)
    assert sum(given.values()) == pytest.approx(total)
    assert min(given.values()) >= min(LEAST_RATE, total / len(wanted)) * (1 - 1e-9)


@given(st.floats(0.1, 1000), demands)
def test_whoever_wants_no_more_than_an_equal_part_has_it(total: float, wanted: dict[int, float]) -> None:
    for key, rate in share_out(total, wanted).items():
        assert rate >= min(wanted[key], total / len(wanted)) * (1 - 1e-9)


def test_those_who_want_all_have_alike_and_take_nothing_from_who_wants_little() -> None:
    assert share_out(80, {"a": 80, "b": 80, "c": 10}) == pytest.approx({"a": 35, "b": 35, "c": 10})


def test_less_than_the_least_for_each_is_shared_alike() -> None:
    assert share_out(0.5, {"a": 9, "b": 0}) == pytest.approx({"a": 0.25, "b": 0.25})


def test_whoever_waits_wants_all() -> None:
    assert demand(80, sent=3, waited=0.6, before=1) == 80


def test_whoever_does_not_wait_wants_more_than_it_used_and_a_pause_gives_it_away_slowly() -> None:
    assert demand(80, sent=10, waited=0.4, before=1) == 10 * HEADROOM
    assert demand(80, sent=0, waited=0, before=10) == 10 * FADES


def test_a_new_process_takes_what_is_free_once_those_who_live_have_made_room() -> None:
    new = Claim(LEAST_RATE, 80, 80)
    assert next_rate(new, [Claim(80, 80, 80)], may_grow=True) == LEAST_RATE
    assert next_rate(new, [Claim(40, 80, 80)], may_grow=True) == 40
    assert next_rate(new, [Claim(40, 80, 80), Claim(20, 80, 80, lives=False)], may_grow=True) == 20
    assert next_rate(new, [Claim(40, 80, 80)], may_grow=False) == LEAST_RATE


def test_less_is_taken_at_once() -> None:
    assert next_rate(Claim(80, 80, 80), [Claim(1, 80, 80)], may_grow=False) == 40
