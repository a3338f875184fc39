"""The rate at which worker processes settle what was published."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass

from bench.messages import profiles
from bench.meter import Meter
from bench.site import UNLIMITED, Site


@dataclass(frozen=True, slots=True)
class Settled:
    """Profiles per second after warm-up; milliseconds of processor time per profile, by part."""

    per_second: float
    cpu_ms: dict[str, float]
    cpu_percent: dict[str, float]


def settle(site: Site, prefix: str, count: int, warm_up: int, rng: random.Random) -> Settled:
    """One worker process settles `warm_up + count` profiles that waited for it. The rate is by the times at which
    their rows were completed, so neither its start nor who watches is in it."""
    site.publish(profiles(prefix, warm_up + count), rng)
    with site.worker(UNLIMITED) as worker:
        done = _wait(site, prefix, warm_up)
        meter = Meter({"worker": worker, "postgres": site.postgres, "stripe": site.stripe, "nsqd": site.nsqd})
        measured = _wait(site, prefix, warm_up + count) - done
        cpu_ms, cpu_percent = meter.per(measured, 1000), meter.percent()
    completed = site.completed(prefix)[warm_up:]
    elapsed = (completed[-1] - completed[0]).total_seconds()
    return Settled((len(completed) - 1) / elapsed, cpu_ms, cpu_percent)


def _wait(site: Site, prefix: str, count: int) -> int:
    """Waits until so many are completed; how many there are. A quarter of a second late at most."""
    deadline = time.monotonic() + 60 + count / 20
    while (done := len(site.completed(prefix))) < count:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{done} of {count} profiles were settled")
        time.sleep(0.1)
    return done
