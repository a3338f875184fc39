"""Scale: what 1, 2 and 4 processes settle, Stripe at 150 ms a call and without limits."""

from __future__ import annotations

import random
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from bench.bench import Bench, Figures, say
from bench.messages import profiles
from bench.meter import Meter
from bench.site import UNLIMITED, Site, cores
from bench.stand import Stand

SATURATED = 90.0
"""Percent of all cores beyond which it is they that stop growth."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """`threads` settling threads a process: with 8 one process waits for Stripe most of the time (8 ÷ 0.3 s = 27
    profiles/s at best), with the default of 16 the cores come into it sooner. Rates are over `seconds`, after
    `warm_up` seconds."""

    processes: tuple[int, ...] = (1, 2, 4)
    threads: tuple[int, ...] = (8, 16)
    seconds: float = 12.0
    warm_up: float = 2.0
    latency_ms: float = 150.0


def measure(stand: Stand, sizes: Sizes, rng: random.Random) -> Figures:
    figures: Figures = {}
    for threads in sizes.threads:
        steps = {}
        for count in sizes.processes:
            with stand.site(rng) as site:
                steps[str(count)] = _settled_by(site, count, threads, sizes, rng)
            say(f"scale: {count} processes of {threads} threads: {steps[str(count)]}")
        figures[f"threads_{threads}"] = _with_growth(steps)
    return figures


def _settled_by(site: Site, count: int, threads: int, sizes: Sizes, rng: random.Random) -> Figures:
    site.control.latency(ms=sizes.latency_ms)
    at_best = count * threads / (2 * sizes.latency_ms / 1000)
    with ExitStack() as stack:
        workers = [
            stack.enter_context(site.worker(UNLIMITED | {"SETTLE__THREADS": str(threads)})) for _ in range(count)
        ]
        site.publish(profiles("user-", int(at_best * (sizes.seconds + sizes.warm_up + 5))), rng)
        time.sleep(sizes.warm_up)
        meter = Meter(
            {"postgres": site.postgres, "stripe": site.stripe, "nsqd": site.nsqd}
            | {f"worker_{number}": worker for number, worker in enumerate(workers, 1)}
        )
        began = datetime.now(UTC)
        time.sleep(sizes.seconds)
        percent = meter.percent()
    ended = began + timedelta(seconds=sizes.seconds)
    rate = sum(began <= at < ended for at in site.completed("user-")) / sizes.seconds
    return {
        "profiles_per_second": round(rate, 1),
        "at_best": round(at_best, 1),
        "cpu_percent_of_a_core": percent,
        "stopped_by": "cores" if percent["machine_busy"] >= SATURATED else "waiting for Stripe",
    }


def _with_growth(steps: dict[str, dict[str, Any]]) -> Figures:
    one = next(iter(steps.values()))["profiles_per_second"] or 1.0
    return {
        "by_processes": steps,
        "growth": {count: round(step["profiles_per_second"] / one, 2) for count, step in steps.items()},
        "cores": cores(),
    }


BENCH = Bench("scale", Sizes(), Sizes(processes=(2,), threads=(2,), seconds=0.5, warm_up=0.2, latency_ms=5.0), measure)
