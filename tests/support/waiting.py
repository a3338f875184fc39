"""Waiting for what happens in its own time."""

from __future__ import annotations

import time
from collections.abc import Callable

BUSY = 6.0
"""Tests run side by side, on two cores, on machines that have other work: so much longer may take what ends in time.
Only who fails waits as long."""


def wait_until(
    condition: Callable[[], object], timeout: float = 15.0, what: str = "", *, interval: float = 0.02
) -> None:
    """Returns once `condition` holds, which is asked every `interval` seconds; fails after `timeout` seconds (of a
    machine that is not busy)."""
    deadline = time.monotonic() + timeout * BUSY
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout:g} s: {what or condition}")
        time.sleep(interval)
