"""Shares by weight, by numbers that can be checked by hand."""

from __future__ import annotations

import pytest

from worker.domain.shares import Turns, due_shares, spread


def test_what_is_left_after_whole_shares_goes_to_the_largest_remainders() -> None:
    """Beyond the 1 for each, 7 are shared as 3.9, 2.3 and 0.8."""
    assert spread(10, {"a": 5, "b": 3, "c": 1}, dict.fromkeys("abc", 100)) == {"a": 5, "b": 3, "c": 2}


def test_what_one_cannot_take_goes_to_the_others() -> None:
    assert due_shares(10, {"a": 3, "b": 1}, {"a": 4, "b": 100}) == pytest.approx({"a": 4, "b": 6})


def test_who_waits_and_cannot_be_served_is_owed_what_the_others_had_meanwhile() -> None:
    turns = Turns[str]()
    both = {"a": 1.0, "b": 1.0}
    assert turns.next(both) == "a"
    assert [turns.next({"a": 1.0}, waiting=both) for _ in range(3)] == ["a"] * 3
    assert [turns.next(both) for _ in range(4)] == ["b"] * 4


def test_who_does_not_wait_is_owed_nothing() -> None:
    turns = Turns[str]()
    both = {"a": 1.0, "b": 1.0}
    assert turns.next(both) == "a"
    assert [turns.next({"a": 1.0}) for _ in range(3)] == ["a"] * 3
    assert sorted(turns.next(both) for _ in range(2)) == ["a", "b"]
