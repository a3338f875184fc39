"""Whether the threads that have work get on with it."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import structlog

from worker.telemetry.errors import stack_of
from worker.telemetry.health import Health

PATIENCE = 60.0
"""Seconds without progress after which a thread that has work counts as stalled."""

INTERVAL = 5.0

PART = "threads"


class _Work(NamedTuple):
    """`since`: when progress was last made (by the clock)."""

    ident: int
    since: float


class Watchdog:
    """Threads say when they have work and when they get on with it; `run` looks at them until `stop`.

    A thread that has made no progress for `patience` seconds makes the process unready, and the log shows once where it
    is. `clock`: monotonic, in seconds. `part` of the health tells of it. Safe from any thread.
    """

    def __init__(
        self,
        health: Health,
        *,
        patience: float = PATIENCE,
        clock: Callable[[], float] = time.monotonic,
        part: str = PART,
    ) -> None:
        self._health = health
        self._part = part
        self._patience = patience
        self._clock = clock
        self._lock = threading.Lock()
        self._working: dict[str, _Work] = {}
        self._stalled: set[str] = set()
        self._stopping = threading.Event()

    @contextmanager
    def work(self) -> Iterator[None]:
        """The calling thread has work until the block ends."""
        thread = threading.current_thread()
        with self._lock:
            self._working[thread.name] = _Work(thread.ident or 0, self._clock())
        try:
            yield
        finally:
            with self._lock:
                self._working.pop(thread.name, None)

    def progress(self) -> None:
        """The calling thread has got on with its work, if it has any."""
        name = threading.current_thread().name
        with self._lock:
            if name in self._working:
                self._working[name] = self._working[name]._replace(since=self._clock())

    def run(self) -> None:
        while not self._stopping.wait(INTERVAL):
            self.look()

    def stop(self) -> None:
        self._stopping.set()

    def look(self) -> None:
        """Reports which threads are stalled, and that none is."""
        now = self._clock()
        with self._lock:
            working = dict(self._working)
        stalled = {name: work for name, work in working.items() if now - work.since > self._patience}
        for name in sorted(stalled.keys() - self._stalled):
            frame = sys._current_frames().get(stalled[name].ident)  # noqa: SLF001 - the documented way to a thread's stack
            seconds = round(now - stalled[name].since)
            structlog.get_logger().error("thread.stalled", thread=name, seconds=seconds, at=stack_of(frame))
        self._stalled = set(stalled)
        names = ", ".join(sorted(stalled))
        detail = f"no progress for {self._patience:g} s: {names}" if stalled else ""
        self._health.set(self._part, ok=not stalled, detail=detail)
