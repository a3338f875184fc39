"""A batch that could not be committed at first, as people are told of it."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from worker.broker.protocol import own_words
from worker.errors import SubkeeperError, Unforeseen
from worker.telemetry import Metrics

Report = Callable[[str, bool, str], None]
"""Hears how a part of the process is: its name, whether it is well, and a sentence for people."""


class StuckBatch:
    """A batch of `size` messages, read at `read_at` (monotonic clock), whose first commit has failed.

    It is reported once it fails again: a deadlock that the next attempt gets over is no outage.
    """

    def __init__(self, part: str, size: int, read_at: float, metrics: Metrics, report: Report) -> None:
        self._part = part
        self._size = size
        self._read_at = read_at
        self._metrics = metrics
        self._report = report
        self._failures = 0
        self._told_unforeseen = False

    def failed(self, error: Exception) -> int:
        """An attempt has failed; how many have."""
        self._failures += 1
        if self._failures > 1:
            self._metrics.batch_retried()
            self._report(self._part, False, f"{self._size} messages in hand cannot be committed: {own_words(error)}")
        foreseen = isinstance(error, SubkeeperError) and not isinstance(error, Unforeseen)
        if not foreseen and not self._told_unforeseen:
            self._told_unforeseen = True
            structlog.get_logger(__name__).critical("batch.refused", messages=self._size, exc_info=error)
        self.show()
        return self._failures

    def show(self) -> None:
        """Keeps the gauge of its age current."""
        self._metrics.batch_in_hand(time.monotonic() - self._read_at, self._part)

    def over(self) -> None:
        """It is committed."""
        self._metrics.batch_in_hand(0.0, self._part)
        self._report(self._part, True, "")
