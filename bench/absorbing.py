"""The rate at which the worker's own loop absorbs: nsqd → commit → FIN."""

from __future__ import annotations

import gc
import os
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from bench.meter import Meter
from bench.site import Site, wait_until
from worker.runtime import interpreter
from worker.runtime.events import StripeEvents
from worker.runtime.provisioning import Provisioning
from worker.runtime.resources import Resources
from worker.telemetry import Health, Metrics
from worker.version import VERSION


@dataclass(frozen=True, slots=True)
class Absorbed:
    """Messages per second from the first batch on; microseconds of processor time per message, by part."""

    per_second: float
    cpu_us: dict[str, float]


class _Stopwatch(Metrics):
    """Notes when each batch was committed: asking the registry again and again would take a tenth of a core."""

    def __init__(self) -> None:
        super().__init__(VERSION)
        self.batches: list[tuple[float, int]] = []
        self.taken = 0

    def batch(self, size: int, seconds: float) -> None:
        super().batch(size, seconds)
        self.batches.append((time.perf_counter(), size))
        self.taken += size

    def per_second(self) -> float:
        """Messages per second after the first batch."""
        (began, _), *others = self.batches
        if not others:  # at a tiny size, or behind a broker that was slow to begin
            return 0.0
        return sum(size for _, size in others) / (others[-1][0] - began)


def absorb(site: Site, count: int, rng: random.Random) -> Absorbed:
    """Absorbs the `count` profiles that wait."""
    return consume(site, count, rng, Provisioning)


def consume(
    site: Site, count: int, rng: random.Random, build: Callable[[Resources], Provisioning | StripeEvents]
) -> Absorbed:
    """Takes in the `count` messages that wait, with everything a worker process has but its working threads, which
    would compete for the cores: so no row is leased as it is inserted."""
    interpreter.tune()
    gc.freeze()  # what the benchmark keeps is none of a worker's
    stopwatch = _Stopwatch()
    resources = Resources(site.settings, stopwatch, Health(["nsqd"]), rng)
    service = build(resources)
    thread = threading.Thread(target=service.consumer.run, name="absorber", daemon=True)
    meter = Meter({"worker": os.getpid(), "postgres": site.postgres, "nsqd": site.nsqd})
    thread.start()
    try:
        wait_until(lambda: stopwatch.taken >= count, 120, f"{count} messages absorbed")
        return Absorbed(stopwatch.per_second(), meter.per(count, 1e6))
    finally:
        service.stop()
        thread.join(10)
        service.close()
        resources.close()
