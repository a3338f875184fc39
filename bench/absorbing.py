"""The rate at which the worker's own loop absorbs: nsqd → commit → FIN."""

from __future__ import annotations

import os
import random
import threading
import time
from dataclasses import dataclass

from bench.meter import Meter
from bench.site import Site, wait_until
from worker.runtime.profiles import Profiles
from worker.telemetry import Health, Metrics
from worker.version import VERSION


@dataclass(frozen=True, slots=True)
class Absorbed:
    """Messages per second from the first batch on; microseconds of processor time per message, by part."""

    per_second: float
    cpu_us: dict[str, float]


def absorb(site: Site, count: int, rng: random.Random) -> Absorbed:
    """Absorbs the `count` messages that wait, with everything a worker process has but its settling threads, which
    would compete for the cores: so no row is leased as it is inserted."""
    metrics = Metrics(VERSION)
    profiles = Profiles(site.settings, metrics, Health(["nsqd"]), rng)

    def taken() -> int:
        return int(metrics.registry.get_sample_value("subkeeper_batch_messages_sum") or 0)

    thread = threading.Thread(target=profiles.consumer.run, name="absorber", daemon=True)
    meter = Meter({"worker": os.getpid(), "postgres": site.postgres, "nsqd": site.nsqd})
    thread.start()
    try:
        wait_until(lambda: taken() > 0, 30, "a first batch", interval=0.001)
        already, began = taken(), time.perf_counter()
        wait_until(lambda: taken() >= count, 120, f"{count} messages absorbed", interval=0.005)
        elapsed = time.perf_counter() - began
        return Absorbed((count - already) / elapsed, meter.per(count, 1e6))
    finally:
        profiles.stop()
        thread.join(10)
        profiles.close()
