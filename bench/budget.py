"""Budget: how much of Stripe's rate all processes use together, while they start, are killed and stop."""

from __future__ import annotations

import random
import time
from contextlib import ExitStack
from dataclasses import dataclass

from bench.bench import Bench, Figures, say
from bench.messages import profiles
from bench.site import BenchWorker, Site
from bench.stand import Stand


@dataclass(frozen=True, slots=True)
class Sizes:
    """`seconds` are measured after each change, once `settle_down` have passed. Stripe grants `rate` requests/s."""

    seconds: float = 60.0
    settle_down: float = 10.0
    rate: float = 25.0
    share: float = 0.8
    request_timeout: float = 5.0
    latency_ms: float = 150.0


PHASES = ("1 process", "a second one", "three more", "two killed", "one stopped", "all but one killed")


def measure(stand: Stand, sizes: Sizes, rng: random.Random) -> Figures:
    with stand.site(rng) as site, ExitStack() as closing:
        return _measured(site, sizes, closing, rng)


def _measured(site: Site, sizes: Sizes, closing: ExitStack, rng: random.Random) -> Figures:
    site.control.limits(account_rate=sizes.rate)
    site.control.latency(ms=sizes.latency_ms)
    granted = sizes.rate * sizes.share
    needed = len(PHASES) * (sizes.seconds + sizes.settle_down) * granted / 2
    site.publish(profiles("user-", round(1.2 * needed)), rng)
    workers: list[BenchWorker] = []
    figures: Figures = {"granted_per_second": granted, "used_of_granted": {}, "answered_429": {}}
    for phase in PHASES:
        _change(phase, site, sizes, workers, closing)
        time.sleep(sizes.settle_down)
        before = site.control.health()["requests"]
        time.sleep(sizes.seconds)
        requests = site.control.requests(before)
        figures["used_of_granted"][phase] = round(len(requests) / sizes.seconds / granted, 4)
        figures["answered_429"][phase] = sum(each["status"] == 429 for each in requests)
        say(f"budget, {phase}: {figures['used_of_granted'][phase]}, {len(workers)} processes")
    figures["answered_429"]["ever"] = sum(each["status"] == 429 for each in site.control.requests(0))
    return figures


def _change(phase: str, site: Site, sizes: Sizes, workers: list[BenchWorker], closing: ExitStack) -> None:
    started = {"1 process": 1, "a second one": 1, "three more": 3}.get(phase, 0)
    workers.extend(closing.enter_context(site.worker(_settings(sizes))) for _ in range(started))
    for _ in range({"two killed": 2, "all but one killed": len(workers) - 1}.get(phase, 0)):
        workers.pop().kill()
    if phase == "one stopped":
        workers.pop().stop()


def _settings(sizes: Sizes) -> dict[str, str]:
    return {
        "STRIPE__REQUESTS_PER_SECOND": str(sizes.rate),
        "STRIPE__ENDPOINT_REQUESTS_PER_SECOND": str(sizes.rate),
        "STRIPE__SHARE": str(sizes.share),
        "STRIPE__REQUEST_TIMEOUT": str(sizes.request_timeout),
    }


BENCH = Bench("budget", Sizes(), Sizes(seconds=0.5, settle_down=0.2, latency_ms=20.0), measure)
