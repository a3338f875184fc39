"""A backfill waits while its channel is full."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from worker.backfill.back_pressure import BackPressure, Stalled
from worker.backfill.publishing import await_drained


class Channel:
    """Depths one after the other, the last one for ever; and a clock that `wait` moves."""

    def __init__(self, *depths: int) -> None:
        self._depths: Iterator[int] = iter(depths)
        self._last = depths[-1]
        self.time = 0.0
        self.asked = 0
        self.told: list[int] = []

    def depth(self) -> int:
        self.asked += 1
        return next(self._depths, self._last)

    def clock(self) -> float:
        return self.time

    def wait(self, seconds: float) -> None:
        self.time += seconds

    def pressure(self, most: int, patience: float = 10.0) -> BackPressure:
        return BackPressure(
            self.depth, most, patience=patience, clock=self.clock, wait=self.wait, paused=self.told.append
        )

    def drained(self, patience: float = 10.0) -> None:
        await_drained(self.depth, patience=patience, clock=self.clock, wait=self.wait, draining=self.told.append)


def test_it_asks_rarely_while_there_is_room() -> None:
    channel = Channel(0)
    pressure = channel.pressure(1000)
    for _ in range(10):
        pressure.admit(100)
    assert channel.asked == 1
    pressure.admit(100)
    assert channel.asked == 2


def test_it_waits_until_a_batch_fits() -> None:
    channel = Channel(1000, 950, 901, 900)
    channel.pressure(1000).admit(100)
    assert channel.told == [1000, 950, 901]


def test_a_batch_larger_than_the_bound_goes_once_the_channel_is_empty() -> None:
    channel = Channel(5, 1, 0)
    channel.pressure(10).admit(100)
    assert channel.told == [5, 1]


def test_a_channel_that_moves_slowly_is_waited_for() -> None:
    channel = Channel(*(depth for depth in range(1000, 800, -1) for _ in range(40)))
    channel.pressure(900, patience=10).admit(1)
    assert channel.time > 100


def test_a_channel_that_stands_still_is_given_up() -> None:
    channel = Channel(1000)
    with pytest.raises(Stalled, match="1000 messages"):
        channel.pressure(900, patience=10).admit(1)
    assert channel.time == pytest.approx(10, abs=1)


def test_without_a_bound_nothing_is_asked() -> None:
    channel = Channel(10**9)
    channel.pressure(0).admit(10**6)
    assert channel.asked == 0


def test_a_channel_is_drained_once_it_was_seen_empty_twice() -> None:
    channel = Channel(7, 0, 3, 0, 0)
    channel.drained()
    assert channel.asked == 5


def test_a_channel_that_nobody_drains_is_given_up() -> None:
    channel = Channel(7)
    with pytest.raises(Stalled, match="7 messages"):
        channel.drained()
