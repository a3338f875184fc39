"""Limits: how much of what Stripe allows is used, with Stripe at 150 ms a call and as strict as it is."""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import dataclass

from bench.bench import Bench, Figures, say
from bench.messages import profiles
from bench.site import Site
from bench.stand import Stand
from sandbox.stripe.control import LoggedRequest

CREATES = ("/v1/customers", "/v1/subscriptions")
"""What a profile costs: one request to each."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """`warm_up` (seconds) is left out of the window; `threads` must be in flight at 100/s: 16 and a few."""

    seconds: float = 60.0
    warm_up: float = 3.0
    latency_ms: float = 150.0
    threads: int = 32


@dataclass(frozen=True, slots=True)
class Limit:
    """Requests per second that Stripe grants; `bound`: what of that creating profiles can use."""

    account: float | None
    endpoint: float | None
    bound: float
    binding: str


KNOWN = {
    "account_100": Limit(100.0, None, 100.0, "the account's: 100 calls/s, 50 profiles/s"),
    "account_100_endpoint_25": Limit(100.0, 25.0, 50.0, "the endpoints': 25 calls/s to each of two, 25 profiles/s"),
}


def measure(stand: Stand, sizes: Sizes, rng: random.Random) -> Figures:
    figures: Figures = {}
    for name, limit in KNOWN.items():
        with stand.site(rng) as site:
            figures[name] = _under(limit, site, sizes, rng)
            say(f"limits, {name}: {figures[name]}")
    return figures


def _under(limit: Limit, site: Site, sizes: Sizes, rng: random.Random) -> Figures:
    site.control.limits(limit.account, limit.endpoint)
    site.control.latency(ms=sizes.latency_ms)
    backlog = int((1.1 * (sizes.seconds + sizes.warm_up) + 1) * limit.bound / len(CREATES))
    site.publish(profiles("user-", backlog), rng)
    settings = {
        "STRIPE__REQUESTS_PER_SECOND": str(limit.account or 100_000),
        "STRIPE__ENDPOINT_REQUESTS_PER_SECOND": str(limit.endpoint or 100_000),
        "STRIPE__SHARE": "1.0",
        "SETTLE__THREADS": str(sizes.threads),
    }
    seen = site.control.health()["requests"]
    with site.worker(settings):
        time.sleep(sizes.warm_up + sizes.seconds + 1.0)
        requests = site.control.requests(seen)
    return _figures(limit, requests, sizes) | {"profiles_waiting": backlog - len(site.completed("user-"))}


def _figures(limit: Limit, requests: list[LoggedRequest], sizes: Sizes) -> Figures:
    creates = [each for each in requests if each["method"] == "POST" and each["path"] in CREATES]
    began = creates[0]["time"] + sizes.warm_up
    window = [each for each in creates if began <= each["time"] < began + sizes.seconds]
    rate = len(window) / sizes.seconds
    return {
        "calls_per_second": round(rate, 2),
        "bound_calls_per_second": limit.bound,
        "binding": limit.binding,
        "of_bound": round(rate / limit.bound, 4),
        "answered_429": sum(each["status"] == 429 for each in requests),
        "calls": dict(Counter(each["path"] for each in window)),
    }


BENCH = Bench("limits", Sizes(), Sizes(seconds=0.5, warm_up=0.2, latency_ms=20.0), measure)
