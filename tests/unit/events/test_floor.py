"""What the relay spares itself to look at, and what it never does."""

from __future__ import annotations

import pytest

from worker.events.floor import SETTLING, SHARE, WHOLE_INTERVAL, Floor


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def pass_time(floor: Floor, clock: Clock) -> int:
    """The floor, `SETTLING` later; everything was looked at a moment ago."""
    clock.now += SETTLING
    floor.nothing_waits(0, 0.0)
    return floor.next()


@pytest.fixture
def floor(clock: Clock) -> Floor:
    """One that begins to settle what was sent, up to 7."""
    floor = Floor(clock)
    floor.was_sent(7)
    floor.nothing_waits(0, 0.0)
    assert floor.next() == 0
    return floor


def test_what_was_sent_lately_is_looked_at_again_since_lower_ids_may_come_late(floor: Floor, clock: Clock) -> None:
    clock.now += SETTLING - 1
    floor.nothing_waits(0, 0.0)
    assert floor.next() == 0


def test_what_was_sent_long_ago_is_not(floor: Floor, clock: Clock) -> None:
    floor.was_sent(9)
    assert pass_time(floor, clock) == 7
    floor.was_sent(11)
    assert floor.next() == 7
    assert pass_time(floor, clock) == 9
    assert pass_time(floor, clock) == 11


def test_everything_is_looked_at_every_so_often_and_seldomer_where_that_takes_long(floor: Floor, clock: Clock) -> None:
    pass_time(floor, clock)
    clock.now += WHOLE_INTERVAL
    assert floor.next() == 0
    floor.nothing_waits(7, WHOLE_INTERVAL)
    clock.now += WHOLE_INTERVAL / SHARE - 1
    assert floor.next() == 7
    clock.now += 1
    assert floor.next() == 0


def test_after_a_failure_everything_is_looked_at(floor: Floor, clock: Clock) -> None:
    pass_time(floor, clock)
    floor.forget()
    assert floor.next() == 0


def test_a_relay_that_has_sent_nothing_itself_learns_what_others_have(clock: Clock) -> None:
    floor = Floor(clock)
    floor.nothing_waits(7, 0.0)
    assert floor.next() == 0
    assert pass_time(floor, clock) == 7
