"""Deadlines lie inside the lease, and requests inside the deadline."""

from __future__ import annotations

import pytest

from worker.domain.deadline import FLOOR, MARGIN, Deadline
from worker.errors import TryLater


def test_time_runs_out() -> None:
    assert 9.9 < Deadline.after(10).remaining() <= 10
    assert Deadline.after(-1).remaining() < 0


def test_near_the_deadline_nothing_is_sent() -> None:
    Deadline.after(FLOOR + 1).check()
    with pytest.raises(TryLater, match="deadline_near"):
        Deadline.after(FLOOR - 0.01).check()


def test_a_request_ends_before_the_deadline() -> None:
    assert Deadline.after(100).timeout(10) == 10
    assert Deadline.after(3).timeout(10) <= 3 - MARGIN


def test_a_thread_that_was_held_since_it_checked_sends_nothing() -> None:
    with pytest.raises(TryLater, match="deadline_near"):
        Deadline.after(MARGIN).timeout(10)
