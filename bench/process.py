"""Process: how soon it is ready, how much memory it holds under load, and what it costs while it has nothing to do."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

from bench.bench import Bench, Figures, ratio, say, summary
from bench.messages import profiles
from bench.meter import processor_seconds
from bench.site import UNLIMITED, BenchWorker, Site
from bench.stand import Stand
from sandbox.part import Part

IMPORTED = (
    "click", "cryptography", "httptools", "jsonpointer", "msgspec", "nsq", "prometheus_client", "psycopg",
    "psycopg_binary", "pydantic", "pydantic_core", "sqlalchemy", "stripe", "structlog", "tenacity", "urllib3",
    "uvicorn", "uvloop",
)  # fmt: skip
"""The third-party packages that `run` loads, which a test holds to the truth."""

ABSENT = ("aiohttp", "anyio", "httpx", "requests", "rich")
"""What those would load where it is installed, and don't for us (`worker.imported_without`)."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """`backlog` profiles are absorbed and settled for `seconds` while memory is sampled; each idle state lasts `idle`
    seconds, after `settle_down` seconds in which the worker notices it. Two workers are started for that; `starts`
    more only to see how soon they are ready."""

    starts: int = 5
    backlog: int = 20_000
    seconds: float = 15.0
    idle: float = 12.0
    settle_down: float = 3.0


def measure(stand: Stand, sizes: Sizes, rng: random.Random) -> Figures:
    ready: list[float] = []
    importing: list[float] = []
    with stand.site(rng) as site:
        for _ in range(sizes.starts):
            importing.append(_import())
            with _started(site, ready):
                pass
        with _started(site, ready) as worker:
            idle = _idle(site, worker, sizes)
        say(f"process: idle {idle} % of a core")
        site.publish(profiles("user-", sizes.backlog), rng)
        with _started(site, ready) as worker:
            resident = _resident_under_load(worker, sizes)
        resident["settled_meanwhile"] = len(site.completed("user-"))
        say(f"process: resident under load {resident} MB; ready after {ready} s")
    return {
        "ready_after_seconds": summary(ready, 2),
        "importing_seconds": summary(importing, 2),
        "ready_of_importing": ratio(summary(ready[: len(importing)], 3), summary(importing, 3)),
        "idle_cpu_percent": idle,
        "resident_mb": resident,
    }


def _import() -> float:
    """Seconds in which a new Python has imported exactly what `run` loads of others, and ended."""
    program = f"import sys; sys.modules.update(dict.fromkeys({ABSENT})); import {', '.join(IMPORTED)}"
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", program], check=True)
    return time.monotonic() - began


@contextmanager
def _started(site: Site, ready: list[float]) -> Iterator[BenchWorker]:
    """A worker; notes the seconds from the start of its program until /readyz says yes."""
    worker = site.worker(UNLIMITED)
    began = time.monotonic()
    with worker:
        ready.append(time.monotonic() - began)
        yield worker


def _idle(site: Site, worker: BenchWorker, sizes: Sizes) -> dict[str, float]:
    """Percent of a core, with everything up and with a part away."""
    return {
        "all_up": _idle_percent(worker, sizes),
        "nsqd_away": _without(site.nsqd, worker, sizes),
        "postgres_away": _without(site.postgres, worker, sizes),
    }


def _without(part: Part, worker: BenchWorker, sizes: Sizes) -> float:
    """Stops `part` meanwhile; returns once the worker is ready again with it."""
    part.stop()
    percent = _idle_percent(worker, sizes)
    part.start()
    deadline = time.monotonic() + 30
    while not worker.answers() and time.monotonic() < deadline:
        time.sleep(0.05)
    return percent


def _idle_percent(worker: BenchWorker, sizes: Sizes) -> float:
    time.sleep(sizes.settle_down)
    used, began = processor_seconds(worker.pid), time.monotonic()
    time.sleep(sizes.idle)
    return round(100 * (processor_seconds(worker.pid) - used) / (time.monotonic() - began), 2)


def _resident_under_load(worker: BenchWorker, sizes: Sizes) -> dict[str, float]:
    program, peak, began = psutil.Process(worker.pid), 0, time.monotonic()
    at_start = program.memory_info().rss
    while time.monotonic() - began < sizes.seconds:
        peak = max(peak, program.memory_info().rss)
        time.sleep(0.1)
    resident = {"at_start": at_start, "peak": peak, "at_end": program.memory_info().rss}
    return {name: round(size / 1e6, 1) for name, size in resident.items()}


BENCH = Bench("process", Sizes(), Sizes(starts=1, backlog=200, seconds=0.5, idle=0.2, settle_down=0.1), measure)
