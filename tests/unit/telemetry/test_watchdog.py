"""Threads that have work and don't get on with it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import structlog
from structlog.testing import capture_logs

from worker.telemetry import Health, Watchdog


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
def watchdog(health: Health, clock: Clock) -> Watchdog:
    return Watchdog(health, patience=60.0, clock=clock)


@contextmanager
def at_work(watchdog: Watchdog, name: str) -> Iterator[None]:
    """Another thread that is at work, in `held_up`, until the block ends."""
    begun, released = threading.Event(), threading.Event()

    def held_up() -> None:
        with watchdog.work():
            begun.set()
            released.wait(10)

    thread = threading.Thread(target=held_up, name=name)
    thread.start()
    assert begun.wait(10)
    yield
    released.set()
    thread.join()


def test_a_thread_without_progress_for_a_minute_makes_the_process_unready(
    watchdog: Watchdog, health: Health, clock: Clock
) -> None:
    with at_work(watchdog, "settler-3"):
        clock.now = 60.0
        watchdog.look()
        assert health.is_ready()
        clock.now = 61.0
        watchdog.look()
        assert not health.is_ready()
        assert health.parts()["threads"].detail == "no progress for 60 s: settler-3"
    watchdog.look()
    assert health.is_ready()


def test_it_is_told_once_and_where_the_thread_is(watchdog: Watchdog, clock: Clock) -> None:
    structlog.reset_defaults()
    with capture_logs() as logs, at_work(watchdog, "absorber"):
        clock.now = 61.0
        watchdog.look()
        clock.now = 90.0
        watchdog.look()
    (stalled,) = [line for line in logs if line["event"] == "thread.stalled"]
    assert (stalled["thread"], stalled["seconds"]) == ("absorber", 61)
    assert any(":held_up:" in place for place in stalled["at"])


def test_progress_begins_the_minute_anew(watchdog: Watchdog, health: Health, clock: Clock) -> None:
    with watchdog.work():
        clock.now = 50.0
        watchdog.progress()
        clock.now = 100.0
        watchdog.look()
        assert health.is_ready()


def test_a_thread_without_work_may_rest_for_as_long_as_it_likes(
    watchdog: Watchdog, health: Health, clock: Clock
) -> None:
    with watchdog.work():
        pass
    watchdog.progress()
    clock.now = 1000.0
    watchdog.look()
    assert health.is_ready()
