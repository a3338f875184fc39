"""What settling came to, summed up: a line for each subscription would drown the others."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable

import structlog

INTERVAL = 60.0
"""Seconds between two sums."""


class Tally:
    """Counts outcomes, and logs their sum once a minute if there are any. Safe from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._began = clock()

    def add(self, outcome: str) -> None:
        with self._lock:
            self._counts[outcome] += 1

    def tell_each_minute(self) -> None:
        if self._clock() - self._began >= INTERVAL:
            self.tell()

    def tell(self) -> None:
        """Logs the sum since the last one."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
            seconds, self._began = self._clock() - self._began, self._clock()
        if counts:
            structlog.get_logger().info("rows.settled", seconds=round(seconds), outcomes=dict(counts))
