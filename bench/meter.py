"""Processor time of the parts, and what is left of the machine."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress

import psutil

from sandbox.part import Part


def processor_seconds(pid: int) -> float:
    """Seconds that a process and its children have used, those that have ended included; of this one, which started
    all others, without them."""
    if pid == os.getpid():
        return time.process_time()
    program = psutil.Process(pid)
    used = program.cpu_times()
    seconds = used.user + used.system + used.children_user + used.children_system
    for child in program.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            times = child.cpu_times()
            seconds += times.user + times.system
    return float(seconds)


class Meter:
    """What `parts` use from now on."""

    def __init__(self, parts: Mapping[str, Part | int]) -> None:
        self._pids = {name: part if isinstance(part, int) else part.pid for name, part in parts.items()}
        self._used = self._read()
        self._idle = psutil.cpu_times().idle
        self._began = time.monotonic()

    def used(self) -> dict[str, float]:
        """Seconds of processor time so far, by part."""
        return {name: seconds - self._used[name] for name, seconds in self._read().items()}

    def percent(self) -> dict[str, float]:
        """The same as a percentage of one core's time; `machine_busy` is of all cores, by whomever."""
        elapsed = time.monotonic() - self._began
        idle = (psutil.cpu_times().idle - self._idle) / elapsed / (psutil.cpu_count() or 1)
        parts = {name: round(100 * seconds / elapsed, 1) for name, seconds in self.used().items()}
        return parts | {"machine_busy": round(max(0.0, 100 * (1 - idle)), 1)}

    def per(self, count: int, unit: float) -> dict[str, float]:
        """Seconds times `unit` by part for each of `count` (1000: milliseconds)."""
        return {name: round(unit * seconds / max(1, count), 3) for name, seconds in self.used().items()}

    def _read(self) -> dict[str, float]:
        return {name: processor_seconds(pid) for name, pid in self._pids.items()}
