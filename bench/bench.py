"""What a benchmark is, and the JSON object that it comes to."""

from __future__ import annotations

import os
import platform
import random
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import psutil

from bench.stand import Stand
from sandbox.binaries import NSQ, POSTGRES

Figures = dict[str, Any]
"""What was measured, ready for JSON; each key ends in its unit unless it is a ratio or a count."""

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

SizesT = TypeVar("SizesT", bound="DataclassInstance")
_PACKAGES = ("subkeeper", "nsq-py", "psycopg", "SQLAlchemy", "stripe")


@dataclass(frozen=True)
class Bench(Generic[SizesT]):
    """One benchmark. `sizes` is for figures to be quoted; `tiny` only shows that it runs."""

    name: str
    sizes: SizesT
    tiny: SizesT
    measure: Callable[[Stand, SizesT, random.Random], Figures]

    def run(self, stand: Stand, *, tiny: bool, seconds: float | None, seed: int) -> dict[str, Any]:
        """Measures. `seconds` replaces the length of each window, where the benchmark has one."""
        sizes = self.tiny if tiny else self.sizes
        if seconds is not None and "seconds" in {field.name for field in fields(sizes)}:
            sizes = replace(sizes, seconds=seconds)
        machine = described_machine()
        began, started_at = time.monotonic(), datetime.now(UTC)
        figures = self.measure(stand, sizes, random.Random(f"{seed} {self.name}"))
        return {
            "bench": self.name,
            "figures": figures,
            "sizes": asdict(sizes),
            "seed": seed,
            "started_at": started_at.isoformat(timespec="seconds"),
            "took_seconds": round(time.monotonic() - began, 1),
            "machine": machine,
            "versions": versions(),
        }


def described_machine() -> dict[str, Any]:
    """What it runs on, and how busy that is before (`load_before`: means over 1, 5 and 15 minutes)."""
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "cpu": _cpu_model(),
        "memory_mb": round(psutil.virtual_memory().total / 1e6),
        "load_before": [round(load, 2) for load in os.getloadavg()],
    }


def versions() -> dict[str, str]:
    """Of what is measured, and of what it runs on."""
    packages = {name: version(name) for name in _PACKAGES}
    return {"python": platform.python_version(), **packages, "nsqd": NSQ, "postgres": str(POSTGRES)}


def summary(values: list[float], digits: int = 0) -> dict[str, Any]:
    """The median of what the rounds measured, and each of them."""
    return {"median": round(median(values), digits), "rounds": [round(value, digits) for value in values]}


def ratio(one: dict[str, Any], other: dict[str, Any]) -> float:
    """The median of the rounds' ratios: what disturbs a round mostly disturbs both sides. 0 where nothing could be
    measured."""
    return float(round(median(a / b if b else 0.0 for a, b in zip(one["rounds"], other["rounds"], strict=True)), 3))


def say(text: str) -> None:
    """Progress, for whoever waits."""
    print(text, file=sys.stderr, flush=True)


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
