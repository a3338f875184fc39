"""Looks: what finding out whose customers are there already costs, after a ledger was lost or an outage was long."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from bench.bench import Bench, Figures, say
from bench.messages import body
from bench.site import UNLIMITED, Site, wait_until
from bench.stand import Stand
from sandbox.stripe.control import LoggedRequest
from worker.domain.deadline import Deadline
from worker.domain.lanes import Lane
from worker.domain.provisioning import customer_request
from worker.stripe_api.gateway import PAGE, StripeGateway
from worker.stripe_api.limiter.limiter import Limiter
from worker.telemetry import Metrics

AGE = timedelta(days=2)
"""Of the profiles: nobody's key is remembered any more, so each is looked for before it is created."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """`rows`: how many look at once, in a round each; every other one has a customer, which carries another email."""

    rows: tuple[int, ...] = (1000, 10_000)


def measure(stand: Stand, sizes: Sizes, rng: random.Random) -> Figures:
    figures: Figures = {}
    for rows in sizes.rows:
        with stand.site(rng) as site:
            figures[f"rows_{rows}"] = _round(site, rows, rng)
            say(f"looks, {rows} rows: {figures[f'rows_{rows}']}")
    return figures


def _round(site: Site, rows: int, rng: random.Random) -> Figures:
    names = [f"user-{number}" for number in range(rows)]
    _make_customers(site, names[::2], rng)
    created = datetime.now(UTC) - AGE
    site.publish([body(name, created_at=created) for name in rng.sample(names, rows)], rng)
    seen = site.control.health()["requests"]
    began = time.monotonic()
    with site.worker(UNLIMITED):
        wait_until(lambda: len(site.completed("user-")) == rows, 60 + rows / 5, f"{rows} completed", interval=0.5)
    seconds = time.monotonic() - began
    customers = site.control.state()["counts"]["customer"]
    return _costs(site.control.requests(seen), rows) | {
        "rows_per_second": round(rows / seconds, 1),
        "duplicates": customers - rows,
    }


def _make_customers(site: Site, names: Sequence[str], rng: random.Random) -> None:
    """As a database that is lost had made them, before their emails changed."""
    unlimited = Limiter(100_000, 100_000, weights=dict.fromkeys(Lane, 1))
    gateway = StripeGateway(
        site.settings.stripe, lambda: site.stripe.secret_key, unlimited, rng=rng, observe=Metrics("bench")
    )

    def make(name: str) -> None:
        request = customer_request(site.settings.namespace, name, f"former-{name}@example.org", None)
        gateway.create_customer(request, key=f"lost-{name}", lane=Lane.LIVE, deadline=Deadline.after(60))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(make, names))
    gateway.close()


def _costs(requests: Sequence[LoggedRequest], rows: int) -> Figures:
    """Pages of the walk that all rows share, and every other read that a row caused."""
    reads = Counter(_kind(each) for each in requests if each["method"] == "GET")
    pages = reads.pop("walk", 0)
    further = sum(count for kind, count in reads.items() if kind not in {"/v1/account", "/v1/prices", "/v1/products"})
    return {
        "pages": pages,
        "rows_per_hundred": rows / PAGE,
        "pages_per_row": round(pages / rows, 4),
        "further_reads_per_row": round(further / rows, 3),
        "reads": dict(reads),
    }


def _kind(request: LoggedRequest) -> str:
    if request["path"] == "/v1/customers":
        return "by_email" if "email" in request["params"] else "walk"
    return "retrieved" if request["path"].startswith("/v1/customers/cus_") else request["path"]


BENCH = Bench("looks", Sizes(), Sizes(rows=(40,)), measure)
